"""ICMP and ICMPv6 as bytes: what an echo request looks like and what an answer says.

Pure functions only: no socket, no clock. Whatever a stranger sends, reading it never raises.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from failover.model import Family

ECHO_BYTES: Final = 8
IP_HEADER: Final = {Family.IPV4: 20, Family.IPV6: 40}
ICMP, ICMPV6 = 1, 58
"""IP protocol numbers."""
_REQUEST: Final = {Family.IPV4: 8, Family.IPV6: 128}
REPLY: Final = {Family.IPV4: 0, Family.IPV6: 129}
UNREACHABLE: Final = {Family.IPV4: 3, Family.IPV6: 1}
_NO_NEIGHBOUR: Final = {Family.IPV4: 1, Family.IPV6: 3}
"""Host and address unreachable: what the kernel says where no neighbour answers."""
_FRAGMENTATION_NEEDED: Final = 4
"""The one IPv4 unreachable code that refuses nothing: the route goes on, with smaller packets (RFC 1191)."""

_WORDS: Final = {
    Family.IPV4: {
        0: "network unreachable",
        1: "host unreachable",
        2: "protocol unreachable",
        3: "port unreachable",
        5: "source route failed",
        6: "network unknown",
        7: "host unknown",
        8: "source host isolated",
        9: "network prohibited",
        10: "host prohibited",
        11: "network unreachable for this service",
        12: "host unreachable for this service",
        13: "administratively prohibited",
        14: "host precedence violation",
        15: "precedence cut off",
    },
    Family.IPV6: {
        0: "no route",
        1: "administratively prohibited",
        2: "beyond the scope of the source",
        3: "address unreachable",
        4: "port unreachable",
        5: "source address failed policy",
        6: "route rejected",
    },
}
"""RFC 792, RFC 1812 section 5.2.7.1; RFC 4443 section 3.1."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An echo reply; the addresses are packed."""

    sender: bytes
    ident: int
    sequence: int
    ip_bytes: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """An unreachable message that quotes an echo request to `target`."""

    sender: bytes
    target: bytes
    ident: int
    sequence: int
    code: int
    ip_bytes: int


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The kernel itself says, in our own name, that no neighbour takes an echo request to `target`: nobody answers ARP
    or neighbour discovery. That is silence, and no refusal."""

    target: bytes
    ident: int
    sequence: int


def echo_request(family: Family, ident: int, sequence: int) -> bytes:
    """The 8 bytes of an echo request without payload; the ICMPv6 checksum is left to the kernel (RFC 3542)."""
    head = struct.pack("!BBHHH", _REQUEST[family], 0, 0, ident, sequence)
    if family is Family.IPV6:
        return head
    return struct.pack("!BBHHH", _REQUEST[family], 0, checksum(head), ident, sequence)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over data that carries its own right one."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def unreachable_words(family: Family, code: int) -> str | None:
    """What an unreachable code says; None for the one that refuses nothing."""
    if family is Family.IPV4 and code == _FRAGMENTATION_NEEDED:
        return None
    return _WORDS[family].get(code, f"unreachable, code {code}")


def read4(packet: bytes) -> Reply | Refusal | Undelivered | None:
    """What a raw ICMP socket received, IP header included. Raw sockets get it before the kernel checks the checksum."""
    opened = _open4(packet)
    if opened is None:
        return None
    header, message = opened
    if checksum(message) != 0:
        return None
    return _read(Family.IPV4, message, header[12:16], len(packet))


def read6(message: bytes, sender: bytes) -> Reply | Refusal | Undelivered | None:
    """What a raw ICMPv6 socket received: no IP header, checksum verified by the kernel."""
    return _read(Family.IPV6, message, sender, IP_HEADER[Family.IPV6] + len(message))


def _read(family: Family, message: bytes, sender: bytes, ip_bytes: int) -> Reply | Refusal | Undelivered | None:
    if len(message) < ECHO_BYTES:
        return None
    kind, code, _, ident, sequence = struct.unpack_from("!BBHHH", message)
    if kind == REPLY[family] and code == 0:
        return Reply(sender, ident, sequence, ip_bytes)
    if kind != UNREACHABLE[family] or unreachable_words(family, code) is None:
        return None
    quote = _quote4(message[8:]) if family is Family.IPV4 else _quote6(message[8:])
    if quote is None:
        return None
    source, target, echo = quote
    kind, inner_code, _, ident, sequence = struct.unpack_from("!BBHHH", echo)
    if kind != _REQUEST[family] or inner_code != 0:
        return None
    if source == sender:
        return Undelivered(target, ident, sequence) if code == _NO_NEIGHBOUR[family] else None
    return Refusal(sender, target, ident, sequence, code, ip_bytes)


def _quote4(quoted: bytes) -> tuple[bytes, bytes, bytes] | None:
    """(source, destination, ICMP header) of the quoted packet; a router quotes at least 8 bytes of it (RFC 792)."""
    opened = _open4(quoted)
    if opened is None:
        return None
    header, echo = opened
    return (header[12:16], header[16:20], echo) if len(echo) >= ECHO_BYTES else None


def _open4(packet: bytes) -> tuple[bytes, bytes] | None:
    """(header, payload) of an IPv4 packet that carries ICMP and is no later fragment."""
    if len(packet) < IP_HEADER[Family.IPV4] or packet[0] >> 4 != 4 or packet[9] != ICMP:
        return None
    length = (packet[0] & 0x0F) * 4
    later_fragment = int.from_bytes(packet[6:8], "big") & 0x1FFF
    if length < IP_HEADER[Family.IPV4] or len(packet) < length or later_fragment:
        return None
    return packet[:length], packet[length:]


def _quote6(quoted: bytes) -> tuple[bytes, bytes, bytes] | None:
    """As _quote4; ours carry no extension header, so a quote with one is not ours."""
    start = IP_HEADER[Family.IPV6]
    if len(quoted) < start + ECHO_BYTES or quoted[0] >> 4 != 6 or quoted[6] != ICMPV6:
        return None
    return quoted[8:24], quoted[24:40], quoted[start:]
