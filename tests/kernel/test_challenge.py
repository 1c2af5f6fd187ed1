"""Clients that say nothing hear of it when their connections are forgotten; real packets, both families."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from failover.kernel import conntrack
from failover.kernel.challenge import challenge, packet
from failover.model import FAMILIES, Family

from .box import OWN, WAN0, WAN1
from .forwarding import MARKS, TCP, Forwarding, forwarding
from .road import MASK, Road
from .tracked import flows, track

both = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def van(road: Road) -> Iterator[Forwarding]:
    with forwarding(road) as built:
        yield built


def forgotten(family: Family) -> list[conntrack.Flow]:
    """What was forgotten of wan0's."""
    told = [entry.flow for entry in conntrack.hoarded(conntrack.hoard(MARKS[WAN0], MASK, family))]
    assert conntrack.forget(MARKS[WAN0], MASK, family) == len(told)
    return told


@both
@pytest.mark.parametrize("timestamps", [1, 0])
def test_a_client_that_only_listens_is_reset(van: Forwarding, family: Family, timestamps: int) -> None:
    van.road.lan.sysctl("ipv4/tcp_timestamps", timestamps)
    talks = [van.open(family, TCP) for _ in range(20)]
    van.switch(family)
    assert challenge(forgotten(family), MASK) == 20
    for talk in talks:
        with pytest.raises(ConnectionResetError):
            talk.flow.recv(10)


@pytest.mark.usefixtures("van")
def test_whom_nobody_has_answered_is_not_told_of() -> None:
    """Else a flood of half-open ones would leave no room for the others."""
    open_, half = flows(Family.IPV4, 2, socket.IPPROTO_TCP), flows(Family.IPV4, 300, socket.IPPROTO_TCP)
    track(half, MARKS[WAN0], answered=False)
    track(open_, MARKS[WAN0])
    assert {entry.flow for entry in conntrack.hoarded(conntrack.hoard(MARKS[WAN0], MASK))} == set(open_)


@both
def test_what_was_not_forgotten_goes_on(van: Forwarding, family: Family) -> None:
    """As a client that was quick to connect anew from its old port."""
    talk = van.open(family, TCP)
    for _ in range(3):
        assert challenge([talk.ends], MASK) == 1
        assert talk.ask() == OWN[WAN0][family]
    assert [entry.mark for entry in _of(talk.ends)] == [MARKS[WAN0]]


def _of(flow: conntrack.Flow) -> list[conntrack.Entry]:
    return [entry for some in conntrack.entries(0, 0) for entry in some if entry.flow == flow]


@both
def test_whom_nobody_reaches_is_passed_over(van: Forwarding, family: Family) -> None:
    """The box itself is no client, and no way leads to the other one."""
    talk = van.open(family, TCP)
    lost = talk.ends._replace(source={4: "192.0.2.1", 6: "2001:db8:9::1"}[int(family[-1])])
    van.road.box.ip(f"-{family[-1]} route add unreachable {lost.source}")
    forgotten(family)
    van.switch(family, WAN1)
    assert challenge([lost, talk.ends], MASK) == 1
    with pytest.raises(ConnectionResetError):
        talk.flow.recv(10)


def test_the_packet_s_sums_are_right() -> None:
    """Over head and segment, as its receiver adds them up; RFC 1071."""
    flow = conntrack.Flow("192.0.2.9", 40000, "198.51.100.7", 443, socket.IPPROTO_TCP)
    sent = packet(flow)
    pseudo = sent[12:20] + (6).to_bytes(2) + (33).to_bytes(2)
    assert int.from_bytes(pseudo + sent[20:] + b"\0") % 0xFFFF == 0
    assert (len(sent), sent[0], sent[33]) == (53, 0x45, 0x10)
    assert len(packet(conntrack.Flow("2001:db8::9", 4, "2001:db8::1", 443, socket.IPPROTO_TCP))) == 73
