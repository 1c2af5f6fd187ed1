"""HTTP and HTTPS probes: the status, and whether it is the server's own or a portal's.

h11 writes and reads the messages. No body is read. Imported only when a probe needs it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Final

import h11

from failover.model import Outcome, ProbeKind, Target
from failover.probes import channel, tcp
from failover.probes.attempt import Answer, Ask, UnansweredError, patience
from failover.probes.resolve import resolve

if TYPE_CHECKING:
    import ssl

PATIENCE: Final = 10.0
"""Seconds for all of it: name, connection, TLS, status."""
HEADERS_MAX: Final = 16384
_PORT: Final = {ProbeKind.HTTP: 80, ProbeKind.HTTPS: 443}


class Http:
    """HTTP and HTTPS probes; what the box trusts in TLS is read once, for that takes longer than the loop may."""

    def __init__(self) -> None:
        self._contexts: dict[bool, ssl.SSLContext] = {}

    async def probe(self, ask: Ask) -> Answer:
        """Ask for the page; answered when the expected status comes."""
        target = ask.send.target
        context = await self._context(ask.send.trusted_clock) if target.kind is ProbeKind.HTTPS else None
        began = ask.loop.time()
        async with patience(ask.loop, PATIENCE):
            address = target.host if is_address(target.host) else await resolve(ask, target.host)
            try:
                status, location, doubt = await _fetch(ask, address, context)
            except ConnectionError as error:
                said = f"hung up before a status: {error.strerror or error}"
                raise UnansweredError(Outcome.SILENT, said) from error
        strange = judge(target, status, location)
        if strange:
            raise UnansweredError(Outcome.PORTAL, strange)
        return Answer(Outcome.CLOCK if doubt else Outcome.ANSWERED, ask.loop.time() - began, doubt)

    async def _context(self, trusted_clock: bool) -> ssl.SSLContext:
        if trusted_clock not in self._contexts:
            self._contexts[trusted_clock] = await asyncio.to_thread(channel.context, trusted_clock)
        return self._contexts[trusted_clock]


def is_address(host: str) -> bool:
    """A literal address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def judge(target: Target, status: int, location: str) -> str:
    """Why this answer is not the server's own; empty when it is."""
    if status == target.status:
        return ""
    return f"status {status} to {location}" if location else f"status {status} instead of {target.status}"


async def _fetch(ask: Ask, address: str, context: ssl.SSLContext | None) -> tuple[int, str, str]:
    """(status, location, why the certificate's dates are in doubt)."""
    target = ask.send.target
    async with tcp.connected(ask, address, target.port or _PORT[target.kind]) as connection:
        plain = channel.Plain(ask.loop, connection)
        if context is None:
            return *await _status(plain, target), ""
        secure = channel.Secure(plain, context, target.host)
        await secure.handshake()
        doubt = "" if ask.send.trusted_clock else secure.out_of_date()
        return *await _status(secure, target), doubt


async def _status(way: channel.Channel, target: Target) -> tuple[int, str]:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADERS_MAX)
    await way.send(request(connection, target))
    size = 0
    while size <= HEADERS_MAX:
        data = await way.receive()
        found = read_status(connection, data)
        if found is not None:
            return found
        if not data:
            raise ConnectionResetError("closed")
        size += len(data)
    raise UnansweredError(Outcome.PORTAL, f"not HTTP: no status in {size} bytes")


def request(connection: h11.Connection, target: Target) -> bytes:
    """The request of a probe, as bytes."""
    headers = [("Host", authority(target)), ("User-Agent", "failover"), ("Connection", "close")]
    asked = h11.Request(method="GET", target=target.path or "/", headers=headers)
    return (connection.send(asked) or b"") + (connection.send(h11.EndOfMessage()) or b"")


def authority(target: Target) -> str:
    """HOST or HOST:PORT as a Host header has it."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port in (None, _PORT[target.kind]) else f"{host}:{target.port}"


def read_status(connection: h11.Connection, data: bytes) -> tuple[int, str] | None:
    """(status, location) once the headers are whole, None before; UnansweredError (`portal`) for what is not HTTP."""
    try:
        connection.receive_data(data)
        while True:
            match connection.next_event():
                case h11.Response() as response:
                    return response.status_code, _location(response)
                case h11.InformationalResponse():
                    continue
                case _:
                    return None
    except h11.RemoteProtocolError as error:
        if not data:
            return None
        raise UnansweredError(Outcome.PORTAL, f"not HTTP: {error}") from error


def _location(response: h11.Response) -> str:
    for name, value in response.headers:
        if name == b"location":
            return value.decode("utf-8", "replace")
    return ""
