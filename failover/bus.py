"""The system's D-Bus: a call, its answer or its error, within a time. No service's own words here.

The library is dbus-fast. Beside asyncio it costs 15 ms and 4.2 MB, jeepney 5 ms and 0.3 MB; but it is kept up from
month to month, typed, quicker (0.24 ms a property, jeepney 0.39), tells when the bus is lost, and bounds what a peer
may send: lines before authentication, sizes, nesting. It is loaded by the first call.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from failover.model import FailoverError, clean

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

SECONDS: Final = 5.0
"""For one call, the connection included. polkitd may have to be started for it."""
CLOSING: Final = 1.0
"""Seconds; the library closes its socket in the next turn of the loop."""
DEFAULT_ADDRESS: Final = "unix:path=/run/dbus/system_bus_socket"
"""D-Bus Specification, "Well-known Message Bus Instances"; DBUS_SYSTEM_BUS_ADDRESS is for tests, not for services."""
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
ABSENT: Final = (FileNotFoundError, ConnectionRefusedError, PermissionError)
"""What a connection fails with where there is no bus, or none for us."""


class BusError(FailoverError):
    """No answer, or an error. `name` is that of the D-Bus error; empty: nobody answered, or not as they should."""

    def __init__(self, message: str, hint: str = "", name: str = "") -> None:
        super().__init__(message, hint)
        self.name = name


class Bus:
    """One connection, made by the first call and anew after it was lost. Who does not answer in time loses it, so that
    nothing waits for them; let each peer have a Bus of its own."""

    def __init__(self, address: str = DEFAULT_ADDRESS, seconds: float = SECONDS) -> None:
        self._address, self._seconds = address, seconds
        self._connecting = asyncio.Lock()
        self._bus: MessageBus | None = None
        self._ended: asyncio.Future[None] | None = None
        """Held, so that it is not lost before the connection is."""

    async def call(
        self, service: str, path: str, member: str, signature: str = "", body: Sequence[object] = (), reply: str = ""
    ) -> list[Any]:
        """The answer's arguments. Nobody is started for it. `member`: interface and method; `reply`: the signature that
        the answer must have. BusError."""
        try:
            async with asyncio.timeout(self._seconds):
                message = await self._ask(service, path, member, signature, body)
        except TimeoutError as error:
            self._drop()
            words = f"{service} did not answer within {self._seconds:g} s"
            raise BusError(words, f"does `busctl status {service}` answer?") from error
        if message is None:
            raise BusError("the connection to the system bus was closed meanwhile")
        if message.error_name:
            raise _refusal(service, message)
        if message.signature != reply:
            raise BusError(f"{service} answers {_method(member)} with '{clean(message.signature)}', not '{reply}'")
        return list(message.body)

    async def get_all(self, service: str, path: str, interface: str) -> dict[str, Any]:
        """The properties of an interface; each is a dbus_fast.Variant. BusError."""
        (found,) = await self.call(service, path, f"{PROPERTIES}.GetAll", "s", [interface], "a{sv}")
        return dict(found)

    async def close(self) -> None:
        """Let go of it; calls that wait end in a BusError."""
        self._drop()
        if self._ended is not None:
            await asyncio.wait((self._ended,), timeout=CLOSING)

    def _drop(self) -> None:
        if self._bus is not None:
            self._bus.disconnect()
            self._bus = None

    async def _ask(
        self, service: str, path: str, member: str, signature: str, body: Sequence[object]
    ) -> Message | None:
        """None: it was closed meanwhile."""
        interface, _, method = member.rpartition(".")
        try:
            bus = await self._connected()
            from dbus_fast import Message, MessageFlag  # loaded by now

            asked = Message(
                destination=service,
                path=path,
                interface=interface,
                member=method,
                flags=MessageFlag.NO_AUTOSTART,
                signature=signature,
                body=list(body),
            )
            return await bus.call(asked)
        except (TimeoutError, asyncio.CancelledError, BusError):
            raise
        except Exception as error:  # the library names no base of what a connection may die of
            self._drop()
            raise BusError(f"the system bus is lost: {_words(error)}", "is dbus running?") from error

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is None or not self._bus.connected:
                library = await asyncio.to_thread(importlib.import_module, "dbus_fast.aio")
                logging.getLogger("dbus_fast").addHandler(logging.NullHandler())  # its errors are raised, too
                bus: MessageBus = library.MessageBus(self._address)
                try:
                    await bus.connect()
                except ABSENT as error:
                    raise unreached(self._address, error) from error
                self._ended = asyncio.ensure_future(_end(bus))
                self._bus = bus
            return self._bus


async def _end(bus: MessageBus) -> None:
    """Until the connection has ended; of what, the next call tells."""
    with suppress(Exception):
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


def unreached(address: str, error: OSError, packages: str = "dbus") -> BusError:
    """There is no bus, as opposed to one that was lost; `packages`: what those who need it install."""
    where = clean(address.partition("path=")[2] or address)
    mend = f"does dbus run? where it is missing, install it: `apt install {packages}`"
    return BusError(f"the system bus cannot be reached at {where}: {_words(error)}", mend)


def _refusal(service: str, message: Message) -> BusError:
    name = str(message.error_name)
    said = message.body[0] if message.signature.startswith("s") else name
    return BusError(f"{service}: {clean(said)}", name=name)


def _method(member: str) -> str:
    return member.rpartition(".")[2]


def _words(error: Exception) -> str:
    return clean((error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__)
