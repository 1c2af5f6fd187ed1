"""The same steps on the virtual kernel and on a real one: after each, the same facts and the same ways out."""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from failover.config import Config
from failover.core.bearers import METRIC
from failover.core.diff import diff, removal
from failover.core.plan import Desired, ours, plan
from failover.core.steering import FRA_GOTO, FRA_UID_RANGE
from failover.core.uplinks import resolve
from failover.facts import (
    PROTOCOL,
    TABLE_MAIN,
    Address,
    Facts,
    Link,
    Operation,
    Route,
    RouteKind,
    Rule,
    RuleAction,
    Verb,
)
from failover.lab.namespaces import gain_privileges
from failover.model import FAMILIES, Decision, Family
from failover.sim.kernel import PER_LINK, VirtualKernel
from tests.allowed import or_skip

from .twin import SETTLES, RealKernel
from .van import wait_until

MASK = 0x3F000000
V4, V6 = FAMILIES
NAMES = ("wan0", "wan1")
WATCHED = {path.format(name) for path in PER_LINK for name in NAMES}
Either = VirtualKernel | RealKernel


class Twins:
    """A step goes to both; then they must agree."""

    def __init__(self, real: RealKernel) -> None:
        self.virtual = VirtualKernel(time.monotonic)
        self.real = real
        self.both(connect, "wan0")
        self.both(connect, "wan1")

    def do(self, word: str, *arguments: object) -> object:
        """One word of both kernels."""
        return self.both(lambda kernel: getattr(kernel, word)(*arguments))

    def both(self, step: Callable[..., object], *arguments: object) -> object:
        """What the virtual kernel answers; AssertionError where the real one answers or ends up otherwise."""
        said = [step(kernel, *arguments) for kernel in (self.virtual, self.real)]
        words = [str(answer) for answer in said]
        assert said[0] == said[1] or words[0] in words[1], words
        self._settle()
        assert seen(self.virtual.facts()) == seen(self.real.facts())
        assert self.ways(self.virtual) == self.ways(self.real)
        return said[0]

    def _settle(self) -> None:
        """The real kernel may hold a carrier's change back for a second."""
        deadline = time.monotonic() + SETTLES
        while seen(self.virtual.facts()) != seen(self.real.facts()) and time.monotonic() < deadline:
            pass

    def ways(self, kernel: Either) -> dict[str, str | None]:
        found = {}
        for family in FAMILIES:
            found[f"{family} new"] = kernel.lookup(family)
            found[f"{family} forwarded"] = kernel.lookup(family, iif_lo=False)
            found[f"{family} tunnel"] = kernel.lookup(family, mark=0xCA6C)
            for number, name in enumerate(NAMES):
                source = f"10.0.{number}.2" if family is V4 else f"2001:db8:{number}::2"
                found[f"{family} from {name}"] = kernel.lookup(family, source=source)
                found[f"{family} mark {name}"] = kernel.lookup(family, mark=(number + 1) << 24)
                found[f"{family} bound {name}"] = kernel.lookup(family, mark=(number + 1) << 24, oif=name)
        return found

    def reconcile(self, active: str = "wan0", settled: str = "wan0", rounds: int = 1) -> None:
        """One plan, diffed and applied by itself on each; after so many rounds nothing is left to do."""

        def run(kernel: Either) -> list[str | None]:
            results = kernel.apply(diff(kernel.facts(), self._desired(kernel.facts(), active, settled)))
            return [result.error and result.error.split(":")[0] for result in results]

        for _ in range(rounds):
            self.both(run)
        assert self.both(run) == []

    def _desired(self, facts: Facts, active: str, settled: str) -> Desired:
        uplinks = resolve(facts, Config(), dict(zip(NAMES, range(2), strict=True)))
        order = {f: tuple(u.name for u in uplinks if u.paths[f].route) for f in FAMILIES}
        return plan(uplinks, {f: Decision(f, active, settled, order[f]) for f in FAMILIES}, facts, MASK)


