"""What a bearer was given, put on an interface of a real kernel: marked as ours, carrying packets, and taken away."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from failover.cleanup import clean_up
from failover.config import Config, Uplink
from failover.core.bearers import METRIC
from failover.core.diff import diff
from failover.core.plan import plan
from failover.core.uplinks import Tie, resolve
from failover.facts import PROTOCOL, TABLE_MAIN, Address, Operation, Route, Verb
from failover.kernel import Kernel, links
from failover.model import FAMILIES, Decision, Family
from failover.modem import IpMethod, IpSettings
from tests.agent.inventory import inventory

from .box import AF, INTERNET, OWN, V4, V6, WAN0, WAN1, Box

MASK = 0x3F000000
GIVEN = {V4: ("10.64.1.2", 30), V6: ("2001:db8:64::2", 64)}
GATEWAY = {V4: "10.64.1.1", V6: "2001:db8:64::1"}
PATIENCE = 20.0
UPLINK = Uplink("docomo", "wan0")


def given(family: Family, index: int = WAN0) -> Address:
    address, length = GIVEN[family]
    return Address(index, family, address, length, protocol=PROTOCOL)


def settings(family: Family, **fields: object) -> IpSettings:
    address, length = GIVEN[family]
    known = IpSettings(family, IpMethod.STATIC, address, length, GATEWAY[family], mtu=1400)
    return replace(known, **fields)  # type: ignore[arg-type]


BOTH = tuple(settings(family) for family in FAMILIES)


def do(kernel: Kernel, verb: Verb, item: Address | Route) -> str | None:
    return kernel.apply((Operation(verb, item),))[0].error


def serve(kernel: Kernel, given: tuple[IpSettings, ...] | None) -> None:
    """As the agent does it, until nothing is left to do."""
    ties = {"docomo": Tie("wan0", settings=given)}
    for _ in range(4):
        facts = kernel.read()
        uplinks = resolve(facts, Config(uplinks=(UPLINK,)), {"docomo": 0}, ties=ties)
        active = {f: "docomo" if uplinks[0].paths[f].route else None for f in FAMILIES}
        chosen = {f: Decision(f, name, name, (name,) if name else ()) for f, name in active.items()}
        operations = diff(facts, plan(uplinks, chosen, facts, MASK))
        if not operations:
            return
        assert [result.error for result in kernel.apply(operations)] == [None] * len(operations)
    raise AssertionError(f"it never ends: {operations}")


@pytest.fixture
def carrier(box: Box, kernel: Kernel) -> Iterator[dict[Family, socket.socket]]:
    """wan0 has nothing and is down; behind it is a network that knows the bearer's addresses."""
    box.ip("address flush dev wan0 scope global")
    box.ip("link set wan0 down")
    for family in FAMILIES:
        box.far.rtnl.add_address(100 + WAN0, f"{GATEWAY[family]}/{GIVEN[family][1]}")
    made = {}
    for family in FAMILIES:
        made[family] = box.far.socket(AF[family], socket.SOCK_DGRAM)
        made[family].settimeout(PATIENCE)
        made[family].bind((INTERNET[family], 4000))
    yield made
    for opened in made.values():
        opened.close()


def source(box: Box, family: Family, server: socket.socket) -> str:
    """As which a new flow of the box arrives at the internet."""
    with box.van.socket(AF[family], socket.SOCK_DGRAM) as client:
        client.sendto(b"?", (INTERNET[family], 4000))
        return str(server.recvfrom(10)[1][0])


