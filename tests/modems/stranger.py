"""Somebody in ModemManager's place who is not as it is: a process of its own, so that what it does costs only itself.

python stranger.py ADDRESS MANNER [UNIQUE]     until its standard input ends; prints a line when it is there
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

NAME, ROOT = "org.freedesktop.ModemManager1", "/org/freedesktop/ModemManager1"
MODEM, BEARER = f"{NAME}.Modem", f"{NAME}.Bearer"
PATH, BEARER_PATH = f"{ROOT}/Modem/0", f"{ROOT}/Bearer/0"
AT_ONCE = 64
"""Messages of a flood, before anybody else gets a turn."""
Objects = dict[str, dict[str, dict[str, Variant]]]


def modem(**changed: Variant) -> Objects:
    """One modem that is connected."""
    properties = {
        "EquipmentIdentifier": Variant("s", "356938035640011"),
        "Device": Variant("s", "/sys/devices/usb1/1-1"),
        "State": Variant("i", 11),
        "Bearers": Variant("ao", [BEARER_PATH]),
        "Sim": Variant("o", "/"),
    }
    return {PATH: {MODEM: properties | changed, f"{MODEM}.Simple": {}, f"{MODEM}.Modem3gpp": {}}}


def bearer() -> dict[str, Variant]:
    return {"Connected": Variant("b", True), "Interface": Variant("s", "wwan0")}


def answer(asked: Message) -> Message | None:
    """As ModemManager does, to those who only look."""
    if asked.member == "GetManagedObjects":
        return Message.new_method_return(asked, "a{oa{sa{sv}}}", [modem()])
    if asked.member == "GetAll":
        return Message.new_method_return(asked, "a{sv}", [bearer()])
    return Message.new_error(asked, f"{NAME}.Error.Core.Unsupported", "not \x1b[1mthis one")


def changed(number: int, path: str = PATH) -> Message:
    """News of the modem, each time other news."""
    news = {"Model": Variant("s", f"model {number}"), "State": Variant("i", 11 - number % 2)}
    return signal(path, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", [MODEM, news, []])


def signal(path: str, interface: str, member: str, signature: str, body: list[Any], to: str = "") -> Message:
    return Message(
        destination=to or None,
        path=path,
        interface=interface,
        member=member,
        message_type=MessageType.SIGNAL,
        signature=signature,
        body=body,
    )


def huge(number: int, to: str) -> Message:
    """3 MB."""
    return signal(PATH, "a.b", "Huge", "aay", [[b"x" * 1000] * 3000], to)


def small(number: int, to: str) -> Message:
    return signal(PATH, "a.b", "Small", "s", [str(number)], to)


class Stranger:
    """Whatever it sends goes out here: the library gives up where a socket is full."""

    def __init__(self, bus: MessageBus, silent: bool) -> None:
        self._bus, self._silent = bus, silent
        self._answers: list[Message] = []
        self._asked = asyncio.Event()
        bus.add_message_handler(self._hear)

    def _hear(self, asked: Message) -> bool | None:
        if asked.message_type is not MessageType.METHOD_CALL:
            return None
        found = None if self._silent else answer(asked)
        if found is not None:
            self._answers.append(found)
            self._asked.set()
        return True

    async def send(self, messages: Sequence[Message]) -> None:
        """And what is asked meanwhile is answered."""
        self._answers, answers = [], self._answers
        for message in (*answers, *messages):
            message.serial = self._bus.next_serial()
        data = b"".join(bytes(message._marshall(False)) for message in (*answers, *messages))
        await asyncio.get_running_loop().sock_sendall(self._bus._sock, data)  # type: ignore[arg-type]

    async def serve(self) -> None:
        """For ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.send([])

    async def flood(self, make: Callable[[int], Message], at_once: int = AT_ONCE, pause: float = 0) -> None:
        """For ever."""
        for number in count(0, at_once):
            await self.send([make(number + one) for one in range(at_once)])
            await asyncio.sleep(pause)


async def main(address: str, manner: str, unique: str = "") -> None:
    bus = await MessageBus(address, BusType.SYSTEM).connect()
    stranger = Stranger(bus, manner == "silent")
    if not unique:
        await bus.request_name(NAME)
    print(bus.unique_name, flush=True)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    doing: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "flood": lambda: stranger.flood(changed),
        "steady": lambda: stranger.flood(changed, 1, 0.002),
        "huge": lambda: stranger.flood(lambda number: huge(number, unique), 1),
        "small": lambda: stranger.flood(lambda number: small(number, unique)),
    }
    working = asyncio.ensure_future(doing.get(manner, stranger.serve)())
    await ended.wait()
    working.cancel()
    bus.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
