"""Host routes of main that keep a tunnel on an uplink, and the rules that free it while that uplink is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.core.pins import PREF_FREED, PREF_MOVED, RULES_MAX, Shunned, pinned
from failover.core.plan import Desired, goto_target, plan
from failover.facts import PINS_MAX, Address, Facts, Pin, Rule
from failover.model import FAMILIES, Family
from failover.picture import Packet

from .box import Box
from .worlds import MASK, V4, V6, decide, facts_of, uplink, way

INTERNET = "198.51.100.9"
SERVER = {V4: "203.0.113.9", V6: "2001:db8:ffff::9"}
A = uplink("a", 2, way(2), way(2, V6), addresses=["10.0.2.2", "2001:db8:2::2"])
B = uplink("b", 3, way(3), way(3, V6), addresses=["10.0.3.2", "2001:db8:3::2"])


def facts(*pins: Pin) -> Facts:
    held = tuple(
        Address(u.index or 0, Family.of(a), a, 24 if "." in a else 64)
        for u in (A, B)
        for f in FAMILIES
        for a in u.paths[f].addresses
    )
    return replace(facts_of((A, B)), pins=pins, addresses=held)


def planned(*pins: Pin, shunned: Shunned = ()) -> Desired:
    will = decide("b", "b", "a") | decide("b", "b", "a", family=V6)
    return plan((A, B), will, facts(*pins), MASK, shunned=shunned)


def pin_rules(desired: Desired) -> list[Rule]:
    return [rule for rule in desired.rules if rule.priority in (PREF_FREED, PREF_MOVED)]


@pytest.mark.parametrize(
    ("destination", "interface", "found"),
    [
        ("203.0.113.9", 2, ["a"]),
        ("2001:db8:ffff::9", 3, ["b"]),
        ("203.0.113.9", 4, []),
        ("10.0.2.9", 2, []),
        ("192.168.1.1", 2, []),
        ("100.64.0.53", 2, []),
        ("fd00::53", 2, []),
        ("2001:db8:2::53", 2, []),
    ],
)
def test_a_pin_leads_to_the_internet_by_an_uplink(destination: str, interface: int, found: list[str]) -> None:
    """Not to the carrier's name server, the router, or a client of the LAN."""
    family = Family.of(destination)
    pins = pinned(family, facts(Pin(family, destination, interface)), (A, B))
    assert [uplink.name for _, uplink in pins] == found


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_pinned_to_a_lost_uplink_goes_past_main(family: Family) -> None:
    rule, moved = pin_rules(planned(Pin(family, SERVER[family], 2), shunned={(family, "a")}))
    assert (rule.family, rule.source, rule.destination) == (family, None, f"{SERVER[family]}/{family.bits}")
    assert rule.priority < moved.priority, "what says less needs a pref of its own"
    assert goto_target(rule) == 15510, "all that comes after main's rule is asked, in order"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_has_another_uplinks_address_goes_past_main_at_any_time(family: Family) -> None:
    """A tunnel that was moved stays; nobody sends by one uplink with the address of another."""
    (rule,) = pin_rules(planned(Pin(family, SERVER[family], 2)))
    assert rule.source == f"{B.paths[family].addresses[0]}/{family.bits}"


def test_the_rules_are_bounded_and_those_left_out_are_told_of() -> None:
    pins = [Pin(V4, f"203.0.{number >> 8}.{number & 255}", 2) for number in range(PINS_MAX + 1)]
    desired = planned(*pins, Pin(V6, SERVER[V6], 2))
    assert len(pin_rules(desired)) == RULES_MAX + 1
    assert [text for text in desired.warnings if "host routes" in text] == [
        "ipv4: 64 rules are in front of the host routes of main: those of more, as of VPNs, stay on lost uplinks",
        "table main has more than 256 host routes: the others, as of VPNs, stay on uplinks that are lost",
    ]
    assert not any("host routes" in text for text in planned(*pins[:9]).warnings)


def test_those_of_a_lost_uplink_come_first() -> None:
    pins = [Pin(V4, f"203.0.112.{number}", 3) for number in range(RULES_MAX)]
    rules = pin_rules(planned(*pins, Pin(V4, SERVER[V4], 2), shunned={(V4, "a")}))
    assert rules[0].destination == f"{SERVER[V4]}/32"


def freed(box: Box) -> bool:
    """Whether everything that is for the server goes past main."""
    return any(rule.priority == PREF_FREED for rule in box.facts.rules)


def test_it_is_freed_at_the_conviction_and_let_go_after_the_hold_down() -> None:
    box = Box("a", "b")
    box.facts = replace(box.facts, pins=(Pin(V4, SERVER[V4], 2),))
    box.run(20)
    assert not freed(box)
    box.weather["a"] = lambda *_: None
    box.run(21)
    assert not freed(box), "a doubt moves no tunnel"
    box.run(25)
    assert freed(box)
    del box.weather["a"]
    box.run(60)
    assert freed(box), "it answers, and owes its hold-down"
    box.run(140)
    assert not freed(box)


def test_it_is_freed_of_a_standby_too() -> None:
    box = Box("a", "b")
    box.facts = replace(box.facts, pins=(Pin(V4, SERVER[V4], 3),))
    box.weather["b"] = lambda now, _: None if now > 20 else 0.05
    box.run(100)
    assert freed(box)


def test_nothing_is_freed_where_there_is_no_better_way() -> None:
    box = Box("a", "b")
    box.facts = replace(box.facts, pins=(Pin(V4, SERVER[V4], 2),))
    box.weather |= {name: lambda now, _: None if now > 20 else 0.05 for name in "ab"}
    box.run(100)
    assert not freed(box)


def test_explain_tells_of_it() -> None:
    box = Box("a", "b")
    box.facts = replace(box.facts, pins=(Pin(V4, SERVER[V4], 3),))
    box.weather["b"] = lambda now, _: None if now > 20 else 0.05
    told = []
    for moment in (20, 40):
        found = next(one for one in box.run(moment).engine.explain(moment) if one.family is V4)
        assert found.way is not None
        ways = [found.way(Packet(to)) for to in (SERVER[V4], INTERNET)]
        told.append([(way.uplink, way.text) for way in ways])
    pinned_to_b = "a host route of main leads there by b, as long as that is not lost"
    usual = ("a", told[1][1][1])
    assert told == [[("b", pinned_to_b), usual], [usual, usual]]
    assert usual[1].startswith("no rule of the config is about it: by a")
