"""Why a family's traffic goes where it goes, and what would change that, in words and numbers.

Pure. Nothing is judged here: the policy is asked what it says now, what it will say when time has passed, and what it
would say if one thing were different. So an explanation cannot disagree with a decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import Final

from failover.config import Config
from failover.core.brownout import P1
from failover.core.candidate import Candidate
from failover.core.fate import AILING
from failover.core.lane import Lane
from failover.core.operator import expire
from failover.core.policy import Situation, Will, carried, hardly_better, objection, ruling
from failover.core.record import RTT_FACTOR_HIGH
from failover.core.verdicts import LOST, WAYLESS
from failover.model import RECEIVING, Decision, ProbeKind, Reason, Verdict
from failover.picture import CandidateView, Explanation, Prospect

FORWARDED: Final = "forwarded traffic"


def explain(now: float, decision: Decision, lanes: Sequence[Lane], will: Will, config: Config) -> Explanation:
    """`lanes`: those of the decision's family, in order of preference."""
    listed = [lane.candidate(now, preference) for preference, lane in enumerate(lanes)]
    situation = Situation(now, decision, listed, will, config.policy.failback_moves_flows)
    rule, said = ruling(situation)
    by_name = {lane.uplink.name: lane for lane in lanes}
    ranked = [*situation.ways, *(c for c in listed if c.verdict in WAYLESS)]
    told = Explanation(
        family=decision.family,
        decision=decision,
        rule=rule,
        text="; ".join((*_deferred(situation, rule), said.text, *_apart(decision))),
        candidates=tuple(_view(situation, candidate, by_name[candidate.name]) for candidate in ranked),
        prospects=(*_in_time(situation, by_name), *_events(situation, by_name, config)),
    )
    return _of_others(told) if config.gateway else told


def _of_others(told: Explanation) -> Explanation:
    """The same of a gateway, whose clients' new flows go as the box's own."""
    text, *said = (
        one.replace(FORWARDED, f"other {FORWARDED}") for one in (told.text, *(p.text for p in told.prospects))
    )
    prospects = (replace(prospect, text=words) for prospect, words in zip(told.prospects, said, strict=True))
    return replace(told, text=text, prospects=tuple(prospects))


def _deferred(situation: Situation, rule: str) -> list[str]:
    """Why the operator's `use` is not the rule that holds."""
    use = situation.will.use
    if use is None or rule == "use":
        return []
    pinned = next((c for c in situation.listed if c.name == use), None)
    return [f"`use {use}` waits: {use} {objection(situation, pinned) if pinned else 'is not there'}"]


def _apart(decision: Decision) -> list[str]:
    if decision.settled in (None, decision.active):
        return []
    return [f"{FORWARDED} stays with {decision.settled}, which is not lost"]


# --- candidates ------------------------------------------------------------------------------------------------------


def _view(situation: Situation, candidate: Candidate, lane: Lane) -> CandidateView:
    now, decision, standing = situation.now, situation.current, lane.standing
    return CandidateView(
        name=candidate.name,
        preference=candidate.preference,
        verdict=candidate.verdict,
        text="; ".join((candidate.text, *_no_answer(lane))),
        active=candidate.name == decision.active,
        settled=candidate.name == decision.settled,
        drained=candidate.name in situation.will.drained,
        proven=candidate.proven,
        owed_seconds=None if standing.healthy_since is None else standing.owed(now),
        relapses=standing.relapses_now(now),
        forgiven_seconds=standing.penalty().forgiven_in(now),
        counted=_counted(lane),
        last_silence=lane.health.record.stalls.last,
        numbers=_numbers(now, lane),
        objection="" if candidate.name == decision.active else _why_not(situation, candidate),
    )


def _no_answer(lane: Lane) -> list[str]:
    """The targets whose silence is their own, or a filter's: told only of an uplink that answers."""
    if lane.verdict not in RECEIVING:
        return []
    dead = [target for target in lane.targets if lane.health.record.dead_target(target.url)]
    pings = [target for target in lane.targets if target.kind is ProbeKind.ICMP]
    if len(pings) > 1 and all(target in dead for target in pings):
        return ["no ping is answered, other kinds are: something filters them"]
    return [f"{target.url} gets no answer and others do: its own fault" for target in dead]


def _counted(lane: Lane) -> str:
    """What of the user's traffic is evidence."""
    passive = lane.health.passive
    return "no" if passive.at is None else "interface" if passive.weak else "flows"


