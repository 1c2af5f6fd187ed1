"""One way at work beside the agent: the newest wish is carried out, one at a time, and what fails is said once.

What is wished, and when it is wished again, is others' business: nothing is tried anew by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from failover.model import FailoverError, clean
from failover.names.backend import Backend
from failover.resolvers import Resolvers

SECONDS: Final = 20.0
"""For one wish; whoever is so slow gets the next one."""
Say = Callable[[str, str], None]
"""Kind of a log line, and its text."""


class Following:
    """`follow` returns at once. What was changed goes to `say` as `kernel`, what could not be as `warning`."""

    def __init__(self, backend: Backend, say: Say) -> None:
        """To be made in the running loop, which `say` is called in."""
        self._loop = asyncio.get_running_loop()
        self._backend, self._say = backend, say
        self._wanted: tuple[Resolvers, ...] | None = None
        """Not yet begun with."""
        self._task: asyncio.Task[None] | None = None
        self._complaint = ""

    def follow(self, wanted: Sequence[Resolvers]) -> None:
        """Let it become so; a wish that has not been begun with is forgotten."""
        self._wanted = tuple(wanted)
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._work())

    async def close(self) -> None:
        """Do no more; what is set stays."""
        self._wanted = None
        if self._task is not None:
            self._task.cancel()
        await self._backend.close()

    async def settled(self) -> None:
        """Until there is nothing to do."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _work(self) -> None:
        while self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            complaint = ""
            try:
                async with asyncio.timeout(SECONDS):
                    for sentence in await self._backend.follow(wanted):
                        self._say("kernel", sentence)
            except FailoverError as error:
                complaint = f"{error}; {error.hint}" if error.hint else str(error)
            except TimeoutError:
                await self._backend.close()
                complaint = f"name servers were not set within {SECONDS:g} s"
            if complaint not in ("", self._complaint):
                self._say("warning", f"names may not follow the uplink: {clean(complaint, 400)}")
            self._complaint = complaint