def connect(kernel: Either, name: str) -> None:
    """A link with an address and a default of each family, as DHCP and a static configuration leave them."""
    index, number = kernel.add_link(name), NAMES.index(name)
    for interface in (f"10.0.{number}.2/24", f"2001:db8:{number}::2/64"):
        kernel.add_address(name, interface)
    for family, gateway in ((V4, f"10.0.{number}.1"), (V6, "fe80::1")):
        route = Route(family, TABLE_MAIN, 100 + number, interface=index, gateway=gateway, protocol=16)
        assert kernel.add_route(route) is None


def clean_up(kernel: Either) -> list[str | None]:
    return [result.error for result in kernel.apply(removal(kernel.facts()))]


def seen(facts: Facts) -> dict[str, object]:
    """What both tell of, in one order; of a lifetime only whether some is left."""
    links = {link.index: link.name for link in facts.links if link.name in NAMES}
    routes = (replace(r, expires=None if r.expires is None else float(r.expires > 0)) for r in facts.routes)
    return {
        "links": {(link.index, link.name, link.up, link.carrier) for link in facts.links if link.name in NAMES},
        "addresses": {
            (a.index, a.address, a.prefix_length, a.protocol == PROTOCOL) for a in facts.addresses if a.index in links
        },
        "routes": sorted(map(repr, routes)),
        "foreign rules": [[r for r in facts.rules if r.family is family and not ours(r)] for family in FAMILIES],
        "our rules": {rule for rule in facts.rules if ours(rule)},
        "sysctls": {sysctl for sysctl in facts.sysctls if sysctl.path in WATCHED},
    }


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    if shutil.which("ip") is None:
        pytest.skip("needs the Debian package iproute2")
    with or_skip():
        gain_privileges()
    real = RealKernel(tmp_path / "state.json")
    try:
        yield Twins(real)
    finally:
        real.close()


def test_the_layout_and_a_switch(twins: Twins) -> None:
    twins.reconcile()
    twins.reconcile(active="wan1")
    assert twins.virtual.lookup(V4) == twins.virtual.lookup(V6) == "wan1"
    twins.reconcile(active="wan1", settled="wan1")
    twins.both(clean_up)


def test_administratively_down_takes_routes_and_up_does_not_bring_them_back(twins: Twins) -> None:
    twins.reconcile()
    twins.do("set_up", "wan0", False)
    assert twins.virtual.lookup(V4) == "wan1"
    twins.do("set_up", "wan0", True)
    assert twins.virtual.lookup(V4) == "wan1"
    twins.reconcile()


@pytest.mark.parametrize("ignored", ["0", "1"])
def test_a_lost_carrier_leaves_a_dead_route_in_use_unless_the_device_ignores_it(twins: Twins, ignored: str) -> None:
    twins.reconcile()
    for family in ("ipv4", "ipv6"):
        twins.do("set_sysctl", f"net/{family}/conf/wan0/ignore_routes_with_linkdown", ignored)
    twins.do("set_carrier", "wan0", False)
    assert twins.virtual.lookup(V4) == twins.virtual.lookup(V6) == ("wan0" if ignored == "0" else "wan1")
    twins.do("set_carrier", "wan0", True)
    assert twins.virtual.lookup(V4) == twins.virtual.lookup(V6) == "wan0"


def test_a_route_can_be_added_while_the_carrier_is_away_but_not_while_the_link_is_down(twins: Twins) -> None:
    twins.do("set_carrier", "wan1", False)
    twins.reconcile()
    twins.do("set_up", "wan1", False)
    route = Route(V4, 15577, 1, interface=3, gateway="10.0.1.1")
    assert twins.do("add_route", route) == "Network is unreachable"
    assert twins.do("add_route", replace(route, gateway=None)) == "Network is down"
    assert twins.do("add_route", replace(route, family=V6, gateway="fe80::1")) == "Network is down"


