"""The van's user, measured against faults and switches that the test makes itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from failover.lab import faults
from failover.lab.places import CARRIERS, GATEWAY6
from failover.lab.rtnl import Route
from failover.lab.user import KINDS, User
from failover.lab.world import World
from failover.model import FAMILIES, Family

BETTER = (
    Route("default", 10 + CARRIERS[1].number, CARRIERS[1].gateway, metric=50),
    Route("default", 10 + CARRIERS[1].number, GATEWAY6, metric=50),
)


@pytest.fixture
def user(world: World) -> Iterator[User]:
    with User(world.van) as user:
        assert user.wait(timeout=10.0)
        yield user


def switch(world: World) -> float:
    """New flows to docomo, by a better default per family in the main table; the moment."""
    for route in BETTER:
        world.van.rtnl.add_route(route)
    return time.monotonic()


def switch_back(world: World) -> None:
    for route in BETTER:
        world.van.rtnl.remove_route(route)


def test_an_undisturbed_user_sees_no_outage(user: User) -> None:
    started = time.monotonic()
    assert user.wait(started, timeout=10.0)
    flows = user.seen(started)
    assert set(flows) == {(family, kind) for family in FAMILIES for kind in KINDS}
    for flow in flows.values():
        assert flow.outage_seconds is not None
        assert flow.outage_seconds <= {"new": 0.02, "udp": 0.08, "tcp": 0.12}[flow.kind]
        assert flow.rtt_seconds == pytest.approx(0.031, abs=0.004)
        assert flow.reconnects == 0


def test_a_blackout_lasts_until_the_switch_for_new_flows(world: World, user: User) -> None:
    """The open flows keep their address of au, and hang until it is back."""
    with faults.blackout(world, "au") as began:
        assert not user.wait(began, timeout=0.4, kinds=["new"])
        switched = switch(world)
        try:
            assert user.wait(began, timeout=5.0, kinds=["new"])
            flows = user.seen(began)
        finally:
            switch_back(world)
    for family in FAMILIES:
        assert flows[family, "new"].outage_seconds == pytest.approx(switched - began, abs=0.03)
        assert flows[family, "udp"].outage_seconds is None
        assert flows[family, "tcp"].outage_seconds is None
    assert user.wait(began, timeout=10.0)
    for family in FAMILIES:
        hung = user.seen(began)[family, "tcp"].outage_seconds
        assert hung is not None
        assert hung > switched - began


def test_families_are_seen_apart(world: World, user: User) -> None:
    with faults.v6_blackhole(world, "au") as began:
        assert user.wait(began, timeout=5.0, families=[Family.IPV4])
        assert not user.wait(began, timeout=0.1, families=[Family.IPV6])


def test_a_refused_socket_reconnects(world: World, user: User) -> None:
    with faults.prohibited(world, "au") as began:
        assert not user.wait(began, timeout=0.5)
        flows = user.seen(began)
    assert flows[Family.IPV4, "udp"].reconnects > 3
    assert flows[Family.IPV4, "new"].answered == 0
    assert user.wait(timeout=10.0)


def test_loss_is_no_lasting_service(world: World, user: User) -> None:
    with faults.loss(world, "au", 0.5) as began:
        assert not user.wait(began, timeout=1.0, kinds=["new"])
        seen = user.seen(began)[Family.IPV4, "new"]
    assert 0.05 < seen.answered / seen.sent < 0.5
