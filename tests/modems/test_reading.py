"""ModemManager's objects as words: good ones, hostile ones, any."""

from __future__ import annotations

import math
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.model import Family
from failover.modem import Bearer, IpMethod, IpSettings, Modem, ModemState, Registration, Signal, Sim
from failover.modems.numbers import BEARER, MESSAGING, MODEM, SIGNAL, SIM, THREE_GPP
from failover.modems.reading import BEARERS, LOOKED_AT, MODEMS, SLOTS, modems, references
from failover.modems.tree import KEPT, OBJECTS, Tree
from failover.modems.usb import serial_of
from failover.modems.values import ITEMS, TEXT


class V(NamedTuple):
    """A value with its signature, as it comes over D-Bus."""

    signature: str
    value: object


PATH = "/org/freedesktop/ModemManager1/Modem/0"
GOOD: dict[str, dict[str, dict[str, object]]] = {
    PATH: {
        MODEM: {
            "AccessTechnologies": V("u", 1 << 14 | 1 << 15),
            "Bearers": V("ao", ["/b/1"]),
            "Device": V("s", "/sys/devices/usb1/1-1"),
            "EquipmentIdentifier": V("s", "356938035640011"),
            "Manufacturer": V("s", "Acme"),
            "Model": V("s", "LTE modem"),
            "Ports": V("a(su)", [["wwan0", 2], ["ttyUSB0", 3]]),
            "PowerState": V("u", 3),
            "PrimarySimSlot": V("u", 2),
            "Revision": V("s", "1.0\n"),
            "Sim": V("o", "/s/1"),
            "SimSlots": V("ao", ["/", "/s/1"]),
            "State": V("i", 11),
            "StateFailedReason": V("u", 0),
            "UnlockRequired": V("u", 3),
            "UnlockRetries": V("a{uu}", {2: 3, 4: 10}),
        },
        THREE_GPP: {
            "EpsUeModeOperation": V("u", 3),
            "Imei": V("s", "356938035640011"),
            "OperatorCode": V("s", "44051"),
            "OperatorName": V("s", "KDDI\u202e"),
            "PacketServiceState": V("u", 2),
            "RegistrationState": V("u", 5),
        },
        SIGNAL: {
            "Rate": V("u", 10),
            "Lte": V("a{sv}", {"rsrp": V("d", -98.04), "rsrq": V("d", -11.0), "snr": V("d", 9.0)}),
            "Nr5g": V("a{sv}", {"rsrp": V("d", -sys.float_info.max), "snr": V("d", math.nan)}),
        },
        MESSAGING: {"Messages": V("ao", [])},
    },
    "/b/1": {
        BEARER: {
            "Connected": V("b", True),
            "Interface": V("s", "wwan0"),
            "Ip4Config": V(
                "a{sv}",
                {
                    "method": V("u", 2),
                    "address": V("s", "10.64.1.2"),
                    "prefix": V("u", 30),
                    "gateway": V("s", "10.64.1.1"),
                    "dns1": V("s", "10.65.1.53"),
                    "dns3": V("s", "nonsense"),
                    "mtu": V("u", 1430),
                },
            ),
            "Ip6Config": V("a{sv}", {"method": V("u", 0)}),
            "Stats": V("a{sv}", {"rx-bytes": V("t", 7), "tx-bytes": V("u", 9)}),
        }
    },
    "/s/1": {
        SIM: {
            "SimIdentifier": V("s", "8981200000000000022"),
            "OperatorIdentifier": V("s", "44051"),
            "OperatorName": V("s", "au"),
            "SimType": V("u", 2),
            "Eid": V("s", "89044000000000000000000000000001"),
        }
    },
}
SIM_1 = Sim("8981200000000000022", "44051", "au", True)
FOUR = IpSettings(Family.IPV4, IpMethod.STATIC, "10.64.1.2", 30, "10.64.1.1", ("10.65.1.53",), 1430)


def nobody(_: str) -> str:
    return ""


def read(objects: Any, known: set[str] | None = None) -> tuple[Modem, ...]:
    tree = Tree()
    tree.replace(objects)
    return modems(tree, lambda _: "S1", nobody, known or set())


def changed(interface: str, name: str, value: object, path: str = PATH) -> Modem:
    """The good one, with one property as given."""
    objects = GOOD | {path: GOOD[path] | {interface: GOOD[path][interface] | {name: value}}}
    (modem,) = read(objects, {PATH})
    return modem


