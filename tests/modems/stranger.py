"""Anybody on the bus, who sends signals to one connection: a process of its own, so that it costs only itself.

python -m tests.modems.stranger ADDRESS TO MANNER     until it is killed
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from tests.enclosure import CHECKOUT
from tests.modems.manager import MODEM, PROPERTIES, ROOT

PATH = f"{ROOT}/Modem/0"
AT_ONCE: Final = 64
"""Messages, of which each follows the other without a pause."""
THE_OTHERS_FIRST: Final = ("nice", "-n", "19")
"""What it costs to send shall not be what is measured."""


def _signal(to: str, member: str, signature: str, *body: Any) -> Message:
    kind, interface = MessageType.SIGNAL, PROPERTIES
    return Message(to, PATH, interface, member, kind, signature=signature, body=list(body))


MANNERS: Final[dict[str, Callable[[str, int], Message]]] = {
    "small": lambda to, number: _signal(to, "Small", "s", str(number)),
    "huge": lambda to, _: _signal(to, "Huge", "aay", [b"x" * 1000] * 3000),
    "large": lambda to, _: _signal(to, "Large", "av", [Variant("y", 1)] * 4000),
    "lie": lambda to, _: _signal(to, "PropertiesChanged", "sa{sv}as", MODEM, {"State": Variant("i", 3)}, []),
}
"""Thousands in a second; 3 MB each; 16 kB each, which is as large as is read; what only ModemManager may say."""


async def main(address: str, to: str, manner: str) -> None:
    bus = await MessageBus(address, BusType.SYSTEM).connect()
    loop = asyncio.get_running_loop()
    print(bus.unique_name, flush=True)
    for number in count(1):
        message = MANNERS[manner](to, number)
        message.serial = bus.next_serial()
        data = bytes(message._marshall(False)) * (AT_ONCE if manner == "small" else 1)
        await loop.sock_sendall(bus._sock, data)  # type: ignore[arg-type]  # it gives up where a socket is full
        await asyncio.sleep(0)


@contextmanager
def stranger(address: str, to: str, manner: str) -> Iterator[None]:
    """Meanwhile there is one."""
    argv = [*THE_OTHERS_FIRST, sys.executable, "-m", "tests.modems.stranger", address, to, manner]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        try:
            yield
        finally:
            child.kill()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
