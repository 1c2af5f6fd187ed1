"""Clients of a gateway whose TCP connections were forgotten, asked where they stand, so that they hear of it now.

A client that has sent what it may, waits for its timer, or only listens, sends nothing that could be reset. So it gets
a byte in its server's name that fits nowhere. To that every TCP answers with an acknowledgement (RFC 9293, 3.10.7.4; to
one without a byte Linux and BSD may say nothing), of a connection that nobody knows any more: it is adrift, as
gateway.py has it, and the reset that it earns carries the very number that its client takes (RFC 5961, section 3).

What lives here: the packet, and how it leaves. It is marked as no uplink's is, and not tracked for that: else the
answer would belong to a connection of its own.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final

from failover.kernel.conntrack import Flow
from failover.kernel.wire import FAMILY_NUMBERS, address_bytes
from failover.model import Family

IPV6_HDRINCL: Final = 36
"""linux/in6.h: the packet has its own head."""
TTL: Final = 64
ACK: Final = 0x10
TIMESTAMPS: Final = struct.pack("!BBBBII", 1, 1, 8, 10, 0, 0)
"""Some pass over what comes without them where both ends have agreed on them (RFC 7323, 3.2)."""
_TCP: Final = struct.Struct("!HHIIBBHHH")
_WORDS: Final = (_TCP.size + len(TIMESTAMPS)) // 4
_REST: Final = TIMESTAMPS + b"\0"


def challenge(flows: Iterable[Flow], mark: int) -> int:
    """Ask the source of each; how many packets left. `mark`: by which the table knows them. Some 15 µs each, and no
    error: whom it does not reach learns of it with his own next packet."""
    left = 0
    with ExitStack() as stack:
        sockets: dict[Family, socket.socket] = {}
        for flow in flows:
            family = Family.of(flow.source)
            try:
                if family not in sockets:
                    sockets[family] = stack.enter_context(_raw(family, mark))
                sockets[family].sendto(packet(flow), (flow.source, 0))
            except OSError:  # a neighbour that is gone, somebody's filter
                continue
            left += 1
    return left


def packet(flow: Flow) -> bytes:
    """From the flow's destination to its source, IP head included; IPv4's checksum is the kernel's to fill in."""
    family = Family.of(flow.source)
    server, client = address_bytes(family, flow.destination), address_bytes(family, flow.source)
    fields = flow.destination_port, flow.source_port, 0, 0, _WORDS << 4, ACK, 0
    segment = _TCP.pack(*fields, 0, 0) + _REST
    pseudo = server + client + struct.pack("!II", len(segment), socket.IPPROTO_TCP)
    summed = 0xFFFF - int.from_bytes(pseudo + segment + b"\0") % 0xFFFF  # RFC 1071: in words; 2^16 is 1 there
    segment = _TCP.pack(*fields, summed, 0) + _REST
    if family is Family.IPV4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, TTL, socket.IPPROTO_TCP, 0)
    else:
        head = struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, TTL)
    return head + server + client + segment


def _raw(family: Family, mark: int) -> socket.socket:
    made = socket.socket(FAMILY_NUMBERS[family], socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        if family is Family.IPV6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
    except OSError:
        made.close()
        raise
    return made
