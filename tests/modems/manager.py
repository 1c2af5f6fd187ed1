"""ModemManager as a client sees it over D-Bus, from a test that is no coroutine; what it waits for, it waits for by
signals."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from dbus_fast import BusType, Message, MessageType, Variant, unpack_variants
from dbus_fast.aio import MessageBus

from tests.enclosure import PATIENCE
from tests.modems.usb import Device, Port

MODEM_MANAGER, NETWORK_MANAGER = "org.freedesktop.ModemManager1", "org.freedesktop.NetworkManager"
ROOT = "/org/freedesktop/ModemManager1"
MODEM, THREE_GPP, SIGNAL, SIMPLE, MESSAGING, BEARER, SIM, SMS = (
    f"{MODEM_MANAGER}.{name}"
    for name in ("Modem", "Modem.Modem3gpp", "Modem.Signal", "Modem.Simple", "Modem.Messaging", "Bearer", "Sim", "Sms")
)
PROPERTIES = "org.freedesktop.DBus.Properties"
DAEMON = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
REPLY = 60.0
"""Seconds for one call: a modem may take its time."""
SECOND_LOOK = 1.0
"""Seconds after which is looked again without any signal: what happened between two calls is not waited for in vain."""

T = TypeVar("T")
Objects = dict[str, dict[str, dict[str, Any]]]
"""By path, interface and property."""


class CallError(Exception):
    """A D-Bus error; `name` is its name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class Manager:
    """One connection in a thread of its own. Every method may be called from any other thread."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._waiting: set[asyncio.Event] = set()
        self._bus: MessageBus = self._run(self._connect(address))

    def _run(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(REPLY + PATIENCE)

    async def _connect(self, address: str) -> MessageBus:
        bus = await MessageBus(address, BusType.SYSTEM).connect()
        bus.add_message_handler(self._hear)
        self._bus = bus
        for rule in (f"type='signal',sender='{MODEM_MANAGER}'", f"type='signal',sender='{DAEMON[0]}'"):
            await self._call(*DAEMON, "AddMatch", "s", [rule])
        return bus

    def _hear(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL:
            for waiting in self._waiting:
                waiting.set()

    async def _call(
        self, to: str, path: str, interface: str, member: str, signature: str = "", body: Sequence[object] = ()
    ) -> Any:
        """The first value of the answer, without its variants."""
        asked = Message(to, path, interface, member, signature=signature, body=list(body))
        answer = await asyncio.wait_for(self._bus.call(asked), REPLY)
        assert answer is not None
        if answer.message_type is MessageType.ERROR:
            raise CallError(str(answer.error_name), str((answer.body or [""])[0]))
        return unpack_variants(answer.body[0]) if answer.body else None

    async def _until(self, look: Callable[[], Coroutine[Any, Any, T]], what: str) -> T:
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    changed.clear()
                    found = await look()
                    if found:
                        return found
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), SECOND_LOOK)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}") from None
        finally:
            self._waiting.discard(changed)

    # --- calls -------------------------------------------------------------------------------------------------------

    def call(
        self, path: str, interface: str, member: str, signature: str = "", *body: object, to: str = MODEM_MANAGER
    ) -> Any:
        """The first value of the answer. CallError."""
        return self._run(self._call(to, path, interface, member, signature, body))

    def start(self, path: str, interface: str, member: str, signature: str = "", *body: object) -> None:
        """As call(), without waiting for an answer; an error is nobody's business."""

        async def ask() -> None:
            with suppress(Exception):
                await self._call(MODEM_MANAGER, path, interface, member, signature, body)

        asyncio.run_coroutine_threadsafe(ask(), self._loop)

    def get(self, path: str, interface: str, name: str) -> Any:
        """A property. CallError."""
        return self.call(path, PROPERTIES, "Get", "ss", interface, name)

    def objects(self) -> Objects:
        """Of the modems; bearers, SIMs and messages are not among them."""
        found: Objects = self.call(ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        return found

    def connect(self, path: str, apn: str = "internet", **settings: object) -> str:
        """The bearer's path. `settings`: as of Simple.Connect. CallError."""
        signatures: Mapping[type, str] = {bool: "b", int: "u", str: "s"}
        wanted = {"apn": apn, **{name.replace("_", "-"): value for name, value in settings.items()}}
        given = {name: Variant(signatures[type(value)], value) for name, value in wanted.items()}
        return str(self.call(path, SIMPLE, "Connect", "a{sv}", given))

    def disconnect(self, path: str) -> None:
        """Every bearer of the modem."""
        self.call(path, SIMPLE, "Disconnect", "o", "/")

    def inhibit(self, device: Device, on: bool) -> None:
        """ModemManager keeps its hands off the device meanwhile."""
        self.call(ROOT, MODEM_MANAGER, "InhibitDevice", "sb", device.path, on)

    def report(self, action: str, port: Port) -> None:
        """Tell ModemManager what else the kernel would: "add" or "remove". Nobody is told where it does not run."""
        event = {"action": action, "name": port.name, "subsystem": port.subsystem}
        try:
            given = {key: Variant("s", value) for key, value in event.items()}
            self.call(ROOT, MODEM_MANAGER, "ReportKernelEvent", "a{sv}", given)
        except CallError as error:
            if not error.name.endswith(("ServiceUnknown", "NoReply", "NameHasNoOwner", "NoSuchUnit")):
                raise

    # --- waiting -----------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[Objects], T], what: str = "that") -> T:
        """What `condition` makes of the modems, once that is true. Where ModemManager is not there, they are none."""

        async def look() -> T:
            try:
                found = await self._call(
                    MODEM_MANAGER, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"
                )
            except CallError:
                found = {}
            return condition(found)

        return self._run(self._until(look, what))

    def listed(self, imei: str, *, but: str = "") -> str:
        """The path of the modem, once it is there, and under another than `but`."""

        def condition(objects: Objects) -> str:
            found = (path for path, has in objects.items() if has.get(MODEM, {}).get("EquipmentIdentifier") == imei)
            return next((path for path in found if path != but), "")

        return self.until(condition, f"modem {imei}")

    def gone(self, path: str) -> None:
        """Once that object is no more."""
        self.until(lambda objects: path not in objects, f"the end of {path}")

    def becomes(self, path: str, interface: str, name: str, wanted: Callable[[Any], object]) -> Any:
        """The property's value, once it is as wanted."""
        seen: list[Any] = []

        async def look() -> bool:
            try:
                value = await self._call(MODEM_MANAGER, path, PROPERTIES, "Get", "ss", [interface, name])
            except CallError as error:
                value = error
            seen[:] = [value]
            return not isinstance(value, CallError) and bool(wanted(value))

        try:
            self._run(self._until(look, f"{name} of {path}"))
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen[0]!r}") from None
        return seen[0]

    def await_owner(self, name: str) -> None:
        """Until somebody owns the name on the bus."""
        self._run(self._until(lambda: self._owned(name), name))

    def await_no_owner(self, name: str) -> None:
        """Until nobody does."""

        async def look() -> bool:
            return not await self._owned(name)

        self._run(self._until(look, f"the end of {name}"))

    async def _owned(self, name: str) -> bool:
        return bool(await self._call(*DAEMON, "NameHasOwner", "s", [name]))

    def close(self) -> None:
        async def leave() -> None:
            self._bus.disconnect()
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

        self._run(leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
