"""The kernel's word for a switch, against changes that the test makes itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from failover.lab.places import CARRIERS, GATEWAY6
from failover.lab.rtnl import Route
from failover.lab.switches import Switches
from failover.lab.world import World
from failover.model import FAMILIES, Family

from .looks import once

AU, DOCOMO, DEPOT = (
    {
        Family.IPV4: Route("default", 10 + carrier.number, carrier.gateway, metric=1, table=15500),
        Family.IPV6: Route("default", 10 + carrier.number, GATEWAY6, metric=1, table=15500),
    }
    for carrier in CARRIERS
)


@pytest.fixture
def switches(world: World) -> Iterator[Switches]:
    """Both families go by au."""
    kernel = world.van.rtnl
    for family in FAMILIES:
        kernel.add_route(AU[family])
    with Switches(world.van) as listening:
        yield listening
    for family in FAMILIES:
        kernel.add_route(AU[family])
        kernel.remove_route(AU[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_replaced_way_is_a_switch_at_that_moment(world: World, switches: Switches, family: Family) -> None:
    def look() -> float:
        """Seconds after the fact."""
        before = time.monotonic()
        world.van.rtnl.add_route(DOCOMO[family])
        replaced = time.monotonic()
        world.van.rtnl.add_route(AU[family])
        moment, back = (switches.left(interface, family, before, timeout=5.0) for interface in ("wwan0", "wwan1"))
        assert moment is not None
        assert before <= moment
        assert back is not None
        assert back >= moment
        assert [switch.interface for switch in switches.since(before)] == ["wwan1", "wwan0"]
        assert {switch.family for switch in switches.since(before)} == {family}
        return moment - replaced

    assert once(look, lambda found: found <= 0.02) <= 0.02


def test_only_what_comes_after_the_moment_counts(world: World, switches: Switches) -> None:
    world.van.rtnl.add_route(DOCOMO[Family.IPV4])
    assert switches.left("wwan0", Family.IPV4, 0.0, timeout=5.0) is not None
    later = time.monotonic()
    assert switches.left("wwan0", Family.IPV4, later, timeout=0.05) is None
    assert switches.left("wwan0", Family.IPV6, 0.0, timeout=0.05) is None
    assert switches.left("wwan1", Family.IPV4, 0.0, timeout=0.05) is None
    world.van.rtnl.add_route(DEPOT[Family.IPV4])
    assert switches.left("wwan0", Family.IPV4, later, timeout=5.0) is not None


def test_other_tables_metrics_and_families_are_no_switch(world: World, switches: Switches) -> None:
    others = [replace(DOCOMO[Family.IPV4], table=15590), replace(DOCOMO[Family.IPV4], metric=10)]
    for route in others:
        world.van.rtnl.add_route(route)
    world.van.rtnl.add_route(DOCOMO[Family.IPV6])
    try:
        assert switches.left("wwan0", Family.IPV6, 0.0, timeout=5.0) is not None
        assert [switch.family for switch in switches.since(0.0)] == [Family.IPV6]
    finally:
        for route in others:
            world.van.rtnl.remove_route(route)
