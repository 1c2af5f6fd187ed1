"""Sockets that leave by one device only, and the kernel's words when they cannot.

What lives here: binding to device and mark, the route look-up, filters, receive stamps. What may not: any protocol.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Final

from failover.model import Family, Outcome, ProbeResult, SendProbe, clean

SO_TIMESTAMPNS: Final = 35
"""SO_TIMESTAMPNS_OLD of asm-generic/socket.h: a struct timespec of two native longs, of the real-time clock."""
STAMP: Final = struct.Struct("@ll")
STAMP_SPACE: Final = socket.CMSG_SPACE(STAMP.size)
SO_ATTACH_FILTER: Final = 26
AF: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}

MUTE_GATEWAY: Final = "not even the gateway answers"

Instruction = tuple[int, int, int, int]
"""One classic BPF instruction: code, jump if true, jump if false, operand (linux/filter.h)."""


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def open_bound(send: SendProbe, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    """A non-blocking socket that leaves by the probe's device with its mark, or OSError."""
    made = open_plain(send.family, kind, protocol)
    try:
        bind(made, send)
    except BaseException:
        made.close()
        raise
    return made


def open_plain(family: Family, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    """A non-blocking socket that may leave by any device."""
    made = socket.socket(AF[family], kind, protocol)
    made.setblocking(False)
    return made


def bind(made: socket.socket, send: SendProbe) -> None:
    """Let it leave by the probe's device only, with its mark; OSError when the device is not there."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(send.interface) + b"\0")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, send.mark)


def check_route(family: Family, mark: int, address: str) -> None:
    """Raise the OSError of a mark that has no route to the address; sends nothing (17 µs).

    A socket bound to a device does not learn it: for IPv4 the kernel then skips the routes, an `unreachable` one too,
    and asks for the target on the link itself (ip_route_output_key_hash_rcu).
    """
    with socket.socket(AF[family], socket.SOCK_DGRAM) as ask:
        ask.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        ask.connect((address, 9))


async def readable(loop: asyncio.AbstractEventLoop, of: socket.socket) -> None:
    """Wait until there is something to read, an error too."""
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(of, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(of)


async def writable(loop: asyncio.AbstractEventLoop, of: socket.socket) -> None:
    """Wait until it can be written to, which is when a connect has ended either way."""
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(of, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_writer(of)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def attach_filter(to: socket.socket, program: Sequence[Instruction]) -> None:
    """Let the kernel drop what the classic BPF program returns 0 for."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    to.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(_Program(len(program), ctypes.addressof(code))))


def receive_lag(ancillary: Iterable[tuple[int, int, bytes]]) -> float:
    """Seconds since the kernel received the message of this ancillary data; 0.0 when it has no stamp."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= STAMP.size:
            seconds, nanoseconds = STAMP.unpack_from(data)
            stamp: float = seconds + nanoseconds / 1e9
            return time.time() - stamp
    return 0.0


def true_rtt(elapsed: float, lag: float) -> float:
    """Seconds from send to receipt, without the time the packet waited for a busy loop.

    A lag outside the elapsed time is a step of the real-time clock, not a wait.
    """
    return elapsed - lag if 0.0 <= lag <= elapsed else elapsed


def local(send: SendProbe, error: OSError) -> ProbeResult:
    """The result of a probe that the box itself could not send."""
    return ProbeResult(send.id, Outcome.LOCAL, detail=words(error))


def words(error: OSError) -> str:
    """The kernel's words for an error."""
    return clean(error.strerror or str(error))
