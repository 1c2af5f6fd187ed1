"""What can go wrong, as named faults. Each begins and ends, and says at which monotonic moment.

A fault is a change of the userspace link, or rules in a router (routing rules know ports and protocols, so no packet
filter is needed), or a cable end set down. Two faults that touch the same lane of the link do not add up: the end of
one restores the lane.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from failover.lab.ground import WALLED_TABLE
from failover.lab.places import DNS_PORT
from failover.lab.reach import AF
from failover.lab.rtnl import BLACKHOLE, RT_TABLE_MAIN, Rule
from failover.model import Family

if TYPE_CHECKING:
    from failover.lab.namespaces import Namespace
    from failover.lab.world import World

BEFORE_LOCAL = 10
AFTER_LOCAL = 110
"""Priorities of a router's rules: what the router itself answers is decided at 100."""
ICMP: dict[int, int] = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, not begun. begin() and end() return the monotonic moment from which packets meet the change."""

    begin: Callable[[], float]
    end: Callable[[], float]

    def __enter__(self) -> float:
        return self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()


def _on_link(world: World, where: list[dict[str, Any]], wrong: Mapping[str, float]) -> Fault:
    """The lanes at these places get a wrong shape; the end gives them the world's own again."""
    right = {key: world.shape_of_health[key] for key in wrong}
    return Fault(
        lambda: world.shape(*({**place, "shape": wrong} for place in where)),
        lambda: world.shape(*({**place, "shape": right} for place in where)),
    )


def _by_rules(namespace: Namespace, rules: list[Rule]) -> Fault:
    """Rules in this order; they go in the other order."""

    def begin() -> float:
        moment = time.monotonic()
        for rule in rules:
            namespace.rtnl.add_rule(rule)
        return moment

    def end() -> float:
        for rule in reversed(rules):
            namespace.rtnl.remove_rule(rule)
        return time.monotonic()

    return Fault(begin, end)


def blackout(world: World, *carriers: str) -> Fault:
    """Upstream of these carriers' routers nothing passes, either way. The links are up, the gateways answer."""
    return _on_link(world, [{"carrier": carrier} for carrier in carriers], {"loss": 1.0})


def all_dead(world: World) -> Fault:
    """Blackout of every carrier at one moment."""
    return blackout(world, *world.ground.routers)


def one_way(world: World, carrier: str, direction: str = "down") -> Fault:
    """One direction is dead. "down": what the van sends arrives, no answer comes back; "up": nothing arrives."""
    return _on_link(world, [{"carrier": carrier, "direction": direction}], {"loss": 1.0})


def v4_blackhole(world: World, carrier: str) -> Fault:
    """IPv4 is swallowed upstream, IPv6 is fine."""
    return _on_link(world, [{"carrier": carrier, "family": Family.IPV4}], {"loss": 1.0})


def v6_blackhole(world: World, carrier: str) -> Fault:
    """IPv6 is swallowed upstream, IPv4 is fine."""
    return _on_link(world, [{"carrier": carrier, "family": Family.IPV6}], {"loss": 1.0})


def loss(world: World, carrier: str, ratio: float, stay: float = 0.0, direction: str = "") -> Fault:
    """Loss in that direction ("up", "down", else both): independent, or in bursts where a loss is followed by another
    with chance `stay`."""
    where = {"carrier": carrier, "direction": direction} if direction else {"carrier": carrier}
    return _on_link(world, [where], {"loss": ratio, "stay": stay})


def brown(world: World, carrier: str, delay: float) -> Fault:
    """Every packet takes that long per direction, seconds."""
    return _on_link(world, [{"carrier": carrier}], {"delay": delay})


def slow(world: World, carrier: str, more: float = 0.0, times: float = 1.0) -> Fault:
    """Round trips take so many times as long as on a healthy link, and so many seconds more."""
    return brown(world, carrier, world.shape_of_health["delay"] * times + more / 2)


def stall(world: World, carrier: str) -> Fault:
    """Buffering: packets wait inside, both ways, and are all delivered when it ends."""
    return _on_link(world, [{"carrier": carrier}], {"hold": True})


def sleepy(world: World, carrier: str, wake: float = 0.3, doze: float = 10.0) -> Fault:
    """A radio falls asleep after `doze` seconds without a packet (per family); the next takes `wake` seconds longer."""
    return _on_link(world, [{"carrier": carrier, "direction": "up"}], {"wake": wake, "doze": doze})


