"""The HTTP side of the metrics: GET /metrics on one address, nothing else.

Bounded: 8 KiB a request, eight clients, five seconds each. The page is rendered in a worker thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from failover.export.clients import Clients

HEAD_LIMIT: Final = 8 << 10
CLIENTS_MAX: Final = 8
PATIENCE: Final = 5.0
"""Seconds that a client has for its request, and to take the page."""
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Prepare = Callable[[], Callable[[], bytes]]
"""Called in the loop, takes the picture; what it returns renders the page in a thread."""


class Scrape:
    """The server. `start` raises OSError when the address cannot be had."""

    def __init__(self, listen: str, prepare: Prepare) -> None:
        self.listen = listen
        self._prepare = prepare
        self._server: asyncio.Server | None = None
        self._clients = Clients(CLIENTS_MAX)

    async def start(self) -> None:
        """Listen; OSError when the address cannot be had."""
        host, _, port = self.listen.rpartition(":")
        # as for the control socket, the backlog is also how often a failure to accept is reported
        self._server = await asyncio.start_server(
            self._connected, host.strip("[]"), int(port), limit=HEAD_LIMIT, backlog=CLIENTS_MAX
        )

    @property
    def port(self) -> int:
        """The port in use, once started."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is None:
            return
        self._server.close()
        await self._clients.end()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._clients.connection(writer):
            if self._clients.admit():
                async with asyncio.timeout(PATIENCE):
                    await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            head = b""
        status, body = await self._page(head)
        kind = CONTENT_TYPE if status == "200 OK" else "text/plain; charset=utf-8"
        fields = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + (b"" if head.startswith(b"HEAD ") else body))
        await writer.drain()
        writer.write_eof()
        await reader.read(1)  # until the client closes: closing on unread bytes would reset the page away

    async def _page(self, head: bytes) -> tuple[str, bytes]:
        """The request's first line (RFC 9112) -> status and body."""
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return "400 Bad Request", b"not an HTTP/1 request\n"
        if words[0] not in (b"GET", b"HEAD"):
            return "405 Method Not Allowed", b"only GET\n"
        if words[1].split(b"?", 1)[0] != b"/metrics":
            return "404 Not Found", b"see /metrics\n"
        return "200 OK", await asyncio.to_thread(self._prepare())