@pytest.mark.parametrize("given", ["10.64.1.2/30", "2001:db8:64::2/64"])
def test_what_a_bearer_was_given_comes_and_goes(twins: Twins, given: str) -> None:
    family, (address, length) = Family.of(given), given.split("/")
    own = Address(2, family, address, int(length), protocol=PROTOCOL)
    route = Route(family, TABLE_MAIN, METRIC, interface=2, gateway=address[:-1] + "1", onlink=True)

    def change(verb: Verb, *items: Address | Route | Link) -> None:
        twins.both(
            lambda kernel: [r.error and r.error.split(":")[0] for r in kernel.apply(Operation(verb, i) for i in items)]
        )

    twins.do("set_up", "wan0", False)
    change(Verb.SET, Link(2, "wan0", up=True, carrier=True))
    for _ in range(2):
        change(Verb.ADD, own, route)
    for _ in range(2):
        change(Verb.DELETE, route, own)
    change(Verb.ADD, own, route)
    twins.both(clean_up)
    assert clean_up(twins.real) == []


def test_an_interface_that_vanishes_and_returns_under_another_index(twins: Twins) -> None:
    twins.reconcile()
    twins.do("remove_link", "wan0")
    assert twins.virtual.lookup(V4, mark=1 << 24) is None
    twins.reconcile()
    twins.both(connect, "wan0")
    twins.reconcile()
    assert twins.virtual.lookup(V4) == "wan0"


def test_a_flush_takes_the_routes_of_the_device_in_every_table_and_leaves_rules_and_floors(twins: Twins) -> None:
    twins.reconcile()
    twins.do("flush_routes", "wan0")
    assert twins.virtual.lookup(V4, source="10.0.0.2") is None
    assert twins.virtual.lookup(V4) == "wan1"
    twins.reconcile()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_withdrawn_default_leaves_the_floor(twins: Twins, family: Family) -> None:
    twins.reconcile()
    twins.do("withdraw_default", "wan0", family)
    twins.reconcile()
    assert twins.virtual.lookup(family, mark=1 << 24) is None


@pytest.mark.parametrize("address", ["10.0.0.3", "2001:db8::3"])
def test_an_address_goes_and_takes_what_preferred_it(twins: Twins, address: str) -> None:
    family, gateway, length = (V4, "10.0.0.1", 24) if "." in address else (V6, "fe80::1", 64)
    twins.do("add_address", "wan0", f"{address}/{length}")
    route = Route(family, TABLE_MAIN, 50, interface=2, gateway=gateway, source=address, protocol=16)
    twins.do("add_route", route)
    twins.reconcile()
    twins.do("remove_address", "wan0", address)
    twins.reconcile()


@pytest.mark.parametrize("address", ["10.0.0.2", "2001:db8::2"])
def test_the_last_address_goes(twins: Twins, address: str) -> None:
    twins.reconcile()
    twins.do("remove_address", "wan0", address)
    twins.reconcile()


def test_replace_writes_over_the_route_of_another_with_the_same_key(twins: Twins) -> None:
    for family, gateway in ((V4, "10.0.0.1"), (V6, "fe80::1")):
        foreign = Route(family, 15500, 1, interface=2, gateway=gateway, protocol=4)
        ours = Route(family, 15500, 1, interface=3, gateway=gateway.replace(".0.1", ".1.1"))
        twins.do("add_route", foreign)
        assert twins.do("add_route", ours) == "File exists"
        twins.do("replace_route", ours)
        assert twins.do("delete_route", foreign) == "No such process"


def test_a_foreign_route_in_our_way_stays(twins: Twins) -> None:
    foreign = Route(V4, 15500, 1, interface=3, gateway="10.0.1.1", protocol=4)
    twins.do("add_route", foreign)
    twins.reconcile(rounds=2)
    assert twins.virtual.lookup(V4) == "wan1"
    twins.both(clean_up)
    twins.do("add_rule", Rule(V4, 20000, table=15500, protocol=0))
    assert twins.virtual.lookup(V4) == "wan1"


def test_a_gateway_that_is_on_no_link_is_refused(twins: Twins) -> None:
    route = Route(V4, 15577, 1, interface=2, gateway="10.77.0.1")
    assert twins.do("add_route", route) == "Network is unreachable"
    assert twins.do("add_route", replace(route, onlink=True)) is None
    six = Route(V6, 15577, 1, interface=2, gateway="2001:db8:77::1")
    assert twins.do("add_route", six) == "No route to host"
    assert twins.do("add_route", replace(six, interface=77)) == "No such device"


