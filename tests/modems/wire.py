"""MBIM messages on the wire: little-endian, fixed parts with offsets into a variable one (USB-IF MBIM 1.0)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

OPEN, CLOSE, COMMAND, INDICATE = 1, 2, 3, 7
FROM_DEVICE = 0x80000000
HEADER = struct.Struct("<III")
"""Kind, length, transaction."""
NOBODY = UUID(int=0)
FRAGMENT = struct.pack("<II", 1, 0)
"""One of one."""


@dataclass(frozen=True, slots=True)
class Message:
    """One from the host. `body`, `service`, `command` and `sets` (else it asks) are a command's."""

    kind: int
    transaction: int
    service: UUID = NOBODY
    command: int = 0
    sets: bool = False
    body: bytes = b""

    def done(self, status: int) -> bytes:
        """The answer to an opening or closing."""
        return _framed(self.kind | FROM_DEVICE, self.transaction, struct.pack("<I", status))

    def answered(self, status: int, body: bytes) -> bytes:
        """The answer to a command."""
        head = FRAGMENT + self.service.bytes + struct.pack("<III", self.command, status, len(body))
        return _framed(COMMAND | FROM_DEVICE, self.transaction, head + body)

    @staticmethod
    def indication(service: UUID, command: int, body: bytes) -> bytes:
        """What a modem says unasked."""
        head = FRAGMENT + service.bytes + struct.pack("<II", command, len(body))
        return _framed(INDICATE | FROM_DEVICE, 0, head + body)


def _framed(kind: int, transaction: int, payload: bytes) -> bytes:
    return HEADER.pack(kind, HEADER.size + len(payload), transaction) + payload


def messages(buffer: bytearray) -> Iterator[Message]:
    """Takes the whole ones out of the buffer."""
    while len(buffer) >= HEADER.size:
        kind, length, transaction = HEADER.unpack_from(buffer)
        if len(buffer) < length:
            return
        payload = bytes(buffer[HEADER.size : length])
        del buffer[:length]
        if kind != COMMAND:
            yield Message(kind, transaction)
            continue
        command, sets, size = struct.unpack_from("<III", payload, 24)
        yield Message(kind, transaction, UUID(bytes=payload[8:24]), command, bool(sets), payload[36 : 36 + size])


class Body:
    """An information buffer in the making. What is variable comes behind what is fixed, in order."""

    def __init__(self) -> None:
        self._fixed: list[bytes | tuple[bytes, bool]] = []

    @staticmethod
    def string(text: str) -> bytes:
        return text.encode("utf-16-le")

    def u32(self, *values: int) -> Body:
        self._fixed += [struct.pack("<I", value) for value in values]
        return self

    def u64(self, *values: int) -> Body:
        self._fixed += [struct.pack("<Q", value) for value in values]
        return self

    def uuid(self, value: UUID) -> Body:
        self._fixed.append(value.bytes)
        return self

    def text(self, *values: str) -> Body:
        """Offset and length each."""
        for value in values:
            self.reference(self.string(value))
        return self

    def reference(self, data: bytes) -> Body:
        """Offset and length."""
        self._fixed.append((data, True))
        return self

    def offset(self, data: bytes) -> Body:
        """Without a length; 0 where there is nothing."""
        self._fixed.append((data, False))
        return self

    def bytes(self) -> bytes:
        place = sum(len(part) if isinstance(part, bytes) else 8 if part[1] else 4 for part in self._fixed)
        fixed, variable = b"", b""
        for part in self._fixed:
            if isinstance(part, bytes):
                fixed += part
                continue
            data, sized = part
            fixed += struct.pack("<I", place + len(variable) if data else 0)
            fixed += struct.pack("<I", len(data)) if sized else b""
            variable += data + bytes(-len(data) % 4)
        return fixed + variable


class Reader:
    """An information buffer from the host, from its beginning on."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._place = 0

    def u32(self) -> int:
        (value,) = struct.unpack_from("<I", self.data, self._place)
        self._place += 4
        return int(value)

    def text(self) -> str:
        """By its offset and length."""
        offset, length = self.u32(), self.u32()
        return self.data[offset : offset + length].decode("utf-16-le")
