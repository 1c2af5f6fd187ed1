"""Modems, for the agent: what it calls in its own loop, and what it is told there. The work is done in a thread.

The library parses what anybody sends, and the loop it is in waits for that; so it has one of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from failover.bus import DEFAULT_ADDRESS
from failover.modem import Message
from failover.seam import ActOnModem, ModemActed, OfModems

if TYPE_CHECKING:
    from failover.modems.watch import Watch

STOPPED: Final = "modems are not watched"
AGAIN: Final = 600.0
"""Seconds until what comes and goes is said once more."""
ANEW: Final = 10.0
"""Seconds after an error that nobody expected."""
CLOSING: Final = 5.0
"""Seconds at most; what is under way is given up at once."""


class Modems:
    """`begin`, then `carry_out` and `forget`; each returns at once. After `close` it can be begun again."""

    def __init__(
        self,
        put: Callable[[OfModems], None],
        heard: Callable[[Message], None],
        say: Callable[[str, str], None],
        address: str = DEFAULT_ADDRESS,
        sys: Path = Path("/sys"),
    ) -> None:
        """To be made in the running loop, where `put`, `heard` and `say` (a kind and a text, for the log) are
        called. `heard`: each SMS that is on a modem, once after each start of ours and of the manager. `sys`: where
        the kernel tells of devices."""
        self._loop = asyncio.get_running_loop()
        self._put, self._heard, self._say = put, heard, say
        self._address, self._sys = address, sys
        self._thread: threading.Thread | None = None
        self._inside: asyncio.AbstractEventLoop | None = None
        """The thread's loop."""
        self._work: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._early: list[ActOnModem] = []
        """What came before the watch. All three are the thread's."""
        self._complaints: dict[str, str] = {}
        self._said: dict[str, tuple[str, float]] = {}
        """And when."""

    def begin(self) -> None:
        """Watch from now on. Nothing is done where it is begun already."""
        if self._thread is None:
            self._inside = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, args=(self._inside,), name="modems", daemon=True)
            self._thread.start()

    def carry_out(self, order: ActOnModem) -> None:
        """`put` gets exactly one ModemActed for it."""
        if self._inside is None:
            self._loop.call_soon(self._put, ModemActed(order, STOPPED, unknown=True))
        else:
            self._inside.call_soon_threadsafe(self._act, order)

    def forget(self, handle: str) -> None:
        """Delete an SMS from its modem, as it was kept."""
        if self._inside is not None:
            self._inside.call_soon_threadsafe(self._delete, handle)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is amiss, as long as it is."""
        return tuple(self._complaints.values())

    async def close(self) -> None:
        """Watch no more; deeds under way are given up, and answered. Nothing is told after it."""
        thread, inside, self._thread, self._inside = self._thread, self._inside, None, None
        if thread is None or inside is None:
            return
        inside.call_soon_threadsafe(self._stop)
        await asyncio.to_thread(thread.join, CLOSING)
        await asyncio.sleep(0)  # what it told last is heard
        self._complaints.clear()

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(self._unexpected)
        try:
            self._work = loop.create_task(self._serve())
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(self._work)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    async def _serve(self) -> None:
        """Whatever nobody expected: it is said, and begun anew."""
        while True:
            try:
                await self._watched()
            except Exception as error:
                self._complain("error", f"modems are not seen for a while: {error!r}")
                await asyncio.sleep(ANEW)
                self._complain("error", "")

    async def _watched(self) -> None:
        from failover.modems.watch import Watch  # loads the library, in this thread

        try:
            self._watch = Watch(self._tell, self._hear, self._complain, self._address, self._sys)
            early, self._early = self._early, []
            for order in early:
                self._watch.act(order)
            await self._watch.run()
        finally:
            self._watch = None

    def _stop(self) -> None:
        if self._work is not None:
            self._work.cancel()

    def _act(self, order: ActOnModem) -> None:
        if self._watch is None:
            self._early.append(order)
        else:
            self._watch.act(order)

    def _delete(self, handle: str) -> None:
        if self._watch is not None:
            self._watch.forget(handle)

    def _tell(self, event: OfModems) -> None:
        self._outside(self._put, event)

    def _hear(self, message: Message) -> None:
        self._outside(self._heard, message)

    def _complain(self, key: str, text: str) -> None:
        self._outside(self._complained, key, text)

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._complain("error", f"modems: {context['message']}: {context.get('exception')!r}")

    def _outside(self, call: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the agent's loop may be closed by now
            self._loop.call_soon_threadsafe(call, *arguments)

    # --- in the agent's loop -----------------------------------------------------------------------------------------

    def _complained(self, key: str, text: str) -> None:
        """Said once, and again when it is another, or after a while."""
        if not text:
            self._complaints.pop(key, None)
            return
        self._complaints[key] = text
        said, at = self._said.get(key, ("", 0.0))
        if text != said or self._loop.time() >= at + AGAIN:
            self._said[key] = text, self._loop.time()
            self._say("warning", text)
