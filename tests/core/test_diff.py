from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.core.diff import diff, removal
from failover.core.plan import PREF_SPECIFIC, Desired, conflicts, ours, plan
from failover.facts import TABLE_MAIN, Address, Facts, Operation, Route, RouteKind, Rule, Sysctl, Verb
from failover.model import FAMILIES

from .worlds import (
    BEARERS_LEFT,
    FOREIGN,
    KERNEL_RULES,
    LINKS,
    LITTER,
    MASK,
    V4,
    V6,
    decide,
    decisions,
    facts_of,
    slot_of,
    step,
    steps,
    uplink,
    uplink_lists,
    way,
)

A = uplink("a", 2, way(2), way(2, V6), addresses=["10.0.2.2", "2001:db8:2::2"])
B = uplink("b", 3, way(3), way(3, V6), addresses=["10.0.3.2", "2001:db8:3::2"])
BOTH = facts_of((A, B))


def settle(facts: Facts, desired: Desired) -> Facts:
    return functools.reduce(step, diff(facts, desired), facts)


def choose(active: str, settled: str, *order: str) -> Desired:
    will = {**decide(active, *order, settled=settled), **decide(active, *order, settled=settled, family=V6)}
    return plan((A, B), will, BOTH, MASK)


AT_A, DOUBT = choose("a", "a", "a", "b"), choose("b", "a", "a", "b")
SETTLED = settle(BOTH, AT_A)


def route(metric: int = 1, table: int = 15500, **fields: object) -> Route:
    return replace(Route(V4, table, metric, interface=2, gateway="10.0.2.1"), **fields)  # type: ignore[arg-type]


def test_from_nothing_the_lan_comes_first_and_then_tables_before_the_rules_that_point_to_them() -> None:
    operations = diff(BOTH, AT_A)
    assert {o.verb for o in operations} == {Verb.ADD}
    assert [(o.item.family, o.item.priority) for o in operations[:2] if isinstance(o.item, Rule)] == [
        (V4, PREF_SPECIFIC),
        (V6, PREF_SPECIFIC),
    ]
    kinds = [type(o.item) for o in operations[2:]]
    assert kinds == sorted(kinds, key=lambda kind: kind is Rule)
    prefs = [o.item.priority for o in operations[2:] if isinstance(o.item, Rule)]
    assert prefs == sorted(prefs)


def test_a_switch_is_first_even_when_much_else_is_missing() -> None:
    rules = tuple(r for r in SETTLED.rules if not ours(r) or r.priority == PREF_SPECIFIC)
    operations = diff(replace(SETTLED, rules=rules), choose("b", "b", "b", "a"))
    assert [slot_of(o.item)[1:] for o in operations[:2] if isinstance(o.item, Route)] == [(15500, 1)] * 2


def test_what_is_there_needs_nothing() -> None:
    assert diff(SETTLED, AT_A) == ()


def test_a_doubt_is_one_replace_per_family() -> None:
    operations = diff(SETTLED, DOUBT)
    assert [(o.verb, slot_of(o.item)) for o in operations if isinstance(o.item, Route)] == [
        (Verb.REPLACE, (family, 15500, 1)) for family in FAMILIES
    ]
    assert len(operations) == 2


def test_a_conviction_switches_new_flows_first() -> None:
    operations = diff(SETTLED, choose("b", "b", "b", "a"))
    assert [slot_of(o.item)[1:] for o in operations[:2] if isinstance(o.item, Route)] == [(15500, 1)] * 2
    assert {o.verb for o in operations} == {Verb.REPLACE}
    assert len(operations) == 12


def test_a_route_that_the_kernel_flushed_is_added_again() -> None:
    flushed = replace(SETTLED, routes=tuple(r for r in SETTLED.routes if r.interface != 2 or not ours(r)))
    operations = diff(flushed, AT_A)
    assert {o.verb for o in operations} == {Verb.ADD}
    assert settle(flushed, AT_A).routes != flushed.routes
    assert diff(settle(flushed, AT_A), AT_A) == ()


def test_a_copy_that_follows_the_new_wish_is_added_before_the_old_one_goes() -> None:
    first, second, third = (Rule(V4, 20000 + i, table=7 + i, protocol=0) for i in range(3))
    will = decide("a", "a", "b")
    before = settle(facts_of((A, B), first, third), plan((A, B), will, facts_of((A, B), first, third), MASK))
    now = replace(before, rules=(*before.rules, second))
    operations = diff(now, plan((A, B), will, now, MASK))
    assert [(o.verb, o.item.priority, o.item.table) for o in operations if isinstance(o.item, Rule)] == [
        (Verb.ADD, 15531, 8),
        (Verb.ADD, 15532, 9),
        (Verb.DELETE, 15531, 9),
    ]


