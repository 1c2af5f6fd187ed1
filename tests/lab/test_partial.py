"""Faults that let one part of the traffic through and not another, or let it through late: seen from the van."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator

import dns.rcode
import pytest

from failover.lab import faults
from failover.lab.places import APP, CARRIERS, ECHO_PORT, TARGETS
from failover.lab.reach import bound_socket, udp_echo
from failover.lab.world import World
from failover.model import FAMILIES, Family

from .looks import answer_to_ping, ask_dns, echoes, gateway_answers, http_get, once

AU = CARRIERS[0]
DNS = {Family.IPV4: "9.9.9.9", Family.IPV6: "2620:fe::fe"}
HEALTHY = 0.040
"""Seconds that a round trip of 30 ms takes at most."""
ROUND_TRIP, WAKE = 0.030, 0.3
PATIENCE = 5.0
ALL_NODES, CORE_INDEX = "ff02::1", 3
"""Of the router's end of the link."""


@contextlib.contextmanager
def flow(world: World, family: Family, kind: int = socket.SOCK_DGRAM) -> Iterator[socket.socket]:
    """A flow of au that has been answered."""
    with bound_socket(world.van, family, kind, AU.interface) as opened:
        opened.settimeout(1.0)
        opened.connect((APP[family], ECHO_PORT))
        assert echoed(opened, b"before") == b"before"
        yield opened


def echoed(opened: socket.socket, data: bytes, timeout: float = 0.5) -> bytes:
    """What comes back; nothing when nothing does."""
    opened.send(data)
    return opened.recv(64) if select.select([opened], [], [], timeout)[0] else b""


def round_trip(world: World, family: Family = Family.IPV4) -> float:
    seconds = udp_echo(world.van, family, AU.interface)
    assert seconds is not None
    return seconds


def quickest(world: World, family: Family = Family.IPV4, most: float = HEALTHY) -> float:
    """Of some, until one is quick enough."""
    return once(lambda: round_trip(world, family), lambda found: found < most)


def is_healthy(world: World, family: Family, interface: str) -> bool:
    return once(lambda: udp_echo(world.van, family, interface, HEALTHY), lambda found: found is not None) is not None


def lane(world: World, direction: str) -> dict[str, int]:
    """Counts of au's IPv4."""
    wanted = {"carrier": "au", "direction": direction, "family": "ipv4"}
    stats: list[dict[str, int]] = world.link.ask({"stats": True})["stats"]
    return next(lane for lane in stats if wanted.items() <= lane.items())


@pytest.mark.parametrize(("direction", "other", "left"), [("up", "down", 0), ("down", "up", 3)])
def test_one_way(world: World, direction: str, other: str, left: int) -> None:
    """Three packets die in that direction; in the other one pass as many as there still are."""
    before, before_other = lane(world, direction), lane(world, other)
    with faults.one_way(world, "au", direction):
        assert echoes(world.van, Family.IPV4, AU.interface, 3) == []
        after, after_other = lane(world, direction), lane(world, other)
        assert gateway_answers(world.van, Family.IPV4, AU.interface, AU.gateway)
        assert udp_echo(world.van, Family.IPV6, AU.interface, 0.2) is None
    assert after["dropped"] - before["dropped"] == 3
    assert after["passed"] == before["passed"]
    assert after_other["passed"] - before_other["passed"] == left
    assert quickest(world) < HEALTHY


def test_v4_blackhole(world: World) -> None:
    with faults.v4_blackhole(world, "au"):
        assert udp_echo(world.van, Family.IPV4, AU.interface, 0.2) is None
        assert quickest(world, Family.IPV6) < HEALTHY
        assert gateway_answers(world.van, Family.IPV4, AU.interface, AU.gateway)
    assert quickest(world) < HEALTHY


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.05, 0.02, 0.09), (0.2, 0.15, 0.25), (0.5, 0.43, 0.57)])
def test_loss_of_what_is_sent(world: World, ratio: float, low: float, high: float) -> None:
    with faults.loss(world, "au", ratio, direction="up"):
        came = [echo for _ in range(5) for echo in echoes(world.van, Family.IPV4, AU.interface, 100)]
    assert low < 1 - len(came) / 500 < high


