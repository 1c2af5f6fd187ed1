"""The checks of modems: whether those that the config names are there with the right SIMs, and what keeps the agent
from dialling and repairing them. Nothing is asked of a modem."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from failover.bus import DEFAULT_ADDRESS
from failover.config.modems import Dialer, Modem, Repair, Roaming, Rung
from failover.core.ties import choices, meant, name_of, wrong_sim
from failover.doctor import polkit, user
from failover.doctor.case import Case
from failover.doctor.finding import Remark, Remarks, failure, note, ok, warning
from failover.doctor.machine import AS_ROOT
from failover.modem import Modem as Told
from failover.modem import ModemState, Registration
from failover.modems.troubles import Trouble, troubles

NONE: Final = "no uplink is a modem"
LIST: Final = "`failover modems` lists what is there"
NO_APN: Final = "most SIMs need `apn: ...` in `modem` for that"
UNKNOWN: Final = "install the service as systemd/README.md says, or start the agent: then its user is looked at"
MANAGER: Final = "org.freedesktop.ModemManager1"
CONTROL: Final = f"{MANAGER}.Device.Control"
MESSAGING: Final = f"{MANAGER}.Messaging"
NETWORK: Final = "org.freedesktop.NetworkManager.network-control"
UNITS: Final = "org.freedesktop.systemd1.manage-units"
"""What polkit(8) calls them."""
POLICIES: Final = ("etc/dbus-1/system.d", "usr/share/dbus-1/system.d")
POWER: Final = "failover-power@"
PLACES: Final = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")
"""Where units are, the first first (systemd.unit(5))."""


def there(case: Case) -> Remarks:
    """Whether ModemManager has each modem that the config names, with its SIM, and what is amiss with it."""
    chosen = choices(case.config.uplinks)
    if not chosen:
        yield ok(NONE)
        return
    told, fault = case.modems, case.modems_fault
    if fault is not None:
        yield warning(f"ModemManager cannot be asked: {fault}", fault.hint or "does `mmcli -L` answer?")
        return
    if not told.managed:
        mend = "`systemctl start ModemManager`; where there is none, install it: `apt install modemmanager`"
        yield failure("ModemManager does not run, and the config names modems", mend)
        return
    for uplink, choice in chosen:
        found = meant(choice, told.modems)
        own = [*_one(case, uplink.name, choice, found)]
        yield from own
        yield from _voice(uplink.name, choice, found)
        yield from _agents(case, uplink.name, [remark.text for remark in own], found)


def _one(case: Case, name: str, choice: Modem, found: Sequence[Told]) -> Remarks:
    if not found:
        yield failure(f"{name}: there is no modem with {name_of(choice)}", f"is it in `lsusb`? {LIST}")
        return
    modem, *others = found
    if others:
        yield failure(f"{name}: there are several modems with {name_of(choice)}", f"name its 'device': {LIST}")
        return
    rests = _rests(choice, modem)
    there = _as_in_use(modem, choice.slot) if rests else modem
    wrong = wrong_sim(choice, there)
    if wrong:
        yield failure(f"{name}: {wrong}", f"{_mend_of_sim(choice, there)}: {LIST}")
    elif not rests:
        yield from (warning(f"{name}: {text}", mend) for text, mend in _unconnected(case, choice, modem))


def _voice(name: str, choice: Modem, found: Sequence[Told]) -> Remarks:
    if len(found) == 1 and found[0].voice_centric and not _rests(choice, found[0]):
        text = f"{name}: its modem is voice-centric: where it gets no voice it leaves a network that has data"
        yield warning(text, "`mmcli -m N --3gpp-set-eps-ue-mode-operation=csps-2` (or ps-2), N as in `mmcli -L`")


def _rests(choice: Modem, modem: Told) -> bool:
    return modem.slot != choice.slot <= len(modem.slots)


def _mend_of_sim(choice: Modem, modem: Told) -> str:
    if modem.slot != choice.slot:
        return "name one that it has as `slot` in the config"
    if modem.failure == "sim-missing":
        return "put one in, or mend `slot` in the config"
    return "put in the card that is meant, or write this one's ICCID as `iccid:` in the config"


def _unconnected(case: Case, choice: Modem, modem: Told) -> Iterator[Trouble]:
    """What keeps the modem, which has the right SIM, from a connection that may be used."""
    found = [one for one in troubles(modem) if not (modem.lock == "sim-pin" and choice.pin)]
    if choice.roaming is Roaming.DENY and modem.registration is Registration.ROAMING:
        where = modem.operator_name or modem.operator_code
        found.append((f"it roams in {where}, and roaming is denied", "`roaming: last` in the config lets it be used"))
    yield from found
    error = next((bearer.error for bearer in modem.bearers if bearer.error), "")
    if found or modem.bearer or modem.lock or not (error or case.runs):
        return  # without an agent, nobody has tried as yet
    yield f"its modem is not connected{f': {error}' if error else ''}", _mend_of_dialling(choice, modem, error)


def _mend_of_dialling(choice: Modem, modem: Told, error: str) -> str:
    if modem.foreign and choice.connect is not Dialer.SELF:
        return f"{modem.foreign} dials it: has that a connection for it, with this SIM's APN? `nmcli connection`"
    if choice.connect in (Dialer.NONE, Dialer.NETWORKMANAGER):
        return f"nobody dials it, with `connect: {choice.connect}` in the config: `auto` or `self` lets the agent do so"
    if "APN" in error or not choice.dial.apn:
        return "give this SIM's `apn:` in the config: not every modem knows the one that its network wants"
    return "is that the APN of this SIM, with the user and password that go with it? `failover events` has what came"


def awaited(case: Case, name: str) -> Remark | None:
    """What an uplink waits for whose modem is well, while no agent runs; None: it is something else that is wrong."""
    choice = next((choice for uplink, choice in choices(case.config.uplinks) if uplink.name == name), None)
    found = meant(choice, case.modems.modems) if choice else []
    if choice is None or case.runs or len(found) != 1 or any(_one(case, name, choice, found)):
        return None
    (modem,) = found
    if modem.foreign and choice.connect is not Dialer.SELF:
        return note(f"{modem.foreign} dials it", _mend_of_dialling(choice, modem, ""))
    if choice.connect in (Dialer.NONE, Dialer.NETWORKMANAGER):
        return warning("nobody dials it", _mend_of_dialling(choice, modem, ""))
    return note("the agent dials it once it runs", "" if choice.dial.apn else NO_APN)


def _agents(case: Case, name: str, said: Collection[str], found: Sequence[Told]) -> Remarks:
    """What the agent that runs says of it besides: it has tried the PIN. Why it is not connected is said once."""
    errors = [bearer.error for modem in found for bearer in modem.bearers if bearer.error]
    known = [error for error in errors if any(error in text for text in said)]
    told = case.status.get("warnings", ()) if case.status else ()
    for text in told if isinstance(told, list) else ():
        if str(text).startswith(f"{name}: ") and text not in said and not any(error in str(text) for error in known):
            yield warning(str(text), "mend it in the config, then `failover reload`")


def _as_in_use(modem: Told, slot: int) -> Told:
    """As it would be told with that slot in use, as far as its SIM is known."""
    sim = modem.slots[slot - 1]
    failed = "" if sim else "sim-missing"
    return replace(modem, slot=slot, sim=sim, failure=failed, state=ModemState.UNKNOWN)


# --- permissions -----------------------------------------------------------------------------------------------------


def permissions(case: Case, root: Path = Path("/"), address: str = DEFAULT_ADDRESS) -> Remarks:
    """Whether the agent's user may do to modems what it has to."""
    chosen = [choice for _, choice in choices(case.config.uplinks)]
    runs_as = user.of_agent(case) if chosen else None
    if runs_as is None:
        yield note("nobody knows as whom an agent would run", UNKNOWN) if chosen else ok(NONE)
        return
    if runs_as.uid == 0:
        yield ok("root may all")
        return
    missing = _refused(case, _needed(chosen, case.config.repair, root), root, address)
    if missing is None:
        yield note("this user may not see polkit's rules, so it cannot be said what the agent may do", AS_ROOT)
    elif missing:
        text = f"polkit does not let user {runs_as.name} {', '.join(missing)}: modems are watched and not mended"
        yield warning(text, "install systemd/failover.rules as systemd/README.md says")
    if _changes_sims(chosen) and not _may_change(runs_as.name, root):
        text = f"the system bus does not let user {runs_as.name} change the SIM slot of a modem"
        yield warning(text, "install systemd/failover-dbus.conf as systemd/README.md says")


