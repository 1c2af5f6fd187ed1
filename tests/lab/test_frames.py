"""Frames byte by byte, where the kernel's own acceptance (test_chatter, test_faults) does not show it."""

from __future__ import annotations

import struct

import pytest

from failover.lab.frames import checksum, refusal

MACS = b"\x02\0\0\0\0\x02" + b"\x02\0\0\0\0\x01"


def ipv4(protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, b"\x0a\1\1\2", b"\1\1\1\1")
    return MACS + b"\x08\0" + header + payload


def ipv6(protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + b"\1" * 16 + b"\2" * 16
    return MACS + b"\x86\xdd" + header + payload


def test_the_checksum_of_rfc_1071() -> None:
    """The example of its section 3: the sum is ddf2."""
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert checksum(b"\xff\xff\xff") == checksum(b"\xff\xff\xff\0")


def test_a_refusal_goes_back_and_quotes() -> None:
    frame = ipv4(17, b"\x1e\x61\x1e\x61\0\x0c\0\0user")
    answer = refusal(frame, "100.64.1.2")
    assert answer is not None
    assert answer[:12] == MACS[6:] + MACS[:6]
    assert answer[26:30] == bytes((100, 64, 1, 2))
    assert answer[30:34] == b"\x0a\1\1\2"
    assert answer[34:36] == bytes((3, 13))
    assert answer[42:] == frame[14:]
    assert checksum(answer[14:34]) == checksum(answer[34:]) == 0


@pytest.mark.parametrize(("kind", "answered"), [(8, True), (0, False), (3, False), (11, False)])
def test_icmp_errors_are_never_refused(kind: int, answered: bool) -> None:
    assert (refusal(ipv4(1, bytes((kind, 0)) + bytes(6)), "100.64.1.2") is not None) == answered


@pytest.mark.parametrize(("kind", "answered"), [(128, True), (129, False), (1, False), (135, False)])
def test_icmpv6_errors_are_never_refused(kind: int, answered: bool) -> None:
    assert (refusal(ipv6(58, bytes((kind, 0)) + bytes(6)), "fd00:1::2") is not None) == answered


def test_a_refusal_fits_any_mtu() -> None:
    answer = refusal(ipv6(17, bytes(1400)), "fd00:1::2")
    assert answer is not None
    assert len(answer) == 14 + 40 + 8 + 512
