"""The userspace link, as its own process: it relays frames between cable ends and shapes them (lane.py).

What lives here: sockets, the clock, the control channel. Run by world.py inside the link's namespace as
`python -m failover.lab.link SEED`; each carrier has two interfaces there, CARRIER-r (to its router) and CARRIER-i (to
the internet). A packet is judged when it enters; one that is inside already gets out.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from failover.lab.control import Channel
from failover.lab.frames import ETHERNET, refusal
from failover.lab.lane import Lane, Shape, Wire
from failover.lab.nat import Nat
from failover.lab.places import CARRIERS
from failover.model import FAMILIES, Family

PACKET_IGNORE_OUTGOING = 23
SOL_PACKET = 263
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 4 << 20
BATCH = 64
WAITING = 20_000
"""Packets that may be inside a lane; more than a carrier's buffers hold in a stall."""
MULTICAST = 1
"""Bit of the first byte of a receiver's MAC."""
ETHERTYPES = {b"\x08\x00": Family.IPV4, b"\x86\xdd": Family.IPV6}


def lane_dice(seed: int, carrier: str, direction: str, family: str) -> random.Random:
    """The dice of one lane: the same seed gives the same losses whatever the other lanes carry."""
    return random.Random(f"{seed}/{carrier}/{direction}/{family}")


def _packet_socket(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:  # an ordinary user gets what net.core.rmem_max allows, some 150 packets
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    opened.bind((interface, ETH_P_ALL))
    opened.setblocking(False)
    return opened


def _send(way_out: socket.socket, frame: bytes) -> None:
    with contextlib.suppress(OSError):  # the cable is down or full: lost, as on any link
        way_out.send(frame)


class Direction:
    """One way through one carrier's link: frames in, a lane per family, frames out in the order of their lane."""

    def __init__(
        self, entry: socket.socket, way_out: socket.socket, lanes: dict[Family, Lane], refusers: dict[Family, str]
    ) -> None:
        """Refusers: the addresses in whose name packets are refused."""
        self.entry = entry
        self.lanes = lanes
        self._out = way_out
        self._refusers = refusers
        self._nat = Nat()
        self._waiting: dict[Family, deque[tuple[float, bytes]]] = {family: deque() for family in lanes}

    def read(self) -> None:
        """Take in what has arrived, at most BATCH frames. All but IP for one receiver is dropped: both ends know each
        other's MAC, and what their kernels multicast of themselves (MLD) is for one wire alone."""
        for _ in range(BATCH):
            try:
                frame = self.entry.recv(65536)
            except OSError:
                return
            family = ETHERTYPES.get(frame[12:14])
            if family is not None and not frame[0] & MULTICAST:
                self._take(family, frame)

    def _take(self, family: Family, frame: bytes) -> None:
        lane, waiting, now = self.lanes[family], self._waiting[family], time.monotonic()
        room = self._nat.admits(now, family, frame, lane.shape.full) and len(waiting) < WAITING
        due = lane.admit(now, len(frame) - ETHERNET, room)
        if due is not None:
            waiting.append((due, frame))
        elif lane.shape.refuse and (answer := refusal(frame, self._refusers[family])):
            _send(self.entry, answer)

    def write(self, now: float) -> None:
        """Send what is due and not held."""
        for waiting in self._passing():
            while waiting and waiting[0][0] <= now:
                _send(self._out, waiting.popleft()[1])

    def next_due(self) -> float | None:
        """When the next frame leaves, None when nothing waits."""
        return min((waiting[0][0] for waiting in self._passing() if waiting), default=None)

    def _passing(self) -> list[deque[tuple[float, bytes]]]:
        return [waiting for family, waiting in self._waiting.items() if not self.lanes[family].shape.hold]


class Link:
    """All carriers' links."""

    def __init__(self, seed: int) -> None:
        self._ways: dict[tuple[str, str], Direction] = {}
        for carrier in CARRIERS:
            router, internet = _packet_socket(f"{carrier.name}-r"), _packet_socket(f"{carrier.name}-i")
            refusers = {family: pair[1] for family, pair in zip(FAMILIES, carrier.core, strict=True)}
            for name, entry, way_out in (("up", router, internet), ("down", internet, router)):
                wire, dice = Wire(), {family: lane_dice(seed, carrier.name, name, family) for family in FAMILIES}
                lanes = {family: Lane(Shape(), dice[family], wire) for family in FAMILIES}
                self._ways[carrier.name, name] = Direction(entry, way_out, lanes, refusers)

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """`{"set": [CHANGE...]}`: all between two packets, answered with their monotonic moment; `{"stats": true}`.

        CHANGE: `carrier`, `direction`, `family` (each left out = all of them) and `shape`, some properties of Shape.
        """
        if "set" in request:
            for lane, shape in [
                (lane, lane.shape.changed(change["shape"]))
                for change in request["set"]
                for where, lane in self._lanes()
                if all(change.get(key, value) == value for key, value in where.items())
            ]:
                lane.shape = shape
            return {"at": time.monotonic()}
        return {"stats": [
            {**where, "passed": lane.passed, "dropped": lane.dropped, "bytes": lane.bytes}
            for where, lane in self._lanes()
        ]}

    def _lanes(self) -> Iterator[tuple[dict[str, str], Lane]]:
        """Every lane and where it is."""
        for (carrier, direction), way in self._ways.items():
            for family, lane in way.lanes.items():
                yield {"carrier": carrier, "direction": direction, "family": family}, lane

    def run(self, channel: Channel) -> None:
        """Relay until the control channel closes. select() and not epoll: its timeout has microseconds."""
        entries = {way.entry.fileno(): way for way in self._ways.values()}
        while True:
            due = min((due for way in entries.values() if (due := way.next_due()) is not None), default=None)
            timeout = None if due is None else max(0.0, due - time.monotonic())
            ready = select.select([channel.fileno(), *entries], [], [], timeout)[0]
            if channel.fileno() in ready and not channel.serve(self.handle):
                return
            for fd in ready:
                if fd in entries:
                    entries[fd].read()
            now = time.monotonic()
            for way in entries.values():
                way.write(now)


def main(arguments: list[str]) -> None:
    """SEED"""
    link = Link(int(arguments[0]))
    channel = Channel()
    channel.send({"ready": True})
    link.run(channel)


if __name__ == "__main__":
    main(sys.argv[1:])