def test_rules_go_before_their_tables_and_the_lan_rule_last_of_them() -> None:
    operations = diff(SETTLED, Desired())
    rules = [o.item.priority for o in operations if isinstance(o.item, Rule)]
    assert rules == sorted(rules, reverse=True)
    assert all(isinstance(o.item, Rule) for o in operations[: len(rules)])
    kinds = [o.item.kind for o in operations if isinstance(o.item, Route)]
    assert kinds.index(RouteKind.UNREACHABLE) == len(kinds) - 2


@pytest.mark.parametrize("metric", [1, 102])
def test_a_foreign_route_in_our_way_is_left_alone_and_named(metric: int) -> None:
    foreign = route(metric, gateway="10.6.6.6", protocol=4)
    facts = replace(BOTH, routes=(*BOTH.routes, foreign))
    operations = diff(facts, AT_A)
    assert (V4, 15500, metric) not in [slot_of(o.item) for o in operations if isinstance(o.item, Route)]
    assert conflicts(facts) == (foreign,)
    assert conflicts(settle(facts, AT_A)) == (foreign,)
    assert diff(settle(facts, AT_A), AT_A) == ()


def test_beside_a_foreign_route_with_the_same_key_ours_is_kept_while_true_and_deleted_when_not() -> None:
    foreign = route(1, gateway="10.6.6.6", protocol=4)
    facts = replace(SETTLED, routes=(*SETTLED.routes, foreign))
    assert diff(facts, AT_A) == ()
    old = next(r for r in SETTLED.routes if slot_of(r) == (V4, 15500, 1))
    v4 = [o for o in diff(facts, DOUBT) if o.item.family is V4]  # type: ignore[union-attr]
    assert v4 == [Operation(Verb.DELETE, old)]


def test_a_foreign_rule_among_our_prefs_is_left_alone_and_named() -> None:
    foreign = Rule(V4, 15587, table=15500, iif="lo", protocol=0)
    facts = replace(BOTH, rules=(*BOTH.rules, foreign))
    assert conflicts(facts) == (foreign,)
    assert foreign in settle(facts, AT_A).rules
    assert replace(foreign, protocol=155) in settle(facts, AT_A).rules


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (
            route(kind=RouteKind.UNREACHABLE, interface=1, gateway=None),
            route(kind=RouteKind.UNREACHABLE, interface=None),
        ),
        (route(hoplimit=0, mtu=0, advmss=0), route()),
        (route(metric=1024, family=V6), route(metric=0, family=V6)),
        (route(dead=True), route()),
        (route(expires=1797.0), route(expires=1800.0)),
        (route(expires=1351.0), route(expires=1800.0)),
        (route(expires=1801.4), route(expires=1800.0)),
        (route(expires=2.6), route(expires=4.0)),
    ],
    ids=["floor on lo", "zeros", "metric 0", "dead", "counting down", "a quarter behind", "rounded up", "short"],
)
def test_the_kernels_own_spelling_is_no_difference(have: Route, want: Route) -> None:
    desired = Desired(routes=(replace(want, gateway=have.gateway),))
    assert diff(Facts(routes=(have,)), desired) == ()


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (route(gateway="10.0.2.9"), route()),
        (route(interface=9), route()),
        (route(source="10.0.2.7"), route()),
        (route(onlink=True), route()),
        (route(mtu=1400), route()),
        (route(), route(hoplimit=64)),
        (route(kind=RouteKind.BLACKHOLE), route()),
        (route(expires=1340.0), route(expires=1800.0)),
        (route(expires=40.0), route(expires=30.0)),
        (route(), route(expires=30.0)),
        (route(expires=30.0), route()),
        (route(expires=-3.0), route(expires=4.0)),
    ],
)
def test_a_difference_is_one_replace(have: Route, want: Route) -> None:
    assert diff(Facts(routes=(have,)), Desired(routes=(want,))) == (Operation(Verb.REPLACE, want),)


