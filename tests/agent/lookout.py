"""A thread that watches the van: every few milliseconds it asks the kernel where a new flow would go, and it hears of
every change and of its author. What it holds against the agent is in `complaints`."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator

from failover.kernel.wire import Message, attribute, attributes, messages
from failover.lab.namespaces import Namespace
from failover.lab.places import APP
from failover.lab.reach import AF
from failover.model import FAMILIES, Family
from tests.agent.inventory import (
    FRA_PRIORITY,
    ROUTES,
    RTA_DST,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RULES,
    is_ours,
    number,
)

INTERVAL = 0.002
GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000 | 0x800000 | 0x1000000
"""RTNLGRP_LINK, and address, route, rule and sysctls of IPv4 and IPv6."""
QUEUE_BYTES = 8 << 20
SO_RCVBUFFORCE = 33
RTM_F_LOOKUP_TABLE = 0x1000
RTA_OIF = 4
TABLE_NEW_FLOWS, TABLE_SETTLED = 15500, 15590
CHOSEN = 1
"""Metric of the way that is chosen: it is replaced, and never missing in between."""
RTM_NEWNETCONF = 80
RULE_BLACKHOLE = 6
PREF_NEW_FLOWS = 15587
SHUT = {Family.IPV4: "198.51.101.1", Family.IPV6: "2001:db8:78::1"}
"""Where a foreign kill switch lets nothing go."""
PILLARS = {15503, PREF_NEW_FLOWS, 15590}
"""Prefs of the rules that must not go while an uplink has a default route."""
MEMORY = 60


class Lookout:
    """`friends`: netlink ports whose changes are not the agent's. An uplink must have a default route all the while."""

    def __init__(self, van: Namespace, *friends: int) -> None:
        self._friends = {0, *friends}
        self._events = van.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with contextlib.suppress(PermissionError):  # in a user namespace the usual size must do
            self._events.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES)
        self._events.bind((0, GROUPS))
        self._questions = van.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._open = {family: _question(family, APP[family]) for family in FAMILIES}
        self._shut = {family: _question(family, SHUT[family]) for family in FAMILIES}
        self._switches: collections.Counter[int] = collections.Counter()
        """Copies of the kill switch that there are, by address family."""
        self._senders: collections.Counter[int] = collections.Counter()
        """Rules of ours that send new flows."""
        self._fuse: tuple[int, int] | None = None
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout")
        self.complaints: list[str] = []
        self.past: collections.deque[str] = collections.deque(maxlen=MEMORY)
        """What happened last, for people."""
        self.looks = 0
        self.changes = 0
        """Made by the agent."""
        self.whole = False
        """Our tables are complete: every new flow of the box is sent by the first of them."""
        self.cleaning = False
        """Our routes and rules may go."""

    def __enter__(self) -> Lookout:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()
        self._events.close()
        self._questions.close()

    def kill_after(self, changes: int, pid: int) -> None:
        """SIGKILL for the process as soon as so many routes, rules and sysctls have been changed by an agent."""
        self._fuse = (changes, pid)

    def disarm(self) -> None:
        self._fuse = None

    def say(self, text: str) -> None:
        self.past.append(f"{time.monotonic():.4f} {text}")

    def check(self) -> None:
        """Nothing to complain of, and it was really looked."""
        assert self._thread.is_alive()
        assert not self.complaints, "\n".join([*self.complaints[:5], "before that:", *self.past])

    def _complain(self, text: str) -> None:
        self.say(f"!!! {text}")
        self.complaints.append(self.past[-1])

    def _run(self) -> None:
        try:
            while not self._leaving.is_set():
                select.select([self._events], [], [], INTERVAL)
                self._hear()
                for family in FAMILIES:
                    self._look(family)
                self.looks += 1
        except BaseException as error:
            self._complain(f"the lookout has ended: {error!r}")
            raise

    # --- where a new flow would go -----------------------------------------------------------------------------------

    def _look(self, family: Family) -> None:
        """IPv6 fails a lookup when the route that it picks is deleted or replaced on another processor in the same
        microsecond (fib6_info_hold_safe), with or without an agent: only what fails twice counts."""
        complaint = self._fault(family) and self._fault(family)
        if complaint:
            self._complain(f"{family}: {complaint}")
        if (leak := self._ask(self._shut[family])) is not None:
            self._complain(f"{family}: table {leak} leads around the kill switch")

    def _fault(self, family: Family) -> str:
        """What is wrong with the way of a new flow; empty: nothing."""
        whole = self.whole
        table = self._ask(self._open[family])
        if table is None:
            return "no way for a new flow"
        astray = whole and self.whole and table != TABLE_NEW_FLOWS
        return f"a new flow was sent by table {table}" if astray else ""

    def _ask(self, question: bytes) -> int | None:
        """The table that has a way there; None: there is none."""
        self._questions.send(question)
        answer = next(messages(self._questions.recv(65536)))
        return number(dict(attributes(answer.body, 12)), RTA_TABLE) if answer.kind == RTM_NEWROUTE else None

    # --- who changed what --------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        for event in self._news():
            foreign = event.port in self._friends
            if not foreign or event.kind == RTM_NEWNETCONF:
                self._burn()
            if not foreign:
                self._agent_changed(event)

    def _news(self) -> Iterator[Message]:
        with contextlib.suppress(BlockingIOError):
            while True:
                yield from messages(self._events.recv(65536, socket.MSG_DONTWAIT))

    def _burn(self) -> None:
        if self._fuse is None:
            return
        left, pid = self._fuse[0] - 1, self._fuse[1]
        self._fuse = (left, pid) if left > 0 else None
        if left <= 0:
            os.kill(pid, signal.SIGKILL)
            self.say("--- the fuse has burnt down")

    def _agent_changed(self, event: Message) -> None:
        self.changes += 1
        text = describe(event)
        self.say(text)
        if not is_ours(event.kind, event.body):
            self._complain(f"something foreign: {text}")
        elif not self.cleaning and _must_stay(event):
            self._complain(f"while an uplink has a default route: {text}")
        if event.kind in RULES:
            self._rule_changed(event, text)

    def _rule_changed(self, event: Message, text: str) -> None:
        """There is a copy of the kill switch whenever new flows are sent by a rule of ours."""
        family, step = event.body[0], 1 if event.kind == RTM_NEWRULE else -1
        if event.body[7] == RULE_BLACKHOLE:
            self._switches[family] += step
        if number(dict(attributes(event.body, 12)), FRA_PRIORITY) == PREF_NEW_FLOWS:
            self._senders[family] += step
        if self._senders[family] and not self._switches[family]:
            self._complain(f"without a copy of the kill switch: {text}")


