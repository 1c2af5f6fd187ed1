"""The room's own loop, in a thread: session after session, what they know handed over, deeds done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from failover.bus import BusError
from failover.modem import Message
from failover.modems.deeds import CONTROL, REFUSED, Deeds, mend
from failover.modems.line import Line
from failover.modems.numbers import SERVICE
from failover.modems.reading import MODEMS
from failover.modems.session import Session
from failover.modems.values import ITEMS
from failover.seam import ActOnModem, ModemActed, ModemsTold

SETTLING: Final = 0.005
"""Seconds until a change is told: what belongs to it comes in the same moment."""
BURST, IN, SLOWER = 20, 1.0, 0.1
"""So many tellings in so many seconds, and then one in SLOWER: a modem that connects causes ten."""
PAUSE, LONGEST = 0.25, 8.0
"""Seconds until the bus is asked again, at first and at last."""
FLOODED: Final = 2.0
"""Seconds at least after a flood."""
PROVEN: Final = 60.0
"""Seconds after which a session was a good one, and the next pause is short again."""
ABSENT: Final = 10.0
"""Seconds without ModemManager until it is said; to start it takes 1."""
UNWANTED: Final = MODEMS * ITEMS
"""At most: each modem's, all at once."""
NOBODY: Final = ModemsTold(managed=False)
FLOOD: Final = (
    "modems are seen late: somebody floods the system bus with messages to us; who does `busctl monitor` show?"
)
MESSAGING: Final = f"{SERVICE}.Messaging"
"""What polkit(8) calls it."""


class Watch:
    """`run` until it is cancelled; the other methods are called in the same loop."""

    def __init__(
        self,
        told: Callable[[ModemsTold | ModemActed], None],
        heard: Callable[[Message], None],
        complain: Callable[[str, str], None],
        address: str,
        sys: Path,
    ) -> None:
        """To be made in the running loop. `complain`: a key, and the text, which is empty when it is well again."""
        self._loop = asyncio.get_running_loop()
        self._told, self._heard, self._complain = told, heard, complain
        self._address, self._sys = address, sys
        self._deeds = Deeds(told, self._device, address)
        self._session: Session | None = None
        self._flooded = False
        """The session before ended so."""
        self._last: ModemsTold | None = None
        self._tellings: deque[float] = deque(maxlen=BURST)
        self._telling: asyncio.TimerHandle | None = None
        self._absent: asyncio.TimerHandle | None = None
        self._unwanted: deque[str] = deque(maxlen=UNWANTED)
        """SMS that are to be deleted; one after the other, as modems want it."""
        self._deleting: asyncio.Task[None] | None = None

    def act(self, order: ActOnModem) -> None:
        """Answered by exactly one ModemActed."""
        self._deeds.begin(order)

    def forget(self, handle: str) -> None:
        """Delete an SMS where it is kept."""
        self._unwanted.append(handle)
        if self._deleting is None:
            self._deleting = self._loop.create_task(self._delete())

    async def run(self) -> None:
        """Whatever becomes of the bus, and of whoever is on it."""
        pause = PAUSE
        try:
            while True:
                began = self._loop.time()
                self._flooded = await self._watched()
                pause = PAUSE if self._loop.time() >= began + PROVEN else pause
                pause = max(pause, FLOODED) if self._flooded else pause
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST)
        finally:
            if self._deleting is not None:
                self._deleting.cancel()
            await self._deeds.close()

    async def _watched(self) -> bool:
        """One session, to its end; whether that was a flood."""
        try:
            line = await Line.open(self._address)
        except BusError as error:
            self._lost(error)
            return False
        session = self._session = Session(line, self._changed, self._troubled, self._sys, self._heard)
        try:
            await self._until_lost(line, session)
        except BusError as error:
            if not line.flooded:
                self._lost(error)
                return False
        finally:
            self._session = None
            await session.close()
            await line.close()
        self._complain("bus", FLOOD)
        self._tell(session.told or NOBODY)
        return True

    async def _until_lost(self, line: Line, session: Session) -> None:
        """BusError, in the end, but after a flood."""
        beginning = self._loop.create_task(session.begin(self._flooded))
        try:
            await asyncio.wait((line.lost, session.failed, beginning), return_when=asyncio.FIRST_COMPLETED)
            if beginning.done():
                beginning.result()
                self._complain("bus", "")
                await asyncio.wait((line.lost, session.failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            beginning.cancel()
        if session.failed.done():
            raise session.failed.result()
        if not line.flooded:
            raise BusError("the system bus is lost", "is dbus running?")

    def _lost(self, error: BusError) -> None:
        self._complain("bus", f"modems are not seen: {error}" + (f"; {error.hint}" if error.hint else ""))
        self._tell(NOBODY)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Something may be to be told: soon, or, when much is, a little later."""
        if self._telling is None:
            now = self._loop.time()
            many = len(self._tellings) == BURST and now < self._tellings[0] + IN
            self._telling = self._loop.call_at(now + (SLOWER if many else SETTLING), self._look)

    def _look(self) -> None:
        self._telling = None
        told = self._session.told if self._session is not None else None
        if told is not None:
            self._tell(told)

    def _tell(self, told: ModemsTold) -> None:
        """If it is not what was told last."""
        if told == self._last:
            return
        self._last = told
        self._tellings.append(self._loop.time())
        self._told(told)
        self._missed(told.managed)

    def _missed(self, managed: bool) -> None:
        """Without ModemManager for a while: that is said."""
        if managed:
            self._complain("manager", "")
        if self._absent is not None:
            self._absent.cancel()
        self._absent = None if managed else self._loop.call_later(ABSENT, self._miss)

    def _miss(self) -> None:
        if self._session is not None:
            self._complain(
                "manager", "modems are not seen: ModemManager is not there; systemctl enable --now ModemManager"
            )

    # --- deeds -------------------------------------------------------------------------------------------------------

    def _device(self, modem: str) -> str:
        return self._session.device(modem) if self._session is not None else ""

    async def _delete(self) -> None:
        """Without a session they stay where they are, and are heard again."""
        try:
            while self._unwanted:
                await self._delete_one(self._unwanted.popleft())
        finally:
            self._deleting = None

    async def _delete_one(self, handle: str) -> None:
        what = "an SMS is not deleted"
        try:
            if self._session is not None:
                await self._session.delete(handle)
                self._complain(what, "")
        except BusError as error:
            self._refused(what, error, MESSAGING)

    def _troubled(self, what: str, error: BusError | None) -> None:
        """Only what a permission would mend is worth a word: not every modem can do everything."""
        if error is None:
            self._complain(what, "")
        elif error.name in REFUSED:
            self._refused(what, error, CONTROL)

    def _refused(self, what: str, error: BusError, action: str) -> None:
        hint = mend(action) if error.name in REFUSED else error.hint
        self._complain(what, f"{what}: {error}" + (f"; {hint}" if hint else ""))
