"""The kernel's error queue: which router refused a packet of a connected socket, and in which words.

Reading bytes is pure; `pop_refusal` is the only one that reads a socket.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from failover.model import Family
from failover.probes import packets
from failover.probes.bound import AF

_RECVERR: Final = {Family.IPV4: (0, 11), Family.IPV6: (41, 25)}
"""(level, option): IP_RECVERR, IPV6_RECVERR (linux/in.h, linux/in6.h)."""
_ORIGIN: Final = {Family.IPV4: 2, Family.IPV6: 3}
"""SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6."""
_EXTENDED: Final = struct.Struct("=IBBBxII")
"""sock_extended_err of linux/errqueue.h: errno, origin, type, code, info, data. The offender's sockaddr follows."""
_OFFENDER: Final = {Family.IPV4: slice(20, 24), Family.IPV6: slice(24, 40)}
_QUEUE_MAX: Final = 32
"""Entries read at once."""
_ANCILLARY: Final = 512


def watch_errors(of: socket.socket, family: Family, watch: bool = True) -> None:
    """Let the kernel queue ICMP errors with their sender, those too that it keeps from the socket otherwise.

    Without it the kernel also hides that the device's own queue dropped a datagram (ENOBUFS, ip_send_skb). Switching it
    off empties the queue.
    """
    of.setsockopt(*_RECVERR[family], int(watch))


def pop_refusal(of: socket.socket, family: Family) -> str | None:
    """Empty the error queue; the first refusal in it that did not come from ourselves, in words.

    The kernel itself says `host unreachable` in our own name when a neighbour does not answer: that is silence.
    """
    found = None
    own = socket.inet_pton(AF[family], str(of.getsockname()[0]).partition("%")[0])
    for _ in range(_QUEUE_MAX):
        try:
            _, ancillary, _, _ = of.recvmsg(0, _ANCILLARY, socket.MSG_ERRQUEUE)
        except OSError:
            return found
        for level, kind, data in ancillary:
            if (level, kind) == _RECVERR[family]:
                found = found or read_refusal(family, data, own)
    return found


def read_refusal(family: Family, data: bytes, own: bytes) -> str | None:
    """What a queued error says; None for anything but unreachable (as time exceeded), and for our own word."""
    offender = data[_OFFENDER[family]]
    if len(offender) != len(own) or offender == own:
        return None
    _, origin, kind, code, _, _ = _EXTENDED.unpack_from(data)
    said = packets.unreachable_words(family, code)
    if origin != _ORIGIN[family] or kind != packets.UNREACHABLE[family] or said is None:
        return None
    return f"{said}, says {socket.inet_ntop(AF[family], offender)}"


def error_bytes(family: Family, quoted: int) -> int:
    """IP bytes of an ICMP error that quotes all of a packet of so many IP bytes; routers may quote less."""
    return packets.IP_HEADER[family] + packets.ECHO_BYTES + quoted
