"""The servers of the lab's internet, as their own process: echo, discard, bulk data, DNS, HTTP 204; a portal's HTTP.

The kernel answers ICMP. Run by world.py as `python -m failover.lab.servers internet|walled [ADDRESS...]` in that
namespace; the internet's datagrams are served on more addresses, too.
Control: `{"http": STATUS}` (0 = accept and say nothing), `{"dns": "answer|silent|nxdomain|servfail"}`; each request is
answered with the counts of what was asked so far.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from failover.lab.control import Channel
from failover.lab.places import (
    APP,
    DISCARD_PORT,
    DNS_PORT,
    ECHO_PORT,
    MULTIPATH_PORT,
    NAMES,
    SOURCE_PORT,
    internet_addresses,
)
from failover.lab.reach import IPPROTO_MPTCP
from failover.model import Family

REQUEST_LIMIT = 8192
REQUEST_SECONDS = 5.0
BLOCK = bytes(65536)
SO_MAX_PACING_RATE = 47
PORTAL = "http://portal.invalid/login"


@dataclass
class Manners:
    """How the servers behave at the moment, and what they were asked."""

    http: int = 204
    dns: str = "answer"
    counts: dict[str, int] = field(default_factory=lambda: {"http": 0, "dns": 0})

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """One control request."""
        self.http = int(request.get("http", self.http))
        self.dns = str(request.get("dns", self.dns))
        return {"counts": self.counts}


class Datagrams(asyncio.DatagramProtocol):
    """Answers each datagram on the address that it came to."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        answer = self._answer(data)
        if answer is not None:
            self._transport.sendto(answer, addr)


def dns_answer(wire: bytes, manners: Manners) -> bytes | None:
    """The DNS server: the names of places.NAMES, A and AAAA; NXDOMAIN for all others; None = silence."""
    import dns.exception
    import dns.flags
    import dns.message
    import dns.rcode
    import dns.rdatatype
    import dns.rrset

    try:
        query = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return None
    manners.counts["dns"] += 1
    if manners.dns == "silent" or not query.question:
        return None
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.RA
    asked = query.question[0]
    known = NAMES.get(asked.name.to_text(omit_final_dot=True).lower())
    if manners.dns == "servfail":
        reply.set_rcode(dns.rcode.SERVFAIL)
    elif manners.dns == "nxdomain" or known is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    else:
        family = {dns.rdatatype.A: Family.IPV4, dns.rdatatype.AAAA: Family.IPV6}.get(asked.rdtype)
        if family is not None:
            reply.answer.append(dns.rrset.from_text(asked.name, 60, "IN", asked.rdtype, known[family]))
    return reply.to_wire()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


def _closing(talk: Handler) -> Handler:
    """One connection: whatever the client does, it ends and is closed."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:  # the servers end, and asyncio 3.11 would report it for every open connection
            pass
        finally:
            writer.close()

    return handler


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """TCP echo until the client closes."""
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


async def discard(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """TCP discard until the client closes."""
    while await reader.read(65536):
        pass


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asked with a line, `BYTES_PER_SECOND CONGESTION_CONTROL`, it sends until the client closes."""
    async with asyncio.timeout(REQUEST_SECONDS):
        rate, congestion = (await reader.readline()).split()
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion)
    connection.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(rate))
    while True:
        writer.write(BLOCK)
        await writer.drain()


def dns_over_tcp(manners: Manners) -> Handler:
    """One DNS question with a length in front, RFC 1035 4.2.2."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_SECONDS):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = dns_answer(await reader.readexactly(length), manners)
        if answer is not None:
            writer.write(struct.pack("!H", len(answer)) + answer)
            await writer.drain()

    return talk


def http(manners: Manners, portal: bool) -> Handler:
    """One HTTP request: the status of the day without a body, or a captive portal's redirect."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_SECONDS):
            await reader.readuntil(b"\r\n\r\n")
        manners.counts["http"] += 1
        if not portal and manners.http == 0:
            await reader.read()
            return
        status = 302 if portal else manners.http
        location = f"Location: {PORTAL}\r\n" if portal else ""
        length = "" if status == 204 else "Content-Length: 0\r\n"
        writer.write(f"HTTP/1.1 {status} Lab\r\n{location}{length}Connection: close\r\n\r\n".encode())
        await writer.drain()

    return talk


async def _listen(handler: Handler, port: int) -> None:
    for host in ("0.0.0.0", "::"):
        await asyncio.start_server(_closing(handler), host, port, limit=REQUEST_LIMIT)


async def _listen_multipath() -> None:
    """Echo by MPTCP, where the kernel has it."""
    for number, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            opened = socket.socket(number, socket.SOCK_STREAM, IPPROTO_MPTCP)
        except OSError:
            return
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does that for plain TCP only
        if number == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((host, MULTIPATH_PORT))
        await asyncio.start_server(_closing(echo), sock=opened, limit=REQUEST_LIMIT)


async def _internet(manners: Manners, more: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()

    def resolver() -> Datagrams:
        return Datagrams(lambda data: dns_answer(data, manners))

    for address in (*internet_addresses(), *more):
        await loop.create_datagram_endpoint(lambda: Datagrams(lambda data: data), (address, ECHO_PORT))
        await loop.create_datagram_endpoint(resolver, (address, DNS_PORT))
    for address in APP.values():
        await loop.create_datagram_endpoint(lambda: Datagrams(lambda _: None), (address, DISCARD_PORT))
    await _listen(echo, ECHO_PORT)
    await _listen_multipath()
    await _listen(discard, DISCARD_PORT)
    await _listen(source, SOURCE_PORT)
    await _listen(dns_over_tcp(manners), DNS_PORT)
    await _listen(http(manners, portal=False), 80)


async def serve(role: str, *more: str) -> None:
    """Serve until the lab closes the control channel."""
    manners, channel, over = Manners(), Channel(), asyncio.Event()
    if role == "walled":
        await _listen(http(manners, portal=True), 80)
    else:
        await _internet(manners, more)

    def control() -> None:
        if not channel.serve(manners.handle):
            over.set()

    asyncio.get_running_loop().add_reader(channel.fileno(), control)
    channel.send({"ready": True})
    await over.wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
