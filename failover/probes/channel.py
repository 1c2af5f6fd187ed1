"""Bytes over a connected non-blocking socket, in the clear or through TLS. No HTTP here.

TLS is loaded only when a channel is secured.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from failover.model import Outcome
from failover.probes.attempt import UnansweredError

if TYPE_CHECKING:
    import ssl

READ_BYTES: Final = 16384
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h)."""
T = TypeVar("T")


class Channel(Protocol):
    """A way to the server and back. Raises ConnectionError when the peer goes away."""

    async def send(self, data: bytes) -> None:
        """Send all of it."""

    async def receive(self) -> bytes:
        """Some bytes; empty when the peer has no more to say."""


class Plain:
    """The socket as it is."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        self._loop = loop
        self._socket = connection

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await self._loop.sock_sendall(self._socket, data)

    async def receive(self) -> bytes:
        """Some bytes; empty when the peer has no more to say."""
        return await self._loop.sock_recv(self._socket, READ_BYTES)


class Secure:
    """TLS over a plain channel."""

    def __init__(self, plain: Plain, context: ssl.SSLContext, host: str) -> None:
        import ssl

        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def handshake(self) -> None:
        """Agree with the server, its certificate verified. Raises UnansweredError (`portal`) when that fails."""
        import ssl

        try:
            await self._through(self._tls.do_handshake)
        except ssl.SSLCertVerificationError as error:
            raise UnansweredError(Outcome.PORTAL, f"certificate: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise UnansweredError(Outcome.PORTAL, f"no TLS: {error.reason or error.strerror}") from error

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await self._spoken(lambda: self._tls.write(data))

    async def receive(self) -> bytes:
        """Some bytes; empty when the peer has no more to say."""
        return await self._spoken(lambda: self._tls.read(READ_BYTES))

    async def _spoken(self, step: Callable[[], T]) -> T:
        import ssl

        try:
            return await self._through(step)
        except ssl.SSLError as error:
            raise ConnectionResetError(f"TLS: {error.reason or error.strerror}") from error

    async def _through(self, step: Callable[[], T]) -> T:
        """Do the step, as often as it wants to read first; then send what it left to send."""
        import ssl

        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._plain.receive()
                if not data:
                    raise ConnectionResetError("closed in TLS") from None
                self._incoming.write(data)
            else:
                await self._flush()
                return done

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._plain.send(self._outgoing.read())

    def out_of_date(self) -> str:
        """Why this box's clock calls the server's certificate out of date; empty when it does not."""
        import ssl

        certificate = self._tls.getpeercert() or {}
        first, last = str(certificate.get("notBefore", "")), str(certificate.get("notAfter", ""))
        if not first or ssl.cert_time_to_seconds(first) <= time.time() <= ssl.cert_time_to_seconds(last):
            return ""
        return f"certificate valid from {first} to {last}, by a clock that is not trusted"


def context(trusted_clock: bool) -> ssl.SSLContext:
    """The system's authorities; dates are checked only by a trusted clock. Takes 50 ms and 1 MiB: not for the loop."""
    import ssl

    made = ssl.create_default_context()
    if not trusted_clock:
        made.verify_flags = ssl.VerifyFlags(made.verify_flags | _NO_CHECK_TIME)
    return made
