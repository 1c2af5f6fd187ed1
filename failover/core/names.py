"""Whether names resolve over one uplink and family while its packets pass: a carrier's resolver can die alone.

Pure. Told from the streaks of the dns targets; what follows for the verdict is health.py's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from failover.core.record import ANSWERS, Record
from failover.model import ProbeKind, Target

MUTE_STREAK: Final = 2
"""Questions in a row without an answer: one may be lost, and the next one follows soon."""
AT_ONCE: Final = 0.01
"""Seconds until other uplinks are asked whether names resolve there: it is not their turn just now."""
ASK_AGAIN: Final = 2.0
"""Seconds after an unanswered question until the next one."""
LOOK_AGAIN: Final = 10.0
"""Seconds between two questions while nobody answers them."""


def unanswered(record: Record, targets: Iterable[Target]) -> int:
    """Questions in a row to which no name server has answered; 0 where there is none, or none else to compare with."""
    streak = min((record.targets[t.url].streak for t in targets if t.kind is ProbeKind.DNS), default=0)
    if not streak:
        return 0
    passes = any(record.targets[t.url].last in ANSWERS for t in targets if t.kind is not ProbeKind.DNS)
    return streak if passes else 0


def resolves(record: Record, targets: Iterable[Target]) -> bool:
    """Whether a name server answered when it was asked last."""
    return any(record.targets[t.url].last in ANSWERS for t in targets if t.kind is ProbeKind.DNS)
