"""New flows: a socket for each message. Some give up when theirs fails, some try again until they are answered."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from abc import abstractmethod

from failover.lab import outage
from failover.lab.flows.flow import Flow
from failover.lab.outage import Exchange
from failover.lab.places import DNS_PORT, ECHO_PORT, NAMES, NEW_FLOW
from failover.lab.reach import AF
from failover.model import Family

OPEN_FLOWS = 512
"""New flows that may wait for their echo at a time, 5 s worth."""
OPEN_CONNECTIONS = 20
"""New connections that may wait to be made, 10 s worth."""
STUBBORN = 200
"""Flows that may be tried again and again at a time."""
RESOLVER_SECONDS = 1.0
"""`options timeout:1` of resolv.conf."""


class ShortFlows(Flow):
    """What they share: a socket for each message, closed once it is answered or has failed."""

    measure = staticmethod(outage.new_flow_outage)
    limit: int
    type: int
    events: int
    """Upon which it is known what has become of it."""

    def __init__(self, family: Family, interval: float, selector: selectors.BaseSelector) -> None:
        super().__init__(family, interval, selector)
        self._open: dict[socket.socket, Exchange] = {}

    def send(self, exchange: Exchange) -> None:
        """Open, begin, wait; the oldest that waits makes room."""
        opened = socket.socket(AF[self.family], self.type)
        opened.setblocking(False)
        try:
            self._begin(opened)
        except OSError:
            opened.close()
            self._failed(exchange)
            return
        if len(self._open) >= self.limit:
            self._close(next(iter(self._open)))
        self._open[opened] = exchange
        self._selector.register(opened, self.events, lambda: self._finish(opened))

    @abstractmethod
    def _begin(self, opened: socket.socket) -> None:
        """Connect, and say what is to be said; OSError where that fails at once."""

    def _finish(self, opened: socket.socket) -> None:
        exchange = self._open[opened]
        answered = self._is_answered(opened)
        self._close(opened)
        if answered:
            exchange.answered = time.monotonic()
        else:
            self._failed(exchange)

    @abstractmethod
    def _is_answered(self, opened: socket.socket) -> bool:
        """Whether what has become of it is an answer and not an error."""

    def _failed(self, exchange: Exchange) -> None:
        """It has failed; it stays unanswered."""

    def _close(self, opened: socket.socket) -> None:
        del self._open[opened]
        self._selector.unregister(opened)
        opened.close()

    def close(self) -> None:
        """Give up those that wait."""
        for opened in list(self._open):
            self._close(opened)


class NewFlows(ShortFlows):
    """A new UDP socket for every message, as short requests are."""

    kind = "new"
    port = ECHO_PORT
    limit = OPEN_FLOWS
    type = socket.SOCK_DGRAM
    events = selectors.EVENT_READ

    def _begin(self, opened: socket.socket) -> None:
        opened.connect(self._server)
        opened.send(self._message(str(opened.getsockname()[0])))

    def _message(self, address: str) -> bytes:
        """With the sender's address, by which it is known behind a translation."""
        return NEW_FLOW + address.encode()

    def _is_answered(self, opened: socket.socket) -> bool:
        try:
            opened.recv(512)
        except OSError:  # an ICMP error, or broken by somebody else: this flow has failed
            return False
        return True


class Connects(ShortFlows):
    """A new TCP connection for every message, answered when it is made; the kernel repeats its request meanwhile."""

    kind = "connect"
    port = ECHO_PORT
    limit = OPEN_CONNECTIONS
    type = socket.SOCK_STREAM
    events = selectors.EVENT_WRITE

    def _begin(self, opened: socket.socket) -> None:
        code = opened.connect_ex(self._server)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))

    def _is_answered(self, opened: socket.socket) -> bool:
        return opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


class Stubborn(ShortFlows):
    """What is tried again, on another socket and as the same exchange, as soon as it has failed."""

    limit = STUBBORN

    def __init__(self, family: Family, interval: float, selector: selectors.BaseSelector) -> None:
        super().__init__(family, interval, selector)
        self._again: list[Exchange] = []

    def run(self, now: float) -> None:
        """Try again what has failed since the last time, then send if it is time."""
        failed, self._again = self._again, []
        for exchange in failed:
            self.send(exchange)
        super().run(now)

    def _failed(self, exchange: Exchange) -> None:
        self._again = [*self._again, exchange][-STUBBORN:]


class Begun(Stubborn, Connects):
    """A TCP connection whose program connects anew upon an error; it has no timeout of its own."""

    kind = "begun"


class Lookups(Stubborn, NewFlows):
    """A DNS question, asked again from the same socket after RESOLVER_SECONDS and from another one upon an error.

    As glibc 2.36 does (resolv/res_send.c, send_dg: reopen only after an error), except that a program whose resolver
    gives up after two attempts is one that asks again.
    """

    kind = "lookup"
    port = DNS_PORT

    def __init__(self, family: Family, interval: float, selector: selectors.BaseSelector) -> None:
        import dns.message  # here: it takes 0.1 s, and nobody else needs it

        super().__init__(family, interval, selector)
        self._query = dns.message.make_query(next(iter(NAMES)), "A").to_wire()
        self._asked: dict[socket.socket, float] = {}

    def due(self) -> float:
        """A question may have to be asked again before the next one is due."""
        return min([self.next_at, *(at + RESOLVER_SECONDS for at in list(self._asked.values())[:1])])

    def run(self, now: float) -> None:
        """Ask again what was asked long ago; the oldest comes first."""
        while self._asked and now - next(iter(self._asked.values())) >= RESOLVER_SECONDS:
            opened = next(iter(self._asked))
            del self._asked[opened]
            self._asked[opened] = now
            try:
                opened.send(self._query)
            except OSError:
                self._finish(opened)
        super().run(now)

    def _begin(self, opened: socket.socket) -> None:
        super()._begin(opened)
        self._asked[opened] = time.monotonic()

    def _message(self, _: str) -> bytes:
        return self._query

    def _close(self, opened: socket.socket) -> None:
        self._asked.pop(opened, None)
        super()._close(opened)
