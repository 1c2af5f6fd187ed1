"""Verdicts, hold-downs and the operator's will -> where one family's traffic goes, and why.

Pure and without memory: the decision in force goes in, the next one comes out. New flows follow `active`; everything
else follows `settled`, which leaves an uplink only when that is lost, or at the operator's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from failover.model import Decision, Family, Reason, Verdict

PROOF_AGE: Final = 90.0
"""Seconds for which a standby's last answer is proof (DESIGN §3)."""

_LOST: Final = frozenset((Verdict.DOWN, Verdict.ABSENT, Verdict.PORTAL))
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
    silence: float
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
    active, reason, text = _active(now, current, ways, candidates, will)
    held = by_name.get(current.settled or "")
    takes_along = reason in _SETTLING or (moves_flows and reason is Reason.FAILBACK)
    lost = held is None or held.verdict in _LOST
    settled = active if lost or (takes_along and active != current.active) else current.settled
    if active == current.active and settled == current.settled:
        return current if order == current.order else replace(current, order=order)
    if active == current.active and held is not None:
        reason, text = held.cause, f"{held.name} {held.text}"
    return Decision(family, active, settled, order, reason, text, _numbers(by_name, current.active, active), now)


def next_due(now: float, current: Decision, candidates: Sequence[Candidate], will: Will) -> float:
    """When a return falls due by time alone; inf when none is under way."""
    waits = [c.due for c in candidates if now < c.due < inf and c.name != current.active]
    return min([*waits, will.until if will.use and will.until > now else inf])


def _active(
    now: float, current: Decision, ways: Sequence[Candidate], listed: Sequence[Candidate], will: Will
) -> tuple[str | None, Reason, str]:
    """(uplink, reason, text); the first rule that speaks wins."""
    if not ways:
        return None, Reason.ABSENT, "no uplink has a default route"
    best = min(ways, key=lambda c: _rank(now, c, will))
    here = next((c for c in ways if c.name == current.active), None)
    pinned = next((c for c in ways if c.name == will.use), None)
    if pinned is not None and _obeyed(now, pinned, will, pinned is here):
        return pinned.name, Reason.OPERATOR, f"the operator uses {pinned.name}"
    if here is None:
        gone = next((c for c in listed if c.name == current.active), None)
        if gone is None:
            return best.name, Reason.FIRST, f"{best.name} is the first uplink with a default route"
        return best.name, Reason.ABSENT, f"{gone.name}: {gone.text}"
    others = [c for c in ways if c is not here]
    return _leave(here, others, now, will) or _return(here, others, now, will) or (here.name, current.reason, "")


def _obeyed(now: float, pinned: Candidate, will: Will, is_here: bool) -> bool:
    """`use` yields to a conviction, and to the hold-down after it, unless it is strict."""
    if will.strict:
        return True
    return pinned.verdict not in _LOST and (is_here or not pinned.convicted or pinned.due <= now)


def _leave(
    here: Candidate, others: Sequence[Candidate], now: float, will: Will
) -> tuple[str | None, Reason, str] | None:
    """Away from an uplink that is lost, in doubt, degraded or drained."""
    best = min(others, key=lambda c: _rank(now, c, will), default=None)
    if best is None:
        return None
    answers = best.verdict is Verdict.UP and best.proven
    willing = best.name not in will.drained
    text = f"{here.name} {here.text}"
    if answers:
        text += f"; {best.name} answered {best.heard_ago:.1f} s ago"
    if here.verdict in _LOST:
        limit = _CLASS[Verdict.DOUBTFUL if here.verdict is Verdict.PORTAL else Verdict.DOWN]
        return (best.name, here.cause, text) if _CLASS[best.verdict] < limit else None
    if here.name in will.drained and willing and _CLASS[best.verdict] <= _CLASS[Verdict.DEGRADED]:
        return best.name, Reason.DRAIN, f"{here.name} is drained"
    if answers and willing and here.verdict is Verdict.DOUBTFUL:
        return best.name, Reason.DOUBT, text
    if answers and willing and here.verdict is Verdict.DEGRADED:
        return best.name, Reason.DEGRADED, text
    return None


def _return(
    here: Candidate, others: Sequence[Candidate], now: float, will: Will
) -> tuple[str | None, Reason, str] | None:
    """Back to a preferred uplink that has been healthy for long enough."""
    if here.verdict is not Verdict.UP:
        return None
    ready = [c for c in others if c.verdict is Verdict.UP and c.due <= now]
    best = min([here, *ready], key=lambda c: _wish(c, will))
    if best is here:
        return None
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
    """What the decision was made by."""
    numbers = {}
    if left in by_name:
        numbers["silence_seconds"] = by_name[left].silence
    if taken in by_name:
        numbers["standby_proven_seconds"] = by_name[taken].heard_ago
    return numbers
