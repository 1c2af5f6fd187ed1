"""The box of the kernel tests with default routes, a LAN behind it, and somebody at the far end who answers.

Every packet is sent by the test, and what the counters come to afterwards is told exactly.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest

from failover.facts import Tap
from failover.kernel import nft
from failover.kernel.counters import Counters
from failover.lab.namespaces import Namespace
from failover.lab.wire import End, cable
from failover.model import FAMILIES, Family
from failover.seam import CountFlows

from .box import AF, GATEWAYS, INTERNET, LENGTH, NAMES, OWN, V4, V6, WAN0, Box

MASK = 0x3F000000
MARK = 0x05000000
"""Of a probe: two bits of the mask."""
PORT, CLOSED = 4000, 4001
LAN = {V4: "10.30.0.2", V6: "fd30::2"}
LAN_GATEWAY = {V4: "10.30.0.1", V6: "fd30::1"}
REFUSED = {V4: "203.0.113.66", V6: "2001:db8:f::66"}
"""The far end answers with an ICMP error."""
RECVERR = {V4: (socket.IPPROTO_IP, 11), V6: (socket.IPPROTO_IPV6, 25)}
"""IP_RECVERR, IPV6_RECVERR: ICMP errors are told."""
PATIENCE = 20.0
TAPS = (Tap("wan0", ("10.10.0.0/24", "fd10::/64")), Tap("wan1", ("10.20.0.0/24", "fd20::/64")))
WANTED = CountFlows(TAPS, MASK)
Came = dict[str, int]
"""What a test's packets came to: counters that are not 0, as `sent ipv4 wan0`."""
_idents = itertools.count(1)


