"""The road with the box as a gateway of its LAN: rules and routes as core.plan makes them, and our table.

Servers at the far end tell from where packets come in: by which uplink, that is. The reverse path filter is strict.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from failover.facts import TABLE_ACTIVE, TABLE_SETTLED, TABLE_UPLINK, Gateway
from failover.kernel import nft
from failover.kernel.conntrack import Entry, Flow, entries
from failover.lab.namespaces import Namespace
from failover.model import FAMILIES, Family
from failover.seam import CountFlows

from .box import AF, GATEWAYS, INTERNET, NAMES, OWN, WAN0, WAN1
from .road import LAN, MASK, PATIENCE, TAPS, Road, chain, foreign

UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
MARKS = {WAN0: 1 << 24, WAN1: 2 << 24}
MARKED = tuple(replace(tap, mark=mark) for tap, mark in zip(TAPS, MARKS.values(), strict=True))
GATEWAY = Gateway(("lan0",))
WANTED = CountFlows(MARKED, MASK, GATEWAY)
SEEN = 4010
"""The port of the servers that tell."""
TAILSCALE = 0x80000
PROTOCOLS = {UDP: socket.IPPROTO_UDP, TCP: socket.IPPROTO_TCP}


class Forwarding:
    """wan0 leads; this thread is in the van."""

    def __init__(self, road: Road, stack: ExitStack) -> None:
        self.road, self._stack = road, stack
        for key in ("all", "wan0", "wan1", "lan0"):
            road.van.sysctl(f"ipv4/conf/{key}/rp_filter", 1)
        road.van.sysctl("ipv4/conf/all/src_valid_mark", 1)
        self._server: dict[tuple[Family, int], socket.socket] = {}
        for family in FAMILIES:
            self._route(family)
            for kind in (UDP, TCP):
                self._server[family, kind] = self._serving(family, kind)
        stack.enter_context(road.van.entered())

    def _route(self, family: Family) -> None:
        rule = f"-{family[-1]} rule add pref"
        self.road.box.ip(f"{rule} 15500 fwmark 1/0 lookup main suppress_prefixlength 0")
        for slot, (index, mark) in enumerate(MARKS.items()):
            table, way = TABLE_UPLINK + slot, f"via {GATEWAYS[index][family]} dev {NAMES[index]}"
            self.road.box.ip(f"{rule} 15510 from {OWN[index][family]} lookup {table}")
            self.road.box.ip(f"{rule} 15520 fwmark {mark:#x}/{MASK:#x} iif lo lookup {table}")
            self.road.box.ip(f"{rule} 15585 fwmark {mark:#x}/{MASK:#x} iif lan0 lookup {table}")
            self.road.box.ip(f"-{family[-1]} route add default {way} table {table}")
        self.road.box.ip(f"{rule} 15587 iif lo lookup {TABLE_ACTIVE}")
        self.road.box.ip(f"{rule} 15588 iif lan0 lookup {TABLE_ACTIVE}")
        self.road.box.ip(f"{rule} 15590 lookup {TABLE_SETTLED}")
        for table in (TABLE_ACTIVE, TABLE_SETTLED):
            self.road.box.ip(
                f"-{family[-1]} route add default via {GATEWAYS[WAN0][family]} dev wan0 metric 1 table {table}"
            )

    def _serving(self, family: Family, kind: int) -> socket.socket:
        server = self._stack.enter_context(self.road.far.socket(AF[family], kind))
        server.bind((INTERNET[family], SEEN))
        server.settimeout(PATIENCE)
        if kind == TCP:
            server.listen()
        return server

    def switch(self, family: Family, index: int = WAN1) -> None:
        """New flows go by that way."""
        way = f"default via {GATEWAYS[index][family]} dev {NAMES[index]}"
        self.road.box.ip(f"-{family[-1]} route replace {way} metric 1 table {TABLE_ACTIVE}")

    def open(self, family: Family, kind: int = UDP, space: Namespace | None = None) -> Talk:
        """A flow of a client in the LAN, to the server that tells; answered once."""
        server = self._server[family, kind]
        flow = self._stack.enter_context(self.road.flow(family, kind, port=SEEN, space=space or self.road.lan))
        if kind == TCP:
            accepted = self._stack.enter_context(server.accept()[0])
            accepted.settimeout(PATIENCE)
            return Talk(flow, accepted)
        return Talk(flow, server)

    def asked(self, flow: socket.socket) -> str:
        """One packet that is not answered; the address that its server saw."""
        flow.send(b"?")
        return str(self._server[Family.of(flow.getpeername()[0]), UDP].recvfrom(100)[1][0])


class Talk:
    """A client's flow, and its server."""

    def __init__(self, flow: socket.socket, server: socket.socket) -> None:
        self.flow, self.server = flow, server
        self.ask()

    def ask(self) -> str:
        """One packet there and one back; the address that the server saw."""
        self.flow.send(b"?")
        if self.server.type == UDP:
            data, whom = self.server.recvfrom(100)
            self.server.sendto(data, whom)
        else:
            data, whom = self.server.recv(100), self.server.getpeername()
            self.server.send(data)
        assert self.flow.recv(100) == b"?"
        return str(whom[0])

    @property
    def ends(self) -> Flow:
        (source, source_port), (destination, port) = self.flow.getsockname()[:2], self.flow.getpeername()[:2]
        return Flow(source, source_port, destination, port, PROTOCOLS[self.flow.type])

    @property
    def mark(self) -> int:
        """Of its connection."""
        (found,) = (entry.mark for entry in listed() if entry.flow == self.ends)
        return found


