"""Small worlds to plan for, and a model of the kernel that is only as clever as a table of routes and rules."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from failover.core.plan import ours
from failover.core.steering import FRA_GOTO
from failover.core.uplinks import Path, Uplink
from failover.facts import TABLE_MAIN, Address, Facts, Link, Operation, Route, RouteKind, Rule, RuleAction, Sysctl, Verb
from failover.model import FAMILIES, Decision, Family
from failover.modem import IpMethod, IpSettings

MASK = 0x3F000000
V4, V6 = FAMILIES
KERNEL_RULES = tuple(
    rule
    for family in FAMILIES
    for rule in (Rule(family, 0, table=255, protocol=2), Rule(family, 32766, table=254, protocol=2))
)


def way(index: int, family: Family = V4, gateway: str | None = "", **fields: object) -> Route:
    """A default of table main."""
    there = (f"10.0.{index}.1" if family is V4 else f"fe80::{index}") if gateway == "" else gateway
    route = Route(family, TABLE_MAIN, 100 + index, interface=index, gateway=there, protocol=3)
    return replace(route, **fields)  # type: ignore[arg-type]


def uplink(name: str, index: int | None, *routes: Route, addresses: Sequence[str] = (), slot: int = -1) -> Uplink:
    """An uplink whose slot is its letter's place in the alphabet unless told."""
    found = {route.family: route for route in routes}
    by = {f: tuple(a for a in addresses if (":" in a) is (f is V6)) for f in FAMILIES}
    return Uplink(
        name=name,
        interface=f"wan{name}",
        slot=ord(name) - ord("a") if slot < 0 else slot,
        index=index,
        carrier="",
        metered=False,
        targets=(),
        paths={f: Path(route=found.get(f), addresses=by[f], fault="") for f in FAMILIES},
    )


def decide(active: str | None, *order: str, settled: str | None = None, family: Family = V4) -> dict[Family, Decision]:
    return {family: Decision(family, active, settled or active, order or tuple(filter(None, [active])))}


def goto(priority: int, target: int, family: Family = V4, **selectors: object) -> Rule:
    extra = ((FRA_GOTO, struct.pack("=I", target)),)
    rule = Rule(family, priority, RuleAction.GOTO, extra=extra, protocol=0)
    return replace(rule, **selectors)  # type: ignore[arg-type]


def facts_of(uplinks: Iterable[Uplink], *rules: Rule, sysctls: Sequence[Sysctl] = ()) -> Facts:
    """What the kernel holds before the agent touched it."""
    routes = tuple(path.route for u in uplinks for path in u.paths.values() if path.route)
    return Facts(routes=routes, rules=(*KERNEL_RULES, *rules), sysctls=tuple(sysctls))


def slot_of(route: Route) -> tuple[Family, int, int]:
    return route.family, route.table, route.metric


def step(facts: Facts, operation: Operation) -> Facts:
    """The kernel after one operation; AssertionError where a real one would refuse, or where it would hit another's."""
    match operation.verb, operation.item:
        case Verb.ADD, Route() as route:
            assert slot_of(route) not in {slot_of(r) for r in facts.routes}, f"exists: {route}"
            return replace(facts, routes=(*facts.routes, route))
        case Verb.REPLACE, Route() as route:
            hit = next(r for r in facts.routes if slot_of(r) == slot_of(route))
            assert ours(hit), f"overwrites {hit}"
            assert hit.table != TABLE_MAIN
            return replace(facts, routes=tuple(route if r is hit else r for r in facts.routes))
        case Verb.DELETE, Route() as route:
            assert ours(route)
            assert route in facts.routes
            return replace(facts, routes=tuple(r for r in facts.routes if r != route))
        case Verb.ADD, Rule() as rule:
            assert rule not in facts.rules, f"exists: {rule}"
            return replace(facts, rules=(*facts.rules, rule))
        case Verb.DELETE, Rule() as rule:
            assert ours(rule)
            assert rule in facts.rules
            return replace(facts, rules=tuple(r for r in facts.rules if r != rule))
        case Verb.SET, Sysctl() as sysctl:
            assert sysctl.path in {s.path for s in facts.sysctls}
            return replace(facts, sysctls=tuple(sysctl if s.path == sysctl.path else s for s in facts.sysctls))
        case Verb.ADD, Address() as address:
            assert ours(address)
            assert (address.index, address.address) not in {(a.index, a.address) for a in facts.addresses}
            return replace(facts, addresses=(*facts.addresses, address))
        case Verb.DELETE, Address() as address:
            assert ours(address)
            assert address in facts.addresses
            return replace(facts, addresses=tuple(a for a in facts.addresses if a != address))
        case Verb.SET, Link() as link:
            assert link.up
            assert link.index in {one.index for one in facts.links}
            return replace(
                facts, links=tuple(replace(one, up=True) if one.index == link.index else one for one in facts.links)
            )
    raise AssertionError(f"no such operation: {operation}")


def steps(facts: Facts, operations: Iterable[Operation]) -> Iterator[Facts]:
    """Every state on the way, the first and the last included."""
    yield facts
    for operation in operations:
        facts = step(facts, operation)
        yield facts


# --- strategies ------------------------------------------------------------------------------------------------------

