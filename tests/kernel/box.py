"""A van with two cables to a far end, in namespaces of the test's own; built and looked at with iproute2, not by us."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from failover.facts import TABLE_MAIN, Facts, Operation, Route, RouteKind, Rule, Verb
from failover.kernel import Dirty, Kernel, Watch
from failover.lab.namespaces import Namespace
from failover.lab.wire import End, cable
from failover.model import FAMILIES, Family

V4, V6 = FAMILIES
SETTLES = 20.0
"""Seconds within which the kernel tells of a carrier (it may hold that back for one)."""
SILENCE = 0.1
"""Seconds without an event."""
WAN0, WAN1 = 10, 20
NAMES = {WAN0: "wan0", WAN1: "wan1"}
GATEWAYS = {WAN0: {V4: "10.10.0.1", V6: "fd10::1"}, WAN1: {V4: "10.20.0.1", V6: "fd20::1"}}
OWN = {WAN0: {V4: "10.10.0.2", V6: "fd10::2"}, WAN1: {V4: "10.20.0.2", V6: "fd20::2"}}
INTERNET = {V4: "203.0.113.1", V6: "2001:db8:f::1"}
LENGTH = {V4: 24, V6: 64}
AF = {V4: socket.AF_INET, V6: socket.AF_INET6}
RTMGRP_LINK = 1
IFF_RUNNING = 0x40
FLOOR_METRIC = 0xFFFFFFFF


def _carriers_told(events: socket.socket) -> None:
    """Until the kernel has told of the carrier of each cable, which it does after it came."""
    waited = set(NAMES)
    while waited:
        event = events.recv(65536)
        index, flags = struct.unpack_from("=iI", event, 20)
        if flags & IFF_RUNNING:
            waited.discard(index)


def default(family: Family, table: int, index: int, metric: int = 1, **more: object) -> Route:
    """A default of ours by that cable's gateway."""
    route = Route(family, table, metric, interface=index, gateway=GATEWAYS[index][family])
    return replace(route, **more)  # type: ignore[arg-type]


def floor(family: Family, table: int) -> Route:
    return Route(family, table, FLOOR_METRIC, RouteKind.UNREACHABLE)


class Box:
    """wan0 (index 10) and wan1 (index 20), each with an IPv4 and an IPv6 address, strict rp_filter, no route."""

    def __init__(self) -> None:
        self.van, self.far = Namespace("van"), Namespace("far")
        for side in (self.van, self.far):
            for key in ("all", "default"):
                side.sysctl(f"ipv6/conf/{key}/accept_dad", 0)
                side.sysctl(f"ipv4/conf/{key}/rp_filter", 1 if side is self.van else 0)
        self.far.sysctl("ipv4/ip_forward", 1)
        for family in FAMILIES:
            self.far.rtnl.add_address(1, f"{INTERNET[family]}/{family.bits}")
        with self.van.socket(socket.AF_NETLINK, socket.SOCK_RAW) as events:
            events.settimeout(SETTLES)
            events.bind((0, RTMGRP_LINK))
            for index in NAMES:
                self._plug(index)
            _carriers_told(events)

    def _plug(self, index: int) -> None:
        here, there = self.ends(index)
        cable(here, there)
        here.up()
        there.up()
        for family in FAMILIES:
            self.van.rtnl.add_address(index, f"{OWN[index][family]}/{LENGTH[family]}")
            self.far.rtnl.add_address(100 + index, f"{GATEWAYS[index][family]}/{LENGTH[family]}")

    def ends(self, index: int) -> tuple[End, End]:
        return End(self.van, NAMES[index], index), End(self.far, NAMES[index], 100 + index)

    def close(self) -> None:
        self.van.close()
        self.far.close()

    def ip(self, line: str) -> str:
        """What `ip LINE` prints; AssertionError when it fails."""
        done = self.try_ip(line)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_ip(self, line: str) -> subprocess.CompletedProcess[str]:
        with self.van.entered():
            return subprocess.run(["ip", *line.split()], capture_output=True, text=True, check=False)

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """A child in the van, to be waited for by the test."""
        process: subprocess.Popen[bytes] = self.van.popen(argv)
        return process

    def way(self, family: Family, words: str = "") -> str | None:
        """The device that a packet to the internet leaves by, or None."""
        done = self.try_ip(f"-{family[-1]} route get {INTERNET[family]} {words}")
        told = done.stdout.split()
        return told[told.index("dev") + 1] if done.returncode == 0 and "dev" in told else None

    def read(self, kernel: Kernel) -> Facts:
        with self.van.entered():
            return kernel.read()

    def until(self, kernel: Kernel, settled: Callable[[Facts], bool]) -> Facts:
        """The first facts that satisfy; looked at again on each of the kernel's events."""
        with self.van.entered():
            watch = Watch(0)
            try:
                deadline = time.monotonic() + SETTLES
                while not settled(facts := kernel.read()):
                    ready, _, _ = select.select([watch], [], [], max(0, deadline - time.monotonic()))
                    assert ready, f"did not settle: {facts}"
                    watch.drain()
                return facts
            finally:
                watch.close()

    def settled(self, kernel: Kernel) -> None:
        """Wait until no address is tentative: nothing happens by itself from then on."""
        self.until(kernel, lambda facts: len(facts.addresses) == 4 and all(a.usable for a in facts.addresses))

    def advertise(self, index: int, lifetime: int = 1800, preference: int = 0, hop_limit: int = 61) -> None:
        """A router advertisement (RFC 4861) from the far end; preference as on the wire (RFC 4191)."""
        name = NAMES[index]
        body = struct.pack("!BBHBBHII", 134, 0, 0, hop_limit, preference << 3, lifetime, 0, 0)
        with self.far.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
            raw.bind((f"fe80::{index}", 0, 0, 100 + index))
            raw.sendto(body, ("ff02::1", 0, 0, 100 + index))


