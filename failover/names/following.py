"""One way at work beside the agent: the newest wish counts, one thing at a time, and what fails is said once.

What is wished or asked, and when again, is others' business: nothing is tried anew by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from failover.bus import Bus
from failover.model import FailoverError, clean
from failover.names.backend import Backend
from failover.names.sources import told
from failover.resolvers import Resolvers

SECONDS: Final = 20.0
"""For one wish or question; whoever is so slow gets the next one."""
WISH, QUESTION = "names may not follow the uplink", "the uplinks' name servers are not known"
Say = Callable[[str, str], None]
"""Kind of a log line, and its text."""
Heard = Callable[[Mapping[str, tuple[str, ...]]], None]
"""The name servers that each interface's network told."""


class Following:
    """`follow` and `ask` return at once; answers go to `heard`. What was changed goes to `say` as `kernel`, what could
    not be as `warning`."""

    def __init__(self, backend: Backend | None, say: Say, heard: Heard) -> None:
        """To be made in the running loop, which `say` and `heard` are called in."""
        self._loop = asyncio.get_running_loop()
        self._backend, self._say, self._heard = backend, say, heard
        self._bus = Bus()
        self._wanted: tuple[Resolvers, ...] | None = None
        self._asked: tuple[str, ...] | None = None
        """Neither is begun with yet."""
        self._task: asyncio.Task[None] | None = None
        self._complaints: dict[str, str] = {}

    def follow(self, wanted: Sequence[Resolvers]) -> None:
        """Let it become so; a wish that has not been begun with is forgotten."""
        self._wanted = tuple(wanted)
        self._begin()

    def ask(self, interfaces: Sequence[str]) -> None:
        """Let `heard` have what their networks told; a question that has not been begun with is forgotten."""
        self._asked = tuple(interfaces)
        self._begin()

    @property
    def complaints(self) -> tuple[str, ...]:
        """What could not be done the last time that it was tried."""
        return tuple(f"{what}: {complaint}" for what, complaint in self._complaints.items() if complaint)

    async def close(self) -> None:
        """Do no more; what is set stays."""
        self._wanted = self._asked = None
        if self._task is not None:
            self._task.cancel()
        await self._let_go()

    async def settled(self) -> None:
        """Until there is nothing to do."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._work())

    async def _work(self) -> None:
        """A wish before a question: somebody waits for it."""
        while self._wanted is not None or self._asked is not None:
            if self._wanted is not None:
                wanted, self._wanted = self._wanted, None
                await self._tried(WISH, self._follow(wanted))
            elif self._asked is not None:
                asked, self._asked = self._asked, None
                await self._tried(QUESTION, self._ask(asked))

    async def _follow(self, wanted: Sequence[Resolvers]) -> None:
        if self._backend is not None:
            for sentence in await self._backend.follow(wanted):
                self._say("kernel", sentence)

    async def _ask(self, interfaces: Sequence[str]) -> None:
        self._heard(await told(self._backend, interfaces, self._bus))

    async def _tried(self, what: str, doing: Coroutine[Any, Any, None]) -> None:
        complaint = ""
        try:
            async with asyncio.timeout(SECONDS):
                await doing
        except FailoverError as error:
            complaint = f"{error}; {error.hint}" if error.hint else str(error)
        except TimeoutError:
            await self._let_go()
            complaint = f"not done after {SECONDS:g} s"
        complaint = clean(complaint, 400)
        if complaint not in ("", self._complaints.get(what)):
            self._say("warning", f"{what}: {complaint}")
        self._complaints[what] = complaint

    async def _let_go(self) -> None:
        await self._bus.close()
        if self._backend is not None:
            await self._backend.close()