def _numbers(now: float, lane: Lane) -> dict[str, float]:
    """What the verdict rests on, and the thresholds that it is held to."""
    health = lane.health
    return {
        **health.numbers(now),
        **_evidence(now, lane),
        "unanswered_probes": health.unanswered(),
        "doubt_after_seconds": health.doubt_after(),
        "conviction_after_seconds": health.conviction_after(),
        "hold_down_seconds": lane.standing.wait,
    }


def _evidence(now: float, lane: Lane) -> dict[str, float]:
    """What else there is to judge by, as far as there is any."""
    health, left = lane.health, lane.budget.known
    heard = {} if health.last_heard is None else {"last_proven_seconds": now - health.last_heard}
    replied = {} if health.passive.replied == -inf else {"user_replied_seconds": now - health.passive.replied}
    held = {"held_back_seconds": back} if (back := health.silence.held_back(now)) else {}
    return {**heard, **replied, **held} | ({} if left is None else {"budget_remaining_bytes": left})


def _why_not(situation: Situation, candidate: Candidate) -> str:
    """What keeps new flows from here, or leaves them where they are."""
    here, use = situation.here, situation.will.use
    if against := objection(situation, candidate):
        return against
    if here is not None and here.name == use:
        return f"is not {use}, which the operator uses"
    if here is not None and here.verdict is Verdict.DEGRADED and (against := hardly_better(here, candidate)):
        return against
    if here is not None and here.preference < candidate.preference:
        return f"comes after {here.name}"
    return f"is not gone to as long as {here.name} is {here.verdict}" if here is not None else "comes after others"


# --- what would change it --------------------------------------------------------------------------------------------


def _in_time(situation: Situation, lanes: dict[str, Lane]) -> Iterator[Prospect]:
    """What time alone will change, one after the other: hold-downs end, and so does a `use`."""
    now, will = situation.now, situation.will
    ends = {at for candidate in situation.listed for at in (candidate.due, candidate.shade)}
    if will.use is not None:
        ends.add(will.until)
    for at in sorted(end for end in ends if now < end < inf):
        then = replace(situation, now=at, will=expire(at, will))
        if effect := _effect(then):
            yield Prospect(f"{effect} {_occasion(then, will, lanes)}", at - now)
            situation = replace(situation, current=_outcome(then))


def _occasion(then: Situation, will: Will, lanes: dict[str, Lane]) -> str:
    """What it is that ends."""
    ended = next((c.name for c in then.ways if c.due == then.now and c.name == _outcome(then).active), None)
    if ended is None and will.use is not None and will.until == then.now:
        return f"when `use {will.use}` ends"
    name = ended or next((c.name for c in then.listed if c.due == then.now), None)
    if name is None:
        outlived = next(c.name for c in then.listed if c.shade == then.now)
        return f"when {_outcome(then).active} has outlived the trouble of {outlived}, whose fate it shares"
    return f"when {name} has been healthy for its hold-down of {lanes[name].standing.wait:.0f} s"


def _events(situation: Situation, lanes: dict[str, Lane], config: Config) -> Iterator[Prospect]:
    """What has to happen for a change that time alone does not bring."""
    for when, then in _possible(situation, lanes, config):
        if effect := _effect(then):
            yield Prospect(f"{effect} {when}", None)


_UP: Final = {Verdict.DEGRADED: "is no longer degraded", Verdict.PORTAL: "is rid of its portal"}
"""How what receives something already gets up."""
Case = tuple[str, Situation]
"""When, and how things would be."""


def _possible(situation: Situation, lanes: dict[str, Lane], config: Config) -> Iterator[Case]:
    """Everything that may happen next, one thing at a time."""
    will = situation.will
    if will.use is not None:
        yield "on `failover auto`", replace(situation, will=expire(inf, will))
    for name in sorted(will.drained):
        yield f"on `failover undrain {name}`", replace(situation, will=replace(will, drained=will.drained - {name}))
    for candidate in situation.listed:
        lane = lanes[candidate.name]
        if candidate.name == situation.current.active:
            yield from _falls(situation, candidate, lane, config)
        elif candidate.name == situation.current.settled:
            yield from _is_convicted(situation, candidate, config)
        yield from _first(_rises(situation, candidate, lane))


