"""Verdicts, hold-downs and the operator's will -> where one family's traffic goes, by which rule, and why.

Pure and without memory: the decision in force goes in, the next one comes out. New flows follow `active`; everything
else follows `settled`, which leaves an uplink only when that is lost, or at the operator's word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from failover.core.candidate import Candidate
from failover.core.verdicts import LOST, WAYLESS
from failover.model import RECEIVING, Decision, Reason, Verdict

PROOF_AGE: Final = 90.0
"""Seconds for which a standby's last answer is proof (DESIGN §3)."""
RTT_MARGIN: Final = 0.010
RTT_SHARE: Final = 2 / 3
"""A slow uplink is left for one that is quicker by so many seconds at least, and takes at most this share of its time:
either margin alone would move traffic for nothing, the one between slow links and the other between quick ones."""
EVIDENCE_CLEAR: Final = 0.5
"""A lossy uplink is left for one with at most this share of the evidence that makes one lossy (`brownout.py`): a little
more than two losses on end."""

_CLASS: Final = {
    Verdict.UP: 0,
    Verdict.DEGRADED: 2,
    Verdict.UNKNOWN: 3,
    Verdict.DOUBTFUL: 4,
    Verdict.PORTAL: 6,
    Verdict.DOWN: 7,
}
_HELD_UP: Final = 1
"""Up, but in its hold-down."""
_DRAINED: Final = 5
_RETURNS: Final = {
    Reason.FAILBACK: "{} has answered without a gap for its hold-down",
    Reason.ACQUITTAL: "{} has answered without a gap for its hold-down",
    Reason.OPERATOR: "the operator's choice is over",
    Reason.CONFIG: "{} comes first now",
    Reason.FIRST: "{} comes first in the config, and no agent had chosen what the kernel used; all traffic goes along",
}
"""Why there is a return."""
_SETTLING: Final = frozenset((Reason.OPERATOR, Reason.DRAIN, Reason.FIRST, Reason.ADOPTED))
"""Reasons that take `settled` along."""
NONE: Final = ", and no other uplink is"


@dataclass(frozen=True, slots=True)
class Will:
    """What the operator has said."""

    use: str | None = None
    until: float = inf
    strict: bool = False
    drained: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the rules look at."""

    now: float
    current: Decision
    listed: Sequence[Candidate]
    """Every uplink, in order of preference."""
    will: Will
    moves_flows: bool
    """Whether a failback takes all traffic along."""

    @property
    def ways(self) -> list[Candidate]:
        """Those with a default route, best rank first."""
        ways = (c for c in self.listed if c.verdict not in WAYLESS)
        return sorted(ways, key=self._rank)

    def _rank(self, candidate: Candidate) -> tuple[int, bool, bool, bool, int]:
        """Present verdict first, then whose fate it shares, then preference; lower is better."""
        rank = _CLASS[candidate.verdict]
        if rank == _CLASS[Verdict.UP] and candidate.due > self.now:
            rank = _HELD_UP
        drained, other, preference = _wish(candidate, self.will)
        rank = max(rank, _DRAINED) if drained else rank
        return rank, other, candidate.foreign, shadowed(self, candidate) is not None, preference

    def way(self, name: str | None) -> Candidate | None:
        """The uplink of this name, if it has a default route."""
        return next((c for c in self.listed if c.name == name and c.verdict not in WAYLESS), None)

    @property
    def here(self) -> Candidate | None:
        """Where new flows go, if that has a default route."""
        return self.way(self.current.active)

    @property
    def others(self) -> list[Candidate]:
        """Where else they could go, best rank first."""
        return [c for c in self.ways if c.name != self.current.active]

    @property
    def willing(self) -> list[Candidate]:
        """Those of the others that are not drained."""
        return [c for c in self.others if c.name not in self.will.drained]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a rule says about new flows."""

    to: str | None
    reason: Reason | None
    """None: they stay where they are."""
    text: str
    along: bool = False
    """All other traffic goes with them, whatever the reason."""


def decide(
    now: float, current: Decision, candidates: Sequence[Candidate], will: Will, *, moves_flows: bool
) -> Decision:
    """The decision for this family; equal to `current` but for `order` when nothing moves."""
    situation = Situation(now, current, candidates, will, moves_flows)
    return carried(situation, ruling(situation)[1])


