"""The virtual kernel under the plan: which way packets go while the world and the agent change it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.config import Config
from failover.core.diff import diff, removal
from failover.core.plan import conflicts, ours, plan
from failover.core.uplinks import Uplink, resolve
from failover.facts import Operation, Route, RouteKind, Rule, RuleAction, Verb
from failover.model import FAMILIES, Decision, Family
from failover.sim.kernel import VirtualKernel

MASK = 0x3F000000
V4, V6 = FAMILIES
NAMES = ("wan0", "wan1", "wan2")


class Box:
    """A virtual kernel with three uplinks in both families, and an agent that only carries out a decision."""

    def __init__(self) -> None:
        self.now = 0.0
        self.kernel = VirtualKernel(lambda: self.now)
        self.active = self.settled = "wan0"
        self.known: dict[str, int] = {}
        for name in NAMES:
            self.kernel.add_link(name)
            self.connect(name)

    def connect(self, name: str) -> None:
        """What DHCP and a router advertisement bring."""
        number = NAMES.index(name)
        index = next(link.index for link in self.kernel.facts().links if link.name == name)
        held = {address.address for address in self.kernel.facts().addresses}
        for address in (f"10.0.{number}.2/24", f"2001:db8:{number}::2/64"):
            if address.split("/")[0] not in held:
                self.kernel.add_address(name, address)
        self.kernel.replace_route(
            Route(V4, 254, 100 + number, interface=index, gateway=f"10.0.{number}.1", protocol=16)
        )
        lasts = Route(V6, 254, 100 + number, interface=index, gateway="fe80::1", protocol=9, expires=600.0)
        self.kernel.advertise(lasts)

    def uplinks(self) -> tuple[Uplink, ...]:
        found = resolve(self.kernel.facts(), Config(), self.known)
        self.known = {uplink.name: uplink.slot for uplink in found}
        return found

    def operations(self) -> tuple[Operation, ...]:
        uplinks, facts = self.uplinks(), self.kernel.facts()
        decisions = {
            family: Decision(family, self.active, self.settled, tuple(u.name for u in uplinks if u.paths[family].route))
            for family in FAMILIES
        }
        return diff(facts, plan(uplinks, decisions, facts, MASK))

    def reconcile(self) -> tuple[Operation, ...]:
        operations = self.operations()
        assert [result for result in self.kernel.apply(operations) if result.error] == []
        return operations

    def ways(self, family: Family = V4) -> tuple[str | None, str | None]:
        """Of a new flow of the box and of a forwarded one."""
        return self.kernel.lookup(family), self.kernel.lookup(family, iif_lo=False)


@pytest.fixture
def box() -> Box:
    made = Box()
    made.reconcile()
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_in_doubt_new_flows_move_and_everything_else_stays(box: Box, family: Family) -> None:
    box.active = "wan1"
    box.reconcile()
    source = "10.0.0.2" if family is V4 else "2001:db8:0::2"
    assert box.ways(family) == ("wan1", "wan0")
    assert box.kernel.lookup(family, source=source.replace(":0:", ":")) == "wan0"
    assert [box.kernel.lookup(family, mark=(s + 1) << 24) for s in range(3)] == list(NAMES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernel_fails_over_by_itself_when_a_carrier_is_lost(box: Box, family: Family) -> None:
    box.kernel.set_carrier("wan0", False)
    assert box.ways(family) == ("wan1", "wan1")
    assert box.kernel.lookup(family, mark=1 << 24) is None
    box.kernel.set_carrier("wan0", True)
    assert box.ways(family) == ("wan0", "wan0")


def test_without_the_sysctl_a_dead_route_stays_in_use(box: Box) -> None:
    box.kernel.set_sysctl("net/ipv4/conf/wan0/ignore_routes_with_linkdown", "0")
    box.kernel.set_carrier("wan0", False)
    assert box.ways() == ("wan0", "wan0")


def test_a_floor_holds_what_its_uplink_cannot_carry(box: Box) -> None:
    box.kernel.withdraw_default("wan0", V4)
    box.reconcile()
    assert box.kernel.lookup(V4, source="10.0.0.2") is None
    assert box.kernel.lookup(V4, mark=1 << 24) is None
    assert box.ways() == ("wan1", "wan1")


def test_a_bound_socket_leaves_by_its_device_in_ipv4_and_not_in_ipv6(box: Box) -> None:
    for family in FAMILIES:
        box.kernel.withdraw_default("wan0", family)
    box.reconcile()
    assert box.kernel.lookup(V4, oif="wan0", mark=1 << 24) == "wan0"
    assert box.kernel.lookup(V6, oif="wan0", mark=1 << 24) is None
    assert box.kernel.lookup(V6, oif="wan1", mark=2 << 24) == "wan1"


def test_what_expires_is_out_of_use_at_once_and_listed_for_a_while(box: Box) -> None:
    box.now = 601.0
    assert box.kernel.lookup(V6) is None
    assert {r.expires for r in box.kernel.facts().routes if r.family is V6 and r.protocol == 9} == {0.0}
    box.now = 632.0
    assert not [r for r in box.kernel.facts().routes if r.family is V6 and r.kind is RouteKind.UNICAST]


def test_a_renewed_lifetime_is_followed(box: Box) -> None:
    box.now = 400.0
    for name in NAMES:
        box.connect(name)
    assert {o.verb for o in box.reconcile()} == {Verb.REPLACE}
    box.now = 900.0
    assert box.kernel.lookup(V6) == "wan0"
    assert box.kernel.lookup(V6, mark=3 << 24) == "wan2"


def test_a_kill_switch_stays_tight_and_a_tunnel_first(box: Box) -> None:
    box.kernel.add_rule(Rule(V4, 32765, RuleAction.PROHIBIT, invert=True, fwmark=0xCA6C, fwmask=0xFFFFFFFF, protocol=0))
    box.reconcile()
    assert box.ways() == (None, None)
    assert box.kernel.lookup(V4, mark=0xCA6C) == "wan0"
    assert box.kernel.lookup(V4, source="10.0.0.2") is None
    assert box.kernel.lookup(V4, mark=1 << 24) == "wan0"


def test_a_deletion_by_selector_hits_the_copy_first_and_the_copy_is_repaired(box: Box) -> None:
    tunnel = Rule(V4, 32765, table=51820, invert=True, fwmark=0xCA6C, fwmask=0xFFFFFFFF, protocol=0)
    box.kernel.add_rule(tunnel)
    box.reconcile()
    assert box.kernel.delete_rule(Rule(V4, 0, table=51820, protocol=0)) is None
    assert tunnel in box.kernel.facts().rules
    assert [(o.verb, o.item) for o in box.reconcile()] == [(Verb.ADD, replace(tunnel, priority=15530, protocol=155))]
    assert [box.kernel.delete_rule(Rule(V4, 0, table=51820, protocol=0)) for _ in range(3)] == [
        None,
        None,
        "No such file or directory",
    ]
    box.reconcile()
    held = {r.priority for r in box.kernel.facts().rules if ours(r)}
    assert held == {15500, 15503, 15510, 15511, 15520, 15521, 15587, 15590}


def test_facts_are_the_same_object_until_something_changes(box: Box) -> None:
    facts = box.kernel.facts()
    assert box.kernel.facts() is facts
    box.kernel.set_carrier("wan2", False)
    assert box.kernel.facts() is not facts


ACTIONS = st.one_of(
    st.tuples(st.just("carrier"), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("up"), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("flush"), st.sampled_from(NAMES)),
    st.tuples(st.just("lease"), st.sampled_from(NAMES)),
    st.tuples(st.just("lost"), st.sampled_from(NAMES), st.sampled_from(FAMILIES)),
    st.tuples(st.just("renew"), st.sampled_from(NAMES)),
    st.tuples(st.just("replug"), st.sampled_from(NAMES)),
    st.tuples(st.just("decide"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("unrule"), st.sampled_from((15500, 15510, 15520, 15580, 15590))),
    st.tuples(st.just("litter"), st.sampled_from((1, 101, 102)), st.sampled_from(NAMES)),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 50.0, 599.0))),
)


def play(box: Box, action: tuple[object, ...]) -> None:
    kernel = box.kernel
    present = {link.name: link for link in kernel.facts().links}
    match action:
        case ["carrier", str(name), bool(plugged)]:
            kernel.set_carrier(name, plugged)
        case ["up", str(name), bool(up)]:
            kernel.set_up(name, up)
        case ["flush", str(name)]:
            kernel.flush_routes(name)
        case ["lease", str(name)]:
            kernel.remove_address(name, f"10.0.{NAMES.index(name)}.2")
        case ["lost", str(name), Family() as family]:
            kernel.withdraw_default(name, family)
        case ["renew", str(name)] if present[name].up:
            box.connect(name)
        case ["replug", str(name)]:
            kernel.remove_link(name)
            kernel.add_link(name)
        case ["decide", str(active), str(settled)]:
            box.active, box.settled = active, settled
        case ["unrule", int(pref)]:
            kernel.delete_rule(Rule(V4, pref, protocol=155))
        case ["litter", int(metric), str(name)] if not conflicts(kernel.facts()):
            kernel.flush_routes(name)
            kernel.add_route(Route(V4, 15500, metric, interface=present[name].index, protocol=4))
        case ["wait", float(seconds)]:
            box.now += seconds


@given(st.lists(ACTIONS, max_size=12))
def test_whatever_the_world_does_one_reconcile_puts_it_right(actions: list[tuple[object, ...]]) -> None:
    box = Box()
    box.kernel.add_rule(Rule(V4, 40000, table=15500, protocol=0))  # so that what is foreign there is always listed
    box.reconcile()
    for action in actions:
        play(box, action)
        foreign = [r for r in box.kernel.facts().routes if not ours(r)]
        box.reconcile()
        assert box.operations() == ()
        assert [r for r in box.kernel.facts().routes if not ours(r)] == foreign
    if not conflicts(box.kernel.facts()):
        carried = {u.name for u in box.uplinks() if u.paths[V4].route}
        live = [link.name for link in box.kernel.facts().links if link.carrier and link.name in carried]
        fallback: list[str | None] = [*live] or [None]
        for way, wanted in zip(box.ways(), (box.active, box.settled), strict=True):
            assert way in ([wanted] if wanted in live else fallback)
    box.kernel.apply(removal(box.kernel.facts()))
    assert removal(box.kernel.facts()) == ()
