"""The socket to the system bus: no peer makes us read a huge message, or more of them than there can be.

Anybody on the system bus may send us signals, of 32 MB each, and the library reads what comes, a whole message at a
time, and nobody else gets a turn meanwhile. So what is too large is skipped before it gets there (D-Bus Specification,
"Message Format": the first 16 bytes tell how long a message is), and a flood ends the connection.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from typing import Any, Final

ANSWER, OTHERS = 128 * 1024, 16 * 1024
"""Bytes of a message that is read: an answer to what was asked, and anything else. ModemManager's longest answer tells
of all modems, its longest signal of a new one: 3 kB each."""
MESSAGES, BYTES, SKIPPED, WINDOW = 1000, 1 << 20, 8 << 20, 1.0
"""So many messages, bytes of them, or bytes that are skipped, in so many seconds are a flood. A modem that connects
causes 40 messages of 300 bytes."""
METHOD_RETURN: Final = 2
"""The kind of message, its second byte."""
HEADER: Final = 16
ALIGNED: Final = 8
ORDERS: Final = {ord("l"): "<III", ord("B"): ">III"}
"""First byte -> how the length of the body, the serial and the length of the header fields are written."""
BEGIN: Final = b"BEGIN\r\n"
"""Ends the authentication; messages follow."""


class FloodError(OSError):
    """Somebody sends more than can be of use."""


class Gate(socket.socket):
    """A stream socket of which `recv` gives whole messages' bytes, without those of messages that are too large."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._framed = False
        self._head = b""
        """Of a message whose length is not known yet."""
        self._rest, self._passing = 0, True
        """What is to come of the present message, and whether it is wanted."""
        self._began, self._messages, self._bytes, self._skipped = time.monotonic(), 0, 0, 0
        """The window in which is counted."""

    def send(self, data: Any, *flags: Any) -> int:
        self._framed = self._framed or data == BEGIN
        return super().send(data, *flags)

    def recv(self, size: int, *flags: int) -> bytes:
        data = super().recv(size, *flags)
        if not self._framed or not data:
            return data
        passed = self._pass(data)
        self._count(len(passed), len(data) - len(passed))
        if not passed:
            raise BlockingIOError(errno.EAGAIN, "nothing that is wanted")
        return passed

    def _pass(self, data: bytes) -> bytes:
        passed, at = bytearray(), 0
        while at < len(data):
            if not self._rest:
                begin, at = at, at + HEADER - len(self._head)
                self._head += data[begin:at]
                if len(self._head) < HEADER:
                    break
                self._messages += 1
                self._rest = _length(self._head) - HEADER
                self._passing = self._rest <= (ANSWER if self._head[1] == METHOD_RETURN else OTHERS)
                passed += self._head if self._passing else b""
                self._head = b""
            part = data[at : at + self._rest]
            passed += part if self._passing else b""
            at, self._rest = at + len(part), self._rest - len(part)
        return bytes(passed)

    def _count(self, passed: int, skipped: int) -> None:
        now = time.monotonic()
        if now >= self._began + WINDOW:
            self._began, self._messages, self._bytes, self._skipped = now, 0, 0, 0
        self._bytes += passed
        self._skipped += skipped
        if self._messages > MESSAGES or self._bytes > BYTES or self._skipped > SKIPPED:
            raise FloodError(errno.ENOBUFS, "more messages than there can be")


def _length(head: bytes) -> int:
    """Bytes of the message; of garbage, the header alone, which the library refuses."""
    order = ORDERS.get(head[0])
    if order is None:
        return HEADER
    body, _, fields = struct.unpack_from(order, head, 4)
    length: int = HEADER + fields + -fields % ALIGNED + body
    return length
