"""The places of a server for its clients: so many at a time, and what ends with a connection.

Shared by the control socket and the metrics. Who may come, and what is said, is theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class Clients:
    """At most `places` connections at a time, each the task that serves it."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._tasks: dict[asyncio.Task[object], bool] = {}
        """The oldest first; whether it yields its place."""

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
        """Give the running task a place: a free one or, if it never yields its own, that of the oldest that does."""
        if len(self._tasks) >= self._places:
            oldest = next((task for task, may in self._tasks.items() if may), None)
            if oldest is None or yields:
                return False
            del self._tasks[oldest]
            oldest.cancel()
        self._tasks[_running()] = yields
        return True

    async def end(self) -> None:
        """Close every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _running() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
