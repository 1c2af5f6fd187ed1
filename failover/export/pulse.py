"""Whether the agent lives: what /healthz answers. Of uplinks it knows nothing: an outage is no fault of the agent.

For supervisors and probes that cannot take systemd's watchdog messages. A loop that is stuck altogether does not answer
at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STILL: Final = 10.0
"""Seconds between two turns that are a fault: ten times what the agent lets pass at most."""


class Pulse:
    """Hears of the adoption of the kernel and of every turn of the agent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready = False
        self._turned = clock()

    def ready(self) -> None:
        """The kernel's state is adopted."""
        self._ready = True

    def turned(self) -> None:
        """The agent has done all that there was to do."""
        self._turned = self._clock()

    def fault(self) -> str:
        """What is wrong, in a few words, or nothing."""
        still = self._clock() - self._turned
        if still > STILL:
            return f"the agent has not kept up with its work for {still:.0f} s"
        return "" if self._ready else "not ready: the kernel's routes are not adopted yet"