# --- one by one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_an_address_of_ours_is_known_by_its_number_and_usable_at_once(box: Box, kernel: Kernel, family: Family) -> None:
    before = box.ip(f"-{family[-1]} route show table main")
    assert do(kernel, Verb.ADD, given(family)) is None
    assert given(family) in kernel.read().addresses
    assert box.ip(f"-{family[-1]} route show table main") == before, "no connected route"
    (told,) = json.loads(box.ip("-j address show dev wan0"))
    (one,) = [entry for entry in told["addr_info"] if entry["local"] == GIVEN[family][0]]
    assert one["prefixlen"] == GIVEN[family][1]
    assert do(kernel, Verb.ADD, given(family)) is not None, "there already"
    for _ in range(2):
        assert do(kernel, Verb.DELETE, given(family)) is None
    assert {a.address for a in kernel.read().addresses if a.index == WAN0} == {*OWN[WAN0].values()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kernel_that_marks_nothing_gets_nothing(
    kernel: Kernel, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "IFA_PROTO", 60)  # which no kernel knows
    before = kernel.read().addresses
    assert "NetworkManager" in str(do(kernel, Verb.ADD, given(family)))
    assert kernel.read().addresses == before


def test_the_addresses_and_links_of_others_are_refused(box: Box, kernel: Kernel) -> None:
    before = kernel.read()
    theirs = before.addresses[0]
    assert str(do(kernel, Verb.DELETE, theirs)).startswith("not ours")
    assert str(do(kernel, Verb.ADD, replace(given(V4), protocol=16))).startswith("not ours")
    (wan0,) = [link for link in before.links if link.index == WAN0]
    for verb, link in ((Verb.SET, replace(wan0, up=False)), (Verb.ADD, wan0), (Verb.DELETE, wan0)):
        assert kernel.apply((Operation(verb, link),))[0].error == "a link is only ever set up: wan0"
    assert kernel.read() == before


def test_what_is_gone_with_its_link_needs_no_deletion(kernel: Kernel) -> None:
    assert do(kernel, Verb.DELETE, given(V4, 4711)) is None
    assert do(kernel, Verb.DELETE, given(V6, 4711)) is None
    assert str(do(kernel, Verb.ADD, given(V4, 4711))).startswith("No such device")


@pytest.mark.parametrize("family", FAMILIES)
def test_in_main_nothing_is_written_over(box: Box, kernel: Kernel, family: Family) -> None:
    box.ip(f"-{family[-1]} route add default via {INTERNET[family]} dev wan1 onlink metric {METRIC} proto static")
    mine = Route(family, TABLE_MAIN, METRIC, interface=WAN0)
    before = kernel.read().routes
    assert str(do(kernel, Verb.REPLACE, mine)).startswith("not ours")
    assert "File exists" in str(do(kernel, Verb.ADD, mine))
    assert do(kernel, Verb.DELETE, mine) is None, "there is none of ours"
    assert str(do(kernel, Verb.DELETE, replace(mine, protocol=4, interface=WAN1))).startswith("not ours")
    assert kernel.read().routes == before


def test_a_link_is_set_up_and_stays_as_it_is_otherwise(box: Box, kernel: Kernel) -> None:
    box.ip("link set wan0 down mtu 1480 promisc on")
    (wan0,) = [link for link in kernel.read().links if link.index == WAN0]
    assert kernel.apply((Operation(Verb.SET, replace(wan0, up=True)),))[0].error is None
    (told,) = json.loads(box.ip("-j link show dev wan0"))
    assert (told["mtu"], "UP" in told["flags"], "PROMISC" in told["flags"]) == (1480, True, True)


# --- the whole of it -------------------------------------------------------------------------------------------------


def test_packets_pass_by_what_the_bearer_was_given(
    box: Box, kernel: Kernel, carrier: dict[Family, socket.socket]
) -> None:
    serve(kernel, BOTH)
    for family in FAMILIES:
        assert source(box, family, carrier[family]) == GIVEN[family][0]
        told = box.ip(f"-{family[-1]} route get {INTERNET[family]} mark 0x1000000")
        assert "dev wan0" in told
        assert "mtu 1400" in box.ip(f"-{family[-1]} route show table 15501")


def test_other_settings_take_the_place_of_the_first(
    box: Box, kernel: Kernel, carrier: dict[Family, socket.socket]
) -> None:
    """In the same network, where the second address would go with the first one."""
    serve(kernel, (settings(V4, address="10.64.1.3", prefix_length=29),))
    serve(kernel, (settings(V4, prefix_length=29),))
    assert source(box, V4, carrier[V4]) == "10.64.1.2"
    assert "10.64.1.3" not in box.ip("address show dev wan0")
    serve(kernel, (settings(V4, prefix_length=30, gateway=""),))
    (route,) = [r for r in kernel.read().routes if r.table == TABLE_MAIN]
    assert (route.gateway, route.metric, route.protocol) == (None, METRIC, PROTOCOL)


def test_all_that_it_had_goes_with_the_bearer_and_nothing_else_does(
    box: Box, kernel: Kernel, carrier: dict[Family, socket.socket]
) -> None:
    box.ip("link set wan0 up")
    box.ip("address add 192.168.77.1/24 dev wan0")
    box.ip("route add default via 10.20.0.1 dev wan1 metric 100")
    before = inventory(box.van)
    serve(kernel, BOTH)
    assert inventory(box.van).ours
    serve(kernel, None)
    assert {a.address for a in kernel.read().addresses if a.protocol == PROTOCOL} == {a for a, _ in GIVEN.values()}
    serve(kernel, ())
    facts = kernel.read()
    assert not [a for a in facts.addresses if a.protocol == PROTOCOL]
    assert not [r for r in facts.routes if r.table == TABLE_MAIN and r.protocol == PROTOCOL]
    assert _but_sysctls(inventory(box.van).foreign_changes(before)) == ([], [])


def test_cleanup_leaves_what_is_not_ours_and_the_link_up(
    box: Box, kernel: Kernel, carrier: dict[Family, socket.socket]
) -> None:
    box.ip("link set wan0 up")
    box.ip("address add 192.168.77.1/24 dev wan0")
    before = inventory(box.van)
    serve(kernel, BOTH)
    assert all(getattr(done, "error", done) is None for done in clean_up(()))
    after = inventory(box.van)
    assert not after.ours
    assert _but_sysctls(after.foreign_changes(before)) == ([], [])
    assert WAN0 in {link.index for link in kernel.read().links if link.up}


def _but_sysctls(changes: tuple[list[tuple[object, ...]], ...]) -> tuple[list[tuple[object, ...]], ...]:
    """Those are the state file's affair."""
    return tuple([thing for thing in side if thing[0] != "sysctl"] for side in changes)
