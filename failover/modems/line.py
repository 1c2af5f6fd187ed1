"""A connection to the system bus on which calls may take their time and signals are heard. No service's words here.

`failover.bus.Bus` is for single calls, and for the agent's own loop. This one belongs to a loop that is for nothing
else; when it is lost it stays so.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from dbus_fast import Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus

from failover.bus import ABSENT, DEFAULT_ADDRESS, PROPERTIES, BusError, unreached
from failover.model import clean
from failover.modem import HIDDEN
from failover.modems.gate import FloodError, Gate

SECONDS: Final = 5.0
"""For a connection, and for a call of which nothing else is said."""
CLOSING: Final = 1.0
"""Seconds; the library closes its socket in the next turn of the loop."""
DAEMON: Final = "org.freedesktop.DBus"
DAEMON_PATH: Final = "/org/freedesktop/DBus"
WORDS: Final = 300
"""Characters of an error."""

logging.getLogger("dbus_fast").addHandler(logging.NullHandler())  # its errors are raised, too


class _Gated(MessageBus):
    """The library's, through our gate."""

    @staticmethod
    def _create_socket_for_transport(transport: str, options: dict[str, str]) -> Any:
        if transport != "unix":
            raise BusError(f"the system bus is not reached over '{clean(transport)}'")
        abstract = options.get("abstract")
        gate = Gate(socket.AF_UNIX, socket.SOCK_STREAM)
        return gate, gate.makefile("rwb"), f"\0{abstract}" if abstract else options["path"]


class Line:
    """`open`, then `call`, `match`, `hear` and `wait`; `lost` is done when it is. To be closed."""

    def __init__(self, bus: MessageBus, hidden: Sequence[str]) -> None:
        self._bus, self._hidden = bus, tuple(word for word in hidden if word)
        self.lost: asyncio.Future[None] = asyncio.ensure_future(_end(bus))
        """Ends in a FloodError when somebody sent too much."""

    @classmethod
    async def open(cls, address: str = DEFAULT_ADDRESS, hidden: Sequence[str] = ()) -> Line:
        """`hidden`: words that are not to be in any error. BusError."""
        bus: MessageBus = _Gated(address)
        try:
            async with asyncio.timeout(SECONDS):
                await bus.connect()
        except TimeoutError as error:
            raise BusError(f"the system bus did not answer within {SECONDS:g} s", "is dbus running?") from error
        except ABSENT as error:
            raise unreached(address, error, "dbus modemmanager") from error
        except Exception as error:  # the library names no base of what a connection may die of
            raise BusError(f"the system bus is lost: {_words(error)}", "is dbus running?") from error
        return cls(bus, hidden)

    @property
    def flooded(self) -> bool:
        """It was lost because somebody sent too much."""
        return self.lost.done() and self.lost.exception() is not None

    def hear(self, heard: Callable[[Message], None]) -> None:
        """Signals to everybody go there from now on, after the answers that came before them, if those are taken where
        `call` is awaited. One to us alone is a stranger's: no service here sends any. Calls from others are left to the
        library, which knows no method. Nothing is heard once it is closed."""
        loop = asyncio.get_running_loop()

        def tell(message: Message) -> None:
            if self._bus.connected:
                heard(message)

        def handle(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL and not message.destination:
                loop.call_soon(tell, message)  # as who waits for an answer goes on in its next turn

        self._bus.add_message_handler(handle)

    async def wait(self, news: asyncio.Event) -> None:
        """Until something is heard that sets it. BusError, when nothing can be heard any more."""
        waiting = asyncio.ensure_future(news.wait())
        try:
            await asyncio.wait((waiting, self.lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not news.is_set():
            raise BusError("the system bus is lost", "is dbus running?")

    async def match(self, rule: str) -> None:
        """Have signals sent here. BusError."""
        await self.call(DAEMON, DAEMON_PATH, f"{DAEMON}.AddMatch", "s", [f"type='signal',{rule}"])

    async def owner(self, name: str) -> str:
        """The unique name of who owns that name; empty: nobody. BusError."""
        try:
            (found,) = await self.call(DAEMON, DAEMON_PATH, f"{DAEMON}.GetNameOwner", "s", [name], "s")
        except BusError as error:
            if error.name == f"{DAEMON}.Error.NameHasNoOwner":
                return ""
            raise
        return str(found)

    async def call(
        self,
        service: str,
        path: str,
        member: str,
        signature: str = "",
        body: Sequence[object] = (),
        reply: str = "",
        seconds: float | None = None,
    ) -> list[Any]:
        """As Bus.call; who does not answer in time costs only this call. `seconds`: inf, where the caller sees to it;
        SECONDS, if nothing is said."""
        seconds = SECONDS if seconds is None else seconds
        interface, _, method = member.rpartition(".")
        try:
            asked = Message(
                destination=service,
                path=path,
                interface=interface,
                member=method,
                flags=MessageFlag.NO_AUTOSTART,
                signature=signature,
                body=list(body),
            )
            async with asyncio.timeout(seconds):
                answer = await self._bus.call(asked)
        except TimeoutError as error:
            raise BusError(f"no answer to {method} within {seconds:g} s", f"busctl status {service}") from error
        except Exception as error:  # the library names no base of what a connection may die of
            raise BusError(f"{method} was not answered: {self._shown(_words(error))}", "is dbus running?") from error
        if answer is None:
            raise BusError(f"{method} was not answered: the connection was closed meanwhile")
        if answer.error_name:
            said = answer.body[0] if answer.signature.startswith("s") else answer.error_name
            raise BusError(self._shown(str(said)), name=str(answer.error_name))
        if answer.signature != reply:
            raise BusError(f"{method} was answered with '{clean(answer.signature)}', not '{reply}'")
        return list(answer.body)

    async def get_all(self, service: str, path: str, interface: str) -> dict[str, Any]:
        """The properties of an interface; each is a dbus_fast.Variant. BusError."""
        (found,) = await self.call(service, path, f"{PROPERTIES}.GetAll", "s", [interface], "a{sv}")
        return dict(found)

    async def get(self, service: str, path: str, name: str) -> Any:
        """A property, by interface and name: a dbus_fast.Variant. BusError."""
        interface, _, key = name.rpartition(".")
        (found,) = await self.call(service, path, f"{PROPERTIES}.Get", "ss", [interface, key], "v")
        return found

    async def close(self) -> None:
        """Calls that wait end in a BusError."""
        self._bus.disconnect()
        done, _ = await asyncio.wait((self.lost,), timeout=CLOSING)
        for ended in done:
            ended.exception()  # seen

    def _shown(self, text: str) -> str:
        for word in self._hidden:
            text = text.replace(word, HIDDEN)
        return clean(text, WORDS)


def owned(name: str) -> str:
    """The match rule for who owns that name, if that changes; a unique name's owner goes once."""
    return f"sender='{DAEMON}',path='{DAEMON_PATH}',interface='{DAEMON}',member='NameOwnerChanged',arg0='{name}'"


async def _end(bus: MessageBus) -> None:
    """Until the connection has ended; FloodError if that is why."""
    try:
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
    except FloodError:
        raise
    except Exception:
        return


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