def half_refused(world: World, carrier: str, *, said: bool = False) -> Fault:
    """The carrier's table of flows is full: half of the new flows get no packet through, the running ones go on.

    Refused flows are silent, or, where it is said, answered with ICMP "administratively prohibited" (RFC 6888).
    """
    return _on_link(world, [{"carrier": carrier, "direction": "up"}], {"full": 0.5, "refuse": said})


def link_down(world: World, carrier: str) -> Fault:
    """The router's end of the van's cable is set down: no carrier in the van."""

    def at(change: Callable[[str], None]) -> float:
        moment = time.monotonic()
        change(carrier)
        return moment

    return Fault(lambda: at(world.ground.unplug), lambda: at(world.ground.plug))


def router_silent(world: World, carrier: str) -> Fault:
    """The link is up, but the router answers nothing, not even ARP or neighbour discovery. Broadcasts go on."""
    router = world.ground.access(carrier)
    rules = [Rule(BEFORE_LOCAL, family, BLACKHOLE, input=router.name) for family in AF.values()]
    return _by_rules(router.namespace, rules)


def prohibited(world: World, carrier: str) -> Fault:
    """The carrier answers every packet with ICMP "administratively prohibited", upstream of the router.

    By the link and not by a `prohibit` route: the kernel would answer five packets and then one a second.
    """
    return _on_link(world, [{"carrier": carrier, "direction": "up"}], {"loss": 1.0, "refuse": True})


def dns_dead(world: World, carrier: str) -> Fault:
    """Port 53 is swallowed, UDP and TCP; all else passes."""
    router = world.ground.access(carrier)
    protocols = (socket.IPPROTO_UDP, socket.IPPROTO_TCP)
    rules = [
        Rule(AFTER_LOCAL + number, family, BLACKHOLE, input=router.name, protocol=protocol, port=DNS_PORT)
        for family in AF.values()
        for number, protocol in enumerate(protocols)
    ]
    return _by_rules(router.namespace, rules)


def icmp_filtered(world: World, carrier: str) -> Fault:
    """ICMP is swallowed upstream of the router, all else passes."""
    router = world.ground.access(carrier)
    rules = [Rule(AFTER_LOCAL, family, BLACKHOLE, input=router.name, protocol=ICMP[family]) for family in AF.values()]
    return _by_rules(router.namespace, rules)


def chatter(world: World, carrier: str, per_second: float) -> Fault:
    """The router broadcasts so often: ARP, router advertisements (which the van accepts from Wi-Fi only), mDNS."""
    stack = ExitStack()

    def begin() -> float:
        helper = world.chatter(carrier, per_second)
        stack.callback(helper.close)
        helper.ready()
        return time.monotonic()

    def end() -> float:
        stack.close()
        return time.monotonic()

    return Fault(begin, end)


def portal(world: World, carrier: str, icmp: bool = True) -> Fault:
    """A captive portal: all HTTP is answered with a redirect, DNS passes, ICMP if so asked; the rest is swallowed."""
    router = world.ground.access(carrier)

    def allowed(family: int) -> list[Rule]:
        def rule(number: int, table: int, protocol: int, port: int) -> Rule:
            priority = AFTER_LOCAL + number
            return Rule(priority, family, table=table, input=router.name, protocol=protocol, port=port)

        passing = [
            rule(0, WALLED_TABLE, socket.IPPROTO_TCP, HTTP_PORT),
            rule(1, RT_TABLE_MAIN, socket.IPPROTO_UDP, DNS_PORT),
            rule(2, RT_TABLE_MAIN, socket.IPPROTO_TCP, DNS_PORT),
        ]
        return [*passing, rule(3, RT_TABLE_MAIN, ICMP[family], 0)] if icmp else passing

    rules = [rule for family in AF.values() for rule in allowed(family)]
    rules += [Rule(AFTER_LOCAL + 9, family, BLACKHOLE, input=router.name) for family in AF.values()]
    return _by_rules(router.namespace, rules)


def dead_target(world: World, address: str) -> Fault:
    """One target of the internet no longer answers; a dead target is not a dead uplink."""
    family = Family.of(address)
    destination = f"{address}/{family.bits}"
    return _by_rules(world.ground.internet, [Rule(BEFORE_LOCAL, AF[family], BLACKHOLE, destination=destination)])
