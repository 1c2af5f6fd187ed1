"""Peers in the world that a test scripts: UDP and TCP servers on the test's loop, and a forger of any IP packet."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rrset

from failover.lab.namespaces import Namespace
from failover.lab.wire import End
from failover.model import Family
from failover.probes import packets

from .ground import AF, Ground

Datagram = Callable[[bytes], list[bytes]]
OK = b"HTTP/1.1 204 No Content\r\n\r\n"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Forger:
    """Sends any IP packet to the van by wan0, as if it came from the Internet."""

    def __init__(self, ground: Ground) -> None:
        self._socket = ground.world.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self._van = End(ground.van, "wan0", 10).mac

    def send(self, family: Family, packet: bytes) -> None:
        """Put it on the wire."""
        protocol = 0x0800 if family is Family.IPV4 else 0x86DD
        self._socket.sendto(packet, ("wan0", protocol, 0, 0, self._van))

    def close(self) -> None:
        """Stop."""
        self._socket.close()


def icmp(family: Family, sender: str, receiver: str, message: bytes) -> bytes:
    """An IP packet around an ICMP message (its checksum field blank), with right checksums."""
    source, destination = (socket.inet_pton(AF[family], address) for address in (sender, receiver))
    if family is Family.IPV4:
        body = message[:2] + struct.pack("!H", packets.checksum(message)) + message[4:]
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0, source, destination)
        return head[:10] + struct.pack("!H", packets.checksum(head)) + head[12:] + body
    pseudo = source + destination + struct.pack("!II", len(message), 58)
    body = message[:2] + struct.pack("!H", packets.checksum(pseudo + message)) + message[4:]
    return struct.pack("!IHBB16s16s", 0x60000000, len(body), 58, 64, source, destination) + body


@asynccontextmanager
async def udp_server(
    ground: Ground, family: Family, host: str, port: int, reply: Datagram, of: Namespace | None = None
) -> AsyncIterator[None]:
    """Sends what `reply` makes of each datagram, from the address that it was sent to."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
            for answer in reply(data):
                self.transport.sendto(answer, addr)

    made = (of or ground.world).socket(AF[family], socket.SOCK_DGRAM)
    made.bind((host, port))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, sock=made)
    try:
        yield
    finally:
        transport.close()


@asynccontextmanager
async def tcp_server(
    ground: Ground, family: Family, host: str, port: int, talk: Talk, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Talks with each client, through TLS where there is a context; the connection is reset once the talk is over."""
    made = ground.world.socket(AF[family], socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, sock=made, ssl=context)
    try:
        yield
    finally:
        server.close()


Forge = Callable[[tuple[str, int], tuple[str, int], bytes], None]


@contextmanager
def udp_forger(ground: Ground, family: Family) -> Iterator[Forge]:
    """Sends a datagram to the van, by wan0, in the name of any (address, port)."""
    forger = Forger(ground)

    def forge(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> None:
        ends = b"".join(socket.inet_pton(AF[family], host) for host, _ in (source, destination))
        datagram = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0) + payload
        summed = packets.checksum(ends + struct.pack("!II", len(datagram), 17) + datagram) or 0xFFFF
        datagram = datagram[:6] + struct.pack("!H", summed) + datagram[8:]
        if family is Family.IPV4:
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0) + ends
            head = head[:10] + struct.pack("!H", packets.checksum(head)) + head[12:]
        else:
            head = struct.pack("!IHBB", 0x60000000, len(datagram), 17, 64) + ends
        forger.send(family, head + datagram)

    try:
        yield forge
    finally:
        forger.close()


def saying(answer: bytes, requests: list[bytes] | None = None) -> Talk:
    """Answer, then hold the line until the client hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(request)
        writer.write(answer)
        await reader.read()

    return talk


def zone(addresses: list[str], rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> Datagram:
    """Every name is an alias of a name with these addresses."""

    def reply(wire: bytes) -> list[bytes]:
        message = dns.message.make_response(dns.message.from_wire(wire))
        message.set_rcode(rcode)
        name, record = message.question[0].name, message.question[0].rdtype
        if addresses:
            message.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", "real.example.net."))
            message.answer.append(dns.rrset.from_text("real.example.net.", 60, "IN", record, *addresses))
        return [message.to_wire()]

    return reply
