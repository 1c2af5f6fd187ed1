"""The user's traffic, and what the agent's choices did to it, against never switching and against knowing everything.

Here live the measures and nothing that decides. Per family a request (a flow of one packet) leaves at every tick by
the way of new flows, and one open flow sends a packet at every tick on its own uplink until the agent breaks it; then
it reconnects by the way of new flows. What these packets show of the uplinks is told to `flows.py`. Times are virtual
seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Final

from failover.sim.flows import Wire
from failover.sim.links import Gate, Lane

Packets = Sequence[tuple[float | None, bool]]
"""What `Lane.packet` says of each uplink, most preferred first."""

PATIENCE: Final = 1.0
"""Seconds after which a user calls it bad: a request without its reply, an open flow with a packet still unanswered."""
PRIMARY: Final = 0
LASTED: Final = 2.0
"""Seconds of further silence that make a conviction worth its price."""


@dataclass(slots=True)
class Tally:
    """Seconds of trouble that one way of choosing brought."""

    bad: float = 0.0
    """Seconds whose requests had no reply within PATIENCE."""
    silent: float = 0.0
    """Seconds in which the open flow waited longer than PATIENCE."""


class OpenFlow:
    """A flow that sends at every tick; its silence runs from the first unanswered packet after the last reception."""

    __slots__ = ("_under_way", "answered", "received", "since")

    def __init__(self, since: float | None = None) -> None:
        self.since = since
        self.received = -math.inf
        self.answered = False
        """A reply came before the packet sent last."""
        self._under_way: list[float] = []

    def send(self, at: float, rtt: float | None) -> bool:
        """Send a packet that is answered after `rtt` seconds; True while the flow is silent for PATIENCE and longer."""
        if self._under_way:
            self._receive(at)
            self.answered = self.answered or self.received > -math.inf
        silent = self.since is not None and at - self.since >= PATIENCE
        if rtt is not None:
            heappush(self._under_way, at + rtt)
        if self.since is None:
            self.since = at
        return silent

    def _receive(self, now: float) -> None:
        while self._under_way and self._under_way[0] <= now:
            self.received = max(self.received, heappop(self._under_way))
            self.since = None


@dataclass(slots=True)
class Meter:
    """The measures of one family; uplinks are named by their place, the primary being 0."""

    uplinks: int
    wires: Sequence[Wire] = ()
    """Of each uplink, where the packets are counted."""
    shows_requests: bool = True
    """False: the requests are a gauge that no counter sees."""
    shows_open: bool = True
    gates: Sequence[Gate] = ()
    """Of each uplink, where there are modems. They hold for the agent alone: the other ways of choosing repair nothing,
    and have every SIM connected."""
    agent: Tally = field(default_factory=Tally)
    never: Tally = field(default_factory=Tally)
    oracle: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    active_seconds: list[float] = field(default_factory=list)
    """Per uplink: how long new flows left by it."""
    convictions: int = 0
    lasted: int = 0
    """Convictions after which the uplink stayed silent for LASTED more."""
    passed: int = 0
    """Convictions after which it did not."""
    _flow: OpenFlow = field(default_factory=OpenFlow)
    _flow_on: int | None = None
    _own: list[OpenFlow] = field(default_factory=list)
    _judged: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.active_seconds = [0.0] * self.uplinks
        self.restart()

    def restart(self) -> None:
        """Open flows anew: time jumped. What was counted stays."""
        self._flow = OpenFlow()
        self._flow_on = PRIMARY
        self._own = [OpenFlow() for _ in range(self.uplinks)]
        self._judged.clear()

    @property
    def flow_on(self) -> int | None:
        """The uplink that carries the open flow; None while it looks for one."""
        return self._flow_on

    def convicted(self, uplink: int, at: float) -> None:
        """An uplink was convicted."""
        if self._flow_on == uplink:
            self.convictions += 1
            self._judged.append((uplink, at))

    def broke(self, uplink: int) -> bool:
        """The open flow of an uplink, if it has one, is gone: it waits on, and finds a new way at its next packet."""
        if self._flow_on != uplink:
            return False
        self._flow_on = None
        self._flow = OpenFlow(self._flow.since)
        return True

    def warm(self, at: float, packets: Packets, active: int | None) -> None:
        """Play packets that are not measured."""
        self._open_flows(at, packets, active)
        if self.wires:
            self._count(at, packets, active)

    def tick(self, at: float, step: float, packets: Packets, active: int | None) -> None:
        """Play the packets sent at `at`, which stand for `step` seconds; new flows leave by uplink `active`."""
        self.seconds += step
        good = [passes and rtt is not None and rtt <= PATIENCE for rtt, passes in packets]
        if active is None or not good[active] or self._shut(active):
            self.agent.bad += step
        if not good[PRIMARY]:
            self.never.bad += step
        if True not in good:
            self.oracle.bad += step
        if active is not None:
            self.active_seconds[active] += step
        silent, own = self._open_flows(at, packets, active)
        if silent:
            self.agent.silent += step
        if own[PRIMARY]:
            self.never.silent += step
        if False not in own:
            self.oracle.silent += step
        if self._judged:
            self._judge(at)
        if self.wires:
            self._count(at, packets, active)

    def _open_flows(self, at: float, packets: Packets, active: int | None) -> tuple[bool, list[bool]]:
        """Whether the open flow is silent, and whether one on each uplink would be."""
        own = [flow.send(at, rtt) for flow, (rtt, _) in zip(self._own, packets, strict=True)]
        if self._flow_on is None:
            self._flow_on = active
        return self._flow.send(at, self._open_rtt(packets)), own

    def _shut(self, uplink: int) -> bool:
        return bool(self.gates) and self.gates[uplink].shut

    def _open_rtt(self, packets: Packets) -> float | None:
        """Of the open flow's packet."""
        on = self._flow_on
        return None if on is None or self._shut(on) else packets[on][0]

    def _count(self, at: float, packets: Packets, active: int | None) -> None:
        """Tell the wires of the request and of the open flow's packet."""
        if active is not None and self.shows_requests:
            rtt, passes = packets[active]
            self.wires[active].leaves(at, rtt if passes and not self._shut(active) else None, answered=False)
        if self._flow_on is not None and self.shows_open:
            rtt, wire = self._open_rtt(packets), self.wires[self._flow_on]
            wire.leaves(at, rtt, answered=self._flow.answered)
            wire.segment(at, rtt)

    def _judge(self, at: float) -> None:
        """Settle the convictions whose uplink has been heard since, or has not for LASTED."""
        waiting = []
        for uplink, moment in self._judged:
            heard = self._own[uplink].received
            if moment < heard <= moment + LASTED:
                self.passed += 1
            elif at > moment + LASTED:
                self.lasted += 1
            else:
                waiting.append((uplink, moment))
        self._judged = waiting


