"""What becomes of the operator's rules as uplinks come and go, in virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.config import Config, Metered, Reconfigured
from failover.config import Uplink as Named
from failover.config.rules import AIMS_MAX, RULES_MAX, Aim, Match, TrafficRule, aims
from failover.core.plan import PREF_LAN, PREF_SETTLED, PREFS_COPY, plan
from failover.core.steering import (
    PREF_ACTIVE,
    PREF_SOURCE_LATE,
    PREF_SOURCE_LATE_FLOOR,
    PREF_UNMATCHED,
    PREFS_AIM,
    PREFS_MATCH,
    Course,
    Steered,
    selectors,
)
from failover.facts import PREFS_OWNED, Facts, RuleAction
from failover.model import FAMILIES, Drain, Family, NoticeKind, Undrain, Use
from failover.picture import Packet, Passage

from .box import PINGS, PINGS6, Box, dead
from .worlds import MASK, V4, V6, decide, facts_of, goto, uplink, way

NETS = ("198.51.100.0/24", "2001:db8:eeee::/48")
VIDEO = Match(to=NETS)
UPLINKS = (Named("a", "a"), Named("b", "b"), Named("c", "c", metered=Metered()))
Ends = tuple[str | None, str | None]


def aim(only: str = "", prefer: str = "", never: str = "", *, hold: bool = False) -> Aim:
    return Aim(frozenset(only), frozenset(prefer), frozenset(never.split()), hold)


def config(*wanted: Aim, **fields: object) -> Config:
    rules = tuple(TrafficRule(f"r{number}", VIDEO, one) for number, one in enumerate(wanted))
    made = Config(uplinks=UPLINKS, targets=(*PINGS, *PINGS6), rules=rules)
    return replace(made, **fields)  # type: ignore[arg-type]


def box(*wanted: Aim, until: float = 30.0, **weather: object) -> Box:
    made = Box("a", "b", "c", config=config(*wanted), families=FAMILIES)
    made.weather.update(weather)  # type: ignore[arg-type]
    return made.run(until)


def ends(box: Box, family: Family = V4, place: int = 0) -> Ends:
    """Where the kernel sends the aim's new flows and all else of it: a name, `common`, or None where it is refused."""
    tables = {15501 + view.slot: view.name for view in box.engine.snapshot().uplinks}
    here = {
        rule.priority - PREFS_AIM[place]: "common" if rule.action is RuleAction.GOTO else tables.get(rule.table)
        for rule in box.facts.rules
        if rule.family is family and rule.priority in (PREFS_AIM[place] + 1, PREFS_AIM[place] + 2)
    }
    return here.get(1, here[2]), here[2]


def said(box: Box) -> list[str]:
    return [notice.text for _, notice in box.notices if notice.text.startswith("rule ")]


# --- where it leads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("wanted", "led"),
    [
        (aim(only="b"), "b"),
        (aim(only="bc"), "b"),
        (aim(only="ab"), "a"),
        (aim(prefer="b"), "b"),
        (aim(prefer="bc"), "b"),
        (aim(never="metered"), "a"),
        (aim(never="a"), "b"),
        (aim(never="a b"), "c"),
        (aim(prefer="c", never="a"), "c"),
        (aim(only="ab", prefer="b"), "b"),
    ],
)
def test_while_all_is_well_a_rule_leads_to_what_it_says(wanted: Aim, led: str, family: Family) -> None:
    made = box(wanted, until=200.0)
    assert made.active(family) == "a"
    assert ends(made, family) == (led, led)


def test_a_doubt_takes_new_flows_alone_and_gives_them_back() -> None:
    made = box(aim(only="ac"), until=99.0, a=dead(100.0, 101.6))
    seen = [ends(made.run(100.0 + step / 10)) for step in range(200)]
    assert seen[0] == ("a", "a")
    assert ("c", "a") in seen
    assert ("c", "c") not in seen
    assert seen[-1] == ("a", "a")


def test_a_conviction_takes_all_and_the_hold_down_is_waited_for() -> None:
    made = box(aim(only="ac"), until=99.0, a=dead(100.0, 110.0))
    assert ends(made.run(104.0)) == ("c", "c")
    assert ends(made.run(160.0)) == ("c", "c")
    assert ends(made.run(260.0)) == ("a", "c"), "as with all else, what is forwarded stays"


@pytest.mark.parametrize(("hold", "led"), [(False, None), (True, "b")])
def test_when_nothing_allowed_is_up(hold: bool, led: str | None) -> None:
    made = box(aim(only="b", hold=hold), until=99.0)
    made.change("b", carrier=False)
    assert ends(made.run(100.0)) == (led, led)
    assert made.active() == "a"
    made.change("b", carrier=True)
    assert ends(made.run(110.0)) == ("b", "b")


