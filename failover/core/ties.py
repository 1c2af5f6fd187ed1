"""What a modem is to its uplink: which one it is, by which interface it goes, and whether anything can pass at all.

Pure, and without judgement: of what a modem tells, only the certain things bar its uplink (no bearer any more, no
modem, no SIM or another one); all else is a hint, which `modems.py` passes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from failover.config import Uplink
from failover.config.modems import Dialer, Roaming
from failover.config.modems import Modem as Choice
from failover.core.uplinks import Bar, Tie
from failover.modem import IpSettings, Modem, ModemState, Registration, masked
from failover.seam import ModemsTold


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of one uplink's modem."""

    modem: Modem | None = None
    """As it was told last, by any manager."""
    listed: bool = False
    """The present manager lists it."""
    missing: bool = False
    """The present manager listed it before, and does no more."""
    dialed: bool = False
    """It was connected once since it was this uplink's turn: that it is not now means something."""
    interface: str = ""
    """Where it was last."""


def meant(choice: Choice, modems: Iterable[Modem]) -> list[Modem]:
    """Those that the operator may mean: of several, none is taken."""
    return [modem for modem in modems if _is(choice, modem)]


def _is(choice: Choice, modem: Modem) -> bool:
    if choice.imei:
        return choice.imei == modem.imei
    if choice.serial:
        return choice.serial == modem.serial
    return modem.device == choice.device or modem.device.endswith("/" + choice.device.lstrip("/"))


def name_of(choice: Choice) -> str:
    """A modem as people may see it."""
    if choice.imei:
        return f"IMEI {masked(choice.imei)}"
    return f"serial number {masked(choice.serial)}" if choice.serial else choice.device


def looked(before: Sight, told: ModemsTold, choice: Choice) -> Sight:
    """What is known after the manager told. Without a manager, all that is known stays, and nothing is missing."""
    if not told.managed:
        return replace(before, listed=False, missing=False)
    found = meant(choice, told.modems)
    if len(found) != 1:
        return replace(before, listed=False, missing=before.missing or before.listed)
    (modem,) = found
    mine = modem.slot == choice.slot
    bearer = modem.bearer if mine else None
    at = bearer.interface if bearer and bearer.interface in modem.interfaces else ""
    kept = before.interface if before.interface in modem.interfaces else ""
    return Sight(
        modem,
        listed=True,
        dialed=mine and (before.dialed or bearer is not None),
        interface=at or kept or next(iter(modem.interfaces), before.interface),
    )


def roams(sight: Sight) -> bool:
    return sight.listed and sight.modem is not None and sight.modem.registration is Registration.ROAMING


def tie(uplink: Uplink, choice: Choice, sight: Sight, *, warming: bool, dials: bool, abroad: bool) -> Tie:
    """What it is to its uplink now. `warming`: its SIM was just chosen, and no packet has passed since; `dials`: nobody
    but us sees to its bearer; `abroad`: it roams, or did just now."""
    found, modem = _tie(uplink, choice, sight, warming=warming, abroad=abroad), sight.modem
    found = replace(found, settings=_settings(sight, found, dials=dials), modem=choice.key)
    if modem is None:
        return found
    return replace(found, plmn=_plmn(choice, modem), modem=modem.imei or choice.key, device=modem.device)


def _plmn(choice: Choice, modem: Modem) -> str:
    """Of the network that serves the uplink's SIM, else of that SIM's own."""
    if modem.slot == choice.slot:
        home = modem.sim.operator_code if modem.sim else ""
        return (modem.operator_code if modem.registration.serves else "") or home
    sim = modem.slots[choice.slot - 1] if choice.slot <= len(modem.slots) else None
    return sim.operator_code if sim else ""


def _settings(sight: Sight, found: Tie, *, dials: bool) -> tuple[IpSettings, ...] | None:
    """What its bearer was given, as long as there is one that may be used. Left as it is where nobody tells, or
    somebody else sees to it: we may have dialled it before a restart, or under another config."""
    if not sight.listed and not sight.missing:
        return None
    bearer = sight.modem.bearer if sight.modem and sight.listed and found.bar is Bar.NONE else None
    if bearer is None:
        return ()
    return bearer.settings if dials else None


def _tie(uplink: Uplink, choice: Choice, sight: Sight, *, warming: bool, abroad: bool) -> Tie:
    modem, at = sight.modem, sight.interface or uplink.interface
    if modem is None:
        return Tie(at, fault=f"there is no modem with {name_of(choice)} yet" if not at else "")
    barred = _barred(choice, sight, modem, abroad=abroad)
    if warming and sight.listed and modem.bearer is None and barred.bar in (Bar.NONE, Bar.DEAD):
        barred = Tie(bar=Bar.COLD, fault=f"its modem connects by the SIM in slot {choice.slot}")
    told = modem.operator_name if modem.registration.serves else ""
    if barred.bar is Bar.COLD:
        return barred
    foreign = abroad and sight.listed and choice.roaming is Roaming.LAST
    return replace(barred, interface=at, carrier=told, foreign=foreign, warming=warming)


def _barred(choice: Choice, sight: Sight, modem: Modem, *, abroad: bool) -> Tie:
    if modem.slot != choice.slot and len(modem.slots) >= choice.slot:
        return Tie(bar=Bar.COLD, fault=f"its modem uses the SIM in slot {modem.slot}")
    if sight.missing:
        return Tie(bar=Bar.DEAD, fault="its modem is gone")
    if not sight.listed:
        return Tie()
    wrong = wrong_sim(choice, modem)
    if wrong:
        return Tie(bar=Bar.CLOSED, fault=wrong)
    if choice.roaming is Roaming.DENY and abroad:
        where = f"roams in {modem.operator_name or modem.operator_code}" if roams(sight) else "roamed just now"
        return Tie(bar=Bar.CLOSED, fault=f"it {where}, and roaming is denied")
    if modem.lock and modem.state is ModemState.LOCKED:
        return Tie(bar=Bar.DEAD, fault=f"its SIM is locked ({modem.lock})")
    if modem.bearer is None and (sight.dialed or choice.connect is Dialer.SELF):
        why = next((bearer.error for bearer in modem.bearers if bearer.error), "")
        return Tie(bar=Bar.DEAD, fault=f"bearer disconnected{f': {why}' if why else ''}")
    return Tie(fault="its modem is not connected" if modem.bearer is None else "")


def wrong_sim(choice: Choice, modem: Modem) -> str:
    """Why the SIM that is there must not be used; empty: it may."""
    if modem.failure == "sim-missing":
        return f"there is no SIM in slot {choice.slot}"
    if modem.slot != choice.slot:
        return f"its modem has no slot {choice.slot}"
    there = modem.sim.iccid if modem.sim else ""
    if choice.iccid and there and not _same(there, choice.iccid):
        return f"slot {choice.slot} holds SIM {masked(there)}, and the config says {masked(choice.iccid)}"
    return ""


def _same(one: str, other: str) -> bool:
    """ICCIDs are told with their check digit and a filler or without (ITU-T E.118: 19 digits; many have 20)."""
    one, other = one.upper().rstrip("F"), other.upper().rstrip("F")
    return one == other or (abs(len(one) - len(other)) == 1 and (one.startswith(other) or other.startswith(one)))


def choices(uplinks: Sequence[Uplink]) -> list[tuple[Uplink, Choice]]:
    """The uplinks that are modems."""
    return [(uplink, uplink.modem) for uplink in uplinks if uplink.modem is not None]