def _falls(situation: Situation, here: Candidate, lane: Lane, config: Config) -> Iterator[Case]:
    """Ways in which the active uplink may get worse."""
    name = here.name
    if here.verdict in (Verdict.UP, Verdict.DEGRADED):
        doubtful = _with(situation, here, Verdict.DOUBTFUL)
        yield f"when {name} is silent for {lane.health.doubt_after():.2f} s, and two sends unanswered", doubtful
    if here.verdict is Verdict.UP:
        yield from _degrades(situation, here, lane)
    yield from _is_convicted(situation, here, config)


def _degrades(situation: Situation, here: Candidate, lane: Lane) -> Iterator[Case]:
    """Its brownouts; in one line where they lead to the same."""
    limit = lane.health.record.slow_from()
    lossy = _with(situation, replace(here, lossy=True), Verdict.DEGRADED)
    slow = _with(situation, replace(here, slow=True, rtt=limit), Verdict.DEGRADED)
    loses, takes = f"loses {P1 * 100:g} % of its probes", f"takes {RTT_FACTOR_HIGH:g} times as long as usual"
    if _effect(lossy) == _effect(slow):
        yield f"when {here.name} {loses}, or {takes}", lossy
    else:
        yield f"when {here.name} {loses}", lossy
        yield f"when {here.name} {takes}", slow


def _is_convicted(situation: Situation, candidate: Candidate, config: Config) -> Iterator[Case]:
    if candidate.verdict not in LOST:
        silence = f"silent for {config.detection.conviction:g} s while another uplink receives, or without carrier"
        yield f"when {candidate.name} is lost: {silence}", _with(situation, candidate, Verdict.DOWN)


def _rises(situation: Situation, candidate: Candidate, lane: Lane) -> Iterator[Case]:
    """Ways in which an uplink may get better, the least first."""
    name, now, wait = candidate.name, situation.now, lane.standing.wait
    if candidate.verdict is Verdict.UP:
        if not candidate.proven:
            yield f"when {name} answers its newest probe", _with(situation, candidate, Verdict.UP, candidate.due)
        return
    first = ""
    if candidate.verdict in WAYLESS:
        first = " has a default route and"
        yield f"when {name} has a default route", _with(situation, candidate, Verdict.UNKNOWN)
    up = _UP.get(candidate.verdict, "answers")
    yield f"when {name}{first} {up}", _with(situation, candidate, Verdict.UP, now + wait)
    yield f"when {name}{first} has been healthy for {wait:.0f} s on end", _with(situation, candidate, Verdict.UP, now)


def _first(cases: Iterable[Case]) -> Iterator[Case]:
    """The first that changes anything: what more may come is of no interest then."""
    for when, then in cases:
        if _effect(then):
            yield when, then
            return


def _with(situation: Situation, candidate: Candidate, verdict: Verdict, due: float = inf) -> Situation:
    """The same, but for one uplink's verdict."""
    before = _mended(candidate) if verdict is Verdict.UP and candidate.verdict is not Verdict.UP else candidate
    ailed = situation.now if verdict in AILING or candidate.verdict in AILING else candidate.ailed
    other = replace(
        before, verdict=verdict, due=due, proven=verdict is Verdict.UP, cause=Reason.CONVICTION, ailed=ailed
    )
    return replace(situation, listed=[other if c.name == candidate.name else c for c in situation.listed])


def _mended(candidate: Candidate) -> Candidate:
    """Without loss, and as quick as can be where that is not known."""
    rtt = 0.0 if candidate.slow or candidate.rtt is None else candidate.rtt
    return replace(candidate, rtt=rtt, slow=False, lossy=False, loss_evidence=0.0)


def _outcome(then: Situation) -> Decision:
    return carried(then, ruling(then)[1])


def _effect(then: Situation) -> str:
    """Where traffic goes that does not go there now; empty if nothing moves, or nothing can leave."""
    before, after = then.current, _outcome(then)
    if after.active is None or (before.active == after.active and before.settled == after.settled):
        return ""
    if before.active == after.active:
        return f"{FORWARDED} goes to {after.settled}"
    what, go = ("new flows", "go") if before.settled == after.settled else ("all traffic", "goes")
    ranks = {candidate.name: candidate.preference for candidate in then.listed}
    back = " back" if before.active in ranks and ranks[after.active] < ranks[before.active] else ""
    return f"{what} {go}{back} to {after.active}"
