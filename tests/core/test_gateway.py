"""The box as a gateway: what its plan gains, which marks its flows have, and when what it forwards is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.config import Config, Policy, Reconfigured, Uplink
from failover.core.eviction import GRACE
from failover.core.plan import PREF_LAN, PREF_MARK, PREF_SETTLED, Desired, plan
from failover.core.sampler import Sampler
from failover.core.steering import PREF_ACTIVE, PREF_SOURCE_LATE
from failover.core.uplinks import resolve
from failover.facts import FORWARDING_IPV6, TABLE_ACTIVE, Address, Facts, Gateway, Link, Rule, RuleAction, Sysctl
from failover.model import Auto, Decision, Drain, Family, NoticeKind, Undrain, Use
from failover.seam import CountFlows, FlowsForgotten, ForgetFlows

from .box import PINGS, PINGS6, QUICK, Box, dead, ground, told
from .worlds import V4, V6, way

LAN = Gateway(("br-lan",))
GUESTS = replace(QUICK, gateway=LAN)
MASK = QUICK.fwmark_mask
MARK_A, MARK_B = 0x01000000, 0x02000000


def forgotten(box: Box, since: float = 0.0) -> list[tuple[float, str, int, bool]]:
    return [
        (round(at - since, 3), order.uplink, order.mark, order.unanswered) for at, order in box.forgotten if at >= since
    ]


def planned(facts: Facts, config: Config = GUESTS) -> Desired:
    uplinks = resolve(facts, config, {})
    names = tuple(uplink.name for uplink in uplinks)
    decisions = {family: Decision(family, names[0], names[0], order=names) for family in Family}
    return plan(uplinks, decisions, facts, MASK, lan=LAN.lan)


# --- what is forgotten -----------------------------------------------------------------------------------------------


def test_the_unanswered_are_forgotten_on_doubt_and_all_on_conviction_and_again() -> None:
    box = Box("a", "b", config=GUESTS)
    box.weather["a"] = dead(100, 160)
    box.run(400)
    convicted = next(at for at, notice in box.notices if "a ipv4 is down" in notice.text)
    doubted, *after = forgotten(box)
    assert 100 < doubted[0] < convicted - 1
    assert doubted[1:] == ("a", MARK_A, True)
    assert after == [(round(convicted + at, 3), "a", MARK_A, False) for at in (0, 2, 5)]
    assert {order.mask for _, order in box.forgotten} == {MASK}


def test_clients_are_told_in_the_same_breath_but_not_those_who_only_begin() -> None:
    """By the networks of the LAN, each family its own; the uplinks' own wires are none."""
    box = Box("a", "b", config=replace(GUESTS, targets=(*PINGS, *PINGS6)), families=(V4, V6))
    lan = Address(9, V4, "192.168.50.1", 24), Address(9, V6, "fd50::1", 64), Address(8, V4, "172.17.0.1", 16)
    links = Link(9, "br-lan", True, True), Link(8, "docker0", True, True)
    box.facts = replace(box.facts, addresses=(*box.facts.addresses, *lan), links=(*box.facts.links, *links))
    box.weather["a"] = dead(100)
    box.run(110)
    asked = {(order.family, order.clients) for _, order in box.forgotten}
    assert asked == {(V4, ("192.168.50.0/24",)), (V6, ("fd50::/64",))}


def test_nothing_is_forgotten_where_nothing_is_forwarded() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100)
    box.run(130)
    assert box.broken
    assert not box.forgotten


def test_nothing_is_forgotten_while_nothing_better_is_there() -> None:
    box = Box("a", "b", config=GUESTS)
    box.weather = {"a": dead(100), "b": dead(100)}
    box.run(160)
    assert not box.forgotten


def test_an_address_that_goes_leaves_what_is_forwarded_alone() -> None:
    box = Box("a", "b", config=GUESTS)
    box.run(50)
    kept = tuple(address for address in box.facts.addresses if address.address != "10.0.2.2")
    box.facts = replace(box.facts, addresses=(*kept, replace(box.facts.addresses[0], address="10.0.2.9")))
    box.stir()
    box.run(60)
    assert [order.addresses for _, order in box.broken] == [("10.0.2.2",)]
    assert not box.forgotten


