"""ModemManager's objects read as words: every value checked, every list bounded. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from failover.model import Family, clean
from failover.modem import Bearer, IpMethod, IpSettings, Modem, ModemState, Registration, Signal, Sim
from failover.modems.numbers import (
    ANY,
    ATTACHED,
    BEARER,
    ESIM,
    FAILURES,
    LOCKS,
    LTE,
    METHODS,
    MODEM,
    NET,
    NOTHING,
    NR,
    PIN,
    REGISTRATIONS,
    SIGNAL,
    SIM,
    TECHNOLOGIES,
    THREE_GPP,
    VOICE_CENTRIC,
)
from failover.modems.tree import NONE, Tree
from failover.modems.values import digits, gateway, level, literal, told, word

MODEMS, SLOTS, BEARERS, INTERFACES, SERVERS = 16, 8, 8, 8, 3
"""At most: modems of a box; of a modem its slots, bearers, network devices; of a bearer its name servers."""
LOOKED_AT: Final = 64
"""Bearers of a modem that are read at most, for the connected one among them: anybody who may dial may make more."""
INTERFACE: Final = 15
"""Characters of a network device's name (IFNAMSIZ - 1)."""
PATH: Final = 256
TRIES: Final = 99
"""More tries for a PIN are nonsense."""
LARGEST_MTU: Final = 65535
RSRP, RSRQ, SNR = (-160.0, -30.0), (-45.0, 20.0), (-50.0, 60.0)
"""What can be measured, and a little more (3GPP TS 36.133, 9.1.4 and 9.1.7; TS 38.133, 10.1.6, 10.1.11, 10.1.16)."""

Aside = Callable[[str], str]
"""What others know of a modem, by its handle; empty: nothing."""


def modems(tree: Tree, serial: Aside, dialler: Aside, known: set[str]) -> tuple[Modem, ...]:
    """Every modem whose SIMs and bearers were read; of one that is in `known`, what was not is left out."""
    paths = tree.holding(MODEM)[:MODEMS]
    return tuple(
        _modem(tree, path, serial(path), dialler(path)) for path in paths if path in known or is_read(tree, path)
    )


def references(tree: Tree, path: str) -> Iterator[tuple[str, str]]:
    """The objects that belong to a modem, with the interface that each has."""
    modem = tree.of(path, MODEM)
    for sim in {modem.get("Sim", NOTHING), *modem.get("SimSlots", [])[:SLOTS]} - {NOTHING}:
        yield sim, SIM
    for bearer in _looked_at(tree, modem):
        yield bearer, BEARER


def _looked_at(tree: Tree, modem: Mapping[str, Any]) -> list[str]:
    """Its bearers that matter: first those known to be connected, then the newest, which it lists first, the oldest."""
    listed, half = modem.get("Bearers", []), LOOKED_AT // 2
    connected = (one for one in listed if tree.of(one, BEARER).get("Connected"))
    return list(dict.fromkeys((*connected, *listed[:half], *listed[-half:])))[:LOOKED_AT]


def is_read(tree: Tree, path: str) -> bool:
    """All that belongs to the modem was told."""
    return all(tree.has(*reference) for reference in references(tree, path))


def _modem(tree: Tree, path: str, serial: str, dialler: str) -> Modem:
    modem, network = tree.of(path, MODEM), tree.of(path, THREE_GPP)
    state = _state(modem.get("State", 0))
    technologies = _technologies(modem.get("AccessTechnologies", 0))
    return Modem(
        handle=clean(path),
        imei=digits(network.get("Imei")) or digits(modem.get("EquipmentIdentifier")),
        device=clean(modem.get("Physdev") or modem.get("Device", ""), PATH),
        serial=serial,
        maker=word(modem.get("Manufacturer")),
        model=word(modem.get("Model")),
        firmware=clean(modem.get("Revision", "")),
        state=state,
        failure=FAILURES.get(modem.get("StateFailedReason", 0), "") if state is ModemState.FAILED else "",
        lock=LOCKS.get(modem.get("UnlockRequired", 0), ""),
        pin_tries=_tries(modem.get("UnlockRetries", NONE)),
        interfaces=_interfaces(modem.get("Ports", [])),
        slots=tuple(_sim(tree, slot) for slot in modem.get("SimSlots", [])[:SLOTS]),
        slot=_slot(modem),
        sim=_sim(tree, modem.get("Sim", NOTHING)),
        registration=REGISTRATIONS.get(network.get("RegistrationState", 4), Registration.UNKNOWN),
        operator_code=digits(network.get("OperatorCode")),
        operator_name=word(network.get("OperatorName")),
        technologies=technologies,
        attached=ATTACHED.get(network.get("PacketServiceState", 0)),
        signal=_signal(tree.of(path, SIGNAL), NR in technologies),
        bearers=tuple(islice(_bearers(tree, modem, connected=state is ModemState.CONNECTED), BEARERS)),
        voice_centric=network.get("EpsUeModeOperation") in VOICE_CENTRIC,
        foreign=dialler,
    )


