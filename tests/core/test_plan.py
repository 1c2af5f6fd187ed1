from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.core.plan import Desired, mark_of, ours, plan
from failover.core.steering import FRA_GOTO
from failover.core.uplinks import Uplink
from failover.facts import Facts, Route, RouteKind, Rule, RuleAction, Sysctl
from failover.model import FAMILIES, Decision, Family

from .worlds import FOREIGN, KERNEL_RULES, MASK, V4, V6, decide, decisions, facts_of, goto, uplink, uplink_lists, way

A = uplink("a", 2, way(2), addresses=["10.0.2.2"])
B = uplink("b", 3, way(3), addresses=["10.0.3.2"])
FLOOR = RouteKind.UNREACHABLE


def wanted(*uplinks: Uplink, active: str = "a", rules: tuple[Rule, ...] = ()) -> Desired:
    order = tuple(u.name for u in uplinks if u.paths[V4].route)
    return plan(uplinks, decide(active, *order), facts_of(uplinks, *rules), MASK)


def table(desired: Desired, number: int, family: Family = V4) -> list[tuple[int, int | None]]:
    """(metric, interface) of one table, sorted."""
    return sorted((r.metric, r.interface) for r in desired.routes if r.table == number and r.family is family)


def copies(desired: Desired) -> list[Rule]:
    return [rule for rule in desired.rules if 15530 <= rule.priority < 15548]


def foreign(priority: int, **fields: object) -> Rule:
    return replace(Rule(V4, priority, protocol=3), **fields)  # type: ignore[arg-type]


def test_two_uplinks_in_one_family_are_laid_out_as_designed() -> None:
    desired = wanted(A, B)
    assert table(desired, 15500) == [(1, 2), (101, 2), (102, 3)]
    assert table(desired, 15590) == [(1, 2), (101, 2), (102, 3)]
    assert table(desired, 15501) == [(1, 2), (0xFFFFFFFF, None)]
    assert table(desired, 15502) == [(1, 3), (0xFFFFFFFF, None)]
    assert {r.kind for r in desired.routes if r.metric == 0xFFFFFFFF} == {FLOOR}
    assert desired.rules == (
        Rule(V4, 15500, RuleAction.NOP),
        Rule(V4, 15503, table=254, suppress_prefix_length=0, fwmark=1, fwmask=0),
        Rule(V4, 15510, table=15501, source="10.0.2.2/32"),
        Rule(V4, 15510, table=15502, source="10.0.3.2/32"),
        Rule(V4, 15520, table=15501, fwmark=0x01000000, fwmask=MASK),
        Rule(V4, 15520, table=15502, fwmark=0x02000000, fwmask=MASK),
        Rule(V4, 15587, table=15500, iif="lo"),
        Rule(V4, 15590, table=15590),
    )
    assert all(map(ours, desired.routes))
    assert all(map(ours, desired.rules))


def test_in_doubt_only_the_first_route_of_the_active_table_differs() -> None:
    facts = facts_of((A, B))
    before = plan((A, B), decide("a", "a", "b"), facts, MASK)
    doubt = plan((A, B), decide("b", "a", "b", settled="a"), facts, MASK)
    assert set(doubt.routes) - set(before.routes) == {way(3, table=15500, metric=1, protocol=155, onlink=True)}
    assert doubt.rules == before.rules


def test_a_copy_keeps_what_the_original_says() -> None:
    told = way(2, V6, source="2001:db8::2", onlink=True, mtu=1400, advmss=1340, hoplimit=64, expires=1799.2, dead=True)
    desired = plan([uplink("a", 2, told)], decide("a", family=V6), Facts(), MASK)
    copy = next(r for r in desired.routes if r.table == 15501 and r.kind is RouteKind.UNICAST)
    assert copy == replace(told, table=15501, metric=1, protocol=155, expires=1800.0)
    assert not copy.dead
    assert desired.refresh_after == pytest.approx(600)


def test_raw_ip_has_no_gateway() -> None:
    desired = wanted(uplink("a", 2, way(2, gateway=None)))
    assert [(r.gateway, r.onlink) for r in desired.routes if r.interface] == [(None, False)] * 5


@pytest.mark.parametrize("strictness", ["0", "1", "2"])
def test_a_refusal_before_ours_that_silences_the_probes_is_told(strictness: str) -> None:
    sysctls = [Sysctl("net/ipv4/conf/wana/rp_filter", strictness)]
    kill = foreign(15499, action=RuleAction.PROHIBIT, invert=True, fwmark=0xCA6C, fwmask=0xFFFFFFFF)
    for rule, told in ((kill, strictness != "0"), (replace(kill, priority=30000), False)):
        warnings = plan((A,), decide("a", "a"), facts_of((A,), rule, sysctls=sysctls), MASK).warnings
        assert [warning.split(":")[0] for warning in warnings] == ["ipv4 rule 15499 is before ours and refuses"] * told


