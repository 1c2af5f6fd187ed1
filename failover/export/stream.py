"""What the watchers of the control socket are sent: how things are, and each entry as it happens.

Drawn and encoded once for all of them. None is waited for: who has too much left to take is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

PERIOD: Final = 1.0
"""Seconds between two pictures when nothing happens."""
PAUSE: Final = 0.25
"""Seconds between two pictures at the least, whatever happens."""
BACKLOG: Final = 256 << 10
"""Bytes that a watcher may have left to take, beyond what the kernel holds for it, when there is more."""

Draw = Callable[[], Awaitable[bytes]]
"""How things are at this moment, as one line."""


class Stream:
    """The watchers. Whatever it is told, it never waits and never raises."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._watchers: set[asyncio.WriteTransport] = set()
        self._entries: list[Mapping[str, object]] = []
        """For the next turn of the loop."""
        self._stirred = asyncio.Event()
        self._drawing: asyncio.Task[None] | None = None

    def publish(self, entry: Mapping[str, object]) -> None:
        """Send an entry to every watcher, in the next turn of the loop."""
        if not self._watchers:
            return
        if not self._entries:
            asyncio.get_running_loop().call_soon(self._send_entries)
        self._entries.append(entry)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Have a client watch until it leaves or is dropped (True), or says something more (False)."""
        writer.write(await self._draw())
        self._watchers.add(writer.transport)
        if self._drawing is None or self._drawing.done():
            self._drawing = asyncio.create_task(self._draw_again())
            self._drawing.add_done_callback(_report)
        try:
            if await reader.read(1):
                return False
            await writer.wait_closed()  # it has no more to ask, and may still read
        finally:
            self._watchers.discard(writer.transport)
        return True

    def end(self) -> None:
        """Drop every watcher."""
        if self._drawing is not None:
            self._drawing.cancel()

    async def _draw_again(self) -> None:
        """Send how things are after every entry, and in every period, until nobody watches."""
        try:
            while self._watchers:
                await asyncio.sleep(PAUSE)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD - PAUSE):
                        await self._stirred.wait()
                self._stirred.clear()
                self._send(await self._draw())
        finally:
            for watcher in self._watchers:
                watcher.abort()

    def _send_entries(self) -> None:
        entries, self._entries = self._entries, []
        self._send(b"".join(json.dumps({"event": entry}, allow_nan=False).encode() + b"\n" for entry in entries))
        self._stirred.set()

    def _send(self, lines: bytes) -> None:
        for watcher in self._watchers:
            if watcher.get_write_buffer_size() > BACKLOG:
                watcher.abort()
            else:
                watcher.write(lines)


def _report(task: asyncio.Task[None]) -> None:
    """An error of the task goes to the loop's handler at once."""
    if not task.cancelled():
        task.result()
