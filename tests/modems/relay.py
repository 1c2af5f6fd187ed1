"""Between a client and the bus: where an answer and what the bus says next come in one piece, as on a busy machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

CHUNK: Final = 65536
"""Bytes; more than a message of a test has."""


class Relay:
    """`answered` when the bus has answered to the first call with `words`; the client gets that with what follows."""

    def __init__(self, bus: Path, words: str) -> None:
        self._bus, self._words = bus, words.encode()
        self._called = False
        self._clients: list[asyncio.Task[None]] = []
        self.answered = asyncio.Event()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until either end has closed."""
        self._clients.append(asyncio.create_task(self._serve(reader, writer)))

    async def close(self) -> None:
        """When all clients have."""
        await asyncio.gather(*self._clients)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(self._bus)
        both = [asyncio.create_task(one) for one in (self._ask(reader, ours), self._tell(theirs, writer))]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, ours):
            end.close()
        await asyncio.wait(both)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            self._called = self._called or self._words in data
            writer.write(data)

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            if self._called and not self.answered.is_set():
                self.answered.set()
                data += await reader.read(CHUNK)
            writer.write(data)


@asynccontextmanager
async def relayed(bus: Path, words: str, path: Path) -> AsyncIterator[Relay]:
    """Clients find it at `path`."""
    relay = Relay(bus, words)
    async with await asyncio.start_unix_server(relay.serve, path):
        yield relay
        await relay.close()