def test_an_uplink_that_is_lost_with_all_its_addresses_is_swept_too() -> None:
    box = Box("a", "b", config=GUESTS)
    box.run(50)
    box.facts = replace(box.facts, addresses=tuple(a for a in box.facts.addresses if a.index != 2))
    box.stir()
    box.run(60)
    assert forgotten(box)[0][1:] == ("a", MARK_A, False)


def test_what_an_uplink_carried_that_is_none_any_more_is_forgotten() -> None:
    listed = replace(GUESTS, uplinks=(Uplink("a", "a"), Uplink("b", "b")))
    box = Box("a", "b", config=listed)
    box.run(50)
    box.tell(Reconfigured(replace(listed, uplinks=(Uplink("b", "b"),))))
    box.run(60)
    assert [one[2:] for one in forgotten(box)] == [(MARK_A, False)]


@pytest.mark.parametrize("along", [False, True])
def test_a_failback_takes_what_is_forwarded_along_only_if_so_wished(along: bool) -> None:
    box = Box("a", "b", config=replace(GUESTS, policy=Policy(failback_after=20, failback_moves_flows=along)))
    box.weather["a"] = dead(100, 130)
    box.run(300)
    back = next(at for at, notice in box.notices if at > 130 and notice.fields.get("to") == "a")
    assert forgotten(box, back) == ([(GRACE, "b", MARK_B, False)] if along else [])


@pytest.mark.parametrize("word", [Use("b"), Drain("a")])
def test_the_operators_word_moves_what_is_forwarded_after_a_while(word: Use | Drain) -> None:
    """And back when it is over; nothing of the box's own."""
    box = Box("a", "b", config=GUESTS)
    box.run(50)
    box.ask(word)
    box.run(70)
    assert box.active() == "b"
    assert forgotten(box, 50) == [(GRACE, "a", MARK_A, False)]
    assert not box.broken
    box.ask(Auto() if isinstance(word, Use) else Undrain("a"))
    box.run(200)
    assert box.active() == "a"
    assert [one[1] for one in forgotten(box)] == ["a", "b"]
    assert not box.broken


def test_who_takes_his_word_back_moves_nothing() -> None:
    box = Box("a", "b", config=GUESTS)
    box.run(50)
    box.ask(Use("b"))
    box.run(55)
    box.ask(Use("a"))
    box.run(90)
    assert [one[1] for one in forgotten(box)] == ["b"]


def test_what_was_forgotten_is_told() -> None:
    box = Box("a", "b", config=GUESTS)
    box.run(10)
    order = ForgetFlows("a", V4, MARK_A, MASK)
    box.tell(FlowsForgotten(order, 7))
    box.tell(FlowsForgotten(replace(order, unanswered=True), 2))
    box.tell(FlowsForgotten(replace(order, unanswered=True, strays=True), 1))
    box.tell(FlowsForgotten(order, error="nobody tells of connection tracking (modprobe nf_conntrack_netlink)"))
    box.run(11)
    assert told(box, 10, NoticeKind.FLOWS) == [
        "a ipv4: 7 forwarded flows take the present way with their next packet",
        "a ipv4: 2 unanswered forwarded flows take the present way with their next packet",
        "a ipv4: 1 forwarded flow that began while nothing was translated takes the present way with its next packet",
    ]
    assert told(box, 10, NoticeKind.KERNEL) == [
        "a ipv4: forwarded flows stay where they are: nobody tells of connection tracking "
        "(modprobe nf_conntrack_netlink)"
    ]


# --- what the kernel is to do ----------------------------------------------------------------------------------------


def test_new_flows_of_clients_go_as_those_of_the_box() -> None:
    rules = planned(ground(("a", "b"), (V4, V6))).rules
    assert PREF_ACTIVE < PREF_LAN < PREF_SETTLED
    found = [rule for rule in rules if rule.priority == PREF_LAN]
    assert [(rule.family, rule.iif, rule.table) for rule in found] == [
        (V4, "br-lan", TABLE_ACTIVE),
        (V6, "br-lan", TABLE_ACTIVE),
    ]


def test_open_flows_of_clients_are_behind_the_rules_of_others() -> None:
    """A kill switch that comes later stops them as it stops the box's own; and what comes in by an uplink is looked up
    as ever, so that a port forward into a tunnel gets there."""
    kill = Rule(V4, 20000, RuleAction.PROHIBIT, protocol=0)
    facts = ground(("a", "b"))
    rules = planned(replace(facts, rules=(*facts.rules, kill))).rules
    (copy,) = [rule.priority for rule in rules if rule.action is RuleAction.PROHIBIT]
    marked = {(rule.iif, rule.priority) for rule in rules if rule.fwmark == MARK_A and rule.family is V4}
    assert marked == {("lo", PREF_MARK), ("br-lan", PREF_SOURCE_LATE)}
    assert PREF_MARK < copy < PREF_SOURCE_LATE < PREF_LAN