def tunnel(family: Family = V4) -> tuple[Rule, Rule]:
    """What `wg-quick up` adds."""
    return (
        Rule(family, 32765, table=51820, invert=True, fwmark=0xCA6C, fwmask=0xFFFFFFFF, protocol=0),
        Rule(family, 32764, table=TABLE_MAIN, suppress_prefix_length=0, protocol=0),
    )


def test_a_deletion_by_selector_hits_the_lowest_pref(twins: Twins) -> None:
    for rule in tunnel():
        twins.do("add_rule", rule)
    twins.do("add_route", Route(V4, 51820, 0, interface=3, gateway="10.0.1.1", protocol=3))
    twins.reconcile()
    assert twins.virtual.lookup(V4) == "wan1"
    assert twins.virtual.lookup(V4, mark=0xCA6C) == "wan0"
    by_table = Rule(V4, 0, table=51820, protocol=0)
    by_suppression = Rule(V4, 0, table=TABLE_MAIN, suppress_prefix_length=0, protocol=0)
    for like in (by_table, by_suppression, by_table, by_suppression):
        assert twins.do("delete_rule", like) is None
    assert twins.do("delete_rule", by_table) == "No such file or directory"
    twins.reconcile()


@pytest.mark.parametrize("action", [RuleAction.PROHIBIT, RuleAction.UNREACHABLE, RuleAction.BLACKHOLE, RuleAction.NOP])
def test_rules_that_look_nothing_up(twins: Twins, action: RuleAction) -> None:
    for family in FAMILIES:
        twins.do("add_rule", Rule(family, 20000, action, iif="lo", protocol=0))
    twins.reconcile()
    stopped = action is not RuleAction.NOP
    assert twins.virtual.lookup(V4) == (None if stopped else "wan0")
    assert twins.virtual.lookup(V4, iif_lo=False) == "wan0"


@pytest.mark.parametrize(
    ("aim", "way"), [(20001, None), (20002, "wan1"), (32766, "wan1"), (32767, None), (29999, None)]
)
def test_gotos_land_where_their_originals_do(twins: Twins, aim: int, way: str | None) -> None:
    """And where that is "as usual", with everything else."""
    marked = Rule(V4, 20000, fwmark=0xCA6C, fwmask=0xFFFFFFFF, protocol=0)
    for rule in (
        replace(marked, priority=20001, action=RuleAction.PROHIBIT),
        replace(marked, action=RuleAction.GOTO, extra=((FRA_GOTO, struct.pack("=I", aim)),)),
        Rule(V4, 20002, table=100, protocol=0),
    ):
        twins.do("add_rule", rule)
    twins.reconcile(active="wan1")
    assert twins.virtual.lookup(V4, mark=0xCA6C) == way


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kill_switch_with_a_way_out(twins: Twins, family: Family) -> None:
    for rule in (
        Rule(family, 20000, table=TABLE_MAIN, fwmark=0xCA6C, fwmask=0xFFFFFFFF, protocol=0),
        Rule(family, 20001, RuleAction.PROHIBIT, protocol=0),
    ):
        twins.do("add_rule", rule)
    twins.reconcile(active="wan1")
    assert (twins.virtual.lookup(family), twins.virtual.lookup(family, mark=0xCA6C)) == (None, "wan1")
    assert twins.virtual.lookup(family, source="10.0.0.2" if family is V4 else "2001:db8::2") is None


@pytest.mark.parametrize(("first", "last", "stopped"), [(1, 999, False), (1000, 1000, True), (1001, 1999, False)])
def test_a_rule_for_some_users(twins: Twins, first: int, last: int, stopped: bool) -> None:
    users = ((FRA_UID_RANGE, struct.pack("=II", first, last)),)
    for family in FAMILIES:
        twins.do("add_rule", Rule(family, 20000, RuleAction.PROHIBIT, extra=users, protocol=0))
    twins.reconcile()
    assert twins.virtual.lookup(V4) == twins.virtual.lookup(V6) == (None if stopped else "wan0")
    assert twins.virtual.lookup(V4, iif_lo=False) == "wan0"


