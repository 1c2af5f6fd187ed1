"""How a kernel compares: routes by key, rules by selector, packets with rules. Pure functions over the words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from sys import byteorder
from typing import Final

from failover.facts import Address, Route, RouteKind, Rule
from failover.model import Family

FRA_GOTO: Final = 4
FRA_UID_RANGE: Final = 20
USER: Final = 1000
"""Whose flows these are; what is forwarded counts as root's."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What a packet to the internet shows to the rules; see VirtualKernel.lookup."""

    family: Family
    source: str | None
    mark: int
    iif_lo: bool
    oif: str | None


def canonical(route: Route) -> Route:
    """As the reader shows it: IPv6 has no metric 0, and a route that goes nowhere no device."""
    return replace(
        route,
        metric=1024 if route.family is Family.IPV6 and route.metric == 0 else route.metric,
        interface=route.interface if route.kind is RouteKind.UNICAST else None,
        dead=False,
    )


def key(route: Route) -> tuple[Family, int, int]:
    """What makes two defaults the same route for `replace`; who made them does not count."""
    return route.family, route.table, route.metric


def answers(held: Route, asked: Route) -> bool:
    """Whether a delete that names these attributes means this route."""
    return (
        key(held) == key(asked)
        and held.kind is asked.kind
        and asked.gateway in (None, held.gateway)
        and asked.interface in (None, held.interface)
        and asked.protocol in (0, held.protocol)
    )


def without_source(route: Route, address: str) -> Route:
    return replace(route, source=None) if route.source == address else route


def covers(address: Address, gateway: str) -> bool:
    return _inside(gateway, f"{address.address}/{address.prefix_length}")


@lru_cache(maxsize=1024)
def _inside(address: str, network: str) -> bool:
    parsed = ip_address(address)
    around = ip_network(network, strict=False)
    return parsed.version == around.version and parsed in around


def matches(rule: Rule, flow: Flow) -> bool:
    """A packet here has no ports and no TOS, and goes to the internet: rules that select by those pass it over."""
    return rule.invert != (
        (rule.source is None or (flow.source is not None and _inside(flow.source, rule.source)))
        and (rule.destination is None or rule.destination.endswith("/0"))
        and (rule.iif is None or (rule.iif == "lo" and flow.iif_lo))
        and rule.oif in (None, flow.oif)
        and ((rule.fwmark or 0) ^ flow.mark) & _mask(rule) == 0
        and rule.tos == 0
        and all(_allows(kind, payload, flow) for kind, payload in rule.extra)
    )


def _allows(kind: int, payload: bytes, flow: Flow) -> bool:
    """Whether an attribute without a field of its own lets the rule match."""
    if kind == FRA_UID_RANGE:
        first, last = (int.from_bytes(half, byteorder) for half in (payload[:4], payload[4:]))
        return first <= (USER if flow.iif_lo else 0) <= last
    return kind == FRA_GOTO


def _mask(rule: Rule) -> int:
    if rule.fwmask is not None:
        return rule.fwmask
    return 0xFFFFFFFF if rule.fwmark else 0


def target(rule: Rule) -> int:
    """The pref that a goto rule jumps to."""
    payload = dict(rule.extra).get(FRA_GOTO, b"")
    return int.from_bytes(payload, byteorder) if payload else -1


def is_like(rule: Rule, like: Rule) -> bool:
    """Whether the rule has every selector that `like` names; what is 0 or None there is not asked for."""
    numbers = (
        (like.priority, rule.priority),
        (like.table, rule.table),
        (like.protocol, rule.protocol),
        (like.tos, rule.tos),
    )
    selectors = (
        (like.source, rule.source),
        (like.destination, rule.destination),
        (like.iif, rule.iif),
        (like.oif, rule.oif),
        (like.fwmark, rule.fwmark),
        (like.fwmask, rule.fwmask),
        (like.suppress_prefix_length, rule.suppress_prefix_length),
    )
    return (
        rule.family is like.family
        and rule.action is like.action
        and (rule.invert or not like.invert)
        and set(like.extra) <= set(rule.extra)
        and all(asked in (0, held) for asked, held in numbers)
        and all(asked in (None, held) for asked, held in selectors)
    )
