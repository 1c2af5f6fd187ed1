"""Traffic of the user that the counters see and nobody measures: bulk transfers, one-way flows, a dead server.

Each load sends a packet every so many seconds in one family, by the way that the box's routing gives its flow, with
dice of its own. Nothing is decided here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from failover.sim.flows import Wire
from failover.sim.links import ScriptedLane

FULL: Final = 1500
"""IP bytes of a full packet."""
BARE: Final = 52
"""Of an acknowledgement."""
SYN_AGAIN: Final = 1.0
"""Seconds until a connection that is not answered is tried again (RFC 6298)."""
WINDOW: Final = 0.25
"""Seconds for which a server goes on sending what nobody acknowledges."""
RETRY: Final = (0.3, 60.0)
"""Seconds until it tries again, doubling from the first to the second."""


@dataclass(frozen=True, slots=True)
class User:
    """What the user does besides being measured; seconds from packet to packet, None: not at all."""

    requests: bool = True
    """The measured requests are seen; without it they are a gauge that nobody sees."""
    open: bool = True
    """The measured open flow is."""
    download: float | None = None
    upload: float | None = None
    one_way: float | None = None
    dead_server: float | None = None


class Load(ABC):
    """One load in one family over all uplinks, most preferred first."""

    def __init__(self, lanes: Sequence[ScriptedLane], wires: Sequence[Wire], every: float, start: float) -> None:
        self._lanes = lanes
        self._wires = wires
        self._every = every
        self._start = start
        self._count = 0
        self._on: int | None = None
        """The uplink that carries the flow; None while there is none."""

    def play(self, until: float, active: int | None) -> None:
        """Everything before `until`, with the way of new flows as it has been since the last call."""
        at = self._start + self._count * self._every
        while at < until:
            self._packet(at, active)
            self._count += 1
            at = self._start + self._count * self._every

    def skip(self, until: float) -> None:
        """The machine sleeps until then."""
        self._count = max(self._count, math.ceil((until - self._start) / self._every))

    def broke(self, uplink: int) -> bool:
        """The flow of an uplink, if it has one, is gone; it begins again by the way of new flows."""
        if self._on != uplink:
            return False
        self._on = None
        return True

    @abstractmethod
    def _packet(self, at: float, active: int | None) -> None: ...


class DeadServer(Load):
    """New flows to one that never answers."""

    def _packet(self, at: float, active: int | None) -> None:
        if active is not None:
            self._wires[active].leaves(at, None, answered=False)


class OneWay(Load):
    """Datagrams of one flow that nobody answers."""

    def _packet(self, at: float, active: int | None) -> None:
        self._on = active if self._on is None else self._on
        if self._on is not None:
            self._wires[self._on].leaves(at, None, answered=False, sizes=(FULL, 0))


class _Connection(Load):
    """A TCP connection, which begins with a handshake."""

    _ready = math.inf
    """When the handshake is answered."""
    _again = -math.inf
    """When an unanswered one is tried again."""

    def broke(self, uplink: int) -> bool:
        self._again = -math.inf
        return super().broke(uplink)

    def _packet(self, at: float, active: int | None) -> None:
        if self._on is None:
            self._connect(at, active)
        elif at >= self._ready:
            self._transfer(at, self._lanes[self._on], self._wires[self._on])

    def _connect(self, at: float, active: int | None) -> None:
        if active is None or at < self._again:
            return
        self._again = at + SYN_AGAIN
        rtt, passes = self._lanes[active].packet(at)
        self._wires[active].leaves(at, rtt if passes else None, answered=False)
        if rtt is not None and passes:
            self._on, self._ready = active, at + rtt

    @abstractmethod
    def _transfer(self, at: float, lane: ScriptedLane, wire: Wire) -> None: ...


class Upload(_Connection):
    """Full packets leave at their pace, acknowledged or not; each acknowledgement takes a round trip."""

    def _transfer(self, at: float, lane: ScriptedLane, wire: Wire) -> None:
        rtt, _ = lane.packet(at)
        wire.leaves(at, rtt, answered=True, sizes=(FULL, BARE))
        wire.segment(at, rtt)


class Download(_Connection):
    """A server sends, and we acknowledge what comes: when nothing comes, nothing leaves."""

    _stuck: float | None = None
    """Since when the server has had no acknowledgement."""
    _next = -math.inf
    _pause = RETRY[0]

    def _transfer(self, at: float, lane: ScriptedLane, wire: Wire) -> None:
        if at < self._next:
            return
        arrives, acknowledged = lane.push(at)
        if arrives is not None:
            wire.pushed(at + arrives, (BARE, FULL))
        if acknowledged:
            self._stuck, self._next, self._pause = None, -math.inf, RETRY[0]
            return
        self._stuck = at if self._stuck is None else self._stuck
        if at - self._stuck >= WINDOW:
            self._next = at + self._pause
            self._pause = min(2 * self._pause, RETRY[1])


KINDS: Final[Mapping[str, type[Load]]] = {
    "download": Download,
    "upload": Upload,
    "one_way": OneWay,
    "dead_server": DeadServer,
}
"""By the names of the fields of User."""


def loads(user: User, lanes: Sequence[ScriptedLane], wires: Sequence[Wire], start: float) -> list[Load]:
    """Those of a user, in one family; each has dice of its own."""
    found = []
    for name, kind in KINDS.items():
        every = getattr(user, name)
        if every is not None:
            found.append(kind([lane.beside(name) for lane in lanes], wires, every, start))
    return found
