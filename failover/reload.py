"""Reading the config again while the agent runs: one at a time, and on error the old one stays.

Who asks while a read has not begun yet shares it. What a new config means is not decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from failover.config import Config, ConfigError
from failover.config.changes import changes
from failover.config.source import ConfigFile, Loaded
from failover.export.log import Say
from failover.model import Answer

SHOWN: Final = 10
"""Problems, and changes, that are shown at once; all are in the log."""


class Reload:
    """`take` puts a config in force and says what it could not have; `judged` hears whether an attempt was one."""

    def __init__(
        self,
        source: ConfigFile,
        loaded: Loaded,
        take: Callable[[Config], Awaitable[str]],
        judged: Callable[[bool], None],
        say: Say,
    ) -> None:
        """To be made in the running loop; what is `loaded` is in force."""
        self.path = source.path
        self.problems = tuple(map(str, loaded.problems[:SHOWN]))
        """Of the file as last read, the first few; none when it is in force."""
        self._source, self._loaded, self._config = source, loaded, loaded.config
        self._take, self._judged, self._say = take, judged, say
        self._lock = asyncio.Lock()
        self._asked: set[asyncio.Task[Answer]] = set()
        self._next: asyncio.Task[Answer] | None = None

    def begin(self) -> None:
        """Say what the config is that the agent starts with."""
        for note in (*self._loaded.warnings, *self._loaded.problems):
            self._say("config", str(note))
        if self._loaded.problems:
            self._say("warning", f"{self.path} is refused; the config that was last in force still is")
        self._judged(not self._loaded.problems)

    def ask(self) -> asyncio.Task[Answer]:
        """Have it read; the answer comes when it was."""
        if self._next is None:
            self._next = task = asyncio.get_running_loop().create_task(self._read())
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
        return self._next

    async def _read(self) -> Answer:
        async with self._lock:
            self._next = None
            try:
                config, warnings = await asyncio.wrap_future(self._source.load_apart())
            except ConfigError as error:
                notes = [*map(str, error.problems)]
                answer = Answer(0, "", str(error), "the config before stays in force")
                end = f"{self._source.path} is refused; {answer.hint}"
            else:
                told = tuple(changes(self._config, config))
                complaint = await self._take(config)
                self._config = config
                notes = [*map(str, warnings), *told]
                outcome, but = self._source.outcome, f"; but {complaint}" if complaint else ""
                answer = Answer(0, f"{outcome}: {_listed(told)}{but}")
                end = f"{outcome}{but}" if told else answer.text
            self.problems = tuple(notes[:SHOWN]) if answer.error else ()
            self._judged(not answer.error)
            for note in notes:
                self._say("config", note)
            self._say("config", end)
            return answer


def _listed(told: Sequence[str]) -> str:
    """What is other than before, in one line."""
    more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return "; ".join([*told[:SHOWN], *more]) or "nothing has changed"
