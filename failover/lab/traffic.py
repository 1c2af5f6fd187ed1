"""The van's user, as its own process: flows of the kinds of pattern.py, per family.

What lives here: sockets and the record of what was sent and echoed. What an outage is, is in outage.py. Run by user.py
as `python -m failover.lab.traffic FAMILY...`; idle at first. Control: `{"do": "pattern", "intervals": {KIND: S}}`;
`{"do": "report", "since": T, "until": T}`; and `{"do": "wait", "since": T, "families": [...], "kinds": [...],
"timeout": S}`, answered as soon as service lasts again in all these flows (no kinds: all there are) after T, or after
the timeout.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from failover.lab import outage
from failover.lab.control import Channel
from failover.lab.outage import Exchange
from failover.lab.places import APP, ECHO_PORT, NEW_FLOW
from failover.lab.reach import AF
from failover.model import Family

KEPT = 20_000
"""Exchanges kept per flow: 200 s of new flows."""
OPEN_FLOWS = 512
"""New flows that may wait for their echo at a time, 5 s worth."""
OPEN_CONNECTIONS = 20
"""New connections that may wait to be made, 10 s worth."""
UNANSWERED_UDP = 1024
CONNECT_SECONDS = 1.0
LATE = 0.5
"""Seconds behind its clock after which a flow skips instead of catching up."""
CHECK_INTERVAL = 0.05
MESSAGE = struct.Struct("=Q")


class Flow(ABC):
    """One kind of traffic of one family: ticks at its interval, and records."""

    kind: str
    measure: Callable[[Sequence[Exchange], float], float | None] = staticmethod(outage.open_flow_outage)

    def __init__(self, family: Family, interval: float, selector: selectors.BaseSelector) -> None:
        self.family = family
        self.interval = interval
        self.next_at = time.monotonic()
        self.exchanges: deque[Exchange] = deque(maxlen=KEPT)
        self.reconnects: deque[float] = deque(maxlen=KEPT)
        self._selector = selector
        self._server = (APP[family], ECHO_PORT)

    def run(self, now: float) -> None:
        """Send if it is time."""
        if now >= self.next_at:
            self.next_at = now if now - self.next_at > LATE else self.next_at + self.interval
            exchange = Exchange(time.monotonic())
            self.exchanges.append(exchange)
            self.send(exchange)

    @abstractmethod
    def send(self, exchange: Exchange) -> None:
        """Send this exchange's message; leave it unanswered when that is impossible."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every socket."""

    def report(self, since: float, until: float) -> dict[str, Any]:
        """What the user saw of it between two moments; the outage is the one after `since`."""
        chosen = [exchange for exchange in outage.since(self.exchanges, since) if exchange.sent <= until]
        return {
            "family": self.family,
            "kind": self.kind,
            "outage_seconds": type(self).measure(chosen, since),
            "rtt_seconds": outage.median_rtt(chosen),
            "sent": len(chosen),
            "answered": sum(exchange.answered is not None for exchange in chosen),
            "reconnects": sum(since <= moment <= until for moment in self.reconnects),
        }


class ShortFlows(Flow):
    """What the two kinds of new flows share: a socket for each message, closed once it is answered or has failed."""

    measure = staticmethod(outage.new_flow_outage)
    limit: int

    def __init__(self, family: Family, interval: float, selector: selectors.BaseSelector) -> None:
        super().__init__(family, interval, selector)
        self._open: dict[socket.socket, Exchange] = {}

    def _wait(self, opened: socket.socket, exchange: Exchange, events: int) -> None:
        """The oldest waiting flow makes room."""
        if len(self._open) >= self.limit:
            self._close(next(iter(self._open)))
        self._open[opened] = exchange
        self._selector.register(opened, events, lambda: self._finish(opened))

    def _finish(self, opened: socket.socket) -> None:
        if self._is_answered(opened):
            self._open[opened].answered = time.monotonic()
        self._close(opened)

    @abstractmethod
    def _is_answered(self, opened: socket.socket) -> bool:
        """Whether what has become of it is an answer and not an error."""

    def _close(self, opened: socket.socket) -> None:
        del self._open[opened]
        self._selector.unregister(opened)
        opened.close()

    def close(self) -> None:
        """Give up those that wait."""
        for opened in list(self._open):
            self._close(opened)


