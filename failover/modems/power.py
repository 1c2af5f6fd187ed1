"""The operator's unit that takes a modem's current away and gives it back, started over systemd's D-Bus."""

from __future__ import annotations

import asyncio
import string
from math import inf
from typing import Final

from dbus_fast import Message

from failover.bus import BusError
from failover.modems.line import Line
from failover.modems.values import told

SERVICE: Final = "org.freedesktop.systemd1"
PATH: Final = "/org/freedesktop/systemd1"
MANAGER: Final = f"{SERVICE}.Manager"
PLAIN: Final = frozenset(f"{string.ascii_letters}{string.digits}:_.")
"""What systemd leaves as it is in a unit's name."""


def unit(uplink: str) -> str:
    """The unit for that uplink, its name escaped as systemd-escape(1) does."""
    return f"failover-power@{escaped(uplink)}.service"


def escaped(name: str) -> str:
    """systemd.unit(5), "String Escaping for Inclusion in Unit Names"."""

    def byte(at: int, code: int) -> str:
        character = chr(code)
        if character == "/":
            return "-"
        return character if character in PLAIN and not (at == 0 and character == ".") else f"\\x{code:02x}"

    return "".join(byte(at, code) for at, code in enumerate(name.encode()))


async def cycle(line: Line, uplink: str) -> bool:
    """Start the unit and wait for its job's end. False: there is no such unit. BusError."""
    name = unit(uplink)
    (path,) = await line.call(SERVICE, PATH, f"{MANAGER}.LoadUnit", "s", [name], "o")
    if told(await line.get(SERVICE, path, f"{SERVICE}.Unit.LoadState"), "s") != "loaded":
        return False
    results: dict[str, str] = {}
    ended = asyncio.Event()
    owner = await line.owner(SERVICE)

    def hear(message: Message) -> None:
        if message.sender == owner and message.member == "JobRemoved" and message.signature == "uoss":
            _, job, of, result = message.body
            if of == name:
                results[job] = result
                ended.set()

    line.hear(hear)
    await line.match(f"sender='{SERVICE}',path='{PATH}',interface='{MANAGER}',member='JobRemoved'")
    await line.call(SERVICE, PATH, f"{MANAGER}.Subscribe")
    (job,) = await line.call(SERVICE, PATH, f"{MANAGER}.StartUnit", "ss", [name, "replace"], "o", inf)
    while job not in results:
        ended.clear()
        await line.wait(ended)
    if results[job] != "done":
        raise BusError(f"{name} ended as {results[job]}", f"journalctl -u {name}", "Failed")
    return True