def _question(family: Family, address: str) -> bytes:
    packed = socket.inet_pton(AF[family], address)
    head = struct.pack("=BBBBBBBBI", AF[family], 8 * len(packed), 0, 0, 0, 0, 0, 0, RTM_F_LOOKUP_TABLE)
    body = head + attribute(RTA_DST, packed)
    return struct.pack("=IHHII", 16 + len(body), RTM_GETROUTE, 1, 0, 0) + body


def _must_stay(event: Message) -> bool:
    found = dict(attributes(event.body, 12))
    if event.kind == RTM_DELROUTE:
        chosen = number(found, RTA_PRIORITY) == CHOSEN
        return chosen and number(found, RTA_TABLE) in (TABLE_NEW_FLOWS, TABLE_SETTLED)
    return event.kind == RTM_DELRULE and number(found, FRA_PRIORITY) in PILLARS


def describe(event: Message) -> str:
    """In words."""
    verb = "deleted" if event.kind % 4 == 1 else "set"
    if event.kind not in (*ROUTES, *RULES):
        return f"port {event.port} {verb} what is no route and no rule: message type {event.kind}"
    found = dict(attributes(event.body, 12))
    family = "ipv4" if event.body[0] == socket.AF_INET else "ipv6"
    rank, table = number(found, RTA_PRIORITY), number(found, RTA_TABLE)
    if event.kind in RULES:
        return f"port {event.port} {verb} {family} rule {rank} to table {table}"
    return f"port {event.port} {verb} {family} route of table {table}, metric {rank}, device {number(found, RTA_OIF)}"
