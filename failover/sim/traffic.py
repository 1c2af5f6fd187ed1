"""The user's traffic, and what the agent's choices did to it, against never switching and against knowing everything.

Here live the measures and nothing that decides. Per family a request (a flow of one packet) leaves at every tick by
the way of new flows, and one open flow sends a packet at every tick on its own uplink until that uplink is convicted;
then it reconnects by the way of new flows. Times are virtual seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from failover.sim.links import Lane

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

    __slots__ = ("_late", "received", "since")

    def __init__(self, since: float | None = None) -> None:
        self.since = since
        self.received = -math.inf
        self._late: list[float] = []

    def send(self, at: float, rtt: float | None, step: float) -> bool:
        """Send a packet that is answered after `rtt` seconds; True while the flow is silent for PATIENCE and longer."""
        if self._late:
            self._receive(at)
        silent = self.since is not None and at - self.since >= PATIENCE
        if rtt is not None:
            if rtt <= step:
                self.received = at + rtt
                self.since = None
                return silent
            heappush(self._late, at + rtt)
        if self.since is None:
            self.since = at
        return silent

    def _receive(self, now: float) -> None:
        while self._late and self._late[0] <= now:
            self.received = max(self.received, heappop(self._late))
            self.since = None


@dataclass(slots=True)
class Meter:
    """The measures of one family; uplinks are named by their place, the primary being 0."""

    uplinks: int
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
        """An uplink was convicted: its open flow breaks, and reconnects at its next packet."""
        if self._flow_on == uplink:
            self.convictions += 1
            self._judged.append((uplink, at))
            self.broke(uplink)

    def broke(self, uplink: int) -> None:
        """The open flow of an uplink is gone: it waits on, and finds a new way at its next packet."""
        if self._flow_on == uplink:
            self._flow_on = None
            self._flow = OpenFlow(self._flow.since)

    def tick(self, at: float, step: float, packets: Sequence[tuple[float | None, bool]], active: int | None) -> None:
        """Play the packets sent at `at`, which stand for `step` seconds; new flows leave by uplink `active`."""
        self.seconds += step
        good = [passes and rtt is not None and rtt <= PATIENCE for rtt, passes in packets]
        if active is None or not good[active]:
            self.agent.bad += step
        if not good[PRIMARY]:
            self.never.bad += step
        if True not in good:
            self.oracle.bad += step
        if active is not None:
            self.active_seconds[active] += step
        self._open_flows(at, step, packets, active)
        if self._judged:
            self._judge(at)

    def _open_flows(
        self, at: float, step: float, packets: Sequence[tuple[float | None, bool]], active: int | None
    ) -> None:
        silent = [flow.send(at, rtt, step) for flow, (rtt, _) in zip(self._own, packets, strict=True)]
        if silent[PRIMARY]:
            self.never.silent += step
        if False not in silent:
            self.oracle.silent += step
        if self._flow_on is None:
            self._flow_on = active
        rtt = None if self._flow_on is None else packets[self._flow_on][0]
        if self._flow.send(at, rtt, step):
            self.agent.silent += step

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
    """A request every `every` seconds over scripted lanes, played late: up to a moment only when something changes."""

    def __init__(self, meter: Meter, lanes: Sequence[Lane], every: float, start: float) -> None:
        self.meter = meter
        self._lanes = lanes
        self._every = every
        self._start = start
        self._count = 0

    def play(self, until: float, active: int | None) -> None:
        """Play every tick before `until`, with the way of new flows as it has been since the last call."""
        meter, every, lanes, start = self.meter, self._every, self._lanes, self._start
        count = self._count
        at = start + count * every
        while at < until:
            meter.tick(at, every, [lane.packet(at) for lane in lanes], active)
            count += 1
            at = start + count * every
        self._count = count

    def skip(self, until: float) -> None:
        """The machine sleeps until then: nobody asks for anything."""
        self._count = max(self._count, math.ceil((until - self._start) / self._every))