class Road:
    """wan0 is the default in both families, wan1 a fallback."""

    def __init__(self, box: Box) -> None:
        self.box, self.van, self.far, self.lan = box, box.van, box.far, Namespace("lan")
        self.lan.sysctl("ipv6/conf/default/accept_dad", 0)
        here, there = End(self.van, "lan0", 30), End(self.lan, "lan0", 130)
        cable(here, there)
        here.up()
        there.up()
        for space, forwarding in ((self.van, 1), (self.far, 1)):
            space.sysctl("ipv4/ip_forward", forwarding)
            space.sysctl("ipv6/conf/all/forwarding", forwarding)
        for name in ("all", *NAMES.values()):
            self.van.sysctl(f"ipv4/conf/{name}/rp_filter", 2)
        self.far.sysctl("ipv4/icmp_ratelimit", 0)
        self.far.sysctl("ipv6/icmp/ratelimit", 0)
        for family in FAMILIES:
            self.van.rtnl.add_address(30, f"{LAN_GATEWAY[family]}/{LENGTH[family]}")
            self.lan.rtnl.add_address(130, f"{LAN[family]}/{LENGTH[family]}")
            self._ways(family)
        self._stop, self._stopped = socket.socketpair()
        self._servers = [
            self._server(address, kind)
            for family in FAMILIES
            for address in (INTERNET[family], GATEWAYS[WAN0][family])
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        ]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        for family in FAMILIES:
            for space in (self.van, self.lan):
                self._alive(family, space)

    def _alive(self, family: Family, space: Namespace) -> None:
        """Wait until packets come and go: the kernel makes an IPv6 address work a moment later."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with self.flow(family, space=space) as flow, suppress(OSError):
                flow.settimeout(0.05)
                self.ask(flow)
                return
            assert time.monotonic() < deadline

    def _ways(self, family: Family) -> None:
        for index, name in NAMES.items():
            self.box.ip(f"-{family[-1]} route add default via {GATEWAYS[index][family]} dev {name} metric {index}")
        for space, line in (
            (self.lan, f"default via {LAN_GATEWAY[family]}"),
            (self.far, f"{LAN[family]}/{family.bits} via {OWN[WAN0][family]}"),
            (self.far, f"unreachable {REFUSED[family]}/{family.bits}"),
        ):
            with space.entered():
                subprocess.run(["ip", f"-{family[-1]}", "route", "add", *line.split()], check=True)

    def close(self) -> None:
        self._stop.send(b"!")
        self._thread.join()
        for one in (self._stop, self._stopped, *self._servers):
            one.close()
        self.lan.close()

    # --- the far end -------------------------------------------------------------------------------------------------

    def _server(self, address: str, kind: int) -> socket.socket:
        server = self.far.socket(AF[Family.of(address)], kind)
        server.bind((address, PORT))
        if kind == socket.SOCK_STREAM:
            server.listen()
        return server

    def _serve(self) -> None:
        """What comes is sent back."""
        while self._stopped not in (ready := select.select([*self._servers, self._stopped], [], [])[0]):
            for one in ready:
                if one.type == socket.SOCK_DGRAM:
                    data, asker = one.recvfrom(100)
                    one.sendto(data, asker)
                elif one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    self._servers.append(one.accept()[0])
                elif not self._echoed(one):
                    self._servers.remove(one)
                    one.close()

    def _echoed(self, connection: socket.socket) -> bool:
        """Whether it goes on."""
        try:
            data = connection.recv(100)
            connection.sendall(data)
        except ConnectionError:
            return False
        return bool(data)

    # --- packets -----------------------------------------------------------------------------------------------------

    @contextmanager
    def flow(
        self,
        family: Family,
        kind: int = socket.SOCK_DGRAM,
        *,
        to: str = "",
        port: int = PORT,
        mark: int = 0,
        space: Namespace | None = None,
    ) -> Iterator[socket.socket]:
        """A connected socket of the van, to the internet unless told otherwise."""
        with (space or self.van).socket(AF[family], kind) as made:
            made.settimeout(PATIENCE)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            made.setsockopt(*RECVERR[family], 1)
            made.connect((to or INTERNET[family], port))
            yield made

    def ask(self, flow: socket.socket, times: int = 1) -> None:
        """Packets that are answered, one by one."""
        for _ in range(times):
            flow.send(b"?")
            assert flow.recv(100) == b"?"

    def ping(self, family: Family, times: int, *, mark: int = 0, to: str = "") -> None:
        """What ping(8) does: echo requests of one identifier, each answered."""
        protocol = socket.IPPROTO_ICMP if family is V4 else socket.IPPROTO_ICMPV6
        ident = next(_idents)
        with self.van.socket(AF[family], socket.SOCK_RAW, protocol) as raw:
            raw.settimeout(PATIENCE)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            raw.connect((to or INTERNET[family], 0))
            for number in range(times):
                request = struct.pack("!BBHHH", 8 if family is V4 else 128, 0, 0, ident, number)
                if family is V4:  # the kernel fills in ICMPv6's
                    request = request[:2] + struct.pack("!H", 0xFFFF - (0x0800 + ident + number)) + request[4:]
                raw.send(request)
                answer = b""
                while (answer[:1], answer[4:]) != (b"\0" if family is V4 else b"\x81", request[4:]):
                    answer = raw.recv(1500)[20 if family is V4 else 0 :]


class Counted:
    """The table loaded in the van, and what it comes to."""

    def __init__(self, road: Road, wanted: CountFlows = WANTED) -> None:
        self._names = {
            name: f"{kind} {family} {interface}"
            for (interface, family), names in nft.names(wanted.taps).items()
            for kind, name in zip((nft.RECEIVED, nft.SENT, nft.FRESH), names, strict=True)
        } | {nft.MARKER: nft.MARKER}
        with road.van.entered():
            nft.load(wanted)
            self.counters = Counters()
        self._before = self._read()

    def _read(self) -> Mapping[str, int]:
        return {self._names[name]: count.packets for name, count in self.counters.read().counts.items()}

    def came(self) -> Came:
        """What was counted since this was asked last, but for what was not."""
        before, self._before = self._before, self._read()
        return {name: now - before[name] for name, now in self._before.items() if now != before[name]}

    def until(self, wanted: Came) -> None:
        """Wait until it is just that: what a stack answers by itself comes when it comes."""
        deadline, found = time.monotonic() + PATIENCE, self.came()
        while found != wanted:
            assert time.monotonic() < deadline, (found, wanted)
            for name, more in self.came().items():
                found[name] = found.get(name, 0) + more


def in_van(road: Road, *argv: str, text: str = "") -> str:
    """What a command prints there; AssertionError when it fails."""
    with road.van.entered():
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def foreign(road: Road, table: str, *parts: str) -> None:
    """Load a table of somebody else's."""
    in_van(road, "nft", "-f", "-", text="\n".join((f"table {table} {{", *parts, "}\n")))


def chain(hook: str, priority: str, *rules: str, kind: str = "filter", policy: str = "accept") -> str:
    """A part of a table."""
    head = f"type {kind} hook {hook} priority {priority}; policy {policy};"
    return "\n".join((f"chain {hook}_{next(_idents)} {{", head, *rules, "}"))


def foreign_counts(road: Road, table: str) -> dict[str, int]:
    """Packets by counter of that table."""
    rows = in_van(road, "nft", "list", "counters", "table", "inet", table).split()
    return {rows[at + 1]: int(rows[at + 4]) for at, word in enumerate(rows) if word == "counter"}


def need_nft() -> None:
    if shutil.which("nft", path=os.pathsep.join((nft.PATH, os.environ.get("PATH", "")))) is None:
        pytest.skip("needs the Debian package nftables")
