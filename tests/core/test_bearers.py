"""Bearers that the agent dials and nobody else serves: what it puts on their interfaces, keeps there and takes away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from failover.config import Reconfigured
from failover.config.modems import Dialer
from failover.core.bearers import METRIC, served
from failover.core.changeover import LEAVE
from failover.core.dialler import GRACE
from failover.core.diff import diff
from failover.core.plan import Desired
from failover.core.uplinks import Uplink
from failover.facts import PROTOCOL, TABLE_MAIN, Address, Facts, Link, Operation, Route, Verb
from failover.model import ProbeKind, Use, Verdict
from failover.modem import Deed, IpMethod, IpSettings
from failover.seam import ModemsTold

from .box import told
from .garage import NETWORKS, SECONDS, Garage, Unit, imei, of_modem
from .worlds import V4, V6, uplink

FOUR = IpSettings(V4, IpMethod.STATIC, "10.64.1.2", 30, "10.64.1.1", ("10.65.1.53",))
SIX = IpSettings(V6, IpMethod.STATIC, "2001:db8:0::2", 64, "fe80::1", mtu=1400)
OTHER = replace(FOUR, address="10.64.9.6", gateway="10.64.9.5")
DOWN = Link(5, "wana", up=False, carrier=False)
OURS = Address(5, V4, "10.64.1.2", 30, protocol=PROTOCOL)


def given(*settings: IpSettings, index: int | None = 5, slot: int = 0) -> Uplink:
    return replace(uplink("a", index, slot=slot), settings=settings)


def dialled(connect: Dialer = Dialer.SELF, **fields: Any) -> tuple[Garage, Unit]:
    """A modem that nobody has connected yet, and another uplink that is well."""
    unit = Unit(imei(1), "wwan0", connected=False, foreign="", served=True, settings=(FOUR,))
    for name, value in fields.items():
        setattr(unit, name, value)
    return Garage(unit, uplinks=(of_modem("docomo", connect=connect),), others=("lan0",)), unit


def held(box: Garage) -> tuple[list[str], list[tuple[str | None, int]]]:
    """Addresses, and gateways and metrics of defaults in main, that bear our number."""
    return (
        [address.address for address in box.facts.addresses if address.protocol == PROTOCOL],
        [(r.gateway, r.metric) for r in box.facts.routes if r.table == TABLE_MAIN and r.protocol == PROTOCOL],
    )


SERVED = (["10.64.1.2"], [("10.64.1.1", METRIC)])
NOTHING: tuple[list[str], list[tuple[str | None, int]]] = ([], [])


# --- what is wanted --------------------------------------------------------------------------------------------------


def test_a_link_that_is_up_an_address_and_a_default_in_each_family() -> None:
    found = served([given(SIX, FOUR, slot=2)], Facts(links=(DOWN,)))
    assert found.links == (replace(DOWN, up=True),)
    assert found.addresses == (OURS, Address(5, V6, "2001:db8::2", 64, protocol=PROTOCOL))
    four = Route(V4, TABLE_MAIN, METRIC + 2, interface=5, gateway="10.64.1.1", onlink=True)
    six = Route(V6, TABLE_MAIN, METRIC + 2, interface=5, gateway="fe80::1", onlink=True, mtu=1400)
    assert found.routes == (four, six)


@pytest.mark.parametrize(
    "settings",
    [replace(FOUR, method=IpMethod.DHCP), replace(FOUR, method=IpMethod.PPP), replace(FOUR, address="")],
)
def test_nothing_for_what_is_not_static(settings: IpSettings) -> None:
    assert served([given(settings)], Facts(links=(DOWN,))) == served([], Facts())


def test_nothing_without_its_interface() -> None:
    assert served([given(FOUR, index=None)], Facts(links=(DOWN,))) == served([], Facts())


def test_without_a_gateway_everything_is_on_the_link() -> None:
    (route,) = served([given(replace(FOUR, gateway=""))], Facts(links=(DOWN,))).routes
    assert (route.gateway, route.onlink) == (None, False)


@pytest.mark.parametrize(("family", "told", "kept"), [(FOUR, 575, None), (FOUR, 576, 576), (SIX, 1279, None)])
def test_an_mtu_that_cannot_be_is_not_believed(family: IpSettings, told: int, kept: int | None) -> None:
    (route,) = served([given(replace(family, mtu=told))], Facts(links=(DOWN,))).routes
    assert route.mtu == kept


def test_an_mtu_that_is_the_links_needs_no_word() -> None:
    (route,) = served([given(replace(FOUR, mtu=DOWN.mtu))], Facts(links=(DOWN,))).routes
    assert route.mtu is None


@pytest.mark.parametrize(("told", "kept"), [(0, 32), (7, 32), (8, 8), (32, 32)])
def test_a_network_as_large_as_the_internet_is_not_believed(told: int, kept: int) -> None:
    (address,) = served([given(replace(FOUR, prefix_length=told))], Facts(links=(DOWN,))).addresses
    assert address.prefix_length == kept


def test_where_nobody_tells_what_is_ours_there_stays_and_nothing_else() -> None:
    way = Route(V4, TABLE_MAIN, METRIC, interface=5)
    others = Address(5, V4, "192.168.1.7", 24), Route(V4, TABLE_MAIN, 700, interface=5, protocol=16)
    elsewhere = replace(OURS, index=6), replace(way, interface=6)
    facts = Facts(
        links=(DOWN, replace(DOWN, index=6)),
        addresses=(OURS, others[0], elsewhere[0]),
        routes=(way, others[1], elsewhere[1]),
    )
    untold = replace(given(), settings=None)
    found = served([untold], facts)
    assert (found.links, found.addresses, found.routes) == ((), (OURS,), (way,))
    nowhere = replace(untold, index=None)
    assert served([nowhere], facts).addresses == (OURS, elsewhere[0])
    assert served([nowhere, replace(uplink("b", 6))], facts).addresses == (OURS,)


def test_an_address_with_another_prefix_goes_before_it_comes_again() -> None:
    facts = Facts(links=(replace(DOWN, up=True),), addresses=(replace(OURS, prefix_length=24),))
    wanted = replace(served([given(FOUR)], facts), routes=())
    assert diff(facts, Desired(bearers=wanted)) == (
        Operation(Verb.DELETE, facts.addresses[0]),
        Operation(Verb.ADD, OURS),
    )


# --- over time -------------------------------------------------------------------------------------------------------


def test_a_modem_of_ours_is_dialled_and_served_at_once() -> None:
    box, _ = dialled()
    box.run(30.0)
    assert held(box) == SERVED
    assert (box.verdict("docomo"), box.active()) == (Verdict.UP, "docomo")
    assert box.errors == 0


def test_a_link_that_is_down_is_set_up() -> None:
    box, _ = dialled()
    box.change("wwan0", up=False)
    box.run(30.0)
    assert box.verdict("docomo") is Verdict.UP


def test_with_the_bearer_goes_all_that_it_had_and_another_one_brings_other_things() -> None:
    box, unit = dialled()
    box.run(30.0)
    unit.settings = (OTHER,)
    box.drop(unit)
    box.run(30.5)
    assert held(box) == NOTHING
    box.run(60.0)
    assert held(box) == (["10.64.9.6"], [("10.64.9.5", METRIC)])
    box.set(unit, settings=(FOUR,))  # and without a word between
    box.run(60.1)
    assert held(box) == SERVED
    assert box.errors == 0


def test_what_somebody_deletes_is_put_back() -> None:
    box, _ = dialled()
    box.run(30.0)
    box.facts = replace(box.facts, addresses=tuple(a for a in box.facts.addresses if a.protocol != PROTOCOL))
    box.stir()
    box.run(30.1)
    assert held(box) == SERVED


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("connect", [Dialer.SELF, Dialer.AUTO])
def test_a_restart_changes_nothing_whenever_the_manager_tells(connect: Dialer, remembers: bool) -> None:
    box, _ = dialled(connect)
    box.run(60.0)
    assert held(box) == SERVED
    box.restart(box.engine.memory(box.now) if remembers else None)
    began = box.now
    box.run(began + 1.0)
    box.tell(ModemsTold(managed=False))
    box.run(began + 2.0)
    box.tell(ModemsTold())
    box.run(began + 3.0)
    assert held(box) == SERVED
    box.tell_modems()
    box.run(began + 60.0)
    assert held(box) == SERVED
    gone = [o for _, batch in box.applied for o in batch.operations if isinstance(o.item, Address)]
    assert [operation.verb for operation in gone] == ["add"]


def test_while_the_manager_restarts_what_there_is_goes_on() -> None:
    box, unit = dialled()
    box.run(30.0)
    box.managed = False
    box.tell_modems()
    box.run(60.0)
    assert (held(box), box.verdict("docomo")) == (SERVED, Verdict.UP)
    box.managed, unit.connected = True, False
    box.tell_modems()
    box.run(60.1)
    assert held(box) == NOTHING


def test_auto_waits_for_others_to_take_the_modem_and_then_serves() -> None:
    box, _ = dialled(Dialer.AUTO)
    box.run(GRACE - 0.1)
    assert held(box) == NOTHING
    box.run(GRACE + 20.0)
    assert held(box) == SERVED


def test_auto_serves_what_was_connected_by_hand_and_nobody_else_has() -> None:
    box, _ = dialled(Dialer.AUTO, connected=True)
    box.facts = replace(box.facts, addresses=box.facts.addresses[1:], routes=box.facts.routes[1:])
    box.stir()
    box.run(GRACE - 0.1)
    assert held(box) == NOTHING
    box.run(GRACE + 1.0)
    assert held(box) == SERVED


@pytest.mark.parametrize("connect", [Dialer.AUTO, Dialer.NETWORKMANAGER, Dialer.NONE])
def test_what_another_program_has_is_left_to_it(connect: Dialer) -> None:
    box, _ = dialled(connect, foreign="NetworkManager", connected=True)
    box.run(60.0)
    assert held(box) == NOTHING


def test_another_program_that_takes_the_modem_over_finds_things_as_they_are() -> None:
    box, unit = dialled(Dialer.AUTO)
    box.run(60.0)
    box.set(unit, foreign="NetworkManager")
    box.run(70.0)
    assert (held(box), box.verdict("docomo")) == (SERVED, Verdict.UP)
    box.drop(unit)
    box.run(70.1)
    assert held(box) == NOTHING


def test_two_that_dial_one_modem_are_told_of() -> None:
    box, _ = dialled(foreign="NetworkManager")
    box.run(60.0)
    assert held(box) == NOTHING
    (warning,) = [text for text in box.engine.snapshot().warnings if text.startswith("docomo: ")]
    assert "NetworkManager has this modem, too" in warning
    assert "connect: networkmanager" in warning


def test_a_bearer_that_wants_dhcp_is_left_alone_and_networkmanager_named() -> None:
    box, _ = dialled(settings=(IpSettings(V4, IpMethod.DHCP),))
    box.run(60.0)
    assert held(box) == NOTHING
    (warning,) = [text for text in box.engine.snapshot().warnings if text.startswith("docomo: ")]
    assert warning.startswith("docomo: its bearer wants dhcp, which is left to NetworkManager")


def test_the_wrong_sim_is_not_used() -> None:
    box, unit = dialled()
    choice = box.engine.config.uplinks[0].modem
    assert choice is not None
    box.run(30.0)
    assert held(box) == SERVED
    box.set(unit, failure="sim-missing")
    box.run(30.1)
    assert held(box) == NOTHING


def test_an_address_of_others_there_is_as_good_and_stays() -> None:
    box, unit = dialled()
    theirs = Address(2, V4, "10.64.1.2", 30)
    box.facts = replace(box.facts, addresses=(*box.facts.addresses, theirs))
    box.stir()
    box.run(30.0)
    assert (held(box), box.verdict("docomo")) == (([], SERVED[1]), Verdict.UP)
    box.drop(unit)
    box.run(30.1)
    assert theirs in box.facts.addresses
    assert held(box) == NOTHING
    assert told(box, 30.0)


def test_its_name_servers_are_those_of_the_bearer() -> None:
    box, unit = dialled()
    box.servers = {}
    box.run(30.0)
    wish = {one.interface: one for one in box.wished[-1][1].wanted}
    assert (wish["wwan0"].servers, wish["wwan0"].families) == (("10.65.1.53",), (V4,))
    assert next(send.target.host for _, send in box.sent if send.target.kind is ProbeKind.DNS) == "10.65.1.53"
    box.set(unit, settings=(replace(FOUR, dns=("10.65.9.53",)), replace(SIX, dns=("2001:db8::53", "10.65.9.53"))))
    box.run(30.1)
    wish = {one.interface: one for one in box.wished[-1][1].wanted}
    assert wish["wwan0"].servers == ("10.65.9.53", "2001:db8::53")


def test_the_servers_in_the_config_come_before_those_of_the_bearer() -> None:
    box, _ = dialled()
    (docomo, lan0) = box.engine.config.uplinks
    box.servers = {}
    box.tell(Reconfigured(replace(box.engine.config, uplinks=(replace(docomo, dns=("10.1.1.1",)), lan0))))
    box.run(30.0)
    wish = {one.interface: one for one in box.wished[-1][1].wanted}
    assert wish["wwan0"].servers == ("10.1.1.1",)


def test_the_other_sim_is_dialled_at_once_however_often_the_first_one_failed() -> None:
    unit = Unit(imei(1), "wwan0", sims=NETWORKS, foreign="", served=True, connected=False)
    unit.refuses[Deed.CONNECT] = "no service"
    seats = (of_modem("docomo", slot=1, connect=Dialer.SELF), of_modem("au", slot=2, connect=Dialer.SELF))
    box = Garage(unit, uplinks=seats)
    box.run(300.0)
    at, _ = next((at, order) for at, order in reversed(box.deeds) if order.deed is Deed.SELECT_SLOT)
    dialled_at = next(when for when, order in box.deeds if when > at and order.deed is Deed.CONNECT)
    assert dialled_at - at < SECONDS[Deed.SELECT_SLOT] + 0.1


def test_while_the_traffic_leaves_a_sim_its_open_flows_have_their_address() -> None:
    unit = Unit(imei(1), "wwan0", sims=NETWORKS, foreign="", served=True, connected=False)
    seats = (of_modem("docomo", slot=1, connect=Dialer.SELF), of_modem("au", slot=2, connect=Dialer.SELF))
    box = Garage(unit, uplinks=seats, others=("lan0",))
    box.run(100.0)
    assert (box.active(), len(held(box)[0])) == ("docomo", 1)
    box.ask(Use("au"))
    box.run(100.0 + LEAVE - 0.01)
    assert (box.active(), len(held(box)[0])) == ("lan0", 1)
    box.run(100.0 + LEAVE + 1.0)
    assert held(box) == NOTHING
    box.run(120.0)
    assert (box.active(), len(held(box)[0])) == ("au", 1)
