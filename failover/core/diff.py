"""Actual -> desired as ordered operations, inside our ownership only.

Pure. What is added comes before what is deleted, tables before the rules that point to them, and what another program
put into our tables or prefs is never written over: the plan warns of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from failover.core.bearers import Served
from failover.core.plan import PREF_SPECIFIC, Desired, ours
from failover.facts import TABLE_MAIN, TABLES_OWNED, Address, Facts, Operation, Route, RouteKind, Rule, Sysctl, Verb
from failover.model import Family

Key = tuple[Family, int, int]
EXPIRY_SLACK: Final = 1.5
"""Seconds: netlink takes lifetimes in whole seconds, and two dumps are not of one instant."""
EXPIRY_LAG: Final = 0.25
"""Share of the lifetime by which our copy may fall behind a renewed original before it is written again."""


def diff(facts: Facts, desired: Desired) -> tuple[Operation, ...]:
    """The operations that turn the kernel's state into `desired`; none when it is there already.

    At no point between them does a family lose its default or a table its floor, nor is a copy missing. A switch is one
    REPLACE, the first of all; only the rule for specific routes, where it is missing, comes before it: behind a kill
    switch the kernel would not find the gateway. Bearers are served after that, and sysctls after all that is added:
    each costs a durable write.
    """
    upserts, stale = _routes(facts, desired)
    have = [rule for rule in facts.rules if ours(rule)]
    wanted, held = set(desired.rules), set(have)
    missing = sorted((r for r in dict.fromkeys(desired.rules) if r not in held), key=lambda rule: rule.priority)
    first = [rule for rule in missing if rule.priority == PREF_SPECIFIC]
    return (
        *(Operation(Verb.ADD, rule) for rule in first),
        *sorted(upserts, key=lambda operation: not is_switch(operation)),
        *(Operation(Verb.ADD, rule) for rule in missing if rule not in first),
        *_bearers(facts, desired.bearers),
        *_sysctls(facts, desired.sysctls),
        *_deletions([rule for rule in have if rule not in wanted], stale),
    )


def removal(facts: Facts) -> tuple[Operation, ...]:
    """The operations that delete all routes, rules and addresses of ours and nothing else; sysctls are the state file's
    affair."""
    rules, routes = [rule for rule in facts.rules if ours(rule)], [route for route in facts.routes if ours(route)]
    return (*_deletions(rules, routes), *(Operation(Verb.DELETE, held) for held in facts.addresses if ours(held)))


def _bearers(facts: Facts, wanted: Served) -> Iterator[Operation]:
    """What is out of date goes first: of two addresses in one network the second would go with the first, and in main
    no route is replaced, as that might hit another's. An address that somebody else has put there serves as well."""
    up = {link.index for link in facts.links if link.up}
    yield from (Operation(Verb.SET, link) for link in wanted.links if link.index not in up)
    held = [route for route in facts.routes if route.table == TABLE_MAIN and ours(route)]
    true = {want: have for want in wanted.routes for have in held if _key(have) == _key(want) and _same(have, want)}
    yield from (Operation(Verb.DELETE, have) for have in held if have not in true.values())
    places = {_place(want) for want in wanted.addresses}
    stale = [have for have in facts.addresses if ours(have) and _place(have) not in places]
    yield from (Operation(Verb.DELETE, have) for have in stale)
    there = {_place(have)[:2] for have in facts.addresses if have not in stale}
    yield from (Operation(Verb.ADD, want) for want in wanted.addresses if _place(want)[:2] not in there)
    yield from (Operation(Verb.ADD, want) for want in wanted.routes if want not in true)


def _place(address: Address) -> tuple[int, str, int]:
    return address.index, address.address, address.prefix_length


def _routes(facts: Facts, desired: Desired) -> tuple[list[Operation], list[Route]]:
    """Routes to write, in the order of `desired`, and those of ours to delete."""
    stale: dict[Key, list[Route]] = {}
    for route in facts.routes:
        if ours(route) and route.table in TABLES_OWNED:
            stale.setdefault(_key(route), []).append(route)
    taken = {_key(route) for route in facts.routes if route.table in TABLES_OWNED and not ours(route)}
    upserts = []
    for want in desired.routes:
        have = stale.pop(_key(want), [])
        true = next((route for route in have if _same(route, want)), None)
        if true is not None:
            stale[_key(want)] = [route for route in have if route is not true]
        elif _key(want) in taken:
            stale[_key(want)] = have
        else:
            upserts.append(Operation(Verb.REPLACE if have else Verb.ADD, want))
    return upserts, [route for routes in stale.values() for route in routes]


def _key(route: Route) -> Key:
    """What the kernel holds to be the same route on replace, of two defaults. It spells IPv6's metric 0 as 1024."""
    metric = 1024 if route.family is Family.IPV6 and route.metric == 0 else route.metric
    return route.family, route.table, metric


def _same(have: Route, want: Route) -> bool:
    """Whether two routes with one key do the same."""
    return have == want or (_way(have) == _way(want) and _lasts(have.expires, want.expires))


def _way(route: Route) -> tuple[object, ...]:
    """All but the key and the lifetime, in the kernel's spelling: a floor has no way out (IPv6 hangs it on lo), 0 is
    unset."""
    out = (route.interface, route.gateway) if route.kind is RouteKind.UNICAST else ()
    metrics = (route.mtu or None, route.advmss or None, route.hoplimit or None)
    return route.kind, out, metrics, route.source, route.onlink, route.protocol


def _lasts(have: float | None, want: float | None) -> bool:
    """Whether a copy's lifetime follows the original's: never much longer, and renewed well before it ends."""
    if have is None or want is None:
        return have is want
    return want - max(EXPIRY_SLACK, EXPIRY_LAG * want) <= have <= want + EXPIRY_SLACK


def is_switch(operation: Operation) -> bool:
    """Whether it sets the way of new flows."""
    return isinstance(operation.item, Route) and operation.item.leads


def _sysctls(facts: Facts, wanted: Iterable[Sysctl]) -> list[Operation]:
    """Only those that the kernel has: without IPv6 there is nothing to set."""
    values = {sysctl.path: sysctl.value for sysctl in facts.sysctls}
    return [Operation(Verb.SET, want) for want in wanted if values.get(want.path, want.value) != want.value]


def _deletions(rules: Iterable[Rule], routes: Iterable[Route]) -> tuple[Operation, ...]:
    """Rules before the routes they point to and the catch-all ones first, so that nothing falls into the LAN's gap;
    a table's floor last."""
    downwards = sorted(rules, key=lambda rule: -rule.priority)
    floors_last = sorted(routes, key=lambda route: route.kind is not RouteKind.UNICAST)
    return (
        *(Operation(Verb.DELETE, rule) for rule in downwards),
        *(Operation(Verb.DELETE, route) for route in floors_last),
    )