def test_what_prefers_falls_back_to_any_and_to_the_common_way_when_all_are_lost() -> None:
    made = box(aim(prefer="b"), until=200.0)
    made.change("b", carrier=False)
    assert ends(made.run(201.0)) == ("a", "a")
    for name in "ac":
        made.change(name, carrier=False)
    assert ends(made.run(202.0)) == ("common", "common")


def test_the_rule_hears_of_a_new_route_and_of_one_that_is_gone() -> None:
    made = box(aim(only="b"))
    made.lose_default("b")
    assert ends(made.run(31.0)) == (None, None)
    assert ends(made, V6) == ("b", "b")


def test_a_drain_keeps_rules_away_where_there_is_another_way() -> None:
    made = box(aim(only="bc"), aim(only="b"))
    made.ask(Drain("b"))
    assert (ends(made.run(140.0)), ends(made, place=1)) == (("c", "c"), ("b", "b"))
    made.ask(Undrain("b"))
    assert ends(made.run(300.0))[0] == "b"


def test_the_operator_s_use_holds_within_what_a_rule_allows() -> None:
    made = box(aim(only="bc"), aim(only="ab"))
    made.ask(Use("c"))
    assert (ends(made.run(31.0))[0], ends(made, place=1)[0]) == ("c", "a")


# --- and why, as explain tells it ------------------------------------------------------------------------------------


def passage(box: Box, source: str | None = None) -> Passage:
    """Of a new flow that the rules are about."""
    found = next(one for one in box.engine.explain(box.now) if one.family is V4)
    assert found.way is not None
    return found.way(Packet("198.51.100.7", source=source))


def test_a_held_flow_is_told_as_that() -> None:
    made = box(aim(only="b", hold=True), until=130.0, b=dead(100.0, 200.0))
    told = passage(made)
    assert (told.uplink, told.held, told.refused) == ("b", True, False)
    assert told.text == "rule r0 (only b, else held): held: it waits for b"
    assert not passage(made.run(300.0)).held
    made.change("b", carrier=False)
    refused = passage(made.run(301.0))
    assert refused.text == "rule r0 (only b, else held): refused: it waits for b, by which nothing can leave"


def test_a_refusal_is_told_with_its_reason() -> None:
    made = box(aim(only="b"), until=99.0)
    made.change("b", carrier=False)
    told = passage(made.run(100.0))
    assert (told.uplink, told.refused) == (None, True)
    assert told.text == "rule r0 (only b, else refused): refused: no uplink that it allows is up"


def test_a_sender_with_an_address_of_a_standby_goes_by_that_because_of_it() -> None:
    made = box()
    standby = next(link.index for link in made.facts.links if link.name == "b")
    told = passage(made, next(one.address for one in made.facts.addresses if one.index == standby))
    assert told.text == "no rule of the config is about it: by b: its sender has an address of b"


def test_forwarded_traffic_that_stayed_is_not_told_why_new_flows_left() -> None:
    made = box(until=99.0, a=dead(100.0, 101.6))
    while made.active() == "a":
        made.run(made.now + 0.1)
    told = passage(made, "172.17.0.9")
    assert told.uplink == "a"
    assert told.text == (
        "no rule of the config is about it: by a: forwarded traffic stays with a until that is lost;"
        " 172.17.0.9 is in no network of this box: by which interface it comes in is not known"
    )


# --- over time -------------------------------------------------------------------------------------------------------


def test_what_changes_is_said_once() -> None:
    made = box(aim(only="b"), until=99.0)
    assert said(made) == [f"rule r0 {family}: by b: b is the first choice" for family in FAMILIES]
    made.change("b", carrier=False)
    made.run(160.0)
    refused = "refused: no uplink that it allows is up"
    assert said(made)[2:] == [f"rule r0 {family}: {refused}" for family in FAMILIES]
    assert {n.kind for _, n in made.notices if n.text.startswith("rule ")} == {NoticeKind.UPLINK}


def test_a_reload_brings_rules_and_takes_them() -> None:
    made = box()
    before = set(made.facts.rules)
    made.tell(Reconfigured(config(aim(only="b"))))
    assert ends(made.run(31.0)) == ("b", "b")
    made.tell(Reconfigured(config()))
    assert set(made.run(32.0).facts.rules) == before


def test_a_renamed_uplink_is_the_same_one() -> None:
    made = box(aim(prefer="b"), until=200.0)
    named = (UPLINKS[0], Named("x", "b"), UPLINKS[2])
    made.tell(Reconfigured(config(aim(prefer="x"), uplinks=named)))
    for step in range(100):
        assert ends(made.run(200.1 + step / 10)) == ("x", "x")


def test_after_a_restart_flows_are_where_they_were() -> None:
    made = box(aim(only="ac"), until=99.0, a=dead(100.0, 110.0))
    assert ends(made.run(260.0)) == ("a", "c")
    made.restart(None)
    for step in range(50):
        assert ends(made.run(261.1 + step / 10)) == ("a", "c")