class Requests:
    """A request every `every` seconds over lanes, played late: when something changes, or is read."""

    def __init__(
        self, meter: Meter, lanes: Sequence[Lane], every: float, start: float, zero: float = -math.inf
    ) -> None:
        """The first of them leaves at `start`; those before `zero` are not measured."""
        self.meter = meter
        self._lanes = lanes
        self._every = every
        self._start = start
        self._zero = zero
        self._count = 0

    def play(self, until: float, active: int | None) -> None:
        """Play every tick before `until`, with the way of new flows as it has been since the last call."""
        meter, every, lanes, start = self.meter, self._every, self._lanes, self._start
        count = self._count
        at = start + count * every
        while at < until:
            packets = [lane.packet(at) for lane in lanes]
            if at >= self._zero:
                meter.tick(at, every, packets, active)
            else:
                meter.warm(at, packets, active)
            count += 1
            at = start + count * every
        self._count = count

    def skip(self, until: float) -> None:
        """The machine sleeps until then: nobody asks for anything."""
        self._count = max(self._count, math.ceil((until - self._start) / self._every))


class Drawn:
    """A request per row of a trace: at the row, or with `dice` at a random moment of the time it stands for."""

    def __init__(self, meter: Meter, dice: Random | None) -> None:
        self.meter = meter
        self._dice = dice
        self._next: tuple[float, float, Packets] | None = None

    def row(self, at: float, lasts: float, packets: Packets) -> None:
        """The next one; the one before has been played."""
        moment = at if self._dice is None else at + lasts * self._dice.random()
        self._next = moment, lasts, packets

    def play(self, until: float, active: int | None) -> None:
        if self._next is not None and self._next[0] < until:
            at, lasts, packets = self._next
            self._next = None
            self.meter.tick(at, lasts, packets, active)

    def skip(self, until: float) -> None:
        """A trace never sleeps."""
