"""Which modems NetworkManager dials, over its D-Bus, and how it is asked to dial one anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Final

from dbus_fast import Message

from failover.bus import BusError
from failover.modems.line import DAEMON, Line, owned
from failover.modems.numbers import NOTHING
from failover.modems.values import told

NAME: Final = "NetworkManager"
SERVICE: Final = "org.freedesktop.NetworkManager"
PATH: Final = "/org/freedesktop/NetworkManager"
DEVICE: Final = f"{SERVICE}.Device"
ACTIVE: Final = f"{SERVICE}.Connection.Active"
RULES: Final = (
    f"sender='{SERVICE}',path='{PATH}',interface='{SERVICE}',member='DeviceAdded'",
    f"sender='{SERVICE}',path='{PATH}',interface='{SERVICE}',member='DeviceRemoved'",
    f"sender='{SERVICE}',path_namespace='{PATH}/Devices',interface='{DEVICE}',member='StateChanged'",
)
MODEM: Final = 8
"""NM_DEVICE_TYPE_MODEM."""
UNMANAGED: Final = 10
"""NM_DEVICE_STATE_UNMANAGED; below it nothing is known."""
ACTIVATED, DEACTIVATED = 2, 4
"""NMActiveConnectionState."""
DEVICES: Final = 256
"""Looked at at most."""
_ERROR: Final = "org.freedesktop.DBus.Error"
IDLE: Final = frozenset(
    (
        f"{DEVICE}.NotActive",
        f"{_ERROR}.NoReply",
        f"{_ERROR}.ServiceUnknown",
        f"{_ERROR}.NameHasNoOwner",
        f"{_ERROR}.UnknownObject",
    )
)
"""Its answers, or the bus's for it, when it does not dial with that device; one that was started anew does unasked."""


class Dialler:
    """NetworkManager's devices that are modems."""

    def __init__(self) -> None:
        self._modems: dict[str, tuple[str, bool]] = {}
        """Device -> the modem's handle, and whether it is managed."""

    async def read(self, line: Line) -> None:
        """All of them. BusError."""
        (paths,) = await line.call(SERVICE, PATH, f"{SERVICE}.GetDevices", reply="ao")
        self._modems.clear()
        for path in paths[:DEVICES]:
            await self.look(line, path)

    async def look(self, line: Line, path: str) -> None:
        """At one that may be a modem; one that is gone meanwhile is none. BusError, if nobody answers."""
        try:
            found = await line.get_all(SERVICE, path, DEVICE)
        except BusError as error:
            if not error.name:
                raise
            return
        handle, state = told(found.get("Udi"), "s"), told(found.get("State"), "u")
        if told(found.get("DeviceType"), "u") == MODEM and handle and state is not None:
            self._modems[path] = handle, state > UNMANAGED

    def heard(self, message: Message) -> str:
        """A signal of NetworkManager's: the device that is to be looked at, if there is one."""
        match message.member, message.signature, message.body:
            case "DeviceAdded", "o", [path] if len(self._modems) < DEVICES:
                return str(path)
            case "DeviceRemoved", "o", [path]:
                self._modems.pop(path, None)
            case "StateChanged", "uuu", [state, *_] if message.path in self._modems:
                handle, _ = self._modems[message.path]
                self._modems[message.path] = handle, state > UNMANAGED
        return ""

    def gone(self) -> None:
        """It is not running."""
        self._modems.clear()

    def device(self, modem: str) -> str:
        """The one that dials that modem; empty: none does."""
        return next((path for path, (handle, managed) in self._modems.items() if managed and handle == modem), "")


async def leave(line: Line, device: str) -> None:
    """Have it let go of the device, and leave it so until somebody activates it. BusError, unless it does not dial."""
    with _idle_too():
        await line.call(SERVICE, device, f"{DEVICE}.Disconnect")


async def dial(line: Line, device: str, connection: str) -> None:
    """Have it begin to connect the device; `NOTHING` lets it choose the profile. BusError as of leave()."""
    with _idle_too():
        await line.call(SERVICE, PATH, f"{SERVICE}.ActivateConnection", "ooo", [connection, device, NOTHING], "o")


@contextmanager
def _idle_too() -> Iterator[None]:
    try:
        yield
    except BusError as error:
        if error.name not in IDLE:
            raise


async def reactivate(line: Line, device: str) -> None:
    """The connection that is active on the device, else the best one for it, anew; until it stands. BusError."""
    news, gone = asyncio.Event(), asyncio.Event()
    states: dict[str, int] = {}
    owner = await line.owner(SERVICE)

    def hear(message: Message) -> None:
        match message.member, message.signature, message.body:
            case "StateChanged", "uu", [state, _] if message.sender == owner and message.path:
                states[message.path] = state
            case "NameOwnerChanged", "sss", [name, *_] if message.sender == DAEMON and name == owner:
                gone.set()
        news.set()

    line.hear(hear)
    await line.match(owned(owner))
    await line.match(f"sender='{SERVICE}',interface='{ACTIVE}',member='StateChanged'")
    connection = await profile(line, device)
    body = [connection, device, NOTHING]
    (active,) = await line.call(owner, PATH, f"{SERVICE}.ActivateConnection", "ooo", body, "o", inf)
    while (state := states.get(active)) not in (ACTIVATED, DEACTIVATED) and not gone.is_set():
        news.clear()
        await line.wait(news)
    if state != ACTIVATED:
        why = "went meanwhile" if gone.is_set() else "could not connect it"
        raise BusError(f"NetworkManager {why}", "what does `journalctl -u NetworkManager` say?", "Failed")


async def profile(line: Line, device: str) -> str:
    """The one that is active on the device; `NOTHING`: none is. BusError."""
    active = told(await line.get(SERVICE, device, f"{DEVICE}.ActiveConnection"), "o") or NOTHING
    if active == NOTHING:
        return NOTHING
    try:
        return told(await line.get(SERVICE, active, f"{ACTIVE}.Connection"), "o") or NOTHING
    except BusError:
        return NOTHING