def test_the_copy_of_a_renewed_route_is_written_seldom_and_never_late() -> None:
    """A router that renews a lifetime of 30 s every 10 s; the agent reads when the plan says so."""
    told, copy_ends, writes, now = 30.0, 30.0, 0, 0.0
    while now < 600:
        renewed = now - now % 10 + told
        have, main = route(expires=copy_ends - now), way(2, V6, expires=renewed - now)
        desired = plan([uplink("a", 2, main)], decide("a", family=V6), Facts(), MASK)
        want = next(r for r in desired.routes if r.kind is RouteKind.UNICAST)
        have = replace(want, expires=copy_ends - now)
        if diff(Facts(routes=(have,)), Desired(routes=(want,))):
            copy_ends, writes = now + (want.expires or 0), writes + 1
        assert desired.refresh_after is not None
        now += desired.refresh_after
        assert now < copy_ends - 5
    assert 20 <= writes <= 80


def test_a_sysctl_is_set_once_and_only_where_the_kernel_has_it() -> None:
    off, on = Sysctl("net/ipv4/conf/wana/x", "0"), Sysctl("net/ipv4/conf/wana/x", "1")
    missing = Sysctl("net/ipv6/conf/wana/x", "1")
    assert diff(Facts(sysctls=(off,)), Desired(sysctls=(on, missing))) == (Operation(Verb.SET, on),)
    assert diff(Facts(sysctls=(on,)), Desired(sysctls=(on,))) == ()


def test_sysctls_wait_for_all_that_is_added_and_not_for_what_is_deleted() -> None:
    off, on = Sysctl("net/ipv4/conf/wana/x", "0"), Sysctl("net/ipv4/conf/wana/x", "1")
    mine = [rule for rule in SETTLED.rules if ours(rule)]
    gone, stray = mine[-1], replace(mine[-1], priority=15540)
    facts = replace(SETTLED, rules=(*(r for r in SETTLED.rules if r != gone), stray), sysctls=(off,))
    assert diff(facts, replace(AT_A, sysctls=(on,))) == (
        Operation(Verb.ADD, gone),
        Operation(Verb.SET, on),
        Operation(Verb.DELETE, stray),
    )


def test_removal_takes_all_that_is_ours_and_only_that() -> None:
    strangers = (
        Rule(V4, 15540, table=9, protocol=0),
        Rule(V4, 20000, table=15500, protocol=155),
    )
    foreign = (route(table=15500, metric=7, protocol=4), route(table=100, metric=7, protocol=155))
    facts = replace(SETTLED, rules=(*SETTLED.rules, *strangers), routes=(*SETTLED.routes, *foreign))
    left = functools.reduce(step, removal(facts), facts)
    assert set(left.rules) == {*KERNEL_RULES, *strangers}
    assert set(left.routes) == {*BOTH.routes, *foreign}
    assert removal(left) == ()


# --- properties ------------------------------------------------------------------------------------------------------


@st.composite
def changes(draw: st.DrawFn) -> tuple[Facts, Desired]:
    """A kernel with litter, another wish settled into it where that can be, and what is wished now."""
    uplinks, others = draw(uplink_lists()), draw(uplink_lists())
    before = facts_of(others, *draw(st.lists(FOREIGN, max_size=4, unique=True)))
    routes, rules = draw(LITTER)
    addresses, mains = draw(BEARERS_LEFT)
    routes = [*routes, *mains]
    facts = replace(before, routes=(*before.routes, *routes), rules=(*before.rules, *rules), addresses=addresses)
    facts = replace(facts, links=draw(LINKS))
    if draw(st.booleans()):
        facts = settle(facts, plan(others, draw(decisions(others)), facts, MASK))
    if draw(st.booleans()):
        gone = draw(st.integers(2, 30))
        facts = replace(facts, routes=tuple(r for r in facts.routes if r.interface != gone or not ours(r)))
    foreign = draw(st.lists(FOREIGN, max_size=4, unique=True))
    facts = replace(facts, rules=(*(r for r in facts.rules if ours(r) or r in KERNEL_RULES), *foreign))
    return facts, plan(uplinks, draw(decisions(uplinks)), facts, MASK)


def foreign_of(facts: Facts) -> tuple[list[Route], list[Rule], list[Address]]:
    return (
        [r for r in facts.routes if not ours(r)],
        [r for r in facts.rules if not ours(r)],
        [a for a in facts.addresses if not ours(a)],
    )


