"""What a carrier's table of flows knows, packet by packet."""

from __future__ import annotations

import socket
import struct

import pytest

from failover.lab.nat import FORGOTTEN, KNOWN, Nat
from failover.model import FAMILIES, Family

SYN, ACK = 0x02, 0x10
UDP, TCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP


def frame(family: Family, protocol: int, body: bytes) -> bytes:
    """From 10.1.1.2 to 203.0.113.10, or their IPv6 like; lengths and checksums are nobody's business here."""
    if family is Family.IPV4:
        head = struct.pack("!BBHHHBBH8s", 0x45, 0, 0, 0, 0, 64, protocol, 0, bytes((10, 1, 1, 2, 203, 0, 113, 10)))
    else:
        head = struct.pack("!IHBB32s", 6 << 28, 0, protocol, 64, bytes(range(32)))
    return bytes(14) + head + body


def udp(port: int, family: Family = Family.IPV4) -> bytes:
    return frame(family, UDP, struct.pack("!HHHH", port, 7777, 8, 0))


def tcp(port: int, flags: int, family: Family = Family.IPV4) -> bytes:
    return frame(family, TCP, struct.pack("!HHIIBBHHH", port, 7777, 0, 0, 5 << 4, flags, 0, 0, 0))


def ping(family: Family, identity: int, sequence: int, checksum: int) -> bytes:
    protocol, kind = (1, 8) if family is Family.IPV4 else (58, 128)
    return frame(family, protocol, struct.pack("!BBHHH", kind, 0, checksum, identity, sequence))


@pytest.mark.parametrize("family", FAMILIES)
def test_half_of_the_new_flows_find_no_room_and_their_retries_neither(family: Family) -> None:
    nat = Nat()
    flows = [udp(port, family) for port in range(30_000, 34_000)]
    fates = [nat.admits(0.0, family, flow, 0.5) for flow in flows]
    assert sum(fates) / len(fates) == pytest.approx(0.5, abs=0.03)
    assert all(5 <= sum(fates[at : at + 48 : 2]) <= 19 for at in range(0, 3900, 50)), "neighbours too"
    assert [nat.admits(1.0, family, flow, 0.5) for flow in flows] == fates


def test_a_running_flow_is_known_by_its_packets_and_forgotten_after_a_rest() -> None:
    nat = Nat()
    flow = next(udp(port) for port in range(1000, 2000) if not Nat().admits(0.0, Family.IPV4, udp(port), 0.5))
    assert nat.admits(0.0, Family.IPV4, flow, 0.0)
    assert nat.admits(FORGOTTEN - 0.1, Family.IPV4, flow, 0.5)
    assert nat.admits(2 * FORGOTTEN - 0.2, Family.IPV4, flow, 0.5)
    assert not nat.admits(3 * FORGOTTEN, Family.IPV4, flow, 0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tcp_flow_is_new_when_it_says_so_however_long_it_rested(family: Family) -> None:
    nat = Nat()
    opened = [nat.admits(0.0, family, tcp(port, SYN, family), 0.5) for port in range(2000)]
    assert sum(opened) / len(opened) == pytest.approx(0.5, abs=0.05)
    for flags in (ACK, SYN | ACK):
        assert all(nat.admits(1000.0, family, tcp(port, flags, family), 0.5) for port in range(2000))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_echo_is_known_by_its_identity(family: Family) -> None:
    nat = Nat()
    assert nat.admits(0.0, family, ping(family, 7, 1, 1), 0.0)
    assert all(nat.admits(1.0, family, ping(family, 7, number, number), 1.0) for number in range(100))
    assert not nat.admits(1.0, family, ping(family, 8, 1, 1), 1.0)


def test_it_remembers_no_more_than_it_may() -> None:
    nat = Nat()
    for port in range(KNOWN + 1):
        nat.admits(0.0, Family.IPV4, udp(port), 0.0)
    assert not nat.admits(0.0, Family.IPV4, udp(0), 1.0)
    assert nat.admits(0.0, Family.IPV4, udp(1), 1.0)
