"""DNS over UDP: the wire format by dnspython, one question and its answer, and the dns probe.

Which server to ask for a name is in resolve.py. Imported only when a probe needs it: dnspython takes 50 ms.
"""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
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
    """The answer to that question; None for anything else, however broken."""
    if wire[:2] != asked.id.to_bytes(2, "big"):
        return None
    try:
        message = dns.message.from_wire(wire, ignore_trailing=True)
        if not asked.is_response(message):
            return None
        rcode = dns.rcode.to_text(message.rcode())
    except (dns.exception.DNSException, ValueError):
        return None
    wanted = asked.question[0].rdtype
    records = [record for rrset in message.answer if rrset.rdtype == wanted for record in rrset]
    return Reply(rcode, tuple(str(record) for record in records))


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
