"""What is known of ModemManager and NetworkManager over one connection: read whole, then kept true by their signals.

begin      match rules, then who owns the names, then what each of them has
signals    change the tree; what they point to that was not told is read (bearers, SIMs, messages)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from dbus_fast import Message as Packet
from dbus_fast import Variant

from failover.bus import BusError
from failover.modem import Message
from failover.modems import networkmanager
from failover.modems.line import DAEMON, Line, owned
from failover.modems.messages import Messages, modem_of
from failover.modems.networkmanager import Dialler
from failover.modems.numbers import BEARER, ENABLED, MESSAGING, MODEM, ROOT, SERVICE, SIGNAL, SIM, SMS
from failover.modems.reading import is_read, modems, references
from failover.modems.tree import NONE, Tree
from failover.modems.usb import serial_of
from failover.seam import ModemsTold

OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
OWNERS: Final = (SERVICE, networkmanager.SERVICE)
RULES: Final = (
    *(owned(name) for name in OWNERS),
    f"sender='{SERVICE}',path_namespace='{ROOT}'",
    *networkmanager.RULES,
)
RATE: Final = 10
"""Seconds between two measurements of the signal by the modem; the cell changes no faster than a van drives."""
SETUP: Final = 30.0
"""Seconds for a modem to begin with it."""
UNSEEN: Final = 64
"""Devices that NetworkManager has just made, at most."""


@contextmanager
def suppressed() -> Iterator[None]:
    """An answer that is an error: what was asked is gone meanwhile. No answer is a BusError still."""
    try:
        yield
    except BusError as error:
        if not error.name:
            raise


class Session:
    """`begin`, then `told` whenever `changed` was called. Ends with its line."""

    def __init__(
        self,
        line: Line,
        changed: Callable[[], None],
        troubled: Callable[[str, BusError | None], None],
        sys: Path,
        heard: Callable[[Message], None] | None = None,
    ) -> None:
        """`troubled`: why something that was asked for was not given; None: it was. `sys`: where the kernel tells of
        devices. `heard`: where messages go; without it nothing is asked of any modem."""
        self._line, self._changed, self._troubled, self._sys = line, changed, troubled, sys
        self._owners: dict[str, str] = {}
        self._tree = Tree()
        self._dialler = Dialler()
        self._messages = Messages(heard) if heard is not None else None
        self._serials: dict[str, str] = {}
        """Of the modems that there are, by handle."""
        self._known: set[str] = set()
        """Modems that were read whole once."""
        self._measured: set[str] = set()
        """Modems whose signal was asked for since they were enabled."""
        self._loaded = False
        self._unseen: set[str] = set()
        """Devices of NetworkManager that are to be looked at."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        """What is to be done once more when it has ended."""
        self.failed: asyncio.Future[BusError] = asyncio.get_running_loop().create_future()
        """Somebody does not answer: nothing is to be believed any more."""

    async def begin(self, flooded: bool = False) -> None:
        """Until all is read. `flooded`: also before signals are asked for, as there may be no time after. BusError."""
        self._line.hear(self._hear)
        if flooded:
            await self._survey()
        for rule in RULES:
            await self._line.match(rule)
        await self._survey()

    async def _survey(self) -> None:
        for name in OWNERS:
            self._owners[name] = await self._line.owner(name)
        if self._owners[networkmanager.SERVICE]:
            await self._devices()
        if self._owners[SERVICE]:
            await self._load()
        self._changed()

    @property
    def told(self) -> ModemsTold | None:
        """All that is known; None: not yet."""
        if self._owners.get(SERVICE) == "":
            return ModemsTold(managed=False)
        if not self._loaded:
            return None
        found = modems(self._tree, self._serial, self._foreign, self._known)
        return ModemsTold(found)

    def device(self, modem: str) -> str:
        """NetworkManager's, if it dials that modem."""
        return self._dialler.device(modem)

    async def delete(self, sms: str) -> None:
        """From the modem that keeps it, if there is one. BusError."""
        modem = modem_of(self._tree, sms)
        if modem:
            await self._line.call(SERVICE, modem, f"{MESSAGING}.Delete", "o", [sms], seconds=SETUP)

    async def close(self) -> None:
        """Do no more; the line is not closed."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- signals -----------------------------------------------------------------------------------------------------

    def _hear(self, packet: Packet) -> None:
        """Anybody may send us anything: the bus vouches for the sender."""
        if packet.sender == DAEMON:
            self._of_daemon(packet)
        elif packet.sender and packet.sender == self._owners.get(SERVICE):
            self._of_manager(packet)
        elif packet.sender and packet.sender == self._owners.get(networkmanager.SERVICE):
            device = self._dialler.heard(packet)
            if device and len(self._unseen) < UNSEEN:
                self._unseen.add(device)
                self._do("look", self._look)
            self._changed()

    def _of_daemon(self, packet: Packet) -> None:
        if packet.member != "NameOwnerChanged" or packet.signature != "sss":
            return
        name, _, owner = packet.body
        if name not in OWNERS or name not in self._owners:
            return
        self._owners[name] = owner
        if name == SERVICE:
            self._forget()
            if owner:
                self._loaded = False
                self._do("load", self._load)
        else:
            self._dialler.gone()
            if owner:
                self._do("devices", self._devices)
        self._changed()

    def _of_manager(self, packet: Packet) -> None:
        path = str(packet.path)
        match packet.member, packet.signature, packet.body:
            case "InterfacesAdded", "oa{sa{sv}}", [path, interfaces]:
                self._tree.add(path, interfaces)
            case "InterfacesRemoved", "oas", [path, interfaces]:
                self._tree.remove(path, interfaces)
            case "PropertiesChanged", "sa{sv}as", [interface, changed, lost]:
                self._change(path, interface, changed, lost)
            case "StateChanged", "iiu", [before, after, _] if packet.interface == MODEM and after < before:
                self._tree.change(path, MODEM, {"State": Variant("i", after)})  # its property follows, later
            case _:
                return
        self._settle()

    def _change(self, path: str, interface: str, changed: dict[str, Any], lost: list[str]) -> None:
        known = self._tree.change(path, interface, changed, lost)
        if known and lost and interface in (SIM, BEARER):
            self._tree.remove(path, [interface])  # and read anew
        if interface == SMS and self._messages is not None:
            self._messages.changed(path)

    # --- what follows from what is known -----------------------------------------------------------------------------

    def _settle(self) -> None:
        """Let go of what belongs to nobody, and read what is missing."""
        if not self._loaded:
            return
        present = self._tree.holding(MODEM)
        wanted = [reference for path in present for reference in references(self._tree, path)]
        for interface in (SIM, BEARER):
            self._tree.prune(interface, {path for path, of in wanted if of == interface})
        self._known = {path for path in present if path in self._known or is_read(self._tree, path)}
        self._serials = {path: known for path, known in self._serials.items() if path in present}
        self._measured.intersection_update(present)
        if any(not self._tree.has(*reference) for reference in wanted):
            self._do("read", self._read)
        if self._messages is not None:
            if self._messages.pending(self._tree):
                self._do("messages", partial(self._messages.read, self._line, self._tree))
            for path in present:
                self._measure(path)
        self._changed()

    def _measure(self, path: str) -> None:
        """Ask for the signal once, when the modem is enabled; others may have done so before."""
        enabled = self._tree.of(path, MODEM).get("State", 0) >= ENABLED
        if not enabled:
            self._measured.discard(path)
        elif path not in self._measured and self._tree.of(path, SIGNAL).get("Rate") == 0:
            self._measured.add(path)
            self._do(f"signal {path}", partial(self._setup, path))

    async def _setup(self, path: str) -> None:
        what = "the signal is not measured"
        try:
            await self._line.call(SERVICE, path, f"{SIGNAL}.Setup", "u", [RATE], seconds=SETUP)
            self._troubled(what, None)
        except BusError as error:
            self._troubled(what, error)

    def _forget(self) -> None:
        """ModemManager is gone, or another one."""
        self._tree.clear()
        if self._messages is not None:
            self._messages.forget()
        self._known.clear()
        self._measured.clear()

    async def _load(self) -> None:
        """All modems, and what belongs to them. A manager that goes meanwhile has nothing to tell. BusError."""
        ask = f"{OBJECT_MANAGER}.GetManagedObjects"
        try:
            (objects,) = await self._line.call(SERVICE, ROOT, ask, reply="a{oa{sa{sv}}}")
        except BusError:
            if self._owners[SERVICE]:
                raise
            return
        self._tree.replace(objects)
        await self._read()
        self._loaded = True
        self._settle()

    async def _read(self) -> None:
        """What modems point to and was not told; what is gone meanwhile has nothing to tell. BusError."""
        while missing := self._missing():
            path, interface = missing
            found: Mapping[str, Any] = NONE
            with suppressed():
                found = await self._line.get_all(SERVICE, path, interface)
            self._tree.add(path, {interface: found})
            if not self._tree.has(path, interface):
                return  # there is no room for it
        self._settle()

    def _missing(self) -> tuple[str, str] | None:
        wanted = (reference for path in self._tree.holding(MODEM) for reference in references(self._tree, path))
        return next((reference for reference in wanted if not self._tree.has(*reference)), None)

    async def _devices(self) -> None:
        """All of NetworkManager's. BusError."""
        with suppressed():
            await self._dialler.read(self._line)
        self._changed()

    async def _look(self) -> None:
        """At those that are new. BusError."""
        while self._unseen:
            await self._dialler.look(self._line, self._unseen.pop())
        self._changed()

    def _foreign(self, modem: str) -> str:
        return networkmanager.NAME if self._dialler.device(modem) else ""

    def _serial(self, modem: str) -> str:
        if modem not in self._serials:
            about = self._tree.of(modem, MODEM)
            self._serials[modem] = serial_of(self._sys, about.get("Physdev") or about.get("Device", ""))
        return self._serials[modem]

    def _do(self, key: str, doing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin with it; where it is under way, once more when it has ended."""
        if key in self._tasks:
            self._again.add(key)
            return
        task = self._tasks[key] = asyncio.get_running_loop().create_task(self._guarded(key, doing))
        task.add_done_callback(ended)

    async def _guarded(self, key: str, doing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await doing()
            while key in self._again:
                self._again.discard(key)
                await doing()
        except BusError as error:
            if not self.failed.done():
                self.failed.set_result(error)
        finally:
            del self._tasks[key]


def ended(task: asyncio.Task[None]) -> None:
    """What nobody expected is raised where the loop reports it."""
    if not task.cancelled():
        task.result()