class NewFlows(ShortFlows):
    """A new UDP socket for every message, as DNS lookups and short requests are."""

    kind = "new"
    limit = OPEN_FLOWS

    def send(self, exchange: Exchange) -> None:
        """Open, send, wait for the echo."""
        opened = socket.socket(AF[self.family], socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.connect(self._server)
            opened.send(NEW_FLOW)
        except OSError:
            opened.close()
            return
        self._wait(opened, exchange, selectors.EVENT_READ)

    def _is_answered(self, opened: socket.socket) -> bool:
        try:
            opened.recv(64)
        except OSError:  # an ICMP error: this flow has failed
            return False
        return True


class Connects(ShortFlows):
    """A new TCP connection for every message, answered when it is made; the kernel repeats its request meanwhile."""

    kind = "connect"
    limit = OPEN_CONNECTIONS

    def send(self, exchange: Exchange) -> None:
        """Open, wait until it is made."""
        opened = socket.socket(AF[self.family], socket.SOCK_STREAM)
        opened.setblocking(False)
        if opened.connect_ex(self._server) in (0, errno.EINPROGRESS):
            self._wait(opened, exchange, selectors.EVENT_WRITE)
        else:
            opened.close()

    def _is_answered(self, opened: socket.socket) -> bool:
        return opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


class OpenSocket(Flow):
    """What the two open flows share: one socket, replaced when it fails."""

    def __init__(self, family: Family, interval: float, selector: selectors.BaseSelector) -> None:
        super().__init__(family, interval, selector)
        self._socket: socket.socket | None = None

    def _watch(self, events: int, callback: Callable[[], None]) -> None:
        assert self._socket is not None
        self._selector.register(self._socket, events, callback)

    def _fail(self) -> None:
        """Give the socket up; the next message opens another."""
        self.close()
        self.reconnects.append(time.monotonic())

    def close(self) -> None:
        """Close the socket, if there is one."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


class OpenUdp(OpenSocket):
    """One connected UDP socket, as a tunnel or a call has."""

    kind = "udp"

    def __init__(self, family: Family, interval: float, selector: selectors.BaseSelector) -> None:
        super().__init__(family, interval, selector)
        self._waiting: dict[int, Exchange] = {}
        self._number = 0

    def send(self, exchange: Exchange) -> None:
        """Number it, so that a late echo is matched to its message."""
        if self._socket is None and not self._connect():
            return
        assert self._socket is not None
        self._number += 1
        try:
            self._socket.send(MESSAGE.pack(self._number))
        except OSError:
            self._fail()
            return
        self._waiting[self._number] = exchange
        if len(self._waiting) > UNANSWERED_UDP:
            del self._waiting[next(iter(self._waiting))]

    def _connect(self) -> bool:
        opened = socket.socket(AF[self.family], socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.connect(self._server)
        except OSError:
            opened.close()
            return False
        self._socket = opened
        self._watch(selectors.EVENT_READ, self._receive)
        return True

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            (number,) = MESSAGE.unpack(self._socket.recv(64))
        except OSError:
            self._fail()
            return
        exchange = self._waiting.pop(number, None)
        if exchange is not None:
            exchange.answered = time.monotonic()


class OpenTcp(OpenSocket):
    """One TCP connection. Messages that find no connection stay unanswered."""

    kind = "tcp"

    def __init__(self, family: Family, interval: float, selector: selectors.BaseSelector) -> None:
        super().__init__(family, interval, selector)
        self._connected = False
        self._since = 0.0
        self._waiting: deque[Exchange] = deque(maxlen=KEPT)
        self._received = b""

    def send(self, exchange: Exchange) -> None:
        """Write it if there is a connection, else see to one."""
        if self._socket is None:
            self._connect()
        elif not self._connected:
            if exchange.sent - self._since > CONNECT_SECONDS:
                self._fail()
        else:
            self._write(exchange)

    def _write(self, exchange: Exchange) -> None:
        assert self._socket is not None
        try:
            whole = self._socket.send(MESSAGE.pack(len(self._waiting))) == MESSAGE.size
        except BlockingIOError:
            return
        except OSError:
            whole = False
        if whole:
            self._waiting.append(exchange)
        else:
            self._fail()

    def _connect(self) -> None:
        opened = socket.socket(AF[self.family], socket.SOCK_STREAM)
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if opened.connect_ex(self._server) not in (0, errno.EINPROGRESS):
            opened.close()
            return
        self._socket, self._connected, self._since = opened, False, time.monotonic()
        self._received = b""
        self._waiting.clear()
        self._watch(selectors.EVENT_WRITE, self._finish_connect)

    def _finish_connect(self) -> None:
        assert self._socket is not None
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._fail()
            return
        self._connected = True
        self._selector.modify(self._socket, selectors.EVENT_READ, self._receive)

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._fail()
            return
        self._received += data
        now = time.monotonic()
        while len(self._received) >= MESSAGE.size and self._waiting:
            self._received = self._received[MESSAGE.size :]
            self._waiting.popleft().answered = now


@dataclass(frozen=True, slots=True)
class Wait:
    """A request that is answered later."""

    flows: list[Flow]
    since: float
    deadline: float

    def over(self) -> bool:
        """Every flow's outage has ended."""
        return all(type(flow).measure(flow.exchanges, self.since) is not None for flow in self.flows)


KINDS: Final[Mapping[str, type[Flow]]] = {kind.kind: kind for kind in (NewFlows, OpenUdp, OpenTcp, Connects)}


class Traffic:
    """All flows and the control channel."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families
        self._selector = selectors.DefaultSelector()
        self._flows: list[Flow] = []
        self._wait: Wait | None = None

    def handle(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """One control request."""
        now = time.monotonic()
        match request["do"]:
            case "pattern":
                self._change(request["intervals"])
                return {"at": time.monotonic()}
            case "report":
                since, until = float(request["since"]), float(request.get("until") or now)
                return {"flows": [flow.report(since, until) for flow in self._flows]}
        families, kinds = request["families"], request["kinds"] or KINDS
        flows = [flow for flow in self._flows if flow.family in families and flow.kind in kinds]
        self._wait = Wait(flows, float(request["since"]), now + float(request["timeout"]))
        return None

    def _change(self, intervals: dict[str, float]) -> None:
        """All flows end, others begin; ValueError, and nothing has changed, when a kind is unknown."""
        if unknown := set(intervals) - set(KINDS):
            raise ValueError(f"no such kinds of flows: {sorted(unknown)}")
        for flow in self._flows:
            flow.close()
        self._flows = [
            KINDS[kind](family, float(interval), self._selector)
            for family in self._families
            for kind, interval in intervals.items()
        ]

    def run(self, channel: Channel) -> None:
        """Until the lab is gone."""
        gone = False

        def control() -> None:
            nonlocal gone
            gone = not channel.serve(self.handle)

        self._selector.register(channel.fileno(), selectors.EVENT_READ, control)
        check_at = 0.0
        while not gone:
            now = time.monotonic()
            for flow in self._flows:
                flow.run(now)
            if self._wait is not None and now >= check_at:
                check_at = now + CHECK_INTERVAL
                self._answer_wait(channel, self._wait, now)
            for key, _ in self._selector.select(self._timeout(check_at)):
                if self._selector.get_map().get(key.fd) is key:  # else a pattern has ended, and its flows with it
                    key.data()

    def _timeout(self, check_at: float) -> float | None:
        """Seconds until something is due; None when nothing is."""
        due = [flow.next_at for flow in self._flows] + ([check_at] if self._wait else [])
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _answer_wait(self, channel: Channel, wait: Wait, now: float) -> None:
        over = wait.over()
        if over or now >= wait.deadline:
            self._wait = None
            channel.send({"over": over})


def main(arguments: list[str]) -> None:
    """FAMILY..."""
    traffic = Traffic([Family(argument) for argument in arguments])
    channel = Channel()
    channel.send({"ready": True, "pid": os.getpid()})
    traffic.run(channel)


if __name__ == "__main__":
    main(sys.argv[1:])
