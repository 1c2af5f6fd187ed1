"""The depot's broadcasts: five a second, of three kinds, and a default route by router advertisement."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from failover.lab import faults
from failover.lab.reach import udp_echo
from failover.lab.world import World
from failover.model import Family

ETH_P_ALL = 3
Break = Callable[[World, str], faults.Fault]


def kind_of(frame: bytes) -> str | None:
    """The broadcast's kind; None for anything else, as the routers' own multicast reports."""
    if frame[12:14] == b"\x08\x06" and frame[:6] == b"\xff" * 6:
        return "arp"
    if frame[12:14] == b"\x86\xdd" and frame[54] == 134:
        return "ra"
    return "mdns" if frame[12:14] == b"\x08\0" and frame[30:34] == b"\xe0\0\0\xfb" else None


def heard(world: World, interface: str, count: int, timeout: float) -> list[tuple[str, float]]:
    """The kind and moment of the next broadcasts that come in on that interface."""
    frames: list[tuple[str, float]] = []
    deadline = time.monotonic() + timeout
    with world.van.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as listener:
        listener.bind((interface, ETH_P_ALL))
        while len(frames) < count and select.select([listener], [], [], max(0.0, deadline - time.monotonic()))[0]:
            frame, (_, _, direction, *_) = listener.recvfrom(2048)
            kind = kind_of(frame)
            if kind and direction != socket.PACKET_OUTGOING:
                frames.append((kind, time.monotonic()))
    return frames


def test_the_depot_never_falls_silent(world: World) -> None:
    frames = heard(world, "wlan0", 7, 3.0)
    assert frames[-1][1] - frames[0][1] == pytest.approx(6 * 0.2, abs=0.1)
    assert {kind for kind, _ in frames} == {"arp", "mdns", "ra"}


def test_a_carrier_does(world: World) -> None:
    assert heard(world, "wwan0", 1, 0.5) == []


@pytest.mark.parametrize("fault", [faults.blackout, faults.router_silent])
def test_broadcasts_go_on_when_nothing_gets_through(world: World, fault: Break) -> None:
    with fault(world, "depot"):
        assert len(heard(world, "wlan0", 3, 1.5)) == 3


@pytest.mark.parametrize("per_second", [10, 30])
def test_any_router_may_chatter_over_a_dead_upstream(world: World, per_second: int) -> None:
    with faults.blackout(world, "au"), faults.chatter(world, "au", per_second):
        frames = heard(world, "wwan0", 13, 3.0)
        assert frames[-1][1] - frames[0][1] == pytest.approx(12 / per_second, rel=0.15)
        assert udp_echo(world.van, Family.IPV4, "wwan0", 0.1) is None
        assert default_routes(world, "wwan0") == 1
    assert heard(world, "wwan0", 1, 0.3) == []


def default_routes(world: World, interface: str) -> int:
    """IPv6, of the main table: an advertisement that is not accepted adds none."""
    with world.van.entered():
        routes = [line.split() for line in Path("/proc/net/ipv6_route").read_text().splitlines()]
    return sum(fields[1] == "00" and fields[9] == interface and int(fields[8], 16) & 0x2 > 0 for fields in routes)


def test_the_depots_ipv6_default_comes_from_advertisements(world: World) -> None:
    """RTF_GATEWAY | RTF_ADDRCONF | RTF_DEFAULT | RTF_EXPIRES, metric 300."""
    with world.van.entered():
        routes = [line.split() for line in Path("/proc/net/ipv6_route").read_text().splitlines()]
    default = [fields for fields in routes if fields[1] == "00" and fields[9] == "wlan0" and int(fields[8], 16) & 0x2]
    assert len(default) == 1
    assert int(default[0][5], 16) == 300
    assert int(default[0][8], 16) & 0x0045_0002 == 0x0045_0002
