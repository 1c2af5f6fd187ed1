"""The places of a server for its clients: so many at a time, and what ends with a connection.

Shared by the control socket and the metrics. Who may come, and what is said, is theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf


@dataclass(slots=True)
class Place:
    """What one client has."""

    yields: bool
    """Gives way to a client that never yields."""
    idle_at: float
    """The loop's time from which on it gives way to any other; infinite once it has asked something."""


class Clients:
    """At most `places` connections at a time, each the task that serves it."""

    def __init__(self, places: int, patience: float = inf) -> None:
        """`patience`: seconds after which a client that has not `asked` gives way to any other."""
        self._places = places
        self._patience = patience
        self._tasks: dict[asyncio.Task[object], Place] = {}
        """The oldest first."""

    @contextlib.contextmanager
    def connection(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        """Around the work of the running task: a client gone or too slow, or a stop, ends it without a word."""
        try:
            yield
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.pop(_running(), None)
            writer.transport.abort()

    def admit(self, *, yields: bool = True) -> bool:
        """Give the running task a place: a free one, or that of the oldest idle one or, if it never yields its own, of
        the oldest that does."""
        now = asyncio.get_running_loop().time()
        if len(self._tasks) >= self._places:
            task = self._first(lambda place: now >= place.idle_at)
            if task is None and not yields:
                task = self._first(lambda place: place.yields)
            if task is None:
                return False
            del self._tasks[task]
            task.cancel()
        self._tasks[_running()] = Place(yields, now + self._patience)
        return True

    def asked(self) -> None:
        """The running task's client is idle no more."""
        self._of_running().idle_at = inf

    def yield_place(self) -> None:
        """From now on the running task yields its place."""
        self._of_running().yields = True

    def _of_running(self) -> Place:
        return self._tasks.get(_running()) or Place(yields=True, idle_at=inf)  # it has just lost its own

    def _first(self, wanted: Callable[[Place], bool]) -> asyncio.Task[object] | None:
        return next((task for task, place in self._tasks.items() if wanted(place)), None)

    async def end(self) -> None:
        """Close every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _running() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
