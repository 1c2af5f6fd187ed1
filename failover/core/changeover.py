"""How a modem changes from one SIM to another: the traffic leaves, the modem is told, comes back as another one, and
the SIM has its time to get connected.

Pure. Whether it changes, and to which, stands in `slots.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import Final

from failover.core.dialler import pause
from failover.core.slots import WARMING

LEAVE: Final = 0.05
"""Seconds in which the traffic leaves a SIM that is given up of our own will."""
SOON: Final = 0.001
"""Seconds until it is told to."""
GOING: Final = 20.0
"""Seconds that a modem may stay, and look as before, once it was told to change its SIM; a simulated one takes 0.1."""
NUDGE: Final = 4.0
"""Seconds of doubt after which a SIM that was chosen, and is connected in vain, is dialled anew."""
UNABLE: Final = 3600.0
"""Seconds for which a step that there is not for a modem is left out: a unit may be written, a manager replaced."""


class Changeover:
    """`leave` and `begin`, or `begin` at once; `told` and `passed`, or `late`. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.fled = False
        """The SIM was changed last because of what was wrong with the one before."""
        self.empty = False
        """The traffic was made to leave before. Without another link it goes by the one that is left, while it can."""
        self._to: tuple[str, float] | None = None
        """The uplink whose SIM was chosen last, and when, until packets pass there or its time is over."""
        self._leaving: tuple[int, float] | None = None
        """The slot that is to be chosen, and since when the traffic leaves."""
        self._handle = ""
        """Of the modem that is to change, or was told to."""
        self._still_until = -inf
        """Until when that modem, as long as it has this handle, is not told again."""
        self._refusals = 0
        self._nudged, self._nudge_at = True, inf

    def chosen(self, now: float) -> str:
        """The uplink whose SIM was chosen last, while it has time to get connected; empty: none."""
        return self._to[0] if self._to and now < self._to[1] + WARMING else ""

    def away(self, now: float, name: str, handle: str) -> bool:
        """Whether the modem with this handle is about to change to another SIM than this uplink's, or at it."""
        return self.chosen(now) not in ("", name) and handle == self._handle

    def still(self, now: float, handle: str) -> bool:
        """It was told to change, and is about to or could not: in between it looks as it did before."""
        return handle == self._handle and now < self._still_until

    def deadline(self, now: float) -> float:
        """When something of it is due."""
        warm = self._to[1] + WARMING if self._to else inf
        since = self._leaving[1] if self._leaving else inf
        left = since + (LEAVE if now > since else SOON)
        return min(warm, left, *(at for at in (self._still_until, self._nudge_at) if now < at))

    # --- how it goes -------------------------------------------------------------------------------------------------

    def follow(self, names: Collection[str]) -> None:
        """The config has these uplinks: for another one's sake nothing is left, or waited for, any more."""
        if self._to is not None and self._to[0] not in names:
            self._leaving = self._to = None

    def leave(self, now: float, name: str, slot: int, handle: str) -> None:
        """The traffic is to leave it first."""
        self._leaving, self._handle, self._to, self.empty = (slot, now), handle, (name, now), True

    def leaving(self, slots: Collection[int]) -> int | None:
        """The slot that is to be chosen when the traffic has left, if it is one of these; else that is given up."""
        if self._leaving is not None and self._leaving[0] not in slots:
            self._leaving = self._to = None
        return self._leaving[0] if self._leaving else None

    def left(self, now: float) -> bool:
        """Whether the traffic has left."""
        return self._leaving is not None and now >= self._leaving[1] + LEAVE

    def begin(self, now: float, name: str, handle: str, *, fled: bool) -> None:
        """The modem is told to take this uplink's SIM. `fled`: because nothing passes by the other one."""
        self.empty = self._leaving is not None
        self._leaving, self._handle, self._still_until = None, handle, now + WARMING
        self._to, self.fled, self._nudged = (name, now), fled, False

    def told(self, now: float, *, failed: bool, unable: bool) -> None:
        """What it made of that. One that could not is told again ever more slowly."""
        if not failed:
            self._still_until, self._refusals = now + GOING, 0
            return
        wait = UNABLE if unable else pause(self._refusals)
        self._to, self._still_until, self._refusals = None, now + wait, self._refusals + 1

    def gone(self) -> None:
        """What comes back is another one, whatever its handle."""
        self._still_until = -inf

    def nudges(self, now: float, name: str, since: float) -> bool:
        """Whether this uplink, connected and in doubt `since` then (inf: it is not), is to be dialled anew: what was
        left on the interface by whoever dialled the SIM before, and died over it, is put right by that. Once."""
        if self._nudged or self.chosen(now) != name:
            return False
        self._nudge_at = since + NUDGE
        self._nudged = now >= self._nudge_at
        return self._nudged

    def passed(self, name: str) -> float | None:
        """Packets pass by this uplink; returns when its SIM was chosen, if they have not passed since."""
        if self._to is None or self._to[0] != name:
            return None
        since, self._to = self._to[1], None
        return since

    def late(self, now: float) -> bool:
        """Whether its time is over, and nothing has passed; said once."""
        if self._to is None or self.chosen(now):
            return False
        self._to = None
        return True