def _state(number: int) -> ModemState:
    try:
        return ModemState(number)
    except ValueError:
        return ModemState.UNKNOWN


def _technologies(bits: int) -> tuple[str, ...]:
    return () if bits == ANY else tuple(name for bit, name in TECHNOLOGIES if bits & 1 << bit)


def _tries(retries: Mapping[int, int]) -> int | None:
    tries = retries.get(PIN)
    return tries if tries is not None and tries <= TRIES else None


def _interfaces(ports: list[tuple[str, int]]) -> tuple[str, ...]:
    names = (_interface(name) for name, kind in ports if kind == NET)
    return tuple(name for name in names if name)[:INTERFACES]


def _interface(name: str) -> str:
    """Empty where it can be none."""
    return name if 0 < len(name) <= INTERFACE and name == clean(name) and "/" not in name else ""


def _slot(modem: Mapping[str, Any]) -> int:
    slot = modem.get("PrimarySimSlot", 0)
    return slot if 0 < slot <= SLOTS else 1


def _sim(tree: Tree, path: str) -> Sim | None:
    if path == NOTHING:
        return None
    sim = tree.of(path, SIM)
    return Sim(
        iccid=digits(sim.get("SimIdentifier")),
        operator_code=digits(sim.get("OperatorIdentifier")),
        operator_name=word(sim.get("OperatorName")),
        esim=sim.get("SimType") == ESIM,
    )


def _signal(signal: Mapping[str, Any], new_radio: bool) -> Signal:
    """Of 5G where it serves and was measured, else of LTE."""
    found = [_levels(signal.get(name, NONE), technology) for name, technology in (("Lte", LTE), ("Nr5g", NR))]
    ordered = found[::-1] if new_radio else found
    return next((one for one in ordered if one.technology), Signal())


def _levels(told_of: Mapping[str, object], technology: str) -> Signal:
    rsrp, rsrq, snr = (
        level(told_of.get(name), *bounds) for name, bounds in (("rsrp", RSRP), ("rsrq", RSRQ), ("snr", SNR))
    )
    return Signal(rsrp, rsrq, snr, "" if rsrp is rsrq is snr is None else technology)


def _bearers(tree: Tree, modem: Mapping[str, Any], *, connected: bool) -> Iterator[Bearer]:
    """What is connected comes first. A modem that is `connected` by none of those that were looked at is so by one of
    the others, of which that is all that is known."""
    looked_at = _looked_at(tree, modem)
    some = any(tree.of(one, BEARER).get("Connected") for one in looked_at)
    if connected and not some and len(modem.get("Bearers", [])) > len(looked_at):
        yield Bearer("", connected=True)
    yield from (_bearer(tree, one) for one in looked_at if tree.has(one, BEARER))


def _bearer(tree: Tree, path: str) -> Bearer:
    bearer = tree.of(path, BEARER)
    stats = bearer.get("Stats", NONE)
    name, text = bearer.get("ConnectionError", ("", ""))
    settings = (
        _settings(Family.IPV4, bearer.get("Ip4Config", NONE)),
        _settings(Family.IPV6, bearer.get("Ip6Config", NONE)),
    )
    return Bearer(
        handle=clean(path),
        connected=bearer.get("Connected", False),
        interface=_interface(bearer.get("Interface", "")),
        settings=tuple(one for one in settings if one is not None),
        error=clean(text or name),
        received_bytes=told(stats.get("rx-bytes"), "t"),
        sent_bytes=told(stats.get("tx-bytes"), "t"),
    )


def _settings(family: Family, config: Mapping[str, object]) -> IpSettings | None:
    """None: nothing was told of that family. Where the gateway can be none there is no address: half of it is of no
    use."""
    method = METHODS.get(told(config.get("method"), "u") or 0, IpMethod.UNKNOWN)
    via = gateway(told(config.get("gateway"), "s"), family)
    address = literal(told(config.get("address"), "s"), family) if via is not None else ""
    if method is IpMethod.UNKNOWN and not address:
        return None
    length, mtu = told(config.get("prefix"), "u") or 0, told(config.get("mtu"), "u") or 0
    servers = (literal(told(config.get(f"dns{number + 1}"), "s"), family) for number in range(SERVERS))
    return IpSettings(
        family=family,
        method=method,
        address=address,
        prefix_length=length if address and length <= family.bits else 0,
        gateway=via or "",
        dns=tuple(server for server in servers if server),
        mtu=mtu if mtu <= LARGEST_MTU else 0,
    )
