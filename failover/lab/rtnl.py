"""The few rtnetlink requests that build a lab, on one raw socket. What lives here: packing and acknowledgements.

Apart from the product's own netlink code on purpose: the lab that checks the product must not share its mistakes.
Numbers are those of linux/rtnetlink.h, linux/if_link.h and linux/fib_rules.h.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import Protocol

RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWNEIGH = 28
RTM_NEWRULE, RTM_DELRULE = 32, 33
NLM_F_REQUEST, NLM_F_ACK, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x100, 0x200, 0x400
IFF_UP = 1
IFA_F_NODAD = 2
NUD_PERMANENT = 0x80
RT_TABLE_MAIN = 254
RTN_UNICAST = 1
RTPROT_STATIC, RTPROT_DHCP = 4, 16
RULE_LOOKUP, BLACKHOLE = 1, 6

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Route:
    """One unicast route through a gateway; destination "default" or a prefix; the gateway tells the family."""

    destination: str
    device: int
    gateway: str
    metric: int = 0
    table: int = RT_TABLE_MAIN
    protocol: int = RTPROT_STATIC


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy rule; empty selectors match everything; the action is RULE_LOOKUP or BLACKHOLE."""

    priority: int
    family: int = socket.AF_INET
    action: int = RULE_LOOKUP
    table: int = 0
    input: str = ""
    destination: str = ""
    protocol: int = 0
    port: int = 0


class VethEnd(Protocol):
    """What identifies one end of a veth pair."""

    @property
    def name(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def mac(self) -> bytes: ...


def _veth_end(end: VethEnd) -> bytes:
    head = struct.pack("=BxHiII", 0, 0, end.index, 0, 0)
    return head + attribute(3, end.name.encode() + b"\0") + attribute(1, end.mac)


def attribute(kind: int, data: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


class Rtnl:
    """A netlink socket of the namespace it was opened in. Failures are OSErrors that say what was asked."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._sequence = 0

    @property
    def port(self) -> int:
        """What the kernel's events name as the author of our changes; 0 before the first."""
        return int(self._socket.getsockname()[0])

    def _request(self, what: str, kind: int, flags: int, body: bytes) -> None:
        """Send one request and wait for its acknowledgement."""
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, self._sequence, 0)
        self._socket.send(header + body)
        answer = self._socket.recv(65536)
        (error,) = struct.unpack_from("=i", answer, 16)
        if error:
            raise OSError(-error, f"{os.strerror(-error)} ({what})")

    def veth(self, one: VethEnd, other: VethEnd, other_namespace: int) -> None:
        """A cable: one end here, the other in the namespace of that file descriptor. Both ends are down."""
        peer = _veth_end(other) + attribute(28, _u32(other_namespace))
        information = attribute(1, b"veth") + attribute(2, attribute(1, peer))
        body = _veth_end(one) + attribute(18, information)
        self._request(f"veth {one.name} - {other.name}", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)

    def remove_link(self, index: int) -> None:
        """Remove the link; the other end of a cable goes with it."""
        self._request(f"removal of link {index}", RTM_DELLINK, 0, struct.pack("=BxHiII", 0, 0, index, 0, 0))

    def link_up(self, index: int) -> None:
        """Set the link up."""
        self._link(index, IFF_UP)

    def link_down(self, index: int) -> None:
        """Set the link down."""
        self._link(index, 0)

    def _link(self, index: int, flags: int) -> None:
        self._request(f"link {index} flags {flags}", RTM_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, index, flags, IFF_UP))

    def add_address(self, index: int, interface: str) -> None:
        """Add ADDRESS/LENGTH, without duplicate address detection."""
        self._address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, interface)

    def remove_address(self, index: int, interface: str) -> None:
        """Remove ADDRESS/LENGTH."""
        self._address(RTM_DELADDR, 0, index, interface)

    def _address(self, kind: int, flags: int, index: int, interface: str) -> None:
        wanted = ip_interface(interface)
        head = struct.pack("=BBBBI", _family(wanted.ip), wanted.network.prefixlen, IFA_F_NODAD, 0, index)
        body = head + attribute(2, wanted.ip.packed) + attribute(1, wanted.ip.packed)
        self._request(f"address {interface}", kind, flags, body)

    def add_route(self, route: Route) -> None:
        """Add the route, or replace the one with the same key."""
        self._route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route)

    def remove_route(self, route: Route) -> None:
        """Remove the route."""
        self._route(RTM_DELROUTE, 0, route)

    def _route(self, kind: int, flags: int, route: Route) -> None:
        gateway, length = ip_address(route.gateway), 0
        attributes = attribute(15, _u32(route.table)) + attribute(5, gateway.packed) + attribute(4, _u32(route.device))
        if route.destination != "default":
            network = ip_network(route.destination)
            length = network.prefixlen
            attributes += attribute(1, network.network_address.packed)
        if route.metric:
            attributes += attribute(6, _u32(route.metric))
        small = route.table if route.table < 256 else 0
        head = struct.pack("=BBBBBBBBI", _family(gateway), length, 0, 0, small, route.protocol, 0, RTN_UNICAST, 0)
        self._request(f"route {route.destination}", kind, flags, head + attributes)

    def add_neighbour(self, index: int, address: str, mac: bytes) -> None:
        """A permanent neighbour: the wire needs no ARP and no neighbour discovery."""
        neighbour = ip_address(address)
        head = struct.pack("=BxHiHBB", _family(neighbour), 0, index, NUD_PERMANENT, 0, 0)
        body = head + attribute(1, neighbour.packed) + attribute(2, mac)
        self._request(f"neighbour {address}", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)

    def add_rule(self, rule: Rule) -> None:
        """Add the rule."""
        self._rule(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule)

    def remove_rule(self, rule: Rule) -> None:
        """Remove the rule."""
        self._rule(RTM_DELRULE, 0, rule)

    def _rule(self, kind: int, flags: int, rule: Rule) -> None:
        attributes, length = attribute(6, _u32(rule.priority)) + attribute(15, _u32(rule.table)), 0
        if rule.input:
            attributes += attribute(3, rule.input.encode() + b"\0")
        if rule.destination:
            network = ip_network(rule.destination)
            length = network.prefixlen
            attributes += attribute(1, network.network_address.packed)
        if rule.protocol:
            attributes += attribute(22, struct.pack("=B", rule.protocol))
        if rule.port:
            attributes += attribute(24, struct.pack("=HH", rule.port, rule.port))
        small = rule.table if rule.table < 256 else 0
        head = struct.pack("=BBBBBBBBI", rule.family, length, 0, 0, small, 0, 0, rule.action, 0)
        self._request(f"rule {rule.priority}", kind, flags, head + attributes)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Rtnl:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
