"""Verdicts, hold-downs and the operator's will -> where one family's traffic goes, and why.

Pure and without memory: the decision in force goes in, the next one comes out. New flows follow `active`; everything
else follows `settled`, which leaves an uplink only when that is lost, or at the operator's word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from failover.core.verdicts import LOST
from failover.model import Decision, Family, Reason, Verdict

PROOF_AGE: Final = 90.0
"""Seconds for which a standby's last answer is proof (DESIGN §3)."""

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
_SETTLING: Final = frozenset((Reason.OPERATOR, Reason.DRAIN, Reason.FIRST, Reason.ADOPTED))
"""Reasons that take `settled` along."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One uplink as policy sees it."""

    name: str
    preference: int
    """0: the first choice."""
    verdict: Verdict
    text: str
    due: float
    """Monotonic time from which traffic may come here; inf while it is not healthy."""
    proven: bool
    """Its newest probe was answered, lately enough."""
    heard_ago: float
    numbers: Callable[[], Mapping[str, float]]
    """What its verdict rests on; asked only of the one that is left."""
    convicted: bool
    """What it owes comes from a conviction."""
    cause: Reason = Reason.CONVICTION
    """For a lost one: how."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the operator has said."""

    use: str | None = None
    until: float = inf
    strict: bool = False
    drained: frozenset[str] = frozenset()


def decide(
    now: float, family: Family, current: Decision, candidates: Sequence[Candidate], will: Will, *, moves_flows: bool
) -> Decision:
    """The decision for this family; equal to `current` but for `order` when nothing moves."""
    ways = [c for c in candidates if c.verdict is not Verdict.ABSENT]
    by_name = {c.name: c for c in ways}
    order = tuple(c.name for c in sorted(ways, key=lambda c: _rank(now, c, will)))
    move = _move(now, current, ways, candidates, will)
    active, reason, text = move or (current.active, current.reason, current.text)
    along = move is not None and _takes_along(move, will, moves_flows=moves_flows)
    pushed = _unsettled(current, by_name.get(active or ""), candidates, will)
    settled = active if along or pushed else current.settled
    if active == current.active and settled == current.settled:
        return current if order == current.order else replace(current, order=order)
    if active == current.active and pushed and not along:
        reason, text = pushed
    return Decision(family, active, settled, order, reason, text, _numbers(by_name, current.active, active), now)


def next_due(now: float, current: Decision, candidates: Sequence[Candidate], will: Will) -> float:
    """When a return falls due by time alone; inf when none is under way."""
    waits = [c.due for c in candidates if now < c.due and c.name != current.active]
    return min([*waits, will.until if will.use and will.until > now else inf])


Move = tuple[str | None, Reason, str]
"""Where to, and why."""


def _move(
    now: float, current: Decision, ways: Sequence[Candidate], listed: Sequence[Candidate], will: Will
) -> Move | None:
    """Where new flows go; None: they stay. The first rule that speaks wins."""
    if not ways:
        return None, Reason.ABSENT, "no uplink has a default route"
    best = min(ways, key=lambda c: _rank(now, c, will))
    here = next((c for c in ways if c.name == current.active), None)
    pinned = next((c for c in ways if c.name == will.use), None)
    if pinned is not None and _obeyed(now, pinned, will, pinned is here):
        return pinned.name, Reason.OPERATOR, f"the operator uses {pinned.name}"
    if here is None:
        return best.name, *_vacancy(current.active, best, listed)
    others = [c for c in ways if c is not here]
    wished = current.reason is Reason.OPERATOR or (current.reason is Reason.DRAIN and not will.drained)
    released = wished and will.use is None
    return _leave(here, others, now, will) or _return(here, others, now, will, released=released)


def _takes_along(move: Move, will: Will, *, moves_flows: bool) -> bool:
    """Whether all traffic goes with the new flows."""
    active, reason, _ = move
    return reason in _SETTLING or active == will.use or (moves_flows and reason is Reason.FAILBACK)


def _vacancy(left: str | None, best: Candidate, listed: Sequence[Candidate]) -> tuple[Reason, str]:
    """Why nothing is active: the box just came online, the uplink lost its way out, or the config dropped it."""
    if left is None:
        return Reason.FIRST, f"{best.name} is the first uplink with a default route"
    gone = next((c for c in listed if c.name == left), None)
    return (Reason.ABSENT, f"{left}: {gone.text}") if gone else (Reason.CONFIG, f"{left} is no uplink any more")


