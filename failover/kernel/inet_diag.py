"""The question to INET_DIAG, which lists this box's own sockets (NETLINK_SOCK_DIAG; linux/inet_diag.h, tcp_states.h).

What lives here: the filter that the kernel runs, the dumps in which a socket may be, and the layout of a request. What
is done with the answers is in their own files.
"""

from __future__ import annotations

import enum
import ipaddress
import socket
import struct
from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Final

from failover.kernel.netlink import Netlink
from failover.kernel.wire import FAMILY_NUMBERS, attribute
from failover.model import FAMILIES, Family

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
INET_DIAG_REQ_BYTECODE: Final = 1
INET_DIAG_BC_JMP, INET_DIAG_BC_S_COND, INET_DIAG_BC_D_COND, INET_DIAG_BC_MARK_COND = 1, 7, 8, 10
ADDRESSES: Final = 256
"""Source addresses, and networks, that the filter has room for: an instruction counts its jumps in 16 bits."""
LISTS: Final = {Family.IPV4: FAMILIES, Family.IPV6: (Family.IPV6,)}
"""The dumps in which the sockets with an address are: dual-stack ones are listed as IPv6."""

REQUEST: Final = struct.Struct("=BBBxI48s")
"""struct inet_diag_req_v2: family, protocol, extensions, states, struct inet_diag_sockid; of zeros: any socket."""
_OP: Final = struct.Struct("=BBH")
_HOST: Final = struct.Struct("=BB2xi")
_MARK: Final = struct.Struct("=II")
_ANY_PORT: Final = -1
_MAPPED: Final = bytes(10) + b"\xff\xff"


class State(enum.IntFlag):
    """Of a TCP socket; what is connected in UDP is ESTABLISHED."""

    ESTABLISHED = 1 << 1
    SYN_SENT = 1 << 2
    SYN_RECV = 1 << 3
    FIN_WAIT1 = 1 << 4
    FIN_WAIT2 = 1 << 5
    CLOSE_WAIT = 1 << 8
    LAST_ACK = 1 << 9
    CLOSING = 1 << 11


ANSWERED: Final = (
    State.ESTABLISHED | State.FIN_WAIT1 | State.FIN_WAIT2 | State.CLOSE_WAIT | State.LAST_ACK | State.CLOSING
)
"""What has heard from its far end, and may have data under way."""


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


def answers(
    families: Iterable[Family], protocol: int, states: State, code: bytes, extensions: int = 0
) -> Generator[list[bytes], None, None]:
    """The sockets that this program accepts, a datagram of the kernel's at a time; KernelError when it does not tell.

    A socket of its own for each: closing it is the only way to end a dump that is not wanted to its end."""
    with closing(Netlink(NETLINK_SOCK_DIAG)) as netlink:
        for family in families:
            request = REQUEST.pack(FAMILY_NUMBERS[family], protocol, extensions, states, b"")
            request += attribute(INET_DIAG_REQ_BYTECODE, code)
            for piece in netlink.pieces(SOCK_DIAG_BY_FAMILY, request):
                yield piece.bodies


def plain(family: int, address: bytes) -> bytes:
    """The address as it is on the wire: IPv4 also where the socket is of both families."""
    if family == socket.AF_INET:
        return address[:4]
    return address[len(_MAPPED) :] if address.startswith(_MAPPED) else address