NAMES = "abc"


@st.composite
def ways(draw: st.DrawFn, index: int, family: Family) -> Route | None:
    if draw(st.booleans()):
        return None
    gateway = draw(st.sampled_from(("", None)))
    expires = draw(st.sampled_from((None, 3.2, 600.7, 1800.0, -2.0))) if family is V6 else None
    mtu = draw(st.sampled_from((None, 1400)))
    return way(index, family, gateway, mtu=mtu, expires=expires)


SETTINGS = st.one_of(
    st.none(),
    st.lists(
        st.builds(
            IpSettings,
            family=st.just(V4),
            method=st.sampled_from((IpMethod.STATIC, IpMethod.STATIC, IpMethod.DHCP)),
            address=st.sampled_from(("", "10.64.1.2", "10.64.1.3")),
            prefix_length=st.sampled_from((0, 24, 30)),
            gateway=st.sampled_from(("", "10.64.1.1")),
            mtu=st.sampled_from((0, 5, 1400, 9000)),
        ),
        max_size=2,
    ).map(tuple),
)
"""Of a bearer."""


@st.composite
def uplink_lists(draw: st.DrawFn) -> tuple[Uplink, ...]:
    found = []
    for number, name in enumerate(NAMES[: draw(st.integers(0, 3))]):
        index = draw(st.integers(2, 4)) + 10 * number
        routes = [route for family in FAMILIES if (route := draw(ways(index, family)))]
        pool = ("192.168.8.100", f"10.0.{number}.2", f"2001:db8:{number}::2")
        made = uplink(name, index, *routes, addresses=draw(st.lists(st.sampled_from(pool), max_size=3)))
        at = draw(st.sampled_from((index, index, None)))
        found.append(replace(made, settings=draw(SETTINGS), index=at) if draw(st.booleans()) else made)
    return tuple(found)


@st.composite
def decisions(draw: st.DrawFn, uplinks: Sequence[Uplink]) -> dict[Family, Decision]:
    taken = {}
    for family in FAMILIES:
        with_route = [u.name for u in uplinks if u.paths[family].route]
        order = draw(st.permutations(with_route))
        active, settled = (draw(st.sampled_from([*with_route, None])) for _ in range(2))
        taken[family] = Decision(family, active, settled, tuple(order))
    return taken


FOREIGN = st.builds(
    Rule,
    family=st.sampled_from(FAMILIES),
    priority=st.sampled_from((9, 15540, 15600, 20000, 20000, 32764, 40000)),
    action=st.sampled_from((RuleAction.LOOKUP, RuleAction.PROHIBIT)),
    table=st.sampled_from((100, 253, 254, 51820)),
    invert=st.booleans(),
    fwmark=st.sampled_from((None, 0xCA6C)),
    suppress_prefix_length=st.sampled_from((None, 0)),
    protocol=st.sampled_from((0, 3)),
)

LITTER_ROUTES = st.builds(
    Route,
    family=st.sampled_from(FAMILIES),
    table=st.sampled_from((15500, 15501, 15502, 15577, 15590)),
    metric=st.sampled_from((1, 7, 101, 102, 0xFFFFFFFF)),
    kind=st.sampled_from((RouteKind.UNICAST, RouteKind.BLACKHOLE)),
    interface=st.sampled_from((2, 13)),
    gateway=st.sampled_from((None, "10.0.2.1")),
    protocol=st.sampled_from((155, 155, 4)),
)
LITTER_RULES = st.builds(
    Rule,
    family=st.sampled_from(FAMILIES),
    priority=st.sampled_from((15500, 15510, 15533, 15580, 15599)),
    table=st.sampled_from((254, 15500, 15502)),
    source=st.sampled_from((None, "10.0.0.2/32")),
    protocol=st.sampled_from((155, 155, 4)),
)
LITTER = st.tuples(
    st.lists(LITTER_ROUTES, max_size=5, unique_by=slot_of), st.lists(LITTER_RULES, max_size=5, unique=True)
)
LINKS = st.lists(
    st.builds(Link, st.integers(2, 24), st.just("wan"), st.booleans(), st.booleans()),
    max_size=12,
    unique_by=lambda link: link.index,
).map(tuple)
BEARERS_LEFT = st.tuples(
    st.lists(
        st.builds(
            Address,
            st.sampled_from((2, 3, 4, 12, 13, 22)),
            st.just(V4),
            st.sampled_from(("10.64.1.2", "10.64.1.3", "192.168.1.7")),
            st.sampled_from((24, 30)),
            protocol=st.sampled_from((0, 155)),
        ),
        max_size=5,
        unique_by=lambda address: (address.index, address.address),
    ).map(tuple),
    st.lists(
        st.builds(
            Route,
            st.just(V4),
            st.just(TABLE_MAIN),
            st.sampled_from((15501, 15502, 15503)),
            interface=st.sampled_from((2, 3, 12, 13)),
            gateway=st.sampled_from((None, "10.64.1.1")),
            mtu=st.sampled_from((None, 1400)),
        ),
        max_size=3,
        unique_by=slot_of,
    ).map(tuple),
)
"""Addresses, ours and others', and defaults of main that a former agent put there."""
