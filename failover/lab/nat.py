"""A carrier's memory of flows, as its NAT has: which flows run, and which new ones find no room. Pure.

A flow is a pair of addresses with a protocol and its ports, or with the identity of an ICMP echo.
"""

from __future__ import annotations

import math
from hashlib import blake2b

from failover.lab.frames import ETHERNET
from failover.model import Family

FORGOTTEN = 10.0
"""Seconds without a packet after which a flow is new again; TCP says itself what is new. Short, since the densest
traffic uses a port again some 100 s later."""
KNOWN = 8192
"""Flows that are remembered at most, those last used."""
TCP, UDP = 6, 17
ICMPS = frozenset((1, 58))
FLAGS, SYN, ACK = 13, 0x02, 0x10


class Nat:
    """One direction of one carrier: the packets that its van sends."""

    def __init__(self) -> None:
        self._known: dict[bytes, float] = {}

    def admits(self, now: float, family: Family, frame: bytes, full: float) -> bool:
        """Whether this packet's flow has room: it had before, or its hash is not in the share that finds none."""
        protocol, key, opens = _flow(family, frame)
        refused = bool(full) and _share(key) < full
        if protocol == TCP:
            return not (opens and refused)
        if refused and now - self._known.get(key, -math.inf) >= FORGOTTEN:
            return False
        self._known.pop(key, None)
        self._known[key] = now
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]
        return True


def _share(key: bytes) -> float:
    """Where in [0, 1) this flow stands. Neighbouring ports stand far apart; a checksum keeps hundreds together."""
    return int.from_bytes(blake2b(key, digest_size=4).digest(), "big") / 2**32


def _flow(family: Family, frame: bytes) -> tuple[int, bytes, bool]:
    """Protocol, what is the same in every packet of this direction of the flow and of no other, TCP's SYN."""
    packet = frame[ETHERNET : ETHERNET + 128]
    if family is Family.IPV4:
        start, protocol, addresses = (packet[0] & 15) * 4, packet[9], packet[12:20]
    else:
        start, protocol, addresses = 40, packet[6], packet[8:40]
    body = packet[start:]
    if protocol in ICMPS:
        return protocol, bytes((protocol,)) + addresses + body[4:6], False
    opens = protocol == TCP and len(body) > FLAGS and body[FLAGS] & (SYN | ACK) == SYN
    return protocol, bytes((protocol,)) + addresses + (body[:4] if protocol in (TCP, UDP) else b""), opens
