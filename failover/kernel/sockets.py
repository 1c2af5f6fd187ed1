"""This box's own TCP sockets: how much they had to send again, by source address (NETLINK_SOCK_DIAG, INET_DIAG).

What lives here: the few numbers in the kernel's answer, and what was read last. The question is in inet_diag.py. What a
share of resent segments means is not known here. Layouts: linux/inet_diag.h, linux/tcp.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from failover.facts import Segments
from failover.kernel.inet_diag import ADDRESSES, ANSWERED, LISTS, answers, plain, program
from failover.kernel.wire import address_bytes, attributes, garbled, unpack
from failover.model import Family
from failover.seam import SocketsRead

INET_DIAG_INFO: Final = 2
STATES: Final = ANSWERED
"""A SYN that nobody answers is the trouble of one server as a rule."""

LIMIT: Final = 5000
"""Sockets that are looked at in one read: 2.3 MB of the kernel's answers."""
_SOCKET: Final = struct.Struct("=B7x16s20xQ20x")
"""struct inet_diag_msg: family, source address, cookie."""
_INFO: Final = struct.Struct("=100xI52xI")
"""struct tcp_info: tcpi_total_retrans, tcpi_data_segs_out (since Linux 4.6)."""
WRAP: Final = 0xFFFFFFFF
"""The kernel counts in 32 bits."""

Totals = tuple[int, int]
"""Segments with data that a socket sent, and those sent again, since it was opened."""


def totals(body: bytes) -> tuple[bytes, int, Totals] | None:
    """Source address (4 or 16 bytes), cookie and totals out of one answer; None when it is without; KernelError when
    it is too short."""
    if len(body) < _SOCKET.size:
        raise garbled("socket")
    family, source, cookie = _SOCKET.unpack_from(body)
    for kind, payload in attributes(body, _SOCKET.size):
        if kind == INET_DIAG_INFO:
            resent, sent = unpack(_INFO, payload, "tcp_info")
            return plain(family, source), cookie, (sent, resent)
    return None


@dataclass(frozen=True, slots=True)
class _Past:
    """What was read before."""

    last: Mapping[int, Totals] = field(default_factory=dict)
    """By cookie, which the kernel never gives to another socket."""
    older: Mapping[int, Totals] = field(default_factory=dict)
    """The same one read earlier: a dump that others change under way can leave a socket out."""
    known: frozenset[str] = frozenset()
    """Addresses of which the last read saw every socket: what is new there has begun since."""

    def of(self, cookie: int, address: str, now: Totals) -> Totals:
        """Where a socket's counting starts: at what was read, or at 0, or with what it has now."""
        fresh = (0, 0) if address in self.known else now
        return self.last.get(cookie) or self.older.get(cookie) or fresh


@dataclass(slots=True)
class _Tally:
    """One read as it goes on."""

    names: Mapping[bytes, str]
    past: _Past
    seen: dict[int, Totals] = field(default_factory=dict)
    sums: dict[str, list[int]] = field(default_factory=dict)

    def add(self, body: bytes) -> None:
        """One socket. A lost SYN is resent but is no data: no more counts as resent than was sent."""
        found = totals(body)
        if found is None or found[0] not in self.names or found[1] in self.seen:
            return
        source, cookie, now = found
        name = self.names[source]
        before = self.past.of(cookie, name, now)
        sent = now[0] - before[0] & WRAP
        both = self.sums.setdefault(name, [0, 0])
        both[0] += sent
        both[1] += min(sent, now[1] - before[1] & WRAP)
        self.seen[cookie] = now


class Sockets:
    """What the TCP sockets sent since the read before, in the network namespace that the calling thread is in."""

    def __init__(self, limit: int = LIMIT) -> None:
        """limit: sockets that are looked at in one read, and remembered."""
        self._limit = limit
        self._past = _Past()

    @property
    def remembered(self) -> int:
        """How many sockets' totals are kept."""
        return len(self._past.last.keys() | self._past.older.keys())

    def read(self, addresses: Iterable[str], local: Iterable[str] = (), mask: int = 0) -> SocketsRead:
        """slices() in one go, for whoever has nothing to miss meanwhile."""
        *_, found = self.slices(addresses, local, mask)
        assert found is not None
        return found

    def slices(
        self, addresses: Iterable[str], local: Iterable[str] = (), mask: int = 0
    ) -> Iterator[SocketsRead | None]:
        """What went out from these addresses, not to the local networks, by sockets without any bit of the mask.

        None after each datagram of the kernel's (some 70 sockets), the result last; given up half-way, it never was.
        An address that sent nothing is left out. A socket that the first read of its address finds counts from there
        on. KernelError when the kernel does not tell.
        """
        names = {address_bytes(Family.of(address), address): address for address in islice(addresses, ADDRESSES)}
        tally, whole = _Tally(names, self._past), True
        code = program(names.values(), islice(local, ADDRESSES), mask)
        families = sorted({family for name in names.values() for family in LISTS[Family.of(name)]})
        extensions = 1 << (INET_DIAG_INFO - 1)
        with closing(answers(families, socket.IPPROTO_TCP, STATES, code, extensions)) as listed:
            for bodies in listed:
                for body in bodies:
                    tally.add(body)
                yield None
                if len(tally.seen) >= self._limit:
                    whole = False
                    break
        self._past = _Past(tally.seen, self._past.last, frozenset(names.values() if whole else ()))
        yield SocketsRead({name: Segments(*both) for name, both in tally.sums.items() if both[0]})
