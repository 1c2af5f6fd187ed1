"""TCP probes: the time to connect, and connected sockets for what speaks over TCP.

Bytes are counted from the kernel's TCP_INFO. What may not be here: any protocol above TCP.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from failover.model import Family, Outcome
from failover.probes import bound, errors
from failover.probes.attempt import Answer, Ask, UnansweredError
from failover.probes.packets import IP_HEADER

TCP_HEADER: Final = 20
SYN_OPTIONS: Final = 20
"""MSS, SACK, timestamps and window scale, as Linux sends and other systems answer."""
TIMESTAMP_OPTION: Final = 12
RECEIVE_BUFFER: Final = 4096
"""Bounds what a talkative peer can send before we hang up: some 6 kB that nobody reads (of 16384 it was 27)."""
_RESET_AND_GONE: Final = struct.pack("=ii", 1, 0)
"""struct linger: closing sends a reset and waits for nothing."""
_INFO_BYTES: Final = 208
_SILENCE: Final = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH))
"""What the kernel concludes by itself from a mute neighbour, or from a packet that ran in circles."""


@dataclass(frozen=True, slots=True)
class Info:
    """The part of struct tcp_info (linux/tcp.h) that we count by."""

    timestamps: bool
    rtt: float
    """Seconds."""
    resent: int
    received_payload: int
    segments_out: int
    segments_in: int
    sent_payload: int


def read_info(data: bytes) -> Info | None:
    """struct tcp_info as bytes; None from a kernel too old to count bytes (before 4.19)."""
    if len(data) < _INFO_BYTES:
        return None
    (rtt,) = struct.unpack_from("=I", data, 68)
    (resent,) = struct.unpack_from("=I", data, 100)
    received, segments_out, segments_in = struct.unpack_from("=QII", data, 128)
    (sent,) = struct.unpack_from("=Q", data, 200)
    return Info(bool(data[5] & 1), rtt / 1e6, resent, received, segments_out, segments_in, sent)


def wire_bytes(info: Info, family: Family, connected: bool) -> tuple[int, int]:
    """(sent, received) IP bytes of a connection that is about to be reset by us, if it ever came about."""
    header = IP_HEADER[family] + TCP_HEADER
    if not connected:
        return info.segments_out * (header + SYN_OPTIONS), info.segments_in * header
    later = header + (TIMESTAMP_OPTION if info.timestamps else 0)
    sent = header + SYN_OPTIONS + info.segments_out * later + info.sent_payload
    received = header + SYN_OPTIONS + (info.segments_in - 1) * later + info.received_payload
    return sent, received


async def probe(ask: Ask) -> Answer:
    """Connect; a reset is an answer too: something at the far end lives."""
    target = ask.send.target
    began = ask.loop.time()
    try:
        async with connected(ask, target.host, target.port or 0) as connection:
            elapsed = ask.loop.time() - began
            return Answer(Outcome.ANSWERED, _connect_time(connection, elapsed))
    except ConnectionRefusedError:
        return Answer(Outcome.ANSWERED, ask.loop.time() - began, "reset")


def _connect_time(connection: socket.socket, elapsed: float) -> float:
    """Seconds from SYN to its answer, by the kernel's own clock where no SYN was sent twice."""
    info = _info(connection)
    return elapsed if info is None or info.resent or not info.rtt else min(info.rtt, elapsed)


def _info(connection: socket.socket) -> Info | None:
    return read_info(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES))


@asynccontextmanager
async def connected(ask: Ask, address: str, port: int) -> AsyncIterator[socket.socket]:
    """A connected socket of the probe's device; reset on leaving, its bytes counted.

    Raises ConnectionError for a reset, UnansweredError for a refusal, TimeoutError for silence, other OSErrors for what
    is local.
    """
    bound.check_route(ask.send.family, ask.send.mark, address)
    made = bound.open_bound(ask.send, socket.SOCK_STREAM)
    through = False
    try:
        _begin(made, ask.send.family, address, port)
        try:
            await bound.writable(ask.loop, made)
            _raise(made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            through = True
            yield made
        except OSError as error:
            raise _explained(ask, made, error) from error
    finally:
        _count(ask, made, through)
        made.close()


def _begin(made: socket.socket, family: Family, address: str, port: int) -> None:
    """Start to connect; an error at once is the box's own."""
    errors.watch_errors(made, family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AND_GONE)
    code = made.connect_ex((address, port))
    _raise(0 if code == errno.EINPROGRESS else code)


def _raise(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))


def _explained(ask: Ask, made: socket.socket, error: OSError) -> Exception:
    """What an error of a begun connection means."""
    family = ask.send.family
    refusal = errors.pop_refusal(made, family)
    if refusal is not None:
        ask.tally.received += errors.error_bytes(family, IP_HEADER[family] + TCP_HEADER + SYN_OPTIONS)
        return UnansweredError(Outcome.REFUSED, refusal)
    if error.errno in _SILENCE:
        return UnansweredError(Outcome.SILENT, bound.words(error))
    return error


def _count(ask: Ask, made: socket.socket, through: bool) -> None:
    info = _info(made)
    if info is not None:
        sent, received = wire_bytes(info, ask.send.family, through)
        ask.tally.sent += sent
        ask.tally.received += received