def _needed(chosen: list[Modem], repair: Repair, root: Path) -> polkit.Actions:
    """The actions, with what is told of each."""
    needed: dict[str, dict[str, str]] = {CONTROL: {}, MESSAGING: {}}
    if any(choice.connect in (Dialer.AUTO, Dialer.NETWORKMANAGER) for choice in chosen):
        needed[NETWORK] = {}
    unit = next(_power_units(root), None) if Rung.POWER in repair.steps else None
    return needed | ({UNITS: {"unit": unit.replace("@.", "@x."), "verb": "start"}} if unit else {})


def _refused(case: Case, actions: polkit.Actions, root: Path, address: str) -> list[str] | None:
    """By polkit, where it can be asked; else those that no rule names; None: nobody tells."""
    if case.pid is not None and os.geteuid() == 0:
        found = asyncio.run(polkit.refused(case.pid, actions, address))
        if found is not None:
            return found
    return polkit.unnamed(actions, root)


def _changes_sims(chosen: list[Modem]) -> bool:
    keys = [choice.key for choice in chosen]
    return len(set(keys)) < len(keys) or any(choice.slot > 1 for choice in chosen)


def _may_change(name: str, root: Path) -> bool:
    """Whether a policy of the bus names that user and the method, as far as this user may see."""
    words = (b"SetPrimarySimSlot", f'"{name}"'.encode())
    for place in POLICIES:
        with suppress(OSError):
            if any(all(word in text for word in words) for text in map(Path.read_bytes, (root / place).glob("*.conf"))):
                return True
    return False


# --- power, and secrets ----------------------------------------------------------------------------------------------


def power(case: Case, root: Path = Path("/")) -> Remarks:
    """Whether the operator's unit is there where the repair of modems comes to it."""
    steps, chosen = case.config.repair.steps, choices(case.config.uplinks)
    if Rung.POWER not in steps or not chosen or any(True for _ in _power_units(root)):
        return
    text = f"no unit {POWER}.service: nobody can take a modem's current, and that step of its repair is left out"
    mend = "write one that switches the current off and on (systemd/README.md), or leave `power` out of `repair.steps`"
    yield note(text, mend) if steps == Repair().steps else warning(text, mend)


def _power_units(root: Path) -> Iterator[str]:
    """The template, or units of single uplinks."""
    for place in PLACES:
        for found in (root / place).glob(f"{POWER}*.service"):
            yield found.name


def secrets(case: Case) -> Remarks:
    """Whether everybody may read the PIN or password in the config file."""
    held = any(choice.pin or choice.dial.password for _, choice in choices(case.config.uplinks))
    if held and os.stat(case.path).st_mode & stat.S_IROTH:
        mend = f"chgrp failover {case.path} && chmod 640 {case.path}"
        yield warning(f"{case.path} holds a PIN or a password, and everybody may read it", mend)
