"""This box's own open flows broken, so that their programs hear of it now and connect anew (NETLINK_SOCK_DIAG).

What lives here: which sockets an order means, and telling the kernel, a slice at a time. Whose flows, and when, is not
decided here. Layout: linux/inet_diag.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Final

from failover.kernel.conntrack import Flow, answered
from failover.kernel.inet_diag import (
    ADDRESSES,
    ANSWERED,
    LISTS,
    NETLINK_SOCK_DIAG,
    REQUEST,
    State,
    answers,
    plain,
    program,
)
from failover.kernel.netlink import PRIVILEGE, SEVERAL, Netlink
from failover.kernel.nft import NEARBY
from failover.kernel.wire import address_bytes, address_text, garbled
from failover.model import Family, KernelError
from failover.seam import DestroySockets, SocketsDestroyed

SOCK_DESTROY: Final = 21
TCP: Final = int(socket.IPPROTO_TCP)
UDP: Final = int(socket.IPPROTO_UDP)
OPEN: Final = {TCP: ANSWERED | State.SYN_SENT | State.SYN_RECV, UDP: State.ESTABLISHED}
"""By protocol. A UDP socket that is not connected takes a new source with each packet, or was told one on purpose."""
UNANSWERED: Final = {TCP: State.SYN_SENT, UDP: State.ESTABLISHED}
DNS_PORT: Final = 53
NEVER: Final = {
    Family.IPV4: ("127.0.0.0/8", *NEARBY[Family.IPV4]),
    Family.IPV6: ("::1/128", *NEARBY[Family.IPV6]),
}
"""No uplink leads there, whatever the source address."""
LIMIT: Final = 20_000
"""Sockets that one order breaks at most: 2 MB of requests."""
SLICE: Final = min(64, SEVERAL)
"""Sockets that are broken in one go, in 0.3-1 ms; 5 where a core is five times slower."""
MENDS: Final = {
    errno.EPERM: PRIVILEGE,
    errno.EOPNOTSUPP: "take a kernel with CONFIG_INET_DIAG_DESTROY; with this one, open flows wait for the timeouts of "
    "their own programs",
}

_SOCKET: Final = struct.Struct("=B3x2s2s32xI8x12xII")
"""struct inet_diag_msg: family, ports, device, uid, inode."""
_IDENTITY: Final = slice(4, 52)
"""Its struct inet_diag_sockid: ports, addresses, device, cookie."""
_ENDS: Final = struct.Struct("!B7xHH16s16s")
"""What a request says of the flow: family, ports, addresses."""


def destroy(order: DestroySockets, limit: int = LIMIT) -> Iterator[SocketsDestroyed | None]:
    """Carry out the order in the network namespace that the calling thread is in.

    None after each slice (a datagram of the kernel's list, or SLICE sockets broken), what came of it last; given up
    half-way, the other sockets stay. Raises nothing: SocketsDestroyed has the error, as where there are more sockets
    than `limit`. Left alone besides what the order names: what its program has closed already, and what none has
    accepted yet. An order for the unanswered may wait until a deletion in connection tracking is done: it is for the
    thread that deletes there.
    """
    done = {TCP: 0, UDP: 0}
    error = ""
    try:
        with closing(Netlink(NETLINK_SOCK_DIAG)) as netlink:
            for protocol, requests in _slices(order, limit):
                refused = netlink.several(SOCK_DESTROY, requests) if requests else []
                done[protocol] += len(requests) - len(refused)
                if not done[protocol]:
                    judge(refused)
                yield None
    except KernelError as failure:
        error = "; ".join(filter(None, (str(failure), failure.hint)))
    yield SocketsDestroyed(order, done[TCP], done[UDP], error)


def judge(refused: Iterable[int]) -> None:
    """Where none was broken, KernelError if these errnos tell why. ENOENT does not: it was closed in the meantime.

    One refusal beside others that were broken says nothing: some kernels have EOPNOTSUPP for what just closes."""
    for code in refused:
        if code != errno.ENOENT:
            raise KernelError(f"sockets cannot be broken: {os.strerror(code)}", MENDS.get(code, ""))


def _slices(order: DestroySockets, limit: int) -> Iterator[tuple[int, list[bytes]]]:
    """What is to be broken, by protocol; nothing while the kernel lists, as its list goes on by counting sockets."""
    code = _filter(order)
    for protocol, states in (UNANSWERED if order.unanswered else OPEN).items():
        question = order.unanswered and protocol == UDP
        choice = _Choice(protocol, order, DNS_PORT if question else None)
        found: list[bytes] = []
        with closing(answers(LISTS[order.family], protocol, states, code)) as listed:
            for bodies in listed:
                found += filter(None, map(choice.request, bodies))
                yield protocol, []
                if len(found) > limit:
                    break
        for at in range(0, min(len(found), limit), SLICE):
            some = found[at : min(at + SLICE, limit)]
            yield protocol, _unanswered(some) if question else some
        if len(found) > limit:
            raise KernelError(f"more sockets than {limit} at once: the others stay")
        limit -= len(found)


def _filter(order: DestroySockets) -> bytes:
    """The kernel's part of the choice. Raises KernelError where that has no room for all that is to be left alone."""
    for address in order.addresses:
        address_bytes(order.family, address)
    local = (*NEVER[order.family], *(network for network in order.local if Family.of(network) is order.family))
    if max(len(order.addresses), len(local)) > ADDRESSES:
        raise KernelError(f"more than {ADDRESSES} addresses, or networks on the box's own wires: no socket is broken")
    return program(order.addresses, local, order.mask)


class _Choice:
    """Our part of the choice."""

    def __init__(self, protocol: int, order: DestroySockets, only: int | None) -> None:
        """only: the far end's port."""
        self._protocol = protocol
        self._uids = order.keep.uids
        self._ports = frozenset(port.to_bytes(2) for port in order.keep.ports)
        self._only = None if only is None else only.to_bytes(2)

    def request(self, body: bytes) -> bytes | None:
        """The request to break the socket of this answer; None if it is to be left alone.

        Without an inode, no program has it (any more), and its owner is not told: a connection that lingers after a
        close may still deliver what was sent, and would, broken before Linux 6.11, stay for ever."""
        if len(body) < _SOCKET.size:
            raise garbled("socket")
        family, near, far, device, uid, inode = _SOCKET.unpack_from(body)
        if device or not inode or uid in self._uids or near in self._ports or far in self._ports:
            return None
        if self._only is not None and far != self._only:
            return None
        return REQUEST.pack(family, self._protocol, 0, 0, body[_IDENTITY])


def _unanswered(requests: list[bytes]) -> list[bytes]:
    """Those whose flow had no answer as far as connection tracking knows; where there is none, nobody knows of any."""
    try:
        replies = answered(map(_flow, requests))
    except KernelError:
        return requests
    return [request for request, reply in zip(requests, replies, strict=True) if not reply]


def _flow(request: bytes) -> Flow:
    number, near, far, source, destination = _ENDS.unpack_from(request)
    return Flow(_text(plain(number, source)), near, _text(plain(number, destination)), far)


def _text(address: bytes) -> str:
    return address_text(Family.IPV4 if len(address) == 4 else Family.IPV6, address)