def test_slow(world: World) -> None:
    with faults.slow(world, "au", more=0.3):
        assert 0.330 <= quickest(world, most=0.345) < 0.345
        assert is_healthy(world, Family.IPV4, "wwan1")
    with faults.slow(world, "au", times=5.0):
        assert 0.150 <= quickest(world, most=0.165) < 0.165
    assert quickest(world) < HEALTHY


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.0])
def test_what_a_stall_holds_comes_late_and_together(world: World, seconds: float) -> None:
    with flow(world, Family.IPV4) as opened:
        fault = faults.stall(world, "au")
        began = fault.begin()
        for number in range(10):
            opened.send(bytes((number,)))
        came_early = select.select([opened], [], [], began + seconds - time.monotonic())[0]
        ended = fault.end()
        came = [(opened.recv(64)[0], time.monotonic()) for _ in range(10)]
    assert came_early == []
    assert [number for number, _ in came] == list(range(10))
    assert 0.0 <= came[0][1] - ended < HEALTHY
    assert came[-1][1] - came[0][1] < 0.01
    assert quickest(world) < HEALTHY


def test_a_stall_holds_replies_too(world: World) -> None:
    with flow(world, Family.IPV6) as opened, faults.stall(world, "au"):
        assert echoed(opened, b"?", 0.2) == b""
        assert is_healthy(world, Family.IPV6, "wwan1")


def test_a_sleeping_radio_takes_longer_for_the_first_packet(world: World) -> None:
    """IPv4 is kept awake while IPv6 rests; what a router says to its neighbours wakes nobody."""
    with flow(world, Family.IPV6) as resting, faults.sleepy(world, "au", WAKE, doze=1.0):
        asleep = time.monotonic() + 1.0
        while time.monotonic() < asleep:
            say_to_neighbours(world)
            assert round_trip(world) < WAKE
        woken = time.monotonic()
        assert echoed(resting, b"wake", PATIENCE) == b"wake"
        assert WAKE + ROUND_TRIP <= time.monotonic() - woken < 2 * WAKE + ROUND_TRIP
        assert round_trip(world, Family.IPV6) < WAKE


def say_to_neighbours(world: World) -> None:
    """As au's router does by itself when an address has come, and again a little later (MLD)."""
    with world.ground.routers["au"].socket(socket.AF_INET6, socket.SOCK_DGRAM) as router:
        router.sendto(b"?", (ALL_NODES, ECHO_PORT, 0, CORE_INDEX))


@pytest.mark.parametrize("family", FAMILIES)
def test_icmp_filtered(world: World, family: Family) -> None:
    with faults.icmp_filtered(world, "au"):
        assert answer_to_ping(world.van, family, AU.interface, TARGETS[family][0]) is None
        assert gateway_answers(world.van, family, AU.interface, AU.gateway)
        assert quickest(world, family) < HEALTHY
        assert ask_dns(world.van, family, AU.interface, DNS[family], "example.com") == dns.rcode.NOERROR
        assert http_get(world.van, family, AU.interface) == (204, "")
    assert answer_to_ping(world.van, family, AU.interface, TARGETS[family][0]) is not None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_half_of_the_new_flows_are_refused_and_no_running_one(world: World, family: Family, kind: int) -> None:
    with flow(world, family, kind) as running, faults.half_refused(world, "au"), contextlib.ExitStack() as stack:
        opened = {stack.enter_context(begun(world, family, kind)) for _ in range(60)}
        assert echoed(running, b"still") == b"still"
        refused, deadline = set(opened), time.monotonic() + 0.3
        while (left := deadline - time.monotonic()) > 0:
            readers, writers = (refused, set()) if kind == socket.SOCK_DGRAM else (set(), refused)
            refused -= {served for ready in select.select(readers, writers, [], left)[:2] for served in ready}
    assert 15 <= len(refused) <= 45


def begun(world: World, family: Family, kind: int) -> socket.socket:
    """A flow's first packet is on its way."""
    opened = bound_socket(world.van, family, kind, AU.interface)
    opened.setblocking(False)
    opened.connect_ex((APP[family], ECHO_PORT))
    if kind == socket.SOCK_DGRAM:
        opened.send(b"new")
    return opened


def test_a_refusal_may_be_said(world: World) -> None:
    """A TCP connection that is prohibited fails at once, one that has room is made; none hangs."""
    ends: list[int] = []
    with faults.half_refused(world, "au", said=True):
        for _ in range(24):
            with begun(world, Family.IPV4, socket.SOCK_STREAM) as opened:
                assert select.select([], [opened], [], 0.5)[1]
                ends.append(opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    assert 4 <= ends.count(0) <= 20
    assert len(set(ends)) == 2
