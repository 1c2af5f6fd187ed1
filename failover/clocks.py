"""The clocks beside the loop's own: how long the machine slept, and whether the wall clock can be believed.

What that means is the core's business; here it is noticed, and moments are stamped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from failover.export.memory import Stamp
from failover.kernel.clock import slept, wall_clock_trusted
from failover.seam import Resumed, WallClock

SLEPT_LEAST: Final = 0.5
"""Seconds of suspend that count."""
PERIOD: Final = 60.0
"""Seconds between two looks at the wall clock."""


class Clocks:
    """To be looked at in every turn: the loop's clock stands still in suspend, and the wall clock may be set late."""

    def __init__(self) -> None:
        self.trusted = wall_clock_trusted()
        """The wall clock, as last looked at."""
        self._slept = slept()
        self._due = 0.0

    def look(self, now: float) -> Iterator[Resumed | WallClock]:
        """What has happened to them; `now` is monotonic seconds."""
        asleep = slept()
        if asleep - self._slept >= SLEPT_LEAST:
            yield Resumed(asleep - self._slept)
            self._slept = asleep
        if now >= self._due:
            self._due = now + PERIOD
            self.trusted = wall_clock_trusted()
            yield WallClock(time.time(), self.trusted)

    def stamp(self) -> Stamp:
        """This moment, as it can be told after a restart."""
        return Stamp.now(time.time(), trusted=self.trusted)
