"""Carriers, each with name servers of its own that say who was asked: one cable to the box each."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

import dns.message
import dns.rdatatype
import dns.rrset

from failover.lab.namespaces import Namespace
from failover.lab.rtnl import Route
from failover.lab.wire import End, cable

ON_LINK = "fe80::53"
"""A resolver of every carrier, as a router advertisement may name it."""
PATIENCE = 5.0
SHARED = "100.64.0.53"
"""A resolver that every carrier has, each its own: what asks it without a device asks the carrier of the route."""


class Carrier:
    """Number n has the box's interface `up<n>`, the resolvers 10.n.0.53, 2001:db8:n::53, ON_LINK and SHARED, and
    answers with 192.0.2.n."""

    def __init__(self, box: Namespace, number: int) -> None:
        self.number, self.name = number, f"up{number}"
        self.own, self.own6 = f"10.{number}.0.53", f"2001:db8:{number}::53"
        self.asked: list[str] = []
        """Names, as they came."""
        self.silent = self.slow = False
        self.own_silent = False
        """Its resolver that is nobody else's does not answer, in IPv4."""
        self._held: list[tuple[socket.socket, bytes, tuple[str, int]]] = []
        self.beyond = Namespace(f"carrier{number}")
        self.here, self.there = End(box, self.name, 10 + number), End(self.beyond, f"gw{number}", 30 + number)
        cable(self.here, self.there)
        for end in (self.there, self.here):
            end.up()
        self.beyond.rtnl.add_address(self.there.index, f"{self.own}/24")
        for address in (f"{self.own6}/64", f"{ON_LINK}/64"):
            self.beyond.rtnl.add_address(self.there.index, address)
        self.beyond.rtnl.add_address(1, f"{SHARED}/32")
        self.sockets = [self._listen(address) for address in (self.own, SHARED, self.own6, ON_LINK)]

    def _listen(self, address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self.beyond.socket(family, socket.SOCK_DGRAM)
        made.bind((address, 53) if family == socket.AF_INET else (address, 53, 0, self.there.index))
        return made

    def address(self, box: Namespace) -> None:
        """Give the box its address and its way out."""
        box.rtnl.add_address(self.here.index, f"10.{self.number}.0.2/24")
        box.rtnl.add_address(self.here.index, f"2001:db8:{self.number}::2/64")
        box.rtnl.add_route(Route("default", self.here.index, self.own, metric=100 * self.number))

    def answer(self, to: socket.socket) -> None:
        """One question; it is noted first, but when it is held back."""
        data, sender = to.recvfrom(4096)
        asked = dns.message.from_wire(data)
        question = asked.question[0]
        reply = dns.message.make_response(asked, recursion_available=True)
        if question.rdtype == dns.rdatatype.A:
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", f"192.0.2.{self.number}"))
        slow = self.slow
        if slow:
            self._held.append((to, reply.to_wire(), sender))
        self.asked.append(question.name.to_text(omit_final_dot=True))
        if not (slow or self.silent or (self.own_silent and to is self.sockets[0])):
            to.sendto(reply.to_wire(), sender)

    def hurry(self) -> None:
        """Answer what was slow."""
        self.slow = False
        for to, reply, sender in self._held:
            to.sendto(reply, sender)
        self._held.clear()

    def close(self) -> None:
        for served in self.sockets:
            served.close()
        self.beyond.close()


class Carriers:
    """A thread answers for all of them."""

    def __init__(self, box: Namespace, numbers: Sequence[int], addressed: bool = True) -> None:
        self.box = box
        self._stack = ExitStack()
        self.all = [Carrier(box, number) for number in numbers]
        for carrier in self.all:
            self._stack.callback(carrier.close)
            if addressed:
                carrier.address(box)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __getitem__(self, number: int) -> Carrier:
        return next(carrier for carrier in self.all if carrier.number == number)

    def forget(self) -> None:
        for carrier in self.all:
            carrier.asked.clear()
            carrier.silent = carrier.slow = False

    def look_up(
        self, name: str, server: str = "127.0.0.53", of: Namespace | None = None, patience: float = PATIENCE
    ) -> str:
        """The address that programs get, of the box or of another; empty: an answer without one, or none in time."""
        question = dns.message.make_query(name, "A")
        deadline = time.monotonic() + patience
        with (of or self.box).socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect((server, 53))
            asking.send(question.to_wire())
            while select.select([asking], [], [], max(0.0, deadline - time.monotonic()))[0]:
                try:
                    reply = dns.message.from_wire(asking.recv(4096))
                except ConnectionRefusedError:  # nobody is there yet
                    return ""
                if reply.id == question.id:
                    return next((str(record) for answer in reply.answer for record in answer), "")
        return ""

    def close(self) -> None:
        self._wake.close()
        self._thread.join()
        self._woken.close()
        self._stack.close()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select(
                [self._woken, *(one for carrier in self.all for one in carrier.sockets)], [], []
            )
            if self._woken in ready:
                return
            for carrier in self.all:
                for asked in set(carrier.sockets).intersection(ready):
                    carrier.answer(asked)
