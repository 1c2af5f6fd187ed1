"""What builds a lab: links, addresses, routes, neighbours and rules, through pyroute2. No message formats here.

Apart from the product's own netlink code on purpose: the lab that checks the product must not share its mistakes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

IFA_F_NODAD = 2
RT_TABLE_MAIN = 254
RTPROT_STATIC, RTPROT_DHCP = 4, 16
RULE_LOOKUP, BLACKHOLE = 1, 6


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
    source: str = ""
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


class Rtnl:
    """Requests to one namespace. Failures are OSErrors that say what was asked.

    From any thread, but not from inside a running event loop: pyroute2 waits for the answer in one.
    """

    def __init__(self, entered: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """To be made inside the namespace; `entered` is what brings a thread there."""
        from pyroute2 import IPRoute  # here, because the lab's helper processes build nothing and start 0.1 s sooner

        self._netlink = IPRoute()
        self._entered = entered

    @property
    def port(self) -> int:
        """What the kernel's events name as the author of this thread's changes; 0 before the first."""
        return int(self._netlink.getsockname()[0])

    def _ask(self, what: str, command: str, **words: object) -> None:
        """Send one request and wait for its acknowledgement."""
        from pyroute2 import NetlinkError

        try:
            with self._entered():  # IPRoute opens another socket for each thread that uses it
                getattr(self._netlink, what)(command, **words)
        except NetlinkError as error:
            asked = " ".join(f"{key} {value}" for key, value in words.items() if value is not None)
            raise OSError(error.code, f"{os.strerror(error.code)} ({what} {command} {asked})") from error

    def veth(self, one: VethEnd, other: VethEnd, other_namespace: int) -> None:
        """A cable: one end here, the other in the namespace of that file descriptor. Both ends are down."""
        peer = {"index": other.index, "attrs": [*_named(other), ("IFLA_NET_NS_FD", other_namespace)]}
        veth = ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})  # `peer=` would not take the index
        information = {"attrs": [("IFLA_INFO_KIND", "veth"), veth]}
        self._ask("link", "add", index=one.index, linkinfo=information, attrs=_named(one))

    def bridge(self, index: int, name: str) -> None:
        """A bridge without ports, down; it learns, and has no spanning tree."""
        self._ask("link", "add", index=index, ifname=name, kind="bridge")

    def join(self, index: int, bridge: int) -> None:
        """Make the link a port of the bridge."""
        self._ask("link", "set", index=index, master=bridge)

    def remove_link(self, index: int) -> None:
        """Remove the link; the other end of a cable goes with it."""
        self._ask("link", "del", index=index)

    def link_up(self, index: int) -> None:
        """Set the link up."""
        self._ask("link", "set", index=index, state="up")

    def link_down(self, index: int) -> None:
        """Set the link down."""
        self._ask("link", "set", index=index, state="down")

    def add_address(self, index: int, interface: str) -> None:
        """Add ADDRESS/LENGTH, without duplicate address detection."""
        self._ask("addr", "replace", index=index, address=interface, flags=IFA_F_NODAD)

    def remove_address(self, index: int, interface: str) -> None:
        """Remove ADDRESS/LENGTH."""
        self._ask("addr", "del", index=index, address=interface)

    def add_route(self, route: Route) -> None:
        """Add the route, or replace the one with the same key."""
        self._ask("route", "replace", **_route(route))

    def remove_route(self, route: Route) -> None:
        """Remove the route."""
        self._ask("route", "del", **_route(route))

    def add_neighbour(self, index: int, address: str, mac: bytes) -> None:
        """A permanent neighbour: the wire needs no ARP and no neighbour discovery."""
        self._ask("neigh", "replace", ifindex=index, dst=address, lladdr=mac.hex(":"), state="permanent")

    def age_neighbour(self, index: int, address: str, mac: bytes) -> None:
        """The neighbour as one of whom nothing was heard for long: the next packet to it makes the kernel ask."""
        self._ask("neigh", "replace", ifindex=index, dst=address, lladdr=mac.hex(":"), state="stale")

    def add_rule(self, rule: Rule) -> None:
        """Add the rule."""
        self._ask("rule", "add", **_rule(rule))

    def remove_rule(self, rule: Rule) -> None:
        """Remove the rule."""
        self._ask("rule", "del", **_rule(rule))

    def close(self) -> None:
        """Close the sockets."""
        self._netlink.close()

    def __enter__(self) -> Rtnl:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _named(end: VethEnd) -> list[tuple[str, str]]:
    return [("IFLA_IFNAME", end.name), ("IFLA_ADDRESS", end.mac.hex(":"))]


def _route(route: Route) -> dict[str, object]:
    return {
        "dst": route.destination,
        "oif": route.device,
        "gateway": route.gateway,
        "priority": route.metric,
        "table": route.table,
        "proto": route.protocol,
    }


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "priority": rule.priority,
        "family": rule.family,
        "action": rule.action,
        "table": rule.table,
        "iifname": rule.input or None,
        "src": rule.source or None,
        "dst": rule.destination or None,
        "ip_proto": rule.protocol or None,
        "dport_range": f"{rule.port}:{rule.port}" if rule.port else None,
    }
