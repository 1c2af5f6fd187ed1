"""One raw netlink socket: requests that are acknowledged, and dumps that are whole.

What lives here: sending, waiting, matching answers, retrying torn dumps. What the messages mean is not known here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from failover.kernel.wire import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    Message,
    garbled,
    last,
    message,
    messages,
    verdict_of,
)
from failover.model import KernelError

SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
NETLINK_EXT_ACK: Final = 11
NETLINK_GET_STRICT_CHK: Final = 12

BUFFER: Final = 65536
"""Bytes; the kernel's dumps come in datagrams of at most 32 KiB (af_netlink.c)."""
ANSWER_SECONDS: Final = 2.0
"""The kernel answers within the send itself; longer means that it will not."""
DUMP_TRIES: Final = 8
DISCARD_DATAGRAMS: Final = 10_000
SEVERAL: Final = 100
"""Requests in one go: each refusal takes 768 bytes of a buffer that has 208 KiB as a rule (rmem_default)."""
PRIVILEGE: Final = "CAP_NET_ADMIN is needed"
ABSENT: Final = frozenset((errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP))
"""What a dump fails with when there is no such table, family or kind of object: nothing to list."""


class RequestError(Exception):
    """The kernel said no: its errno, and its words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


@dataclass(slots=True)
class Dump:
    """What a dump gave: message bodies, the number of datagrams that held any, and whether the kernel calls it torn."""

    bodies: list[bytes] = field(default_factory=list)
    pieces: int = 0
    torn: bool = False


class Netlink:
    """A socket of the network namespace that the calling thread is in; KernelError when it cannot be had."""

    def __init__(self, protocol: int = 0) -> None:
        """protocol 0 is NETLINK_ROUTE."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
            self._socket.bind((0, 0))
            seconds = struct.pack("@ll", int(ANSWER_SECONDS), int(ANSWER_SECONDS % 1 * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
            for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
                self._socket.setsockopt(SOL_NETLINK, option, 1)
        except OSError as error:
            raise KernelError(f"no netlink socket: {error.strerror}", "Linux 4.20 or newer is needed") from error
        self.port: Final[int] = self._socket.getsockname()[0]
        """What the kernel names as the author of the changes made through this socket."""
        self._sequence = 0
        self._open = False
        """Whether an answer is still to come."""
        self._buffer = bytearray(BUFFER)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Ask for a change, or for one object, and wait until it is done: the bodies of what the kernel tells of it,
        mostly nothing. RequestError when it refuses."""
        sequence = self._send(kind, NLM_F_ACK | flags, body)
        told: list[bytes] = []
        while True:
            for answer in self._receive(sequence):
                if answer.kind == NLMSG_ERROR:
                    self._open = False
                    code, words = verdict_of(answer)
                    if code:
                        raise RequestError(code, words)
                    return told
                told.append(answer.body)

    def several(self, kind: int, bodies: Sequence[bytes]) -> list[int]:
        """Ask for changes in one go and wait until the kernel is through: the errnos of those that it refused.

        It tells of a refusal unasked, so that only the empty message at the end is acknowledged. Bodies are padded to
        four bytes, and at most SEVERAL; KernelError where the kernel does not answer."""
        sequence = self._next()
        asked = b"".join(message(kind, NLM_F_REQUEST, sequence, body) for body in bodies)
        self._hand_over(asked + message(NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, sequence, b""))
        refused: list[int] = []
        while self._open:
            for answer in self._receive(sequence):
                code, _ = verdict_of(answer)
                self._open = code != 0
                refused += [code] if code else []
        return refused

    def dump(self, kind: int, body: bytes) -> Dump:
        """All objects of a kind, out of one state as far as the kernel can tell (NLM_F_DUMP_INTR)."""
        for _ in range(DUMP_TRIES):
            found = self._dump_once(kind, body)
            if not found.torn:
                return found
        raise KernelError(
            f"netlink: the kernel's state changed during each of {DUMP_TRIES} reads",
            "something changes links, addresses or rules without pause",
        )

    def pieces(self, kind: int, body: bytes) -> Iterator[Dump]:
        """A dump a datagram at a time, for whoever has other things to do in between; KernelError as for dump()."""
        sequence = self._send(kind, NLM_F_DUMP, body)
        while self._open:
            piece = Dump()
            for answer in self._receive(sequence):
                piece.torn |= bool(answer.flags & NLM_F_DUMP_INTR)
                if answer.kind in (NLMSG_DONE, NLMSG_ERROR):
                    self._open = False
                    code, words = verdict_of(answer)
                    if code and code not in ABSENT:
                        hint = PRIVILEGE if code == errno.EPERM else ""
                        raise KernelError(f"netlink: the kernel does not list: {words}", hint)
                else:
                    piece.bodies.append(answer.body)
            piece.pieces = int(bool(piece.bodies))
            yield piece

    def hoard(self, kind: int, body: bytes, limit: int) -> list[bytes]:
        """A dump as it comes, at most so many datagrams, to be read by `wire.bodies` when there is time: that takes ten
        times as long. KernelError as for dump()."""
        sequence = self._send(kind, NLM_F_DUMP, body)
        found: list[bytes] = []
        while self._open and len(found) < limit:
            datagram = self._datagram()
            if datagram is not None:
                self._open = last(datagram, sequence) not in (NLMSG_DONE, NLMSG_ERROR)
                found.append(datagram)
        return found

    def _dump_once(self, kind: int, body: bytes) -> Dump:
        found = Dump()
        for piece in self.pieces(kind, body):
            found.bodies += piece.bodies
            found.pieces += piece.pieces
            found.torn |= piece.torn
        return found

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        sequence = self._next()
        self._hand_over(message(kind, NLM_F_REQUEST | flags, sequence, body))
        return sequence

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return self._sequence

    def _hand_over(self, datagram: bytes) -> None:
        if self._open:
            self._discard()
        try:
            self._socket.send(datagram)
        except OSError as error:
            raise KernelError(f"netlink: cannot ask the kernel: {error.strerror}") from error
        self._open = True

    def _receive(self, sequence: int) -> Iterator[Message]:
        """The kernel's answers to that request in the next datagram; anything else is passed over."""
        return (
            found
            for found in messages(self._datagram() or b"")
            if found.sequence == sequence and found.port == self.port and found.kind != NLMSG_NOOP
        )

    def _datagram(self) -> bytes | None:
        """The next one; None where it is not the kernel's."""
        try:
            size, (sender, _) = self._socket.recvfrom_into(self._buffer, BUFFER, socket.MSG_TRUNC)
        except BlockingIOError as error:
            raise KernelError(f"netlink: no answer within {ANSWER_SECONDS:g} s") from error
        except OSError as error:
            raise KernelError(f"netlink: {os.strerror(error.errno or 0)}") from error
        if size > BUFFER:
            raise garbled(f"answer: {size} bytes, cut off")
        return bytes(self._buffer[:size]) if sender == 0 else None

    def _discard(self) -> None:
        """Let an answer that was given up run dry: the kernel allows one dump at a time."""
        with contextlib.suppress(OSError):
            for _ in range(DISCARD_DATAGRAMS):
                self._socket.recv_into(self._buffer, BUFFER, socket.MSG_DONTWAIT)
        self._open = False
