"""This box's own TCP sockets: how much they had to send again, by source address (NETLINK_SOCK_DIAG, INET_DIAG).

What lives here: the question with its filter, which the kernel runs, the few numbers in the answer, and what was read
last. What a share of resent segments means is not known here. Layouts: linux/inet_diag.h, linux/tcp.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from failover.facts import Segments
from failover.kernel.netlink import Netlink
from failover.kernel.wire import FAMILY_NUMBERS, address_bytes, attribute, attributes, garbled, unpack
from failover.model import FAMILIES, Family
from failover.seam import SocketsRead

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
INET_DIAG_REQ_BYTECODE: Final = 1
INET_DIAG_INFO: Final = 2
INET_DIAG_BC_JMP, INET_DIAG_BC_S_COND, INET_DIAG_BC_D_COND, INET_DIAG_BC_MARK_COND = 1, 7, 8, 10
STATES: Final = sum(1 << state for state in (1, 4, 5, 8, 9, 11))
"""ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING: what has been answered and may have data under way.
A SYN that nobody answers is the trouble of one server as a rule."""

LIMIT: Final = 5000
"""Sockets that are looked at in one read: 2.3 MB of the kernel's answers."""
ADDRESSES: Final = 256
"""Source addresses, and networks, that the filter has room for: an instruction counts its jumps in 16 bits."""

_REQUEST: Final = struct.Struct("=BBBxI48x")
"""struct inet_diag_req_v2: family, protocol, extensions, states; any socket."""
_SOCKET: Final = struct.Struct("=B7x16s20xQ20x")
"""struct inet_diag_msg: family, source address, cookie."""
_INFO: Final = struct.Struct("=100xI52xI")
"""struct tcp_info: tcpi_total_retrans, tcpi_data_segs_out (since Linux 4.6)."""
_OP: Final = struct.Struct("=BBH")
_HOST: Final = struct.Struct("=BB2xi")
_MARK: Final = struct.Struct("=II")
_ANY_PORT: Final = -1
_MAPPED: Final = bytes(10) + b"\xff\xff"
WRAP: Final = 0xFFFFFFFF
"""The kernel counts in 32 bits."""

Totals = tuple[int, int]
"""Segments with data that a socket sent, and those sent again, since it was opened."""


def program(addresses: Iterable[str], local: Iterable[str], mask: int) -> bytes:
    """The kernel's filter: sockets with one of these sources, none of the mark's bits, and no destination in the local
    networks or at these addresses. One of IPv4 matches a dual-stack socket's mapped address too."""
    sources = [ipaddress.ip_network(address) for address in addresses]
    near = [*sources, *(ipaddress.ip_network(network, strict=False) for network in local)]
    tests = [(_test(INET_DIAG_BC_D_COND, network), False) for network in near]
    tests += [(_test(INET_DIAG_BC_S_COND, network), True) for network in sources]
    rest = _op(INET_DIAG_BC_JMP, b"", _OP.size * 2)
    for test, accepted in reversed(tests):
        rest = _op(INET_DIAG_BC_JMP, b"", _OP.size + len(rest) + (0 if accepted else _OP.size)) + rest
        rest = _op(*test, _OP.size * 2 + len(test[1])) + rest
    if mask:
        rest = _op(INET_DIAG_BC_MARK_COND, _MARK.pack(0, mask), _OP.size * 2 + _MARK.size + len(rest)) + rest
    return rest


def _test(code: int, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[int, bytes]:
    number = socket.AF_INET if network.version == 4 else socket.AF_INET6
    return code, _HOST.pack(number, network.prefixlen, _ANY_PORT) + network.network_address.packed


def _op(code: int, argument: bytes, otherwise: int) -> bytes:
    """One instruction: what holds goes on behind it, what does not goes `otherwise` bytes on; a jump never holds. The
    end of the program accepts, four bytes behind it refuse."""
    return _OP.pack(code, _OP.size + len(argument), otherwise) + argument


def totals(body: bytes) -> tuple[bytes, int, Totals] | None:
    """Source address (4 or 16 bytes), cookie and totals out of one answer; None when it is without; KernelError when
    it is too short."""
    if len(body) < _SOCKET.size:
        raise garbled("socket")
    family, source, cookie = _SOCKET.unpack_from(body)
    for kind, payload in attributes(body, _SOCKET.size):
        if kind == INET_DIAG_INFO:
            resent, sent = unpack(_INFO, payload, "tcp_info")
            return _plain(family, source), cookie, (sent, resent)
    return None


def _plain(family: int, source: bytes) -> bytes:
    """The address as it is on the wire: IPv4 also where the socket is of both families."""
    if family == socket.AF_INET:
        return source[:4]
    return source[len(_MAPPED) :] if source.startswith(_MAPPED) else source


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
        with closing(_answers(names, program(names.values(), islice(local, ADDRESSES), mask))) as answers:
            for bodies in answers:
                for body in bodies:
                    tally.add(body)
                yield None
                if len(tally.seen) >= self._limit:
                    whole = False
                    break
        self._past = _Past(tally.seen, self._past.last, frozenset(names.values() if whole else ()))
        yield SocketsRead({name: Segments(*both) for name, both in tally.sums.items() if both[0]})


def _answers(sources: Iterable[bytes], code: bytes) -> Generator[list[bytes], None, None]:
    """The kernel's answers, a datagram at a time. Dual-stack sockets are listed as IPv6, those of IPv4 apart.

    A socket of its own for each read: closing it is the only way to end a dump that is not wanted to its end."""
    families = {4: FAMILIES, 16: (Family.IPV6,)}
    wanted = sorted({family for source in sources for family in families[len(source)]})
    with closing(Netlink(NETLINK_SOCK_DIAG)) as netlink:
        for family in wanted:
            request = _REQUEST.pack(FAMILY_NUMBERS[family], socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), STATES)
            request += attribute(INET_DIAG_REQ_BYTECODE, code)
            for piece in netlink.pieces(SOCK_DIAG_BY_FAMILY, request):
                yield piece.bodies