def listed() -> list[Entry]:
    """All that is tracked."""
    return [entry for some in entries(0, 0) for entry in some]


@contextmanager
def forwarding(road: Road, wanted: CountFlows = WANTED) -> Iterator[Forwarding]:
    """With the table loaded."""
    with ExitStack() as stack:
        built = Forwarding(road, stack)
        nft.load(wanted)
        yield built


def strangers(road: Road) -> None:
    """Docker, firewalld and Tailscale, as far as they touch what we do; and somebody who writes whole marks, of each
    packet before us and of each connection that begins."""
    lets = f"ip saddr {LAN[FAMILIES[0]]}"
    foreign(
        road,
        "ip docker",
        chain("prerouting", "dstnat", "fib daddr type local tcp dport 8080 dnat to 172.17.0.2:80", kind="nat"),
        chain("postrouting", "srcnat", 'ip saddr 172.17.0.0/16 oifname != "docker0" masquerade', kind="nat"),
        chain("forward", "filter", "ct state established,related accept", f"{lets} accept", policy="drop"),
    )
    strict = "meta nfproto ipv6 fib saddr . mark . iif oif missing drop"
    begun = "ct state new tcp flags & (fin | syn | rst | ack) != syn drop"
    foreign(road, "inet firewalld", chain("prerouting", "10", strict), chain("forward", "filter", begun))
    foreign(
        road,
        "inet tailscale",
        chain("postrouting", "srcnat", "meta mark and 0xff0000 == 0x40000 masquerade", kind="nat"),
    )
    foreign(
        road,
        "inet theirs",
        "counter whole { }",
        "counter torn { }",
        chain("prerouting", "mangle", f"meta mark set {TAILSCALE:#x}"),
        chain("postrouting", "mangle", "ct state new ct mark set 0xc0000001"),
        chain(
            "forward",
            "filter",
            "ct state new return",
            f"meta mark and 0xff0000 == {TAILSCALE:#x} ct mark and 0xc0ffffff == 0xc0000001 counter name whole return",
            "counter name torn",
        ),
    )


def is_reset(flow: socket.socket) -> bool:
    """Whether a TCP flow is with its next packet: a question, or an acknowledgement of what came before."""
    try:
        flow.send(b"?")
        flow.recv(10)
    except ConnectionResetError:
        return True
    return False