def ruling(situation: Situation) -> tuple[str, Ruling]:
    """The first rule that speaks: its name, and what it says."""
    return next((name, said) for name, rule in RULES.items() if (said := rule(situation)) is not None)


def carried(situation: Situation, said: Ruling) -> Decision:
    """The decision with what the ruling says of new flows, and what follows from it for all else."""
    current = situation.current
    order = tuple(c.name for c in situation.ways)
    active, reason, text = said.to, said.reason or current.reason, said.text if said.reason else current.text
    along = _takes_along(said, situation)
    pushed = _unsettled(situation, situation.way(active))
    settled = active if along or pushed else current.settled
    if active == current.active and settled == current.settled:
        return current if order == current.order else replace(current, order=order)
    if active == current.active and pushed and not along:
        reason, text = pushed
    numbers = _numbers(situation, current.active, active)
    since = current.since if active == current.active else situation.now
    return Decision(current.family, active, settled, order, reason, text, numbers, situation.now, since)


def next_due(now: float, current: Decision, candidates: Sequence[Candidate], will: Will) -> float:
    """When a return falls due by time alone; inf when none is under way."""
    waits = [c.due for c in candidates if now < c.due and c.name != current.active]
    waits += [end for c in candidates if c.fate and now < (end := c.shade)]
    return min([*waits, will.until if will.use and will.until > now else inf])


def shadowed(situation: Situation, candidate: Candidate) -> Candidate | None:
    """The uplink in trouble whose fate this one shares and has not outlived yet; of several, that which ends last."""
    if not candidate.fate:
        return None  # as a rule
    near = (c for c in situation.listed if c.name in candidate.fate and c.shade > situation.now)
    return max(near, key=lambda c: c.shade, default=None)


def objection(situation: Situation, candidate: Candidate) -> str:
    """What would keep new flows from returning to this uplink, as `is drained`; empty if nothing does."""
    if candidate.verdict is not Verdict.UP:
        return f"is {candidate.verdict}: {candidate.text}"
    if candidate.name in situation.will.drained:
        return "is drained"
    if candidate.due > situation.now:
        return "is in its hold-down"
    if other := shadowed(situation, candidate):
        return candidate.kinship(other)
    return "" if candidate.proven else "has not answered its newest probe, or too long ago"


def hardly_better(here: Candidate, other: Candidate) -> str:
    """What keeps new flows of a degraded uplink from another one that is up, as `loses too`; empty if nothing does."""
    clean = here.lossy and other.loss_evidence <= EVIDENCE_CLEAR
    if clean or (here.slow and _quicker(here, other)) or not (here.lossy or here.slow):
        return ""
    if not here.slow:
        return "loses too"
    return f"takes hardly less time than {here.name}" if other.rtt is not None else "has no known round trip"


def _quicker(here: Candidate, other: Candidate) -> bool:
    """By both margins."""
    if here.rtt is None or other.rtt is None:
        return False
    return other.rtt <= min(here.rtt - RTT_MARGIN, here.rtt * RTT_SHARE)


# --- the rules -------------------------------------------------------------------------------------------------------


def _no_route(situation: Situation) -> Ruling | None:
    return None if situation.ways else Ruling(None, Reason.ABSENT, "no uplink has a default route")


def _use(situation: Situation) -> Ruling | None:
    """`use` yields to a conviction, and to the hold-down after one that came after the word, unless it is strict."""
    pinned = situation.way(situation.will.use)
    if pinned is None:
        return None
    due = pinned.due if not pinned.pardoned or pinned.due == inf else situation.now
    paid = pinned.name == situation.current.active or not pinned.convicted or due <= situation.now
    obeyed = situation.will.strict or (pinned.verdict not in LOST and paid)
    return Ruling(pinned.name, Reason.OPERATOR, f"the operator uses {pinned.name}") if obeyed else None


def _vacant(situation: Situation) -> Ruling | None:
    if situation.here is not None:
        return None
    best = situation.ways[0]
    return Ruling(best.name, *_vacancy(situation, situation.current.active, best))


