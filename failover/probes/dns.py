"""DNS over UDP: the wire format by dnspython, one question and its answer, and the dns probe.

Which server to ask for a name is in resolve.py. Imported only when a probe needs it: dnspython takes 50 ms.
"""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from failover.model import Family, Outcome, clean
from failover.probes import bound, errors
from failover.probes.attempt import Answer, Ask, UnansweredError
from failover.probes.packets import IP_HEADER

PORT: Final = 53
UDP_HEADER: Final = 8
MESSAGE_MAX: Final = 4096
"""We offer no EDNS, so an answer has at most 512 bytes (RFC 1035); more is cut and fails to parse."""
RECORD: Final = {Family.IPV4: dns.rdatatype.A, Family.IPV6: dns.rdatatype.AAAA}
_HEADER: Final = struct.Struct("!HHHHHH")
"""id, flags, and the number of questions, answers, authorities and additional records."""
_RECORD: Final = struct.Struct("!HHIH")
"""type, class, time to live, length of the data."""
_KIND: Final = 0xF800
_RESPONSE: Final = 0x8000
"""Of the flags, the bit of a response and the operation code; and what they are in the answer to a query."""
_LABEL_MAX: Final = 63
_QUESTIONLESS: Final = frozenset((dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED))
"""Refusals that may leave out the question."""
_GONE: Final = frozenset((errno.ENETDOWN, errno.ENODEV, errno.EBADF))


@dataclass(frozen=True, slots=True)
class Reply:
    """What a name server said."""

    rcode: str
    addresses: tuple[str, ...]
    """Those of the family asked for, aliases followed."""


def question(name: str, family: Family, ident: int) -> dns.message.QueryMessage:
    """A recursive question for the name's addresses; OSError (EINVAL) for what cannot be a name."""
    try:
        return dns.message.make_query(name, RECORD[family], id=ident)
    except dns.exception.DNSException as error:
        raise OSError(errno.EINVAL, f"not a DNS name: {clean(name)}") from error


def read_reply(asked: dns.message.QueryMessage, wire: bytes) -> Reply | None:
    """The answer to that question; None for anything else, however broken.

    Names in it are stepped over, never unpacked: dnspython takes 0.9 s for a packet full of long compressed ones.
    """
    question = asked.to_wire()[_HEADER.size :]
    wanted = asked.question[0].rdtype
    try:
        ident, flags, questions, answers, _, _ = _HEADER.unpack_from(wire)
        rcode = flags & 0xF
        if ident != asked.id or flags & _KIND != _RESPONSE:
            return None
        if questions != 1 and (questions or rcode not in _QUESTIONLESS):
            return None
        offset = _HEADER.size + len(question) * questions
        if wire[_HEADER.size : offset].lower() != question[: len(question) * questions].lower():
            return None
        addresses = [_address(wanted, data) for kind, data in _records(wire, offset, answers) if kind == wanted]
    except (struct.error, IndexError, ValueError):
        return None
    return Reply(dns.rcode.to_text(dns.rcode.Rcode.make(rcode)), tuple(addresses))


def _records(wire: bytes, offset: int, count: int) -> Iterator[tuple[int, bytes]]:
    """(type, data) of that many records; IndexError or struct.error where there are fewer."""
    for _ in range(count):
        offset = _after_name(wire, offset)
        kind, _, _, length = _RECORD.unpack_from(wire, offset)
        offset += _RECORD.size + length
        if offset > len(wire):
            raise IndexError
        yield kind, wire[offset - length : offset]


def _after_name(wire: bytes, offset: int) -> int:
    """Where the name at `offset` ends: at its empty label, or at a pointer to the rest (RFC 1035 section 4.1.4)."""
    while label := wire[offset]:
        if label > _LABEL_MAX:
            return offset + 2
        offset += 1 + label
    return offset + 1


def _address(kind: int, data: bytes) -> str:
    """ValueError for data of another length."""
    return socket.inet_ntop(socket.AF_INET if kind == dns.rdatatype.A else socket.AF_INET6, data)


async def probe(ask: Ask) -> Answer:
    """Ask the target for its name; any answer to our question counts, whatever its rcode."""
    target = ask.send.target
    reply, rtt = await exchange(ask, target.host, target.port or PORT, target.path)
    return Answer(Outcome.ANSWERED, rtt, "" if reply.rcode == "NOERROR" else reply.rcode)


async def exchange(ask: Ask, server: str, port: int, name: str) -> tuple[Reply, float]:
    """(reply, seconds) of one question over the probe's uplink; waits for ever.

    The question has a random id and leaves by a random port; the kernel passes on only what comes from the server.
    """
    asked = question(name, ask.send.family, secrets.randbits(16))
    wire = asked.to_wire()
    headers = IP_HEADER[_family(server)] + UDP_HEADER
    with _socket(ask, server, port) as made:
        began = ask.loop.time()
        made.send(wire)
        ask.tally.sent += headers + len(wire)
        while True:
            await bound.readable(ask.loop, made)
            data, lag = _receive(ask, made, _family(server), headers + len(wire))
            reply = None if data is None else read_reply(asked, data)
            if data is not None and reply is not None:
                ask.tally.received += headers + len(data)
                return reply, bound.true_rtt(ask.loop.time() - began, lag)


@contextmanager
def _socket(ask: Ask, server: str, port: int) -> Iterator[socket.socket]:
    """Connected to the server by the probe's device; a server on this box is no uplink's, and asked plainly."""
    with bound.open_plain(_family(server), socket.SOCK_DGRAM) as made:
        if not ipaddress.ip_address(server).is_loopback:
            bound.check_route(ask.send.family, ask.send.mark, server)
            bound.bind(made, ask.send)
        errors.watch_errors(made, _family(server))
        made.setsockopt(socket.SOL_SOCKET, bound.SO_TIMESTAMPNS, 1)
        made.connect((server, port))
        yield made


def _receive(ask: Ask, made: socket.socket, family: Family, sent: int) -> tuple[bytes | None, float]:
    """(datagram, seconds since the kernel had it); no datagram when it was only an error that says nothing."""
    try:
        data, ancillary, _, _ = made.recvmsg(MESSAGE_MAX, bound.STAMP_SPACE)
    except OSError as error:
        refusal = errors.pop_refusal(made, family)
        if refusal is not None:
            ask.tally.received += errors.error_bytes(family, sent)
            raise UnansweredError(Outcome.REFUSED, refusal) from error
        if error.errno in _GONE:
            raise
        return None, 0.0
    return data, bound.receive_lag(ancillary)


def _family(server: str) -> Family:
    return Family.IPV6 if ":" in server else Family.IPV4
