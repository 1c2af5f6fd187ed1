"""Netlink framing: messages and attributes, packed and unpacked strictly.

Pure. What lives here is true of every netlink protocol (linux/netlink.h); what a route or a rule looks like is in
their own files. pyroute2 is not used: importing any part of it costs 75 ms and 13 MB, its decoding 20 times this.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from failover.model import Family, KernelError, clean

NLMSG_NOOP: Final = 1
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_MIN_TYPE: Final = 16
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_DUMP: Final = 0x300
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200
NLMSGERR_ATTR_MSG: Final = 1
NLA_TYPE_MASK: Final = 0x3FFF
"""Without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER."""

HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_U32: Final = struct.Struct("=I")
_I32: Final = struct.Struct("=i")

FAMILY_NUMBERS: Final = {Family.IPV4: int(socket.AF_INET), Family.IPV6: int(socket.AF_INET6)}
FAMILIES_BY_NUMBER: Final = {number: family for family, number in FAMILY_NUMBERS.items()}
GARBLED_HINT: Final = "the kernel's netlink answer could not be read; please report it with the kernel version"


class Message(NamedTuple):
    """A tuple, as thousands of them are made for one dump."""

    kind: int
    flags: int
    sequence: int
    port: int
    """Of the socket that asked for it, or for the change it tells of; 0: the kernel by itself."""
    body: bytes


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One netlink message to the kernel."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram; KernelError where a length does not fit."""
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < HEADER.size:
            raise garbled("message header")
        length, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        if not HEADER.size <= length <= end - offset:
            raise garbled("message length")
        yield Message(kind, flags, sequence, port, data[offset + HEADER.size : offset + length])
        offset += (length + 3) & ~3


def last(data: bytes, sequence: int) -> int | None:
    """The kind of the last message of one datagram, if it answers that request; the others are not looked at."""
    offset, end = 0, len(data)
    while end - offset >= HEADER.size:
        length, kind, _, answers, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            raise garbled("message length")
        offset += (length + 3) & ~3
        if offset >= end:
            return kind if answers == sequence else None
    raise garbled("message header")


def bodies(datagrams: Iterable[bytes]) -> Iterator[bytes]:
    """Of all messages that tell of something."""
    for data in datagrams:
        yield from (found.body for found in messages(data) if found.kind >= NLMSG_MIN_TYPE)


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + payload + bytes(-len(payload) % 4)


def attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """(type without flags, payload) of each attribute from `offset` on; KernelError where a length does not fit."""
    end = len(data)
    while offset < end:
        if end - offset < _ATTRIBUTE.size:
            raise garbled("attribute header")
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise garbled("attribute length")
        yield kind & NLA_TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def unpack(form: struct.Struct, data: bytes, what: str) -> tuple[int, ...]:
    """The fixed head of a message body; KernelError when the body is shorter."""
    if len(data) < form.size:
        raise garbled(what)
    return form.unpack_from(data)


def u32(value: int) -> bytes:
    """Four bytes in the byte order of the machine."""
    return _U32.pack(value)


def read_u32(payload: bytes) -> int:
    """The number in four bytes."""
    return unpack(_U32, payload, "32-bit attribute")[0]


def address_bytes(family: Family, address: str) -> bytes:
    """Network order; KernelError when it is no address of the family."""
    try:
        return socket.inet_pton(FAMILY_NUMBERS[family], address)
    except (OSError, ValueError) as error:
        raise KernelError(f"not an {family} address: {clean(address)}") from error


def address_text(family: Family, payload: bytes) -> str:
    """A packed address as people write it."""
    try:
        return socket.inet_ntop(FAMILY_NUMBERS[family], payload)
    except ValueError as error:
        raise garbled(f"{family} address") from error


def name_bytes(name: str) -> bytes:
    """An interface name as the kernel wants it."""
    return name.encode() + b"\0"


def name_text(payload: bytes) -> str:
    """An interface name, cleaned."""
    return clean(payload.rstrip(b"\0").decode("utf-8", "replace"))


def verdict_of(answer: Message) -> tuple[int, str]:
    """errno (0: done) and the kernel's words out of an NLMSG_ERROR or NLMSG_DONE message."""
    if answer.kind == NLMSG_DONE and not answer.body:
        return 0, ""
    code = -unpack(_I32, answer.body, "error")[0]
    words = [os.strerror(code)] if code else []
    if code and answer.flags & NLM_F_ACK_TLVS:
        found = attributes(answer.body, _I32.size + _quoted(answer))
        words += [text.rstrip(b"\0").decode("utf-8", "replace") for kind, text in found if kind == NLMSGERR_ATTR_MSG]
    return code, clean(": ".join(words))


def _quoted(answer: Message) -> int:
    """Bytes of our request that the kernel repeats between the error number and its words."""
    if answer.kind == NLMSG_DONE:
        return 0
    whole = unpack(HEADER, answer.body[_I32.size :], "error")[0]
    return HEADER.size if answer.flags & NLM_F_CAPPED else (whole + 3) & ~3


def garbled(what: str) -> KernelError:
    """The error for an answer that cannot be read."""
    return KernelError(f"netlink: garbled {what}", GARBLED_HINT)