def _lost(situation: Situation) -> Ruling | None:
    """A portal is left for nothing worse than the unknown; what is dead, for anything better."""
    here = situation.here
    if here is None or here.verdict not in LOST:
        return None
    limit = _CLASS[Verdict.DOUBTFUL if here.verdict is Verdict.PORTAL else Verdict.DOWN]
    best = next((c for c in situation.others[:1] if _CLASS[c.verdict] < limit), None)
    return _left(situation, best, here.cause) or _stays(here, f"{here.name} {here.text}{NONE} better off")


def _drained(situation: Situation) -> Ruling | None:
    here, willing = situation.here, situation.willing
    if here is None or here.name not in situation.will.drained:
        return None
    best = next((c for c in willing[:1] if _CLASS[c.verdict] <= _CLASS[Verdict.DEGRADED]), None)
    return Ruling(best.name, Reason.DRAIN, f"{here.name} is drained") if best else None


def _doubt(situation: Situation) -> Ruling | None:
    here = situation.here
    if here is None or here.verdict is not Verdict.DOUBTFUL:
        return None
    able = (c for c in situation.willing if c.proven and c.verdict in RECEIVING)
    best = next((c for c in able if not _tunnel(situation, here, c)), None)
    return _left(situation, best, Reason.DOUBT) or _stays(here, f"{here.name} {here.text}{NONE} proven")


def _tunnel(situation: Situation, here: Candidate, other: Candidate) -> bool:
    """Whether several are silent, and this one was not heard since: then its proof is older than what silences them."""
    silent = any(c.verdict is Verdict.DOUBTFUL for c in situation.others)
    return silent and other.heard_ago > here.numbers().get("silence_seconds", 0.0)


def _degraded(situation: Situation) -> Ruling | None:
    """Only for what is clearly better, or would be returned to anyway; not for one that owes after a conviction."""
    here = situation.here
    if here is None or here.verdict is not Verdict.DEGRADED:
        return None
    free = (c for c in situation.willing if _answers(c) and (not c.convicted or c.due <= situation.now))
    best = next((c for c in free if not hardly_better(here, c) or _preferred(situation, here, c)), None)
    return _left(situation, best, Reason.DEGRADED) or _stays(here, f"{here.name} {here.text}{NONE} better")


def _preferred(situation: Situation, here: Candidate, other: Candidate) -> bool:
    """Whether traffic would return there if all were well here."""
    free = other.due <= situation.now and shadowed(situation, other) is None
    return free and _wish(other, situation.will) < _wish(here, situation.will)


def _unknown(situation: Situation) -> Ruling | None:
    """It is never left for what it may be."""
    here = situation.here
    unknown = here is not None and here.verdict is Verdict.UNKNOWN
    return _stays(here, f"{here.name} is unknown ({here.text}), and not left for that") if here and unknown else None


def _back(situation: Situation) -> Ruling | None:
    """Back to a preferred uplink that has been healthy for long enough; `wished`: from where `use` had taken us."""
    here, will, current = situation.here, situation.will, situation.current
    if here is None:
        return None
    free = (c for c in situation.others if c.due <= situation.now and shadowed(situation, c) is None)
    ready = [c for c in free if c.proven or here.name in will.drained]
    best = min([here, *ready], key=lambda c: _wish(c, will))
    if best is here:
        return None
    if here.name in will.drained:
        return Ruling(best.name, Reason.DRAIN, f"{here.name} is drained too")
    wished = current.reason is Reason.OPERATOR or (current.reason is Reason.DRAIN and not will.drained)
    why = Reason.OPERATOR if wished and will.use is None else best.returns
    if why is Reason.CONFIG and (other := _outlived(situation, best)):
        outlived = f"{best.name} has outlived the trouble of {other.name}, with which it shares"
        return Ruling(best.name, Reason.ACQUITTAL, f"{outlived} {best.fate[other.name]}")
    first = why is Reason.FIRST
    text = _RETURNS[why].format(best.name)
    if why is Reason.CONFIG and here.foreign and not best.foreign:
        text += f", as {here.name} roams and comes last for that"
    return Ruling(best.name, Reason.CONFIG if first else why, text, along=first)


def _outlived(situation: Situation, best: Candidate) -> Candidate | None:
    """Whose trouble has kept new flows from here, since they went where they are."""
    kin = (c for c in situation.listed if c.name in best.fate)
    return next((c for c in kin if situation.current.since <= c.shade <= situation.now), None)