def test_a_lan_that_is_not_there_is_told() -> None:
    facts = ground(("a", "b"))
    assert planned(facts).warnings == ("there is no interface br-lan of gateway.lan: its clients are not served",)
    assert planned(replace(facts, links=(*facts.links, Link(9, "br-lan", True, True)))).warnings == ()


def switches(facts: Facts) -> list[tuple[str, str]]:
    """Those of forwarding."""
    return [(one.path.removeprefix("net/"), one.value) for one in planned(facts).sysctls if "linkdown" not in one.path]


def test_each_device_between_which_packets_pass_forwards_and_heeds_marks() -> None:
    each = [
        (f"ipv4/conf/{name}/{key}", "1") for name in ("a", "b", "br-lan") for key in ("src_valid_mark", "forwarding")
    ]
    assert switches(ground(("a", "b"))) == [*each, ("ipv6/conf/all/forwarding", "1")]


def test_ipv6_forwards_only_when_every_uplink_takes_advertisements_as_a_router() -> None:
    def accepting(**values: str) -> Facts:
        sysctls = tuple(Sysctl(f"net/ipv6/conf/{name}/accept_ra", value) for name, value in values.items())
        return replace(ground(("a", "b"), (V4, V6)), sysctls=sysctls)

    assert ("ipv6/conf/a/accept_ra", "2") in switches(accepting(a="1", b="2"))
    assert (FORWARDING_IPV6.removeprefix("net/"), "1") not in switches(accepting(a="1", b="2"))
    for later in ("eth7", "default"):
        assert (f"ipv6/conf/{later}/accept_ra", "2") in switches(accepting(a="2", b="2", **{later: "1"}))
    for settled in (accepting(a="2", b="2"), accepting(a="0", b="2"), accepting(a="2", **{"br-lan": "1"})):
        assert not [path for path, _ in switches(settled) if "accept_ra" in path]
        assert (FORWARDING_IPV6.removeprefix("net/"), "1") in switches(settled)


def test_a_lan_is_never_discovered_as_an_uplink() -> None:
    facts = ground(("a", "br-lan"))
    assert [uplink.name for uplink in resolve(facts, GUESTS, {"br-lan": 3})] == ["a"]
    assert [uplink.name for uplink in resolve(facts, QUICK, {})] == ["a", "br-lan"]


def test_no_uplink_has_the_mark_of_probes() -> None:
    """Three bits tell six uplinks apart; all of them are set for a probe."""
    names = tuple(f"u{number}" for number in range(9))
    facts = replace(ground(()), links=tuple(Link(2 + n, name, True, True) for n, name in enumerate(names)))
    facts = replace(facts, routes=tuple(way(2 + n, V4) for n in range(9)))
    found = resolve(facts, replace(QUICK, fwmark_mask=0x700), {"u0": 6, "u1": 5})
    assert sorted(uplink.slot for uplink in found) == [0, 1, 2, 3, 4, 5]
    assert {uplink.name: uplink.slot for uplink in found}["u1"] == 5


def test_a_gateways_flows_have_the_uplinks_mark_and_prefixes() -> None:
    facts = ground(("a", "b"))
    config = Config(
        uplinks=(Uplink("au", "a", delegated=("2001:db8:100::/40",)), Uplink("docomo", "b")),
        targets=PINGS,
        gateway=LAN,
    )
    (effect,) = Sampler().follow(0.0, resolve(facts, config, {}), facts, config)
    assert isinstance(effect, CountFlows)
    assert [(tap.interface, tap.mark, tap.delegated, tap.uplink) for tap in effect.taps] == [
        ("a", MARK_A, ("2001:db8:100::/40",), "au"),
        ("b", MARK_B, (), "docomo"),
    ]
    assert effect.gateway == LAN
    assert effect.gateways == ("br-lan", "a", "b")
    (plain,) = Sampler().follow(0.0, resolve(facts, config, {}), facts, replace(config, gateway=None))
    assert isinstance(plain, CountFlows)
    assert [tap.mark for tap in plain.taps] == [0, 0]
    assert plain.gateways == ()