def test_a_switch_of_new_flows_is_still_one_replace_first_of_all() -> None:
    made = box(aim(only="ac"), until=99.0, a=dead(100.0))
    made.run(101.5)
    switch = next(apply for at, apply in made.applied if at > 100.0)
    assert len(switch.operations) == 1
    assert ends(made) == ("c", "a")


# --- the kernel's rules ----------------------------------------------------------------------------------------------


def test_every_pref_has_its_place() -> None:
    last = PREFS_AIM[AIMS_MAX - 1] + 3
    assert len(PREFS_MATCH) == RULES_MAX
    assert len(PREFS_AIM) == AIMS_MAX
    order = [PREFS_COPY[0], PREFS_COPY[-1], PREFS_MATCH[0], PREFS_MATCH[-1], PREF_UNMATCHED, PREFS_AIM[0]]
    order += [last, PREF_SOURCE_LATE, PREF_SOURCE_LATE_FLOOR, PREF_ACTIVE, PREF_LAN, PREF_SETTLED]
    assert order == sorted(set(order))
    assert all(pref in PREFS_OWNED for pref in order)


RANGES = st.lists(st.tuples(st.integers(1, 99), st.integers(100, 999)), max_size=3).map(tuple)
MATCHES = st.builds(
    Match,
    to=st.lists(st.sampled_from(("198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")), max_size=3).map(tuple),
    ports=RANGES,
    protocols=st.lists(st.sampled_from(("tcp", "udp")), max_size=2, unique=True).map(tuple),
    dscp=st.none() | st.integers(0, 63),
    uids=RANGES,
    sources=st.lists(st.sampled_from(("192.168.50.0/24", "fd00:50::/64")), max_size=2).map(tuple),
)


@given(MATCHES, st.sampled_from(FAMILIES))
def test_a_match_weighs_as_many_rules_as_it_makes(match: Match, family: Family) -> None:
    made = list(selectors(match, family, PREFS_MATCH[0]))
    assert len(made) == match.weight(family)
    assert all(rule.iif == "lo" for rule in made if match.uids)
    assert all(rule.extra == tuple(sorted(rule.extra)) for rule in made)


def test_a_rule_about_one_family_says_nothing_in_the_other() -> None:
    made = Box("a", "b", config=config(uplinks=UPLINKS[:2], rules=(TrafficRule("x", Match(to=NETS[:1]), aim("b")),)))
    made.run(30.0)
    assert {rule.family for rule in made.facts.rules if rule.priority in PREFS_MATCH} == {V4}


def test_what_others_leave_as_usual_comes_to_the_rules() -> None:
    a, b = uplink("a", 2, way(2), addresses=["10.0.2.2"]), uplink("b", 3, way(3), addresses=["10.0.3.2"])
    rule = TrafficRule("x", VIDEO, aim("b"))
    steered = Steered((rule,), {(V4, rule.aim): Course("b", "b")})
    facts: Facts = facts_of((a, b), goto(20000, 32766))
    found = [plan((a, b), decide("a", "a", "b"), facts, MASK, told) for told in (None, steered)]
    targets = [next(rule for rule in one.rules if rule.priority == 15530).extra for one in found]
    assert [int.from_bytes(extra[0][1], "little") for extra in targets] == [PREF_ACTIVE, PREFS_MATCH[0]]
    assert aims(steered.rules) == (rule.aim,)


def test_an_uplink_that_a_rule_leads_to_is_probed_as_one_in_use() -> None:
    """Its blackout at rest is noticed as soon as the active one's, and it spends an active one's budget."""
    plain, ruled = box(until=160), box(aim(only="b"), until=160)
    often = [len(one.probes("b", 100, 160)) for one in (plain, ruled)]
    assert often[1] == len(plain.probes("a", 100, 160)) >= 4 * often[0]
    metered = [len(one.probes("c", 100, 160)) for one in (plain, box(aim(only="c"), until=160))]
    assert metered[1] >= 4 * max(1, metered[0])


def test_new_flows_of_a_gateways_clients_go_as_those_of_the_box() -> None:
    """While they are diverted, and all else is not."""
    a, b = uplink("a", 2, way(2), way(2, V6)), uplink("b", 3, way(3), way(3, V6))
    facts = facts_of((a, b))
    ruled = (TrafficRule("r", VIDEO, ONLY := aim(only="ab")),)
    steered = Steered(ruled, {(family, ONLY): Course("b", "a") for family in FAMILIES})
    wanted = plan((a, b), decide("a", "a", "b"), facts, MASK, steered, ("br-lan",))
    diverted = {(rule.family, rule.iif, rule.table) for rule in wanted.rules if rule.priority == PREFS_AIM[0] + 1}
    assert diverted == {(family, inward, 15502) for family in FAMILIES for inward in ("lo", "br-lan")}