@pytest.mark.parametrize(
    ("told", "onlink"),
    [(way(2), True), (way(2, gateway="fe80::1"), False), (way(2, V6), False), (way(2, V6, onlink=True), True)],
)
def test_no_rule_is_asked_for_an_ipv4_gateway(told: Route, onlink: bool) -> None:
    desired = plan([uplink("a", 2, told)], decide("a", family=told.family), Facts(), MASK)
    assert {r.onlink for r in desired.routes if r.interface} == {onlink}


def test_without_any_default_there_is_nothing_to_say() -> None:
    bare = uplink("a", 2, addresses=["10.0.2.2"])
    desired = wanted(bare, rules=(foreign(20000, table=100),))
    assert (desired.routes, desired.rules) == ((), ())


def test_the_families_are_planned_apart() -> None:
    desired = wanted(A, uplink("b", 3, way(3, V6), addresses=["10.0.3.2", "2001:db8:3::2"]))
    assert {r.table for r in desired.routes if r.family is V4} == {15500, 15590, 15501}
    assert {r.table for r in desired.routes if r.family is V6} == {15500, 15590, 15502}
    assert {r.source for r in desired.rules if r.family is V6 and r.source} == {"2001:db8:3::2/128"}


def test_ipv6_is_refused_by_rules_and_no_route_stands_in_for_a_router_that_is_silent() -> None:
    """A floor in the table would be taken for the better way (find_rr_leaf, net/ipv6/route.c)."""
    six = uplink("a", 2, way(2, V6), addresses=["2001:db8:2::2"])
    desired = wanted(six)
    assert table(desired, 15501, V6) == [(1, 2)]
    assert desired.rules[2:6] == (
        Rule(V6, 15510, table=15501, source="2001:db8:2::2/128"),
        Rule(V6, 15511, RuleAction.UNREACHABLE, source="2001:db8:2::2/128"),
        Rule(V6, 15520, table=15501, fwmark=0x01000000, fwmask=MASK),
        Rule(V6, 15521, RuleAction.UNREACHABLE, fwmark=0x01000000, fwmask=MASK),
    )


def test_a_family_without_a_decision_takes_the_given_order() -> None:
    desired = plan((B, A), {}, facts_of((A, B)), MASK)
    assert table(desired, 15500) == [(101, 3), (102, 2)]


def test_a_lan_port_with_an_address_but_no_default_of_its_own_gets_no_rule() -> None:
    desired = wanted(A, uplink("b", 3, way(3, V6), addresses=["192.168.8.2"]))
    assert [r.source for r in desired.rules if r.family is V4 and r.source] == ["10.0.2.2/32"]
    assert table(desired, 15502) == []


def test_an_uplink_that_lost_its_default_keeps_its_rules_and_its_floor() -> None:
    gone = uplink("b", 3, addresses=["10.0.3.2"])
    before = wanted(A, B)
    facts = Facts(rules=(*KERNEL_RULES, *before.rules))
    desired = plan((A, gone), decide("a", "a"), facts, MASK)
    assert desired.rules == before.rules
    assert table(desired, 15502) == [(0xFFFFFFFF, None)]
    assert table(desired, 15500) == [(1, 2), (101, 2)]


def test_a_shared_address_gets_no_rule_and_the_reverse_path_check_is_loosened_where_it_is_on() -> None:
    a = uplink("a", 2, way(2), addresses=["192.168.8.100", "10.9.9.9"])
    b = uplink("b", 3, way(3), addresses=["192.168.8.100"])
    values = {"all": "0", "wana": "1", "wanb": "0"}
    sysctls = [Sysctl(f"net/ipv4/conf/{name}/rp_filter", value) for name, value in values.items()]
    desired = plan((a, b), decide("a", "a", "b"), facts_of((a, b), sysctls=sysctls), MASK)
    assert [r.source for r in desired.rules if r.source] == ["10.9.9.9/32"]
    told = "a and b hold the same address 192.168.8.100: their open flows move with each switch"
    assert desired.warnings == (told,)
    assert [s for s in desired.sysctls if "rp_filter" in s.path] == [Sysctl("net/ipv4/conf/wana/rp_filter", "2")]
    strict = [Sysctl("net/ipv4/conf/all/rp_filter", "1")]
    desired = plan((a, b), decide("a", "a", "b"), facts_of((a, b), sysctls=strict), MASK)
    assert [s.path.split("/")[3] for s in desired.sysctls if "rp_filter" in s.path] == ["wana", "wanb"]


