"""The van's user, measured against faults and switches that the test makes itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from failover.lab import faults
from failover.lab.namespaces import LabError
from failover.lab.pattern import CONNECTS, DENSE, IDLE, Pattern, requests
from failover.lab.places import CARRIERS, GATEWAY6
from failover.lab.reach import udp_echo
from failover.lab.rtnl import Route
from failover.lab.user import Seen, User
from failover.lab.world import World
from failover.model import FAMILIES, Family

from .looks import once, undisturbed

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
    most = {"new": 0.02, "udp": 0.08, "tcp": 0.12}
    flows = once(partial(undisturbed, user), lambda found: all(is_fine(one, most[one.kind]) for one in found.values()))
    assert set(flows) == {(family, kind) for family in FAMILIES for kind in DENSE.intervals}
    for flow in flows.values():
        assert is_fine(flow, most[flow.kind]), flow
        assert flow.reconnects == 0


def is_fine(flow: Seen, most: float) -> bool:
    """It was out for no longer than that, and its round trips take 30 ms and a little."""
    rtt = pytest.approx(0.031, abs=0.004)
    return flow.outage_seconds is not None and flow.outage_seconds <= most and flow.rtt_seconds == rtt


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


@pytest.mark.parametrize(("pattern", "kind", "per_second"), [
    (requests(10.0), "new", 10.0),
    (requests(5.0, connected=True), "udp", 5.0),
    (CONNECTS, "connect", 2.0),
])
def test_a_pattern_sends_as_often_as_it_says(user: User, pattern: Pattern, kind: str, per_second: float) -> None:
    def look() -> tuple[dict[tuple[Family, str], Seen], float]:
        began = user.change(pattern)
        assert user.wait(began, timeout=10.0)
        lasted = time.monotonic() - began
        return user.seen(began), lasted

    flows, lasted = once(look, lambda found: all(is_fine(flow, 0.05) for flow in found[0].values()))
    assert set(flows) == {(family, kind) for family in FAMILIES}
    for flow in flows.values():
        assert flow.sent == pytest.approx(1 + lasted * per_second, abs=1)
        assert flow.answered >= flow.sent - 1
        assert is_fine(flow, 0.05), flow


def test_who_is_idle_sends_nothing(world: World, user: User) -> None:
    """Nothing is left of the flows that there were, either."""
    began = user.change(IDLE)
    assert user.seen(began) == {}
    assert user.wait(timeout=1.0)
    passed = packets(world)
    assert udp_echo(world.van, Family.IPV4, "wwan1") is not None
    assert packets(world) - passed <= 1
    user.change(DENSE)
    assert user.wait(timeout=10.0)


def test_patterns_change_in_the_middle_of_the_traffic(user: User) -> None:
    for number in range(24):
        user.change(requests(500.0) if number % 2 else Pattern({"new": 0.002, "connect": 0.01}))
        assert user.wait(timeout=10.0, kinds=["new"])
    assert {kind for _, kind in user.seen(0.0)} == {"new"}


def packets(world: World) -> int:
    """Sent over au so far."""
    stats = world.link.ask({"stats": True})["stats"]
    return sum(lane["passed"] for lane in stats if (lane["carrier"], lane["direction"]) == ("au", "up"))


def test_connections_that_are_not_made_are_asked_for_again_and_given_up(world: World, user: User) -> None:
    """After the blackout new ones are made at once, whatever the old ones wait for."""
    user.change(Pattern({"connect": 0.05}))
    with faults.blackout(world, "au") as began:
        assert not user.wait(began, timeout=1.4)
        assert asking(world) == {"tcp": 20, "tcp6": 20}
        assert user.seen(began)[Family.IPV4, "connect"].answered == 0
    ended = time.monotonic()
    assert user.wait(ended, timeout=10.0)
    for flow in user.seen(ended).values():
        assert flow.outage_seconds is not None
        assert flow.outage_seconds <= 0.15


def asking(world: World) -> dict[str, int]:
    """Connections that are not made yet: state SYN_SENT."""
    with world.van.entered():
        lines = {name: Path("/proc/thread-self/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")}
    return {name: sum(line.split()[3] == "02" for line in found) for name, found in lines.items()}


def test_an_unknown_pattern_changes_nothing(user: User) -> None:
    with pytest.raises(LabError, match="no such kinds of flows"):
        user.change(Pattern({"new": 0.1, "carrier pigeon": 1.0}))
    assert {kind for _, kind in user.seen(0.0)} == set(DENSE.intervals)


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