def _stay(situation: Situation) -> Ruling | None:
    here = situation.here
    if here is None:
        return None
    if here.name in situation.will.drained:
        return _stays(here, f"{here.name} is drained, and no other uplink can take its place")
    wished = [c for c in situation.listed if _wish(c, situation.will) < _wish(here, situation.will)]
    waits = "".join(f"; {c.name} {objection(situation, c)}" for c in wished)
    return _stays(here, f"{here.name} is up{waits or ', and none is preferred to it'}")


RULES: Final[Mapping[str, Callable[[Situation], Ruling | None]]] = {
    "no-route": _no_route,
    "use": _use,
    "vacant": _vacant,
    "lost": _lost,
    "drained": _drained,
    "doubt": _doubt,
    "degraded": _degraded,
    "unknown": _unknown,
    "return": _back,
    "stay": _stay,
}
"""The first that speaks decides, and one always does."""


def _left(situation: Situation, best: Candidate | None, why: Reason) -> Ruling | None:
    here = situation.here
    if here is None or best is None:
        return None
    return Ruling(best.name, why, _because(here, best) + _passed_over(situation, best))


def _passed_over(situation: Situation, best: Candidate) -> str:
    """Which uplink would have come first, but for its fate."""
    ahead = (c for c in situation.willing if c.preference < best.preference and c.due <= situation.now and c.proven)
    found = ((c, shadowed(situation, c)) for c in ahead if _CLASS[c.verdict] <= _CLASS[best.verdict])
    return next((f"; {c.name} {c.kinship(other)}" for c, other in found if other), "")


def _stays(here: Candidate, text: str) -> Ruling:
    return Ruling(here.name, None, text)


# --- all traffic -----------------------------------------------------------------------------------------------------


def _takes_along(said: Ruling, situation: Situation) -> bool:
    """Whether all traffic goes with the new flows."""
    if said.reason is None:
        return False
    willed = said.along or said.reason in _SETTLING or said.to == situation.will.use
    return willed or (situation.moves_flows and said.reason is Reason.FAILBACK)


def _vacancy(situation: Situation, left: str | None, best: Candidate) -> tuple[Reason, str]:
    """Why nothing is active: the box just came online, the uplink lost its way out, or the config dropped it."""
    if left is None:
        return Reason.FIRST, f"{best.name} is the first uplink with a default route"
    gone = next((c for c in situation.listed if c.name == left), None)
    return (Reason.ABSENT, f"{left}: {gone.text}") if gone else (Reason.CONFIG, f"{left} is no uplink any more")


def _unsettled(situation: Situation, active: Candidate | None) -> tuple[Reason, str] | None:
    """Why everything but new flows cannot stay where it is; None: it can."""
    current, will = situation.current, situation.will
    held = next((c for c in situation.listed if c.name == current.settled), None)
    if active is None:
        return Reason.ABSENT, "no uplink has a default route"
    if held is None:
        return _vacancy(situation, current.settled, active)
    if held.verdict in LOST:
        return held.cause, f"{held.name} {held.text}"
    better = active.name not in will.drained and _CLASS[active.verdict] <= _CLASS[Verdict.DEGRADED]
    return (Reason.DRAIN, f"{held.name} is drained") if held.name in will.drained and better else None


def _answers(candidate: Candidate) -> bool:
    return candidate.verdict is Verdict.UP and candidate.proven


def _because(left: Candidate, taken: Candidate) -> str:
    proven = taken.proven and taken.verdict in RECEIVING and taken.heard_ago < inf
    proof = f"; {taken.name} answered {taken.heard_ago:.1f} s ago" if proven else ""
    return f"{left.name} {left.text}{proof}"


def _wish(candidate: Candidate, will: Will) -> tuple[bool, bool, int]:
    """Preference alone; lower is better."""
    return candidate.name in will.drained, candidate.name != will.use, candidate.preference


def _numbers(situation: Situation, left: str | None, taken: str | None) -> dict[str, float]:
    """What the decision was made by, as far as it is known."""
    left_behind, taker = situation.way(left), situation.way(taken)
    numbers = dict(left_behind.numbers()) if left_behind else {}
    if taker and taker.heard_ago < inf:
        numbers["standby_proven_seconds"] = taker.heard_ago
    if left_behind and left_behind.slow and taker and taker.rtt is not None:
        numbers["standby_rtt_seconds"] = taker.rtt
    return numbers