@pytest.mark.parametrize(
    ("rule", "loosened"),
    [
        (foreign(15499, table=51820, invert=True, fwmark=0xCA6C, fwmask=0xFFFFFFFF), True),
        (foreign(5270, table=52), True),
        (foreign(15498, table=254, suppress_prefix_length=0), False),
        (foreign(5210, table=52, fwmark=0x80000, fwmask=0xFF0000), False),
        (foreign(100, table=7, source="192.168.0.0/16"), False),
        (foreign(100, table=7, iif="br0"), False),
        (foreign(0, table=255), False),
        (foreign(32765, table=51820), False),
        (foreign(15499, table=51820, family=V6), False),
    ],
)
def test_the_reverse_path_check_is_loosened_where_a_tunnel_stands_before_ours(rule: Rule, loosened: bool) -> None:
    strict = [Sysctl("net/ipv4/conf/all/rp_filter", "1")]
    for sysctls in (strict, []):
        desired = plan((A, B), decide("a", "a", "b"), facts_of((A, B), rule, sysctls=sysctls), MASK)
        found = [s.path.split("/")[3] for s in desired.sysctls if "rp_filter" in s.path]
        assert found == (["wana", "wanb"] if loosened and sysctls else [])


def test_the_same_address_in_the_other_family_is_not_shared() -> None:
    assert len([r for r in wanted(A, B).rules if r.source]) == 2
    assert wanted(A, B).warnings == ()


def test_each_uplink_that_is_present_passes_over_dead_routes() -> None:
    paths = [s.path for s in wanted(A, uplink("b", None)).sysctls]
    assert paths == [f"net/{family}/conf/wana/ignore_routes_with_linkdown" for family in ("ipv4", "ipv6")]


def test_marks_count_from_one_inside_the_mask() -> None:
    assert [mark_of(slot, MASK) for slot in (0, 1, 62)] == [0x01000000, 0x02000000, 0x3F000000]
    assert mark_of(4, 0xFF) == 5


WG = (
    foreign(32764, table=254, suppress_prefix_length=0),
    foreign(32765, table=51820, invert=True, fwmark=0xCA6C, fwmask=0xFFFFFFFF),
)


def test_foreign_rules_are_copied_verbatim_in_order() -> None:
    uid = foreign(20000, table=7, extra=((20, b"\x01\0\0\0\x02\0\0\0"),))
    kill = foreign(32765, action=RuleAction.PROHIBIT)
    desired = wanted(A, rules=(*WG, kill, uid, foreign(15599, table=9), foreign(10, table=9), foreign(32768, table=9)))
    expected = [replace(r, priority=15530 + i, protocol=155) for i, r in enumerate((uid, *WG, kill))]
    assert copies(desired) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rules_of_others_come_before_those_for_open_flows(family: Family) -> None:
    """But for IPv4's own lookups of the reverse path."""
    both = uplink("a", 2, way(2), way(2, V6), addresses=["10.0.2.2", "2001:db8:2::2"])
    desired = wanted(both, rules=(foreign(30000, family=family, action=RuleAction.PROHIBIT),))
    found = [(r.priority, bool(r.extra)) for r in desired.rules if r.family is family and r.source]
    assert found == ([(15505, True), (15585, False)] if family is V4 else [(15585, False), (15586, False)])
    others = [r.priority for r in desired.rules if r.family is not family and r.source]
    assert others == ([15510, 15511] if family is V4 else [15510])
    guard = next((r for r in desired.rules if r.extra), None)
    assert guard is None or guard.extra == ((20, b"\0" * 8),)


def test_a_rule_with_our_tag_outside_our_prefs_is_not_ours() -> None:
    stranger = foreign(20000, table=7, protocol=155)
    assert copies(wanted(A, rules=(stranger,))) == [replace(stranger, priority=15530)]


def test_plain_lookups_are_not_copied_and_nothing_behind_main_is() -> None:
    rules = (foreign(20000, table=253), foreign(20001, table=7), foreign(20002, table=254), foreign(20003, table=8))
    assert [r.table for r in copies(wanted(A, rules=rules))] == [7]


def test_a_selected_lookup_of_main_goes_where_everything_else_goes() -> None:
    rules = (foreign(20000, table=254, fwmark=1, fwmask=1), foreign(20003, action=RuleAction.PROHIBIT))
    first, second = copies(wanted(A, rules=rules))
    assert (first.action, first.table, first.fwmark, target(first)) == (RuleAction.GOTO, 0, 1, 15587)
    assert second == replace(rules[1], priority=15531, protocol=155)
    partial = foreign(20000, table=254, fwmark=1, fwmask=1, extra=((13, b"\5\0\0\0"),))
    assert copies(wanted(A, rules=(partial,))) == [replace(partial, priority=15530, protocol=155)]