def test_a_modem_is_read_whole() -> None:
    (modem,) = read(GOOD)
    assert modem == Modem(
        handle=PATH,
        imei="356938035640011",
        device="/sys/devices/usb1/1-1",
        serial="S1",
        maker="Acme",
        model="LTE modem",
        firmware="1.0?",
        state=ModemState.CONNECTED,
        pin_tries=3,
        interfaces=("wwan0",),
        slots=(None, SIM_1),
        slot=2,
        sim=SIM_1,
        registration=Registration.ROAMING,
        operator_code="44051",
        operator_name="KDDI?",
        technologies=("lte", "5gnr"),
        attached=True,
        signal=Signal(-98.0, -11.0, 9.0, "lte"),
        bearers=(Bearer("/b/1", True, "wwan0", (FOUR,), "", 7, None),),
        voice_centric=True,
    )
    assert modem.bearer == modem.bearers[0]


NR = {"rsrp": V("d", -100.0), "rsrq": V("d", math.inf)}
VALUES: list[tuple[str, str, object, str, object]] = [
    (MODEM, "State", V("i", -1), "state", ModemState.FAILED),
    (MODEM, "State", V("i", 99), "state", ModemState.UNKNOWN),
    (MODEM, "State", V("u", 8), "state", ModemState.UNKNOWN),
    (MODEM, "State", V("i", True), "state", ModemState.UNKNOWN),
    (MODEM, "StateFailedReason", V("u", 2), "failure", ""),
    (MODEM, "UnlockRequired", V("u", 2), "lock", "sim-pin"),
    (MODEM, "UnlockRetries", V("a{uu}", {2: 10**6}), "pin_tries", None),
    (MODEM, "UnlockRetries", V("a{uu}", {"2": 1}), "pin_tries", None),
    (MODEM, "Ports", V("a(su)", [["../../etc", 2], ["x" * 16, 2], ["wwan\n", 2], ["", 2]]), "interfaces", ()),
    (MODEM, "Ports", V("a(su)", [["wwan0"]]), "interfaces", ()),
    (MODEM, "PrimarySimSlot", V("u", 4_000_000_000), "slot", 1),
    (MODEM, "SimSlots", V("ao", ["/"] * 40), "slots", (None,) * SLOTS),
    (MODEM, "Sim", V("o", "/"), "sim", None),
    (MODEM, "AccessTechnologies", V("u", 0xFFFFFFFF), "technologies", ()),
    (MODEM, "Physdev", V("s", "/sys/devices/x"), "device", "/sys/devices/x"),
    (MODEM, "Manufacturer", V("s", "x" * (TEXT + 1)), "maker", ""),
    (MODEM, "Manufacturer", V("s", "\x1b[31m"), "maker", "?[31m"),
    (THREE_GPP, "Imei", V("s", "<script>"), "imei", "356938035640011"),
    (THREE_GPP, "RegistrationState", V("u", 8), "registration", Registration.LIMITED),
    (THREE_GPP, "RegistrationState", V("u", 77), "registration", Registration.UNKNOWN),
    (THREE_GPP, "PacketServiceState", V("u", 0), "attached", None),
    (THREE_GPP, "EpsUeModeOperation", V("u", 4), "voice_centric", False),
    (SIGNAL, "Nr5g", V("a{sv}", NR), "signal", Signal(-100.0, None, None, "5gnr")),
    (SIGNAL, "Lte", V("a{sv}", {"rsrp": V("d", 12.0), "snr": V("s", "1")}), "signal", Signal()),
    (SIGNAL, "Lte", V("s", "much"), "signal", Signal()),
]


@pytest.mark.parametrize(("interface", "name", "value", "field", "wanted"), VALUES)
def test_what_is_not_as_it_should_be_was_not_told(
    interface: str, name: str, value: object, field: str, wanted: object
) -> None:
    assert getattr(changed(interface, name, value), field) == wanted


FIVE_DNS: dict[str, object] = {f"dns{number}": V("s", "2001:db8::1") for number in range(9)}
SETTINGS: list[tuple[dict[str, object], tuple[IpSettings, ...]]] = [
    ({}, ()),
    ({"method": V("u", 3)}, (IpSettings(Family.IPV6, IpMethod.DHCP),)),
    ({"method": V("u", 2), "address": V("s", "10.0.0.1")}, (IpSettings(Family.IPV6, IpMethod.STATIC),)),
    (
        {"method": V("u", 2), "address": V("s", "fe80::5%x"), "dns1": V("s", "fe80::1%x")},
        (IpSettings(Family.IPV6, IpMethod.STATIC),),
    ),
    ({"address": V("s", "2001:DB8::1"), "prefix": V("u", 200)}, (IpSettings(Family.IPV6, address="2001:db8::1"),)),
    ({"method": V("u", 2), "mtu": V("u", 70000)}, (IpSettings(Family.IPV6, IpMethod.STATIC),)),
    ({"method": V("u", 2)} | FIVE_DNS, (IpSettings(Family.IPV6, IpMethod.STATIC, dns=("2001:db8::1",) * 3),)),
]


