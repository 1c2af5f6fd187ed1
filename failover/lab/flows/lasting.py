"""Open flows: one socket that lasts, replaced when it fails."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

from failover.lab import outage
from failover.lab.flows.flow import KEPT, Flow
from failover.lab.outage import Exchange
from failover.lab.places import ECHO_PORT, MULTIPATH_PORT
from failover.lab.reach import AF, IPPROTO_MPTCP
from failover.model import Family

UNANSWERED_UDP = 1024
CONNECT_SECONDS = 1.0
MESSAGE = struct.Struct("=Q")
KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
"""Seconds of rest before the first one, seconds between two, and how many in vain end the connection: by itself such a
client notices an outage after 15 to 20 s."""
TCP_INFO = struct.Struct("=56xI8xI")
"""struct tcp_info, linux/tcp.h: milliseconds since the last acknowledgement, smoothed round trip in microseconds."""


class OpenSocket(Flow):
    """What they share: one socket, and what to do when it fails."""

    port = ECHO_PORT

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
    protocol = socket.IPPROTO_TCP

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
        opened = socket.socket(AF[self.family], socket.SOCK_STREAM, self.protocol)
        opened.setblocking(False)
        self._set_up(opened)
        if opened.connect_ex(self._server) not in (0, errno.EINPROGRESS):
            opened.close()
            return
        self._socket, self._connected, self._since = opened, False, time.monotonic()
        self._received = b""
        self._waiting.clear()
        self._watch(selectors.EVENT_WRITE, self._finish_connect)

    def _set_up(self, opened: socket.socket) -> None:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

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


class Multipath(OpenTcp):
    """One MPTCP connection; which ways it takes besides its first one is the kernel's path manager's business."""

    kind = "mptcp"
    port = MULTIPATH_PORT
    protocol = IPPROTO_MPTCP


class Keepalive(OpenTcp):
    """One TCP connection whose program says nothing and leaves it to the kernel to ask whether the far end is there.

    Nothing is sent at the interval: each exchange is the question whether the connection lives, answered when the
    kernel next hears an acknowledgement of what was sent after it, or a new connection is made.
    """

    kind = "keepalive"
    timed = False
    measure = staticmethod(outage.first_answer)

    def _set_up(self, opened: socket.socket) -> None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            opened.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, exchange: Exchange) -> None:
        """Ask the kernel."""
        super().send(exchange)
        if not self._connected or self._socket is None:
            self._waiting.append(exchange)

    def _write(self, exchange: Exchange) -> None:
        assert self._socket is not None
        self._waiting.append(exchange)
        information = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
        silent, round_trip = TCP_INFO.unpack(information)
        self._heard(time.monotonic() - silent / 1e3, round_trip / 1e6)

    def _finish_connect(self) -> None:
        super()._finish_connect()
        if self._connected:
            self._heard(time.monotonic(), 0.0)

    def _heard(self, at: float, round_trip: float) -> None:
        while self._waiting and self._waiting[0].sent <= at - round_trip:
            self._waiting.popleft().answered = at
