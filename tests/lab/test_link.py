"""The userspace link does what it says, measured from the van."""

from __future__ import annotations

import statistics
import threading
import time
from functools import partial

import pytest

from failover.lab import faults
from failover.lab.namespaces import LabError
from failover.lab.reach import udp_echo
from failover.lab.world import World
from failover.model import FAMILIES, Family

from .looks import echoes, once, tcp_echo


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("interface", ["wwan0", "wwan1", "wlan0"])
def test_the_round_trip_is_30_ms(world: World, family: Family, interface: str) -> None:
    known = once(partial(known_of, world, family, interface, 7), lambda found: statistics.median(found) < 0.036)
    assert len(known) == 7
    assert min(known) >= 0.030
    assert statistics.median(known) < 0.036


def known_of(world: World, family: Family, interface: str, count: int) -> list[float]:
    """Of so many round trips those that came to an end."""
    times = [udp_echo(world.van, family, interface) for _ in range(count)]
    return [seconds for seconds in times if seconds is not None]


@pytest.mark.parametrize(("delay", "most"), [(0.0, 0.001), (0.05, 0.106)])
def test_a_world_may_be_near_or_far(delay: float, most: float) -> None:
    """0.2 ms is what the userspace link itself takes."""
    with World(delay=delay) as world:
        look = partial(known_of, world, Family.IPV4, "wwan0", 9)
        known = once(look, lambda found: statistics.median(found) <= most)
    assert len(known) == 9
    assert 2 * delay <= statistics.median(known) <= most


def round_trip(world: World, most: float) -> float | None:
    return once(lambda: udp_echo(world.van, Family.IPV4, "wwan0"), lambda found: found is not None and found < most)


def test_a_brown_link_delays_by_what_it_says(world: World) -> None:
    with faults.brown(world, "au", 0.1):
        slow = round_trip(world, 0.215)
    quick = round_trip(world, 0.04)
    assert slow is not None
    assert 0.200 <= slow < 0.215
    assert quick is not None
    assert quick < 0.04


def test_jitter_spreads_the_round_trips(world: World) -> None:
    world.shape({"carrier": "au", "direction": "up", "shape": {"jitter": 0.02}})
    try:
        known = once(partial(known_of, world, Family.IPV4, "wwan0", 12), lambda found: max(found) < 0.060)
    finally:
        world.shape({"carrier": "au", "shape": {"jitter": 0.0}})
    assert min(known) >= 0.030
    assert max(known) - min(known) > 0.005
    assert max(known) < 0.060


def test_loss_is_what_it_says(world: World) -> None:
    with faults.loss(world, "au", 0.2):
        came = [echo for _ in range(10) for echo in echoes(world.van, Family.IPV4, "wwan0", 100)]
    assert 1 - len(came) / 1000 == pytest.approx(1 - 0.8 * 0.8, abs=0.06)


def test_nothing_is_lost_or_reordered_on_a_healthy_link(world: World) -> None:
    came = echoes(world.van, Family.IPV6, "wwan1", 100)
    assert [number for number, _ in came] == list(range(100))


def test_the_rate_is_what_it_says(world: World) -> None:
    """40 datagrams of 1028 bytes at 100 kB/s take 0.41 s."""
    world.shape({"carrier": "docomo", "direction": "up", "shape": {"rate": 100_000.0}})
    try:
        wanted = pytest.approx(0.030 + 40 * 1028 / 100_000, abs=0.03)
        came = once(
            lambda: echoes(world.van, Family.IPV4, "wwan1", 40, size=1000), lambda found: found[-1][1] == wanted
        )
    finally:
        world.shape({"carrier": "docomo", "shape": {"rate": 0.0}})
    assert len(came) == 40
    assert came[-1][1] == wanted


def test_a_full_queue_drops(world: World) -> None:
    world.shape({"carrier": "docomo", "direction": "up", "shape": {"rate": 100_000.0, "queue": 10_280}})
    try:
        came = echoes(world.van, Family.IPV4, "wwan1", 40, size=1000)
    finally:
        world.shape({"carrier": "docomo", "shape": {"rate": 0.0, "queue": 65536}})
    assert 10 <= len(came) <= 14


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_stream_arrives_whole(world: World, family: Family) -> None:
    """Segments are cut and checksummed by the kernel before they enter the link."""
    data = bytes(range(256)) * 2000
    assert tcp_echo(world.van, family, "wwan0", data) == data


def test_changes_happen_at_the_moment_that_is_told(world: World) -> None:
    before = time.monotonic()
    with faults.all_dead(world) as moment:
        assert before <= moment <= time.monotonic()
        reached: list[float | None] = []
        lookers = [
            threading.Thread(target=lambda name=name: reached.append(udp_echo(world.van, Family.IPV4, name, 0.2)))
            for name in ("wwan0", "wwan1", "wlan0")
        ]
        for looker in lookers:
            looker.start()
        for looker in lookers:
            looker.join()
    assert reached == [None, None, None]


def test_lanes_are_changed_one_by_one(world: World) -> None:
    world.shape({"carrier": "au", "direction": "down", "family": "ipv6", "shape": {"loss": 1.0}})
    try:
        assert udp_echo(world.van, Family.IPV6, "wwan0", 0.2) is None
        assert udp_echo(world.van, Family.IPV4, "wwan0", 0.2) is not None
        assert udp_echo(world.van, Family.IPV6, "wwan1", 0.2) is not None
    finally:
        world.shape({"carrier": "au", "shape": {"loss": 0.0}})


def test_a_wrong_change_is_refused_and_changes_nothing(world: World) -> None:
    with pytest.raises(LabError, match="no such shape"):
        world.shape({"carrier": "au", "shape": {"loss": 1.0}}, {"carrier": "au", "shape": {"bandwidth": 1.0}})
    assert udp_echo(world.van, Family.IPV4, "wwan0") is not None
