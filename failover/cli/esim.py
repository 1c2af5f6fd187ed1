"""`failover esim`: the profiles of a modem's eSIM. Root's business: the agent can open no modem's port, and need not.

The modem is gone meanwhile, for the agent too, which moves traffic as for any that was unplugged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from failover.bus import BusError
from failover.cli.modems import asking, lack
from failover.cli.parser import USAGE
from failover.cli.screen import Screen, complain, print_json, print_lines
from failover.config import CONFIG_PATH, Config
from failover.config.modem_values import parse_iccid
from failover.config.modems import Modem as Wanted
from failover.config.values import WrongValueError
from failover.core.ties import meant
from failover.export.client import call, socket_path
from failover.model import ControlError, FailoverError, clean
from failover.modem import Modem

BACK: Final = 60.0
"""Seconds for ModemManager to list the modem again."""
LOOK: Final = 0.5
"""Seconds between two looks."""
ENDED: Final = 143
"""Exit status after SIGTERM, as of a shell."""
IMEI_LEAST: Final = 4
"""Of the last digits of an IMEI, those that name a modem."""


def manage(arguments: argparse.Namespace) -> int:
    """`list` or `use`."""
    iccid = ""
    if arguments.action == "use":
        try:
            iccid = parse_iccid(arguments.iccid or "")
        except WrongValueError as error:
            complain(f"argument ICCID: {error}", error.hint if arguments.iccid else "`failover esim list` has them")
            return USAGE
    elif arguments.iccid is not None:
        complain("argument ICCID: not for list", "`failover esim use ICCID` switches to it")
        return USAGE
    if os.geteuid() != 0:
        raise FailoverError("an eSIM is for root alone", "run as root")
    uplink = _uplink(arguments.config, arguments.socket, arguments.modem)
    try:
        found = asyncio.run(_ended_by_signal(_manage(uplink, arguments.modem, iccid)))
    except asyncio.CancelledError:
        return ENDED
    if arguments.json:
        print_json(found)
    else:
        print_lines(_lines(found, Screen.of(sys.stdout)))
    if iccid:
        _tell(arguments.socket, found, uplink)
    return 0


async def _ended_by_signal(work: Coroutine[None, None, dict[str, Any]]) -> dict[str, Any]:
    """SIGTERM gives up what is under way, and nothing stays inhibited."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _manage(uplink: Wanted | None, named: str | None, iccid: str) -> dict[str, Any]:
    from failover.modems.esim import card_of, enable, inhibited, profiles, program, slot_of
    from failover.modems.line import Line

    program()
    told = await asking()
    if why := lack(told):
        raise FailoverError(*why)
    modem = _chosen(told.modems, uplink, named)
    slot = slot_of(modem, uplink.slot if uplink else None)
    line = await Line.open()
    try:
        card = await card_of(line, modem, slot)
        async with inhibited(line, card.device):
            found = await (enable(card, iccid) if iccid else profiles(card))
    except BusError as error:
        raise FailoverError(f"ModemManager cannot be asked: {error}", error.hint) from error
    finally:
        await line.close()
    if iccid:
        found = tuple(replace(one, enabled=one.iccid == iccid) for one in found)
        await _back(modem, slot, iccid)
    return {"modem": modem.imei, "slot": slot, "profiles": [asdict(one) for one in found]}


async def _back(modem: Modem, slot: int, iccid: str) -> None:
    """Until ModemManager, which may not answer for a while, lists it again, with that SIM if its slot is in use."""
    with suppress(TimeoutError):
        async with asyncio.timeout(BACK):
            while True:
                with suppress(FailoverError):
                    if any(_is_back(one, modem, slot, iccid) for one in (await asking()).modems):
                        return
                await asyncio.sleep(LOOK)
    complain(f"ModemManager does not list the modem with that profile after {BACK:g} s", "see `failover modems`")


def _is_back(one: Modem, modem: Modem, slot: int, iccid: str) -> bool:
    there = one.imei == modem.imei if modem.imei else one.device == modem.device
    right = one.slot != slot or (one.sim is not None and one.sim.iccid == iccid)
    return there and right and one.handle != modem.handle


# --- which modem -----------------------------------------------------------------------------------------------------


def _config(path: str | None) -> Config:
    from failover.config.reading import load_with_warnings
    from failover.config.source import is_missing

    return Config() if path is None and is_missing(Path(CONFIG_PATH)) else load_with_warnings(path or CONFIG_PATH)[0]


def _agents_config(socket: str | None) -> str | None:
    """The file that the agent reads, which need not be the default one; None: none that is known."""
    with suppress(ControlError):  # there need not be an agent
        told = call(socket_path(socket), "status", {}).get("status", {}).get("config") or {}
        path = told.get("path", "")
        return path if os.path.isfile(path) else None
    return None


def _uplink(path: str | None, socket: str | None, named: str | None) -> Wanted | None:
    """The modem of the uplink of that name; None: it is no uplink's name."""
    if named is None or (named.isdecimal() and len(named) >= IMEI_LEAST):
        return None
    path = path or _agents_config(socket)
    found = {uplink.name: uplink.modem for uplink in _config(path).uplinks}
    modems = ", ".join(name for name, modem in found.items() if modem) or "none is a modem"
    if named not in found:
        where = f"the config {clean(path or CONFIG_PATH, 200)}"
        mend = f"uplinks with a modem there: {modems}; name another config with --config, or write an IMEI"
        raise FailoverError(f"no uplink is named {clean(named)} in {where}", mend)
    modem = found[named]
    if modem is None:
        raise FailoverError(f"uplink {named} is not a modem's", f"uplinks with a modem: {modems}")
    return modem


def _chosen(modems: Sequence[Modem], uplink: Wanted | None, named: str | None) -> Modem:
    """The only one that is meant. FailoverError."""
    mend = "`failover modems` lists what is there"
    if uplink is not None:
        found = meant(uplink, modems)
    elif named is not None:
        found = [one for one in modems if one.imei.endswith(named)]
    else:
        found = [one for one in modems if any(sim and sim.esim for sim in (*one.slots, one.sim))] or list(modems)
        mend = "name one with --modem: " + ", ".join(one.imei for one in found)
    if not found:
        raise FailoverError(f"modem {clean(named or '')} is not there", mend)
    if len(found) > 1:
        raise FailoverError("more than one modem is meant", mend)
    return found[0]


# --- what is told ----------------------------------------------------------------------------------------------------


def _lines(found: dict[str, Any], screen: Screen) -> Iterator[str]:
    """One row each; `*` marks the one in use."""
    yield f"eSIM in modem {found['modem']}, slot {found['slot']}"
    rows = [
        ("*" if one["enabled"] else "", one["iccid"], one["provider"], one["nickname"] or one["name"])
        for one in found["profiles"]
    ]
    yield from screen.table(("", "iccid", "provider", "name"), rows) if rows else ("it has no profile",)


def _tell(socket: str | None, found: dict[str, Any], uplink: Wanted | None) -> None:
    """The agent, for its journal; and whoever did it, if the config expects another SIM."""
    iccid = next(one["iccid"] for one in found["profiles"] if one["enabled"])
    with suppress(ControlError):  # there need not be an agent
        call(socket_path(socket), "esim", {"modem": found["modem"] or "?", "iccid": iccid})
    if uplink is not None and uplink.iccid not in ("", iccid):
        complain(f"the config expects {uplink.iccid} there, and uses no other", "change it, and `failover reload`")
