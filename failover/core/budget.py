"""What probes over a metered uplink may still cost: a bucket of bytes that fills by the month, spent probe by probe.

Pure. One Budget per uplink, shared by its families. What a probe weighs is `weights.py`, who is probed `schedule.py`.
"""

from __future__ import annotations

from typing import Final

from failover.config import Metered
from failover.config.values import format_size

MONTH: Final = 30 * 86400.0
"""Seconds; what a budget calls a month."""
DEPTH: Final = 2 * 86400.0
"""Seconds of the active rate that the bucket holds. Two days pay for a night of trouble (of 30 MB a month, ten hours of
an answered ping each second), and a month costs at most a fifteenth more than its budget. A standby has the same
bucket: it is there to become the active one, and that in trouble."""
RESERVE: Final = 0.2
"""The last share of it, for doubt alone: what is not known of a dead link costs more than its bytes."""
POOR: Final = 0.5
"""Below this share an uplink is poor. The upper half pays for ten hours of a silent link asked each second; who has
spent that is in longer trouble, and the rest has to last."""
RELIEF: Final = 3600.0
"""Seconds of the active rate above the reserve after which a used-up budget is no news any more."""


class Budget:
    """IP bytes of both directions. Times are monotonic seconds; probes are paid when they leave, as if answered."""

    def __init__(self, now: float, metered: Metered | None) -> None:
        """A full bucket. None: not metered, everything can be paid."""
        self._metered = metered
        self._active = False
        self._level = self._depth
        self._at = now
        self._refused = False
        """A steady probe could not be paid, and that is not over yet."""

    def configure(self, now: float, metered: Metered | None) -> None:
        """Another budget is configured: it is as full as the one before was, which nobody can gain by."""
        self._fill(now)
        share = self._level / self._depth if self._depth else 1.0
        self._metered, self._refused, self._at = metered, False, now
        self._level = share * self._depth

    def role(self, now: float, *, active: bool) -> None:
        """Whether it carries traffic in any family: how fast the bucket fills from now on."""
        self._fill(now)
        self._active = active

    def asleep(self, now: float, seconds: float) -> None:
        """The machine slept for so long, of which `now` knows nothing."""
        self._fill(now)
        self._level += seconds * self._rate

    def affords(self, now: float, weight: int, *, doubt: bool) -> bool:
        """Whether a probe of `weight` bytes can be paid; in doubt out of the reserve too. A steady one leaves as
        long as there is more than that, whatever it weighs: else the lighter family would take all that refills."""
        if self._metered is None:
            return True
        self._fill(now)
        if self._level > self._reserve:
            return weight <= self._level
        able = doubt and weight <= self._level
        self._refused = self._refused or not able
        return able

    def spend(self, now: float, weight: int) -> None:
        """A probe leaves."""
        self._fill(now)
        self._level = max(-self._reserve, self._level - weight)

    def grant(self, now: float, weight: int) -> None:
        """A probe leaves at the operator's word, whether it can be paid or not: the reserve is none of his."""
        self._fill(now)
        self._level = max(self._level - weight, min(self._level, self._reserve))

    def refund(self, now: float, weight: int) -> None:
        """A probe came to so much less than was paid; negative: to more."""
        self.spend(now, -weight)

    def left(self, now: float) -> float | None:
        """Bytes, the reserve included; None: not metered."""
        self._fill(now)
        return self.known

    @property
    def known(self) -> float | None:
        """What was left when it was last asked or told of anything; None: not metered."""
        return None if self._metered is None else max(0.0, self._level)

    @property
    def capacity(self) -> float | None:
        """Bytes of a full one; None: not metered."""
        return None if self._metered is None else self._depth

    def poor(self, now: float) -> bool:
        """Whether so little is left that what is watched for long is watched more slowly."""
        self._fill(now)
        return self._level < POOR * self._depth

    def exhausted(self, now: float) -> bool:
        """Whether steady probes could not be paid lately: since one of them was refused, until there is an hour's worth
        of them, so that a bucket emptied as it fills is told of once."""
        self._fill(now)
        self._refused = self._refused and self._level < self._reserve + self._depth * RELIEF / DEPTH
        return self._refused

    def warning(self, now: float, name: str) -> str:
        """What to say of it while it is exhausted, in words that stay the same; empty while it is not."""
        if self._metered is None or not self.exhausted(now):
            return ""
        budget, standby = (f"{format_size(size)}/month" for size in (self._metered.budget, self._metered.standby))
        return (
            f"{name}: the probe budget of {budget} ({standby} as a standby) is used up; until it has refilled, the "
            f"uplink is watched by its traffic and the kernel, and probed only as far as the budget refills"
        )

    def recall(self, now: float, left: float, age: float) -> None:
        """`left` bytes were left `age` seconds ago. Meanwhile nobody knows what it carried: it filled as a standby."""
        self._fill(now)
        if self._metered is not None:
            self._level = max(0.0, left) + max(0.0, age) * self._metered.standby / MONTH

    @property
    def _depth(self) -> float:
        return 0.0 if self._metered is None else self._metered.budget / MONTH * DEPTH

    @property
    def _reserve(self) -> float:
        return RESERVE * self._depth

    @property
    def _rate(self) -> float:
        """Bytes a second."""
        if self._metered is None:
            return 0.0
        return (self._metered.budget if self._active else self._metered.standby) / MONTH

    def _fill(self, now: float) -> None:
        """Nothing reads the level but through this, so that what does not fit is cut here alone."""
        if self._metered is None:
            return
        passed, self._at = max(0.0, now - self._at), max(self._at, now)
        self._level = min(self._depth, self._level + passed * self._rate)
