"""`failover modems`: which modems and SIMs there are, in a form to paste into the config. No agent is needed."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from failover.bus import BusError
from failover.carriers import network_of
from failover.cli.screen import Screen, complain, print_json, print_lines
from failover.export.control import WRITERS_GROUP, group_id
from failover.export.modem_status import slots
from failover.model import FailoverError, clean
from failover.modem import Modem, Registration, Sim, masked
from failover.modems.troubles import troubles
from failover.seam import ModemsTold

NAME: Final = re.compile("[^a-z0-9]+")
"""What an uplink's name that is made of a carrier's is without."""
NAME_MAX: Final = 24
"""Characters, before a number that tells two apart."""
DENIED: Final = "org.freedesktop.DBus.Error.AccessDenied"
ABSENT: Final = (
    "ModemManager does not run",
    "`systemctl start ModemManager`; where there is none, install it: `apt install modemmanager`",
)
NONE: Final = ("ModemManager runs, and has found no modem", "is it in `lsusb`? `journalctl -u ModemManager` says more")

UNDIALLED: Final = (
    "nobody dials it; where NetworkManager is not to, the agent does, and most SIMs want `apn: ...` in `modem` for that"
)


def list_modems(arguments: argparse.Namespace) -> int:
    """1, when there is none."""
    whole = may_see_whole()
    told = asyncio.run(asking())
    why = lack(told)
    documents = named([document(modem, whole=whole) for modem in told.modems])
    if arguments.json:
        print_json({"whole": whole, "modems": documents})
    elif documents:
        print_lines(lines(documents, Screen.of(sys.stdout)))
    if why is not None:
        complain(*why)
    elif not whole:
        complain("numbers are shown by their last digits", "run as root for a form to paste")
    return int(why is not None)


def may_see_whole() -> bool:
    """Who numbers that tell a person are for: the same as messages."""
    return os.geteuid() == 0 or group_id(WRITERS_GROUP) in (os.getegid(), *os.getgroups())


async def asking() -> ModemsTold:
    """What ModemManager tells. FailoverError, when nobody can be asked."""
    from failover.modems.once import read_once  # loads the D-Bus library

    try:
        return await read_once()
    except BusError as error:
        if error.name == DENIED:
            raise FailoverError(f"no permission to ask ModemManager: {error}", "run as root") from error
        raise FailoverError(f"ModemManager cannot be asked: {error}", error.hint) from error


def lack(told: ModemsTold) -> tuple[str, str] | None:
    """Why there is no modem, and the mend; None: there is one."""
    if told.modems:
        return None
    return NONE if told.managed else ABSENT


# --- what is told ----------------------------------------------------------------------------------------------------


def document(modem: Modem, *, whole: bool) -> dict[str, Any]:
    """As plain JSON values; `whole`: with all digits of what tells a person or a thing."""
    number = str if whole else masked
    return {
        "imei": number(modem.imei),
        "device": modem.device,
        "serial": number(modem.serial),
        "maker": modem.maker,
        "model": modem.model,
        "firmware": modem.firmware,
        "state": modem.state.name.lower(),
        "registration": modem.registration.value,
        "operator_code": modem.operator_code,
        "operator_name": modem.operator_name,
        "technologies": list(modem.technologies),
        "interfaces": list(modem.interfaces),
        "dialled_by": modem.foreign,
        "troubles": [{"text": text, "mend": mend} for text, mend in troubles(modem)],
        "slots": [
            {
                "slot": place,
                "in_use": place == modem.slot,
                "name": _name(modem, sim, place == modem.slot) if sim else "",
                "iccid": number(sim.iccid) if sim else "",
                "present": sim is not None,
                "operator_code": sim.operator_code if sim else "",
                "operator_name": sim.operator_name if sim else "",
                "esim": sim is not None and sim.esim,
            }
            for place, sim in slots(modem)
        ],
    }


def _name(modem: Modem, sim: Sim, in_use: bool) -> str:
    """Of its carrier, as an uplink may be called; empty: nobody knows."""
    at_home = in_use and modem.registration is Registration.HOME
    code = sim.operator_code or (modem.operator_code if at_home else "")
    label = sim.operator_name or (modem.operator_name if at_home else "")
    known = network_of(code, label, {})
    carrier = label if known.isdecimal() or not known else known
    return NAME.sub("-", carrier.lower()).strip("-")[:NAME_MAX].strip("-")


def named(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With a name for each SIM, each another one."""
    taken = set[str]()
    for number, one in enumerate(documents, 1):
        for slot in (slot for slot in one["slots"] if slot["present"]):
            base = slot["name"] or f"modem{number}-slot{slot['slot']}"
            numbers = (f"{base}{tail}" for tail in ("", *(f"-{again}" for again in range(2, 999))))
            slot["name"] = next(name for name in numbers if name not in taken)
            taken.add(slot["name"])
    return documents


# --- as a config -----------------------------------------------------------------------------------------------------


def lines(documents: Sequence[dict[str, Any]], screen: Screen) -> Iterator[str]:
    """The `uplinks` of a config, the SIMs in use before those that rest: the first is preferred. What is not pasted
    stands in comments."""
    yield "uplinks:"
    for one in documents:
        yield from screen.wrap(f"# {_about(one)}", "  # ", "  ")
        for trouble in one["troubles"]:
            yield from screen.wrap(f"# {trouble['text']} ({trouble['mend']})", "  #   ", "  ")
        if not one["dialled_by"] and one["state"] != "connected":
            yield from screen.wrap(f"# {UNDIALLED}", "  #   ", "  ")
        for slot in one["slots"]:
            if slot["in_use"] or not slot["present"]:
                yield from _slot(one, slot)
    for one in documents:
        for slot in one["slots"]:
            if slot["present"] and not slot["in_use"]:
                yield from _slot(one, slot)


def _about(one: dict[str, Any]) -> str:
    by = f" by {one['dialled_by']}" if one["dialled_by"] else ""
    served = [", ".join(one["technologies"]) or "unknown", *(["roaming"] if one["registration"] == "roaming" else [])]
    network = [f"{one['operator_name'] or one['operator_code']} ({', '.join(served)})"]
    parts = [
        f"{one['maker']} {one['model']}".strip() or "a modem",
        one["device"].rpartition("/devices/")[2],
        *one["interfaces"],
        f"{one['state']}{by if one['state'] == 'connected' else ''}",
        *(network if one["operator_code"] else []),
        *([f"dialled{by}"] if by and one["state"] != "connected" else []),
    ]
    return clean(", ".join(filter(None, parts)), 300)


def _slot(one: dict[str, Any], slot: dict[str, Any]) -> Iterator[str]:
    if not slot["present"]:
        yield f"  # slot {slot['slot']} is empty"
        return
    identity = next(key for key in ("imei", "device", "serial") if one[key] or key == "serial")
    about = ["" if slot["in_use"] else "not in use now", "an eSIM" if slot["esim"] else ""]
    about += [] if slot["iccid"] else ["its ICCID is told when it is in use"]
    if said := ", ".join(filter(None, about)):
        yield f"  # slot {slot['slot']}: {said}"
    fields = [f"{identity}: {json.dumps(one[identity], ensure_ascii=False)}", f"slot: {slot['slot']}"]
    fields += [f'iccid: "{slot["iccid"]}"'] if slot["iccid"] else []
    yield f'  - name: "{slot["name"]}"'
    yield "    metered: true"
    yield f"    modem: {{{', '.join(fields)}}}"