def apply(kernel: Kernel, verb: Verb, *items: Route | Rule) -> list[str | None]:
    """The errors, one each."""
    return [result.error for result in kernel.apply(Operation(verb, item) for item in items)]


def add(kernel: Kernel, *items: Route | Rule) -> None:
    """AssertionError unless all of it is done."""
    errors = apply(kernel, Verb.ADD, *items)
    assert not any(errors), errors


def ours(facts: Facts) -> list[Route]:
    return [route for route in facts.routes if route.protocol == 155]


def mains(facts: Facts, family: Family) -> list[Route]:
    return [route for route in facts.routes if route.table == TABLE_MAIN and route.family is family]


def sysctl(box: Box, path: str) -> str:
    with box.van.entered():
        return Path("/proc/sys", path).read_text().strip()


def drained(watch: Watch, least: Dirty) -> Dirty:
    """What the events come to, up to the first that comes to so much; AssertionError when none does in time."""
    found, deadline = Dirty.CLEAN, time.monotonic() + SETTLES
    while found < least:
        ready, _, _ = select.select([watch], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"nothing more than {found}"
        found = max(found, watch.drain())
    return found


def quiet(watch: Watch) -> Watch:
    """The same, once nothing has come for a while: the kernel tells twice of a new carrier."""
    while select.select([watch], [], [], SILENCE)[0]:
        watch.drain()
    return watch


def layout(family: Family, indexes: Iterable[int] = (WAN0, WAN1)) -> list[Route | Rule]:
    """The kernel layout of DESIGN section 5 for these cables, the first one active."""
    routes: list[Route | Rule] = []
    rules: list[Route | Rule] = [Rule(family, 15500, table=TABLE_MAIN, suppress_prefix_length=0)]
    for slot, index in enumerate(indexes):
        routes += [default(family, 15501 + slot, index), floor(family, 15501 + slot)]
        routes += [default(family, table, index, 101 + slot) for table in (15500, 15590)]
        host = f"{OWN[index][family]}/{family.bits}"
        mark = (slot + 1) << 24
        rules.append(Rule(family, 15510, table=15501 + slot, source=host))
        rules.append(Rule(family, 15520, table=15501 + slot, fwmark=mark, fwmask=0x3F000000))
    routes += [default(family, table, next(iter(indexes))) for table in (15500, 15590)]
    rules += [Rule(family, 15580, table=15500, iif="lo"), Rule(family, 15590, table=15590)]
    return routes + rules
