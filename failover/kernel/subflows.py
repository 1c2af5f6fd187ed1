"""The subflows of this box's MPTCP connections: TCP sockets that say whose part they are (INET_DIAG_ULP_INFO).

What lives here: the question, and what the answers tell. Which of them matter is not known here. Layouts:
linux/inet_diag.h, linux/mptcp.h.

A connection whose server does not speak MPTCP is none: it has become plain TCP, and withdrawing an endpoint leaves it.
"""

from __future__ import annotations

import enum
import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from failover.facts import Stage, Subflow, Subflows
from failover.kernel.inet_diag import (
    ADDRESSES,
    LISTS,
    NETLINK_SOCK_DIAG,
    REQUEST,
    State,
    answers,
    plain,
    program,
)
from failover.kernel.netlink import Netlink, RequestError
from failover.kernel.wire import address_bytes, attributes, garbled, read_u32
from failover.model import Family, KernelError

SOCK_DESTROY: Final = 21
INET_DIAG_INFO: Final = 2
INET_DIAG_ULP_INFO: Final = 19
"""Comes with INET_DIAG_INFO, which is not needed itself."""
INET_ULP_INFO_MPTCP: Final = 3
TOKEN_LOC, FLAGS = 2, 8
"""MPTCP_SUBFLOW_ATTR_*: the number by which this box knows the connection, and what has been done for it."""
STATES: Final = State.SYN_SENT | State.ESTABLISHED | State.CLOSE_WAIT | State.LAST_ACK
"""Those that the kernel closes with an endpoint, and those that nobody has answered; what we end ourselves is over."""
COUNTERS: Final = Path("/proc/thread-self/net/netstat")
LIMIT: Final = 20_000
"""Sockets that are looked at in one read, plain TCP included: the kernel cannot tell them apart."""

_SOCKET: Final = struct.Struct("=BB6x16s48x")
"""struct inet_diag_msg: family, state, source address."""
_IDENTITY: Final = slice(4, 52)
"""Its struct inet_diag_sockid: ports, addresses, device, cookie."""


class _Flag(enum.IntFlag):
    """MPTCP_SUBFLOW_FLAG_*."""

    MCAP_REM = 1
    MCAP_LOC = 2
    JOIN_REM = 4
    JOIN_LOC = 8
    BKUP_REM = 16
    BKUP_LOC = 32
    FULLY_ESTABLISHED = 64


AGREED: Final = _Flag.MCAP_REM | _Flag.JOIN_REM
ASKED: Final = _Flag.MCAP_LOC | _Flag.JOIN_LOC
BACKUP: Final = _Flag.BKUP_REM | _Flag.BKUP_LOC


def connections() -> int | None:
    """How many MPTCP connections there are in the network namespace of the calling thread; None where the kernel does
    not tell (MPCurrEstab, which older ones lack)."""
    try:
        text = COUNTERS.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    rows = [line.split() for line in text.splitlines() if line.startswith("MPTcpExt:")]
    found = dict(zip(*rows, strict=False)) if len(rows) == 2 else {}
    number = found.get("MPCurrEstab", "")
    return int(number) if number.isdecimal() else None


def read(addresses: Iterable[str], limit: int = LIMIT) -> Subflows:
    """slices() in one go, for whoever has nothing to miss meanwhile."""
    *_, found = slices(addresses, limit)
    assert found is not None
    return found


def slices(addresses: Iterable[str], limit: int = LIMIT) -> Iterator[Subflows | None]:
    """The subflows from these addresses, in the network namespace that the calling thread is in; not those to
    themselves.

    None after each datagram of the kernel's (some 75 sockets), the result last. KernelError when the kernel does not
    tell.
    """
    names = {address_bytes(Family.of(address), address): address for address in islice(addresses, ADDRESSES)}
    families = sorted({family for name in names.values() for family in LISTS[Family.of(name)]})
    found: list[Subflow] = []
    seen, code, extensions = 0, program(names.values(), (), 0), 1 << (INET_DIAG_INFO - 1)
    with closing(answers(families, socket.IPPROTO_TCP, STATES, code, extensions)) as listed:
        for bodies in listed:
            found += (one for body in bodies if (one := subflow(body, names)))
            seen += len(bodies)
            yield None
            if seen > limit:
                break
    yield Subflows(tuple(found), seen <= limit)


def subflow(body: bytes, names: Mapping[bytes, str]) -> Subflow | None:
    """What an answer tells of one from these addresses; None when the socket is no part of an MPTCP connection."""
    family, number, source = _head(body)
    name, told = names.get(plain(family, source)), _mptcp(body)
    if name is None or FLAGS not in told:
        return None
    flags, state = _Flag(read_u32(told[FLAGS])), State(1 << number)
    begun = state is State.SYN_SENT
    if not flags & (ASKED if begun else AGREED):
        return None
    whole = state is State.ESTABLISHED and bool(flags & _Flag.FULLY_ESTABLISHED)
    stage = Stage.BEGUN if begun else Stage.ESTABLISHED if whole else Stage.OPEN
    handle = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, body[_IDENTITY])
    return Subflow(read_u32(told.get(TOKEN_LOC, b"")), name, stage, bool(flags & BACKUP), handle)


def _head(body: bytes) -> tuple[int, int, bytes]:
    if len(body) < _SOCKET.size:
        raise garbled("socket")
    family, number, source = _SOCKET.unpack_from(body)
    return family, number, source


def _mptcp(body: bytes) -> dict[int, bytes]:
    """What its upper layer tells, if that is MPTCP."""
    for kind, payload in attributes(body, _SOCKET.size):
        if kind == INET_DIAG_ULP_INFO:
            return dict(attributes(dict(attributes(payload)).get(INET_ULP_INFO_MPTCP, b"")))
    return {}


def sever(some: Iterable[Subflow]) -> None:
    """Break these; one that is gone is passed over. KernelError when the kernel refuses.

    The program of a connection that is left without any hears of it after net.mptcp.close_timeout (60 s), unless one
    has joined by then. Of one that loses its last with an endpoint, over a dead way, it does not hear at all.
    """
    with closing(Netlink(NETLINK_SOCK_DIAG)) as netlink:
        for one in some:
            try:
                netlink.request(SOCK_DESTROY, 0, one.handle)
            except RequestError as refusal:
                if refusal.code != errno.ENOENT:
                    raise KernelError(f"a subflow cannot be broken: {refusal.words}") from refusal
