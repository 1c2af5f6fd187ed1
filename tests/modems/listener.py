"""The agent's end of the room: what it is told. As a program, inside a box, it does one thing to one modem:

python -m tests.modems.listener IMEI DEED      prints the error and its mend, if any
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from failover.bus import DEFAULT_ADDRESS
from failover.modem import Deed, Message, Modem
from failover.modems.room import Modems
from failover.seam import ActOnModem, ModemActed, ModemsTold, OfModems
from tests.enclosure import CHECKOUT, PATIENCE
from tests.modems.box import USERS
from tests.modems.mbim import MbimModem
from tests.modems.rig import Rig

GIVE_WAY = 0.0005
"""Seconds between two threads' turns, as in the agent."""


class Listener:
    """Keeps all that came, and when."""

    def __init__(self, address: str, sys: Path) -> None:
        self.told: list[ModemsTold] = []
        self.acted: list[ModemActed] = []
        self.messages: list[Message] = []
        self.said: list[str] = []
        self.at = 0.0
        """When it was told last."""
        self.room = Modems(self._put, self._hear, self._say, address, sys)
        self._news = asyncio.Event()

    def _put(self, event: OfModems) -> None:
        self.at = time.monotonic()
        if isinstance(event, ModemsTold):
            self.told.append(event)
        else:
            self.acted.append(event)
        self._news.set()

    def _hear(self, message: Message) -> None:
        self.messages.append(message)
        self._news.set()

    def _say(self, kind: str, text: str) -> None:
        assert kind == "warning"
        self.said.append(text)
        self._news.set()

    @property
    def now(self) -> ModemsTold | None:
        return self.told[-1] if self.told else None

    async def until(self, condition: Callable[[], object], what: str = "that") -> None:
        """Looked at whenever something came."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}; told: {self.now}, said: {self.said}") from None

    async def modem(self, imei: str, condition: Callable[[Modem], object] = lambda _: True, but: str = "") -> Modem:
        """The one with that IMEI, once it is there and as wanted; not the one with the handle `but`."""
        found: list[Modem] = []

        def look() -> bool:
            every = self.now.modems if self.now else ()
            found[:] = [one for one in every if one.imei == imei and one.handle != but and condition(one)]
            return bool(found)

        await self.until(look, f"modem {imei}")
        return found[0]

    async def act(self, modem: Modem, deed: Deed, **fields: object) -> ModemActed:
        """What came of it; exactly one answer."""
        order = ActOnModem("au", modem.handle, deed, **fields)  # type: ignore[arg-type]
        before = len(self.acted)
        self.room.carry_out(order)
        await self.until(lambda: len(self.acted) > before, f"an answer to {deed}")
        (answer,) = self.acted[before:]
        assert answer.order is order
        return answer


def listening(rig: Rig) -> AbstractAsyncContextManager[Listener]:
    """To whoever has ModemManager's name on the rig's bus."""
    return begun(rig.address, rig.box.sys.root)


@asynccontextmanager
async def begun(address: str, root: Path) -> AsyncIterator[Listener]:
    """`root`: its /sys."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(GIVE_WAY)
    listener = Listener(address, root)
    listener.room.begin()
    try:
        yield listener
    finally:
        await listener.room.close()
        sys.setswitchinterval(before)


@contextmanager
def acting(rig: Rig, modem: MbimModem, deed: Deed, user: str = "root") -> Iterator[subprocess.Popen[Any]]:
    """This program in the box, as that user: who is asked there must see the process that asks."""
    become = ["setpriv", f"--reuid={USERS[user]}", f"--regid={USERS[user]}", "--clear-groups"]
    argv = [*become, sys.executable, "-m", "tests.modems.listener", modem.imei, deed]
    with rig.inside.popen(argv, stdout=subprocess.PIPE, cwd=CHECKOUT, text=True) as child:
        yield child


def act(rig: Rig, modem: MbimModem, deed: Deed, user: str = "root") -> str:
    """The error and its mend to which it comes there, if any."""
    with acting(rig, modem, deed, user) as child:
        return str(child.communicate(timeout=PATIENCE)[0]).strip()


async def main(imei: str, deed: str) -> str:
    async with begun(DEFAULT_ADDRESS, Path("/sys")) as listener:
        answer = await listener.act(await listener.modem(imei), Deed(deed), slot=1)
        return f"{answer.error}; {answer.hint}" if answer.error else ""


if __name__ == "__main__":
    print(asyncio.run(main(*sys.argv[1:])))