def _unsettled(
    current: Decision, active: Candidate | None, listed: Sequence[Candidate], will: Will
) -> tuple[Reason, str] | None:
    """Why everything but new flows cannot stay where it is; None: it can."""
    held = next((c for c in listed if c.name == current.settled), None)
    if held is None or active is None:
        return _vacancy(current.settled, active, listed) if active else (Reason.ABSENT, "no uplink has a default route")
    if held.verdict in LOST:
        return held.cause, f"{held.name} {held.text}"
    better = active.name not in will.drained and _CLASS[active.verdict] <= _CLASS[Verdict.DEGRADED]
    return (Reason.DRAIN, f"{held.name} is drained") if held.name in will.drained and better else None


def _obeyed(now: float, pinned: Candidate, will: Will, is_here: bool) -> bool:
    """`use` yields to a conviction, and to the hold-down after it, unless it is strict."""
    if will.strict:
        return True
    return pinned.verdict not in LOST and (is_here or not pinned.convicted or pinned.due <= now)


def _leave(here: Candidate, others: Sequence[Candidate], now: float, will: Will) -> Move | None:
    """Away from an uplink that is lost, drained, in doubt or degraded."""
    ranked = sorted(others, key=lambda c: _rank(now, c, will))
    willing = [c for c in ranked if c.name not in will.drained]
    if here.verdict in LOST:
        limit = _CLASS[Verdict.DOUBTFUL if here.verdict is Verdict.PORTAL else Verdict.DOWN]
        best = next((c for c in ranked[:1] if _CLASS[c.verdict] < limit), None)
        return (best.name, here.cause, _because(here, best)) if best else None
    if here.name in will.drained and willing and _CLASS[willing[0].verdict] <= _CLASS[Verdict.DEGRADED]:
        return willing[0].name, Reason.DRAIN, f"{here.name} is drained"
    why = {Verdict.DOUBTFUL: Reason.DOUBT, Verdict.DEGRADED: Reason.DEGRADED}.get(here.verdict)
    doubtful = here.verdict is Verdict.DOUBTFUL
    best = next((c for c in willing if _answers(c) and (doubtful or not c.convicted or c.due <= now)), None)
    return (best.name, why, _because(here, best)) if why and best else None


def _answers(candidate: Candidate) -> bool:
    return candidate.verdict is Verdict.UP and candidate.proven


def _because(left: Candidate, taken: Candidate) -> str:
    proof = f"; {taken.name} answered {taken.heard_ago:.1f} s ago" if _answers(taken) and taken.heard_ago < inf else ""
    return f"{left.name} {left.text}{proof}"


def _return(here: Candidate, others: Sequence[Candidate], now: float, will: Will, *, released: bool) -> Move | None:
    """Back to a preferred uplink that has been healthy for long enough; `released`: from where `use` had taken us."""
    if here.verdict is not Verdict.UP:
        return None
    ready = [c for c in others if c.due <= now]
    best = min([here, *ready], key=lambda c: _wish(c, will))
    if best is here:
        return None
    if released:
        return best.name, Reason.OPERATOR, "the operator's choice is over"
    why = Reason.FAILBACK if best.convicted else Reason.ACQUITTAL
    return best.name, why, f"{best.name} has answered without a gap for its hold-down"


def _wish(candidate: Candidate, will: Will) -> tuple[bool, bool, int]:
    """Preference alone; lower is better."""
    return candidate.name in will.drained, candidate.name != will.use, candidate.preference


def _rank(now: float, candidate: Candidate, will: Will) -> tuple[int, bool, int]:
    """Present verdict first, then preference; lower is better."""
    rank = _CLASS[candidate.verdict]
    if rank == _CLASS[Verdict.UP] and candidate.due > now:
        rank = _HELD_UP
    drained, other, preference = _wish(candidate, will)
    return max(rank, _DRAINED) if drained else rank, other, preference


def _numbers(by_name: dict[str, Candidate], left: str | None, taken: str | None) -> dict[str, float]:
    """What the decision was made by, as far as it is known."""
    numbers = dict(by_name[left].numbers()) if left in by_name else {}
    if taken in by_name and by_name[taken].heard_ago < inf:
        numbers["standby_proven_seconds"] = by_name[taken].heard_ago
    return numbers