@given(changes())
def test_any_kernel_becomes_as_desired_and_nothing_foreign_changes(change: tuple[Facts, Desired]) -> None:
    facts, desired = change
    after = settle(facts, desired)
    assert foreign_of(after) == foreign_of(facts)
    assert {r for r in after.rules if ours(r)} == set(desired.rules)
    occupied = {slot_of(r) for r in facts.routes if not ours(r)}
    held = {slot_of(r): r for r in after.routes if ours(r)}
    assert held.keys() - occupied == {slot_of(r) for r in (*desired.routes, *desired.bearers.routes)} - occupied
    for want in desired.routes:
        if slot_of(want) not in occupied:
            assert replace(held[slot_of(want)], expires=None) == replace(want, expires=None)
    assert {r for r in after.routes if r.table == TABLE_MAIN and ours(r)} == set(desired.bearers.routes)


@given(changes())
def test_bearers_are_served_and_what_former_ones_left_is_gone(change: tuple[Facts, Desired]) -> None:
    facts, desired = change
    after = settle(facts, desired)
    wanted = desired.bearers.addresses
    assert {a for a in after.addresses if ours(a)} <= set(wanted)
    assert {(a.index, a.address) for a in wanted} <= {(a.index, a.address) for a in after.addresses}
    up = {link.index for link in desired.bearers.links}
    assert after.links == tuple(replace(link, up=True) if link.index in up else link for link in facts.links)


@given(changes())
def test_once_applied_nothing_is_left_to_do(change: tuple[Facts, Desired]) -> None:
    facts, desired = change
    assert diff(settle(facts, desired), desired) == ()


@given(changes())
def test_removal_from_any_kernel_leaves_exactly_what_is_foreign(change: tuple[Facts, Desired]) -> None:
    facts, _ = change
    left = functools.reduce(step, removal(facts), facts)
    assert (list(left.routes), list(left.rules), list(left.addresses)) == foreign_of(facts)


def kept_throughout(facts: Facts, desired: Desired, holds: Callable[[Facts], bool]) -> bool:
    """Whether what holds before and after holds at every step between."""
    states = list(steps(facts, diff(facts, desired)))
    return not (holds(states[0]) and holds(states[-1])) or all(holds(state) for state in states)


@given(changes(), st.sampled_from(FAMILIES), st.sampled_from((15500, 15590)))
def test_no_family_is_without_its_default_on_the_way(change: tuple[Facts, Desired], family: str, table: int) -> None:
    def reaches(facts: Facts) -> bool:
        way = any(r.family == family and r.table == table and r.kind is RouteKind.UNICAST for r in facts.routes)
        return way and any(r.family == family and r.table == table and ours(r) for r in facts.rules)

    assert kept_throughout(*change, reaches)


@given(changes())
def test_no_rule_of_ours_points_to_a_table_without_a_floor_on_the_way(change: tuple[Facts, Desired]) -> None:
    def floored(facts: Facts) -> bool:
        tables = {(r.family, r.table) for r in facts.rules if ours(r) and 15501 <= r.table < 15590}
        return tables <= {(r.family, r.table) for r in facts.routes if r.kind is not RouteKind.UNICAST}

    assert kept_throughout(*change, floored)


RULE_LISTS = st.lists(FOREIGN, max_size=6, unique=True)


@given(RULE_LISTS, RULE_LISTS, RULE_LISTS)
def test_no_copy_of_a_foreign_rule_is_missing_on_the_way(stay: list[Rule], go: list[Rule], come: list[Rule]) -> None:
    will = {**decide("a", "a", "b"), **decide("a", "a", "b", family=V6)}
    old, new = (facts_of((A, B), *dict.fromkeys(some)) for some in ((*stay, *go), (*come, *stay)))
    before = settle(old, plan((A, B), will, old, MASK))
    facts = replace(before, rules=(*new.rules, *(r for r in before.rules if ours(r))))
    desired = plan((A, B), will, facts, MASK)

    def said(rules: tuple[Rule, ...]) -> set[Rule]:
        return {replace(r, priority=0) for r in rules if ours(r) and 15530 <= r.priority < 15548}

    throughout = said(before.rules) & said(desired.rules)
    assert all(throughout <= said(state.rules) for state in steps(facts, diff(facts, desired)))


@given(changes())
def test_the_lan_comes_before_our_defaults_at_every_step(change: tuple[Facts, Desired]) -> None:
    def lan_first(facts: Facts) -> bool:
        catching = {r.family for r in facts.rules if ours(r) and r.table in (15500, 15590)}
        return catching <= {
            r.family for r in facts.rules if ours(r) and r.table == 254 and r.suppress_prefix_length == 0
        }

    assert kept_throughout(*change, lan_first)
