"""The van's user, as its own process: new UDP flows, an open UDP socket and a TCP connection, per family.

What lives here: sockets and the record of what was sent and echoed. What an outage is, is in outage.py. Run by user.py
as `python -m failover.lab.traffic FAMILY...`. Control: `{"do": "report", "since": T, "until": T}`; and `{"do": "wait",
"since": T, "families": [...], "kinds": [...], "timeout": S}`, answered as soon as service lasts again in all these
flows after T, or after the timeout.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
UNANSWERED_UDP = 1024
CONNECT_SECONDS = 1.0
LATE = 0.5
"""Seconds behind its clock after which a flow skips instead of catching up."""
CHECK_INTERVAL = 0.05
MESSAGE = struct.Struct("=Q")


class Flow(ABC):
    """One kind of traffic of one family: ticks at its interval, and records."""

    kind: str
    interval: float
    measure: Callable[[Sequence[Exchange], float], float | None] = staticmethod(outage.open_flow_outage)

    def __init__(self, family: Family, selector: selectors.BaseSelector) -> None:
        self.family = family
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


class NewFlows(Flow):
    """A new UDP socket for every message, as DNS lookups and short requests are."""

    kind = "new"
    interval = 0.01
    measure = staticmethod(outage.new_flow_outage)

    def __init__(self, family: Family, selector: selectors.BaseSelector) -> None:
        super().__init__(family, selector)
        self._open: dict[socket.socket, Exchange] = {}

    def send(self, exchange: Exchange) -> None:
        """Open, send, wait for the echo; the oldest waiting flow makes room."""
        if len(self._open) >= OPEN_FLOWS:
            self._close(next(iter(self._open)))
        opened = socket.socket(AF[self.family], socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.connect(self._server)
            opened.send(NEW_FLOW)
        except OSError:
            opened.close()
            return
        self._open[opened] = exchange
        self._selector.register(opened, selectors.EVENT_READ, lambda: self._receive(opened))

    def _receive(self, opened: socket.socket) -> None:
        try:
            opened.recv(64)
            self._open[opened].answered = time.monotonic()
        except OSError:  # an ICMP error: this flow has failed
            pass
        self._close(opened)

    def _close(self, opened: socket.socket) -> None:
        del self._open[opened]
        self._selector.unregister(opened)
        opened.close()


class OpenSocket(Flow):
    """What the two open flows share: one socket, replaced when it fails."""

    def __init__(self, family: Family, selector: selectors.BaseSelector) -> None:
        super().__init__(family, selector)
        self._socket: socket.socket | None = None

    def _watch(self, events: int, callback: Callable[[], None]) -> None:
        assert self._socket is not None
        self._selector.register(self._socket, events, callback)

    def _fail(self) -> None:
        """Give the socket up; the next message opens another."""
        assert self._socket is not None
        self._selector.unregister(self._socket)
        self._socket.close()
        self._socket = None
        self.reconnects.append(time.monotonic())


class OpenUdp(OpenSocket):
    """One connected UDP socket, as a tunnel or a call has."""

    kind = "udp"
    interval = 0.02

    def __init__(self, family: Family, selector: selectors.BaseSelector) -> None:
        super().__init__(family, selector)
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
    interval = 0.05

    def __init__(self, family: Family, selector: selectors.BaseSelector) -> None:
        super().__init__(family, selector)
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


class Traffic:
    """All flows and the control channel."""

    def __init__(self, families: list[Family]) -> None:
        self._selector = selectors.DefaultSelector()
        self._flows: list[Flow] = [
            kind(family, self._selector) for family in families for kind in (NewFlows, OpenUdp, OpenTcp)
        ]
        self._wait: Wait | None = None

    def handle(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """One control request."""
        since, now = float(request["since"]), time.monotonic()
        if request["do"] == "report":
            until = float(request.get("until") or now)
            return {"flows": [flow.report(since, until) for flow in self._flows]}
        flows = [flow for flow in self._flows if flow.family in request["families"] and flow.kind in request["kinds"]]
        self._wait = Wait(flows, since, now + float(request["timeout"]))
        return None

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
            timeout = max(0.0, min(flow.next_at for flow in self._flows) - time.monotonic())
            for key, _ in self._selector.select(timeout):
                key.data()

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
