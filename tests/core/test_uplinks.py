"""Facts and config -> uplinks: who there is, in what order, in which slot, and with what way out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.config import Config, Metered
from failover.config import Uplink as Wanted
from failover.core.uplinks import SLOT_LIMIT, Uplink, resolve
from failover.facts import Address, Facts, Link, Route, RouteKind
from failover.model import Family

from .box import PINGS, ground
from .worlds import V4, V6, way

NONE: dict[str, int] = {}


def names(facts: Facts, config: Config | None = None, known: dict[str, int] | None = None) -> list[str]:
    return [uplink.name for uplink in resolve(facts, config or Config(), known or NONE)]


def slots(facts: Facts, known: dict[str, int], config: Config | None = None) -> dict[str, int]:
    return {uplink.name: uplink.slot for uplink in resolve(facts, config or Config(), known)}


def main(index: int, metric: int, family: Family = V4, **fields: object) -> Route:
    return replace(way(index, family, metric=metric), **fields)  # type: ignore[arg-type]


def with_routes(facts: Facts, *routes: Route) -> Facts:
    return replace(facts, routes=routes)


def one(facts: Facts, name: str = "a") -> Uplink:
    return next(uplink for uplink in resolve(facts, Config(), {"a": 0}) if uplink.name == name)


# --- discovery -------------------------------------------------------------------------------------------------------


def test_discovered_in_the_order_of_their_metrics() -> None:
    facts = with_routes(ground("abc"), main(2, 300), main(3, 100), main(4, 200))
    assert names(facts) == ["b", "c", "a"]


def test_over_both_families_the_better_metric_counts() -> None:
    facts = with_routes(ground("ab", (V4, V6)), main(2, 300), main(3, 200), main(2, 100, V6))
    assert names(facts) == ["a", "b"]
    assert {u.name: [f for f in (V4, V6) if not u.paths[f].fault] for u in resolve(facts, Config(), NONE)} == {
        "a": [V4, V6],
        "b": [V4],
    }


@pytest.mark.parametrize(
    "route",
    [
        main(4, 50, table=15500, protocol=155),
        main(4, 50, kind=RouteKind.UNREACHABLE),
        main(4, 50, interface=None),
        main(4, 50, interface=99),
        main(4, 50, expires=0.0),
        main(4, 50, expires=-3.0),
    ],
)
def test_what_is_no_default_of_main_that_works_makes_no_uplink(route: Route) -> None:
    facts = ground("abc")
    assert names(with_routes(facts, main(2, 100), main(3, 200), route)) == ["a", "b"]


def test_no_uplink_at_all_is_a_normal_state() -> None:
    assert resolve(Facts(), Config(), NONE) == ()


def test_a_discovered_one_stays_listed_last_while_its_default_is_away() -> None:
    facts = with_routes(ground("abc"), main(4, 100))
    assert names(facts, known={"a": 0, "b": 1, "c": 2}) == ["c", "a", "b"]
    assert one(facts).paths[V4].fault == "no default route"


def test_there_are_never_more_than_there_are_slots() -> None:
    many = ground([f"ppp{n}" for n in range(80)])
    known = {f"old{n}": n for n in range(SLOT_LIMIT)}
    found = resolve(many, Config(), known)
    assert len(found) == SLOT_LIMIT
    assert all(uplink.name.startswith("ppp") for uplink in found), "those that are there go before those that were"
    assert len({uplink.slot for uplink in found}) == SLOT_LIMIT
    assert max(uplink.slot for uplink in found) < SLOT_LIMIT


# --- config ----------------------------------------------------------------------------------------------------------


def test_configured_in_the_order_of_the_config_whatever_the_metrics() -> None:
    config = Config(
        targets=PINGS,
        uplinks=(
            Wanted("depot", "b", carrier="wifi"),
            Wanted("au", "a", metered=Metered(), targets=PINGS[:1]),
            Wanted("gone", "z"),
        ),
    )
    depot, au, gone = resolve(ground("ab"), config, NONE)
    assert [(u.name, u.interface, u.index, u.slot) for u in (depot, au, gone)] == [
        ("depot", "b", 3, 0),
        ("au", "a", 2, 1),
        ("gone", "z", None, 2),
    ]
    assert (depot.carrier, depot.metered, depot.targets) == ("wifi", False, PINGS)
    assert (au.metered, au.targets) == (True, PINGS[:1])
    assert gone.paths[V4].fault == "no interface"


# --- slots -----------------------------------------------------------------------------------------------------------


def test_a_slot_is_kept_over_vanishing_and_returning_under_another_index() -> None:
    known = slots(ground("abc"), NONE)
    assert known == {"a": 0, "b": 1, "c": 2}
    gone = slots(ground("bc"), known)
    assert gone == {"a": 0, "b": 1, "c": 2}
    back = ground("xyzcab")
    assert {n: slots(back, gone)[n] for n in "abc"} == {"a": 0, "b": 1, "c": 2}


def test_after_a_restart_the_slot_is_found_in_the_kernel() -> None:
    facts = ground("abc")
    ours = [way(4, table=15501, metric=1, protocol=155), way(2, table=15507, metric=1, protocol=155)]
    assert slots(replace(facts, routes=(*facts.routes, *ours)), NONE) == {"a": 6, "b": 1, "c": 0}


def test_a_slot_found_in_the_kernel_does_not_oust_a_known_one() -> None:
    facts = ground("ab")
    ours = way(3, table=15501, metric=1, protocol=155)
    assert slots(replace(facts, routes=(*facts.routes, ours)), {"a": 0}) == {"a": 0, "b": 1}


def test_a_foreign_route_in_our_table_is_no_slot() -> None:
    facts = ground("ab")
    theirs = way(3, table=15509, metric=1, protocol=4)
    assert slots(replace(facts, routes=(*facts.routes, theirs)), NONE) == {"a": 0, "b": 1}


def test_a_new_uplink_takes_the_lowest_free_slot() -> None:
    config = Config(uplinks=tuple(Wanted(name, name) for name in "cad"))
    assert slots(ground("abcd"), {"a": 0, "b": 1, "c": 2}, config) == {"c": 2, "a": 0, "d": 1}


@given(st.lists(st.sets(st.sampled_from("abcdef")).map(sorted), max_size=8))
def test_slots_never_clash_and_never_move(history: list[list[str]]) -> None:
    known: dict[str, int] = {}
    for present in history:
        found = slots(ground(present), known)
        assert len(set(found.values())) == len(found)
        assert all(found[name] == slot for name, slot in known.items() if name in found)
        known = found


# --- ways out --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("links", "addresses", "routes", "fault", "certain"),
    [
        ([], [], [], "no interface", False),
        ([Link(2, "a", up=False, carrier=False)], ["10.0.2.2"], [main(2, 1)], "interface is down", False),
        ([Link(2, "a", up=True, carrier=True)], [], [main(2, 1)], "no address", False),
        ([Link(2, "a", up=True, carrier=True)], ["10.0.2.2"], [], "no default route", False),
        ([Link(2, "a", up=True, carrier=True)], ["10.0.2.2"], [main(3, 1)], "no default route", False),
        ([Link(2, "a", up=True, carrier=True)], ["10.0.2.2"], [main(2, 1, expires=0.0)], "no default route", False),
        ([Link(2, "a", up=True, carrier=False)], ["10.0.2.2"], [], "no default route", False),
        ([Link(2, "a", up=True, carrier=False)], ["10.0.2.2"], [main(2, 1)], "no carrier", True),
        ([Link(2, "a", up=True, carrier=True)], ["10.0.2.2"], [main(2, 1)], "", False),
        ([Link(2, "a", up=True, carrier=True)], ["10.0.2.2"], [main(2, 1, gateway=None)], "", False),
        ([Link(2, "a", up=True, carrier=True)], ["10.0.2.2"], [main(2, 1, gateway="fe80::1")], "", False),
        ([Link(2, "a", up=True, carrier=True)], ["10.0.2.2"], [main(2, 1, expires=9.5)], "", False),
    ],
)
def test_why_no_packet_can_leave(
    links: list[Link], addresses: list[str], routes: list[Route], fault: str, certain: bool
) -> None:
    held = tuple(Address(2, V4, address, 24) for address in addresses)
    path = one(Facts(links=tuple(links), addresses=held, routes=tuple(routes))).paths[V4]
    assert (path.fault, path.certain) == (fault, certain)


def test_the_way_is_the_default_with_the_best_metric_and_all_addresses_count() -> None:
    facts = with_routes(ground("a"), main(2, 9, gateway="10.0.2.9"), main(2, 5), main(2, 7, V6))
    more = Address(2, V4, "10.0.2.3", 24, usable=False)
    path = one(replace(facts, addresses=(*facts.addresses, more))).paths[V4]
    assert path.route == main(2, 5)
    assert path.addresses == ("10.0.2.2", "10.0.2.3")


def test_an_address_that_is_not_usable_yet_is_none() -> None:
    facts = ground("a")
    tentative = tuple(replace(address, usable=False) for address in facts.addresses)
    assert one(replace(facts, addresses=tentative)).paths[V4].fault == "no address"