def target(rule: Rule) -> int:
    return int(struct.unpack("=I", dict(rule.extra)[FRA_GOTO])[0])


@pytest.mark.parametrize(
    ("aim", "landing"),
    [
        (20002, 15532),
        (20001, 15531),
        (20003, 15587),
        (32766, 15587),
        (32767, 32767),
        (20009, 20009),
    ],
    ids=["copy", "next", "plain main", "main", "behind main", "nothing there"],
)
def test_a_goto_lands_where_its_original_does(aim: int, landing: int) -> None:
    rules = (foreign(20001, table=7), foreign(20002, table=8), foreign(20003, table=254))
    found = copies(wanted(A, rules=(goto(20000, aim, fwmark=1), *rules)))
    assert [target(r) for r in found if r.action is RuleAction.GOTO] == [landing]
    assert found[0].fwmark == 1


def test_a_goto_over_a_plain_lookup_of_default_lands_behind_it() -> None:
    rules = (goto(20000, 20001), foreign(20001, table=253), foreign(20002, table=8))
    assert target(copies(wanted(A, rules=rules))[0]) == 15531


def test_more_foreign_rules_than_places_share_the_last_pref_in_order_and_are_told() -> None:
    rules = [foreign(20000 + i, table=1000 + i) for i in range(60)]
    desired = wanted(A, rules=(goto(19000, 20058), goto(19001, 20010), *rules))
    found = copies(desired)
    assert [r.table for r in found if r.table] == [1000 + i for i in range(60)]
    assert [r.priority for r in found] == [*range(15530, 15547), *([15547] * 45)]
    assert [target(r) for r in found[:2]] == [20058, 15542]
    assert desired.warnings == (
        "62 ipv4 foreign rules between ours and main, 18 places for copies: the last share one pref",
    )
    assert wanted(A, rules=tuple(rules[:18])).warnings == ()


def test_a_foreign_route_or_rule_among_ours_is_told_and_the_plan_stays_the_same() -> None:
    others = Route(V4, 15500, 0, interface=9, protocol=3), Rule(V4, 15587, table=9, iif="lo", protocol=4)
    before = facts_of((A,))
    after = replace(before, routes=(*before.routes, others[0]), rules=(*before.rules, others[1]))
    usual, found = (plan((A,), decide("a", "a"), facts, MASK) for facts in (before, after))
    assert found.warnings == (
        "a foreign ipv4 default route, metric 0, table 15500 (protocol 3) stands among ours and may divert traffic; "
        "it is left alone",
        "a foreign ipv4 rule 15587 (protocol 4) stands among ours and may divert traffic; it is left alone",
    )
    assert replace(found, warnings=()) == usual


@given(st.data())
def test_what_is_planned_is_ours_and_no_two_of_it_collide(data: st.DataObject) -> None:
    uplinks = data.draw(uplink_lists())
    facts = facts_of(uplinks, *data.draw(st.lists(FOREIGN, max_size=6)))
    desired = plan(uplinks, data.draw(decisions(uplinks)), facts, MASK)
    assert all(map(ours, desired.routes))
    assert all(map(ours, desired.rules))
    assert len({(r.family, r.table, r.metric) for r in desired.routes}) == len(desired.routes)
    assert len(set(desired.rules)) == len(desired.rules)
    for rule in desired.rules:
        if rule.table in range(15501, 15590):
            held = [r for r in desired.routes if r.table == rule.table and r.family is rule.family]
            assert len(held) <= 2
            assert (FLOOR in {r.kind for r in held}) == (rule.family is V4)
            floor = replace(rule, priority=rule.priority + 1, action=RuleAction.UNREACHABLE, table=0)
            assert (floor in desired.rules) == (rule.family is V6)


@given(st.data())
def test_a_plan_made_over_its_own_result_is_the_same(data: st.DataObject) -> None:
    uplinks = data.draw(uplink_lists())
    will: dict[Family, Decision] = data.draw(decisions(uplinks))
    facts = facts_of(uplinks, *data.draw(st.lists(FOREIGN, max_size=6)))
    once = plan(uplinks, will, facts, MASK)
    settled = replace(facts, routes=(*facts.routes, *once.routes), rules=(*facts.rules, *once.rules))
    assert plan(uplinks, will, settled, MASK) == once
