"""The HTTP side of the metrics: GET /metrics and GET /healthz on one address, nothing else.

Bounded: 8 KiB a request, eight clients, five seconds each. One page is rendered at a time, in a worker thread; who
comes meanwhile shares it. It is packed for clients that take that: over a metered uplink 4 kB instead of 50.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from failover.export.clients import Clients

HEAD_LIMIT: Final = 8 << 10
CLIENTS_MAX: Final = 8
PATIENCE: Final = 5.0
"""Seconds that a client has for its request, and to take the page."""
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PLAIN: Final = "text/plain; charset=utf-8"
PACKING: Final = 6
"""zlib's usual level: a twelfth of the size in 0.3 ms; the best saves another 3 % of that and takes 1.2 ms."""
_TAKES_GZIP: Final = re.compile(rb"\r\naccept-encoding:[^\r]*\bgzip\b(?! *; *q=0(?:\.0*)?[ ,\r])", re.IGNORECASE)

Prepare = Callable[[], Callable[[], bytes]]
"""Called in the loop, takes the picture; what it returns renders the page in a thread."""
Health = Callable[[], str]
"""Called in the loop: what is wrong with the agent, in a few words, or nothing."""


@dataclass(frozen=True, slots=True)
class _Reply:
    status: str
    body: bytes
    kind: str = PLAIN
    more: str = ""
    """Further header fields, each with its line end."""

    def head(self) -> bytes:
        fields = f"Content-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\n{self.more}Connection: close"
        return f"HTTP/1.1 {self.status}\r\n{fields}\r\n\r\n".encode()


class Scrape:
    """The server. `start` raises OSError when the address cannot be had."""

    def __init__(self, listen: str, prepare: Prepare, health: Health) -> None:
        self.listen = listen
        self._prepare, self._health = prepare, health
        self._pages: asyncio.Future[tuple[bytes, bytes]] | None = None
        self._server: asyncio.Server | None = None
        self._clients = Clients(CLIENTS_MAX)

    async def start(self, *, busy: bool = False) -> bool:
        """Listen; OSError when the address cannot be had, but False when it is in use and may be (`busy`)."""
        host, _, port = self.listen.rpartition(":")
        try:
            # as for the control socket, the backlog is also how often a failure to accept is reported
            self._server = await asyncio.start_server(
                self._connected, host.strip("[]"), int(port), limit=HEAD_LIMIT, backlog=CLIENTS_MAX
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE and busy:
                return False
            raise
        return True

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
        reply = await self._reply(head)
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(reply.head() + (b"" if head.startswith(b"HEAD ") else reply.body))
        await writer.drain()
        writer.write_eof()
        await reader.read(1)  # until the client closes: closing on unread bytes would reset the page away

    async def _reply(self, head: bytes) -> _Reply:
        """To a request's head (RFC 9112)."""
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _Reply("400 Bad Request", b"not an HTTP/1 request\n")
        if words[0] not in (b"GET", b"HEAD"):
            return _Reply("405 Method Not Allowed", b"only GET\n", more="Allow: GET, HEAD\r\n")
        match words[1].split(b"?", 1)[0]:
            case b"/metrics":
                return await self._page(packed=_TAKES_GZIP.search(head) is not None)
            case b"/healthz":
                fault = self._health()
                return _Reply("503 Service Unavailable" if fault else "200 OK", f"{fault or 'ok'}\n".encode())
            case _:
                return _Reply("404 Not Found", b"see /metrics and /healthz\n")

    async def _page(self, *, packed: bool) -> _Reply:
        if self._pages is None or self._pages.done():
            self._pages = asyncio.ensure_future(asyncio.to_thread(_both, self._prepare()))
        page, small = await asyncio.shield(self._pages)
        if packed:
            return _Reply("200 OK", small, CONTENT_TYPE, "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n")
        return _Reply("200 OK", page, CONTENT_TYPE, "Vary: Accept-Encoding\r\n")


def _both(render: Callable[[], bytes]) -> tuple[bytes, bytes]:
    """The page, plain and packed."""
    page = render()
    return page, gzip.compress(page, PACKING, mtime=0)