def test_a_plain_lookup_of_main_shadows_what_comes_after_it(twins: Twins) -> None:
    twins.do("add_rule", Rule(V4, 20000, table=TABLE_MAIN, protocol=0))
    twins.do("add_rule", Rule(V4, 20001, RuleAction.PROHIBIT, protocol=0))
    assert twins.virtual.lookup(V4) == "wan0"
    twins.reconcile()
    assert twins.virtual.lookup(V4) == "wan0"


def test_a_rule_is_added_once_and_behind_those_of_its_pref(twins: Twins) -> None:
    first = Rule(V4, 20000, RuleAction.PROHIBIT, fwmark=1, fwmask=1, protocol=0)
    second = Rule(V4, 20000, table=TABLE_MAIN, protocol=0)
    for rule in (second, first):
        twins.do("add_rule", rule)
    assert twins.do("add_rule", first) == "File exists"


def test_a_floor_in_main_stops_what_no_uplink_carries(twins: Twins) -> None:
    twins.reconcile()
    for family in FAMILIES:
        twins.do("add_route", Route(family, TABLE_MAIN, 9999, RouteKind.UNREACHABLE, protocol=4))
    twins.reconcile()
    for name in NAMES:
        twins.do("set_carrier", name, False)
    assert twins.virtual.lookup(V4) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_floor_that_leads_main_ends_the_rule_that_passes_over_its_defaults(twins: Twins, family: Family) -> None:
    """Our first rule asks main for what is more exact than a default; ours behind it would have a way."""
    twins.reconcile()
    twins.do("add_route", Route(family, TABLE_MAIN, 9, RouteKind.UNREACHABLE, protocol=4))
    assert twins.virtual.lookup(family) is None
    assert twins.virtual.lookup(family, mark=2 << 24) is None
    twins.do("delete_route", Route(family, TABLE_MAIN, 9, RouteKind.UNREACHABLE, protocol=4))
    assert twins.virtual.lookup(family) == "wan0"


def advertised(index: int, lifetime: float) -> Route:
    return Route(V6, TABLE_MAIN, 1024, interface=index, gateway="fe80::1", expires=lifetime, protocol=9)


def lifetimes(facts: Facts, protocol: int) -> list[float]:
    """To ten seconds, sorted."""
    return sorted(round(r.expires, -1) for r in facts.routes if r.protocol == protocol and r.expires is not None)


def await_lifetime(kernel: Either, lifetime: float) -> None:
    wait_until(lambda: lifetimes(kernel.facts(), 9) == [lifetime], f"a lifetime of {lifetime} s")


def test_an_advertised_default_is_renewed_without_a_second_one_and_withdrawn(twins: Twins) -> None:
    for name in NAMES:
        twins.do("withdraw_default", name, V6)
    for lifetime in (300.0, 900.0):
        twins.do("advertise", advertised(2, lifetime))
        for kernel in (twins.virtual, twins.real):
            await_lifetime(kernel, lifetime)
    twins.do("advertise", advertised(3, 600.0))
    twins.reconcile()
    for kernel in (twins.virtual, twins.real):
        assert lifetimes(kernel.facts(), 155) == [600] * 3 + [900] * 5
    twins.do("advertise", advertised(2, 0.0))
    twins.reconcile("wan1", "wan1")
    assert twins.virtual.lookup(V6) == "wan1"


def test_what_has_expired_is_listed_and_not_used(twins: Twins) -> None:
    for name in NAMES:
        twins.do("withdraw_default", name, V6)
    twins.do("advertise", advertised(2, 2.0))
    twins.reconcile()
    wait_until(lambda: twins.virtual.lookup(V6) is None and twins.real.lookup(V6) is None, "expired")
    twins.reconcile()
    assert not [r for r in twins.real.facts().routes if r.family is V6 and r.protocol == 155]


def test_raw_ip_without_a_gateway(twins: Twins) -> None:
    for family in FAMILIES:
        twins.do("replace_route", Route(family, TABLE_MAIN, 50, interface=3, protocol=3))
    twins.reconcile("wan1", "wan1")
    assert twins.virtual.lookup(V6) == "wan1"