@pytest.mark.parametrize(("config", "wanted"), SETTINGS)
def test_addresses_are_checked(config: dict[str, object], wanted: tuple[IpSettings, ...]) -> None:
    modem = changed(BEARER, "Ip6Config", V("a{sv}", config), "/b/1")
    assert modem.bearers[0].settings == (FOUR, *wanted)


UNUSABLE = ["nonsense", "fe80::1%wwan0", "10.0.0.1", "::1", "ff02::1", "::ffff:1.2.3.4", "::ffff:0.0.0.0"]
UNUSABLE_4 = ["2001:db8::1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "10.64.1.1%wwan0"]
VIA: list[tuple[Family, str, bool, str]] = [
    (Family.IPV6, "fe80::1", True, "fe80::1"),
    (Family.IPV6, "", True, ""),
    (Family.IPV6, "::", True, ""),
    (Family.IPV4, "0.0.0.0", True, ""),
    *((Family.IPV6, told, False, "") for told in UNUSABLE),
    *((Family.IPV4, told, False, "") for told in UNUSABLE_4),
]


@pytest.mark.parametrize(("family", "told", "usable", "via"), VIA)
def test_settings_with_a_gateway_that_can_be_none_have_no_address(
    family: Family, told: str, usable: bool, via: str
) -> None:
    address = "10.64.1.2" if family is Family.IPV4 else "2001:db8::5"
    config = {"method": V("u", 2), "address": V("s", address), "prefix": V("u", 30), "gateway": V("s", told)}
    modem = changed(BEARER, "Ip4Config" if family is Family.IPV4 else "Ip6Config", V("a{sv}", config), "/b/1")
    (found,) = [one for one in modem.bearers[0].settings if one.family is family]
    assert (found.address, found.prefix_length, found.gateway) == ((address, 30, via) if usable else ("", 0, ""))


def test_a_new_modem_is_told_when_its_parts_are_read_and_a_known_one_without_them() -> None:
    alone = {PATH: GOOD[PATH]}
    assert read(alone) == ()
    (modem,) = read(alone, {PATH})
    assert (modem.bearers, modem.sim) == ((), Sim())


def test_there_are_never_more_than_there_can_be() -> None:
    many = {f"/m/{number}": GOOD[PATH] | {MODEM: {"Bearers": V("ao", bearers(500))}} for number in range(OBJECTS + 9)}
    found = read(dict.fromkeys(bearers(500), GOOD["/b/1"]) | GOOD | many, {"/m/1"})
    assert len(found) == MODEMS
    assert len(found[1].bearers) == BEARERS
    assert [modem.handle for modem in found[:4]] == ["/m/0", "/m/1", "/m/2", "/m/3"]


def bearers(number: int) -> list[str]:
    return [f"/b/{one}" for one in reversed(range(number))]


@pytest.mark.parametrize("at", range(LOOKED_AT))
def test_the_bearer_that_is_connected_is_found_among_others(at: int) -> None:
    listed = [f"/dead/{number}" for number in range(LOOKED_AT)]
    listed[at] = "/b/1"
    dead = {path: {BEARER: {"Connected": V("b", False)}} for path in listed}
    (modem,) = read(dead | GOOD | {PATH: GOOD[PATH] | {MODEM: GOOD[PATH][MODEM] | {"Bearers": V("ao", listed)}}})
    assert modem.bearer == modem.bearers[0] == Bearer("/b/1", True, "wwan0", (FOUR,), "", 7, None)
    assert len(modem.bearers) == BEARERS


@pytest.mark.parametrize("number", [LOOKED_AT + 2, ITEMS, ITEMS + 500])
@pytest.mark.parametrize("state", [ModemState.CONNECTED, ModemState.REGISTERED])
def test_a_bearer_that_is_not_looked_at_is_not_disconnected(number: int, state: ModemState) -> None:
    """Once it is known to be connected, it is looked at until it is not."""
    own = GOOD[PATH][MODEM] | {"Bearers": V("ao", ["/b/1"]), "State": V("i", state)}
    tree = Tree()
    tree.replace(GOOD | {PATH: GOOD[PATH] | {MODEM: own}})
    listed = [f"/dead/{one}" for one in range(number)]
    listed.insert(LOOKED_AT // 2 + 1, "/b/1")
    tree.change(PATH, MODEM, {"Bearers": V("ao", listed)})
    for path, interface in [*references(tree, PATH)]:
        if not tree.has(path, interface):
            tree.add(path, {interface: {"Connected": V("b", False)}})
    assert len([*references(tree, PATH)]) == LOOKED_AT + 1
    assert bearer(tree) == "/b/1"
    tree.remove("/b/1", [BEARER])
    assert bearer(tree) == ("" if state is ModemState.CONNECTED else None)


def bearer(tree: Tree) -> str | None:
    """The handle of the one that is connected."""
    (modem,) = modems(tree, nobody, nobody, {PATH})
    return modem.bearer.handle if modem.bearer else None


# --- anything --------------------------------------------------------------------------------------------------------

SIGNATURES = sorted({kind for properties in KEPT.values() for kind in properties.values()})
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8)
ANYTHING = st.recursive(
    SCALARS | st.builds(V, st.sampled_from(SIGNATURES), SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
PATHS = st.sampled_from([PATH, "/b/1", "/s/1", "/", ""])


@st.composite
def hostile(draw: st.DrawFn) -> dict[str, dict[str, dict[str, object]]]:
    """The good tree, with anything anywhere."""
    objects = {path: {of: dict(has) for of, has in interfaces.items()} for path, interfaces in GOOD.items()}
    for path, interface in draw(st.lists(st.tuples(PATHS, st.sampled_from(sorted(KEPT))), max_size=4)):
        properties = objects.setdefault(path, {}).setdefault(interface, {})
        for name in draw(st.lists(st.sampled_from(sorted(KEPT[interface])), max_size=3)):
            signature = draw(st.sampled_from([KEPT[interface][name], *SIGNATURES]))
            properties[name] = draw(st.builds(V, st.just(signature), ANYTHING) | ANYTHING)
    return objects


def check(value: object) -> None:
    """Clean, bounded, of the word's types."""
    if is_dataclass(value):
        for field in fields(value):
            check(getattr(value, field.name))
    elif isinstance(value, tuple):
        assert len(value) <= 32
        for one in value:
            check(one)
    elif isinstance(value, str):
        assert value.isprintable()
        assert len(value) <= 256
    elif isinstance(value, float):
        assert math.isfinite(value)
    else:
        assert value is None or isinstance(value, bool | int)


@given(hostile())
def test_anything_is_read_as_something_sane(objects: dict[str, dict[str, dict[str, object]]]) -> None:
    for modem in read(objects, {PATH, "/b/1"}):
        check(modem)


@given(hostile(), st.lists(st.tuples(PATHS, st.sampled_from(sorted(KEPT)), hostile()), max_size=3))
def test_signals_of_anything_change_it_into_something_sane(first: Any, signals: list[tuple[str, str, Any]]) -> None:
    tree = Tree()
    tree.replace(first)
    for path, interface, objects in signals:
        tree.change(path, interface, objects.get(path, {}).get(interface, {}), ["State", "Bearers"])
        for modem in modems(tree, nobody, nobody, set()):
            check(modem)
        tree.remove(path, [interface])
        assert not tree.has(path, interface)


# --- the serial number -----------------------------------------------------------------------------------------------

SERIALS = [
    ("/sys/devices/usb1/1-1", "ABC?"),
    ("/sys/devices/usb1", ""),
    ("/sys/devices/usb1/../usb1/1-1", ""),
    ("/etc", ""),
    ("", ""),
    ("usb1/1-1", ""),
    ("/sys/devices/usb1/link", ""),
]


@pytest.mark.parametrize(("device", "wanted"), SERIALS)
def test_the_serial_number_is_read_below_sys_alone(device: str, wanted: str, tmp_path: Path) -> None:
    home = tmp_path / "devices/usb1/1-1"
    home.mkdir(parents=True)
    (home / "serial").write_text("ABC\x07\n")
    (tmp_path / "devices/usb1/link").mkdir()
    (tmp_path / "devices/usb1/link/serial").symlink_to(home / "serial")
    assert serial_of(tmp_path, device) == wanted
