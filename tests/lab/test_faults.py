"""Each fault does what it says, and its end undoes it: seen with plain sockets from the van."""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from collections.abc import Iterator

import dns.rcode
import pytest

from failover.lab import faults
from failover.lab.faults import Fault
from failover.lab.places import CARRIERS, GATEWAY6, TARGETS
from failover.lab.reach import udp_echo
from failover.lab.world import World
from failover.model import FAMILIES, Family

from .looks import answer_to_ping, ask_dns, gateway_answers, http_get

AU = CARRIERS[0]
DNS = {Family.IPV4: "9.9.9.9", Family.IPV6: "2620:fe::fe"}
REPLY = {Family.IPV4: (0, 0), Family.IPV6: (129, 0)}
PROHIBITED = {Family.IPV4: (3, 13), Family.IPV6: (1, 1)}


def ping(world: World, family: Family, target: int = 0) -> tuple[int, int] | None:
    return answer_to_ping(world.van, family, AU.interface, TARGETS[family][target])


def gateway(world: World, family: Family) -> bool:
    return gateway_answers(world.van, family, AU.interface, AU.gateway)


def others_are_fine(world: World) -> bool:
    return all(udp_echo(world.van, family, "wwan1") is not None for family in FAMILIES)


@pytest.fixture(autouse=True)
def _undone(world: World) -> Iterator[None]:
    """After each fault everything is as before; the first packet after a link-up may wait for its neighbour."""
    yield
    for family in FAMILIES:
        reached = [udp_echo(world.van, family, AU.interface, 2.0) for _ in range(2)]
        assert reached[1] is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_blackout(world: World, family: Family) -> None:
    with faults.blackout(world, "au"):
        assert ping(world, family) is None
        assert gateway(world, family)
        assert others_are_fine(world)


@pytest.mark.parametrize("family", FAMILIES)
def test_link_down(world: World, family: Family) -> None:
    with faults.link_down(world, "au"):
        assert carrier_becomes(world, False)
        assert not gateway(world, family)
        assert others_are_fine(world)
    assert carrier_becomes(world, True)


def carrier_becomes(world: World, wanted: bool, timeout: float = 2.0) -> bool:
    """Wait until wwan0 has a carrier, or none: SIOCGIFFLAGS and IFF_RUNNING. The kernel tells it a moment later."""
    with world.van.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            answer = fcntl.ioctl(control, 0x8913, struct.pack("16sH14x", AU.interface.encode(), 0))
            if bool(struct.unpack_from("H", answer, 16)[0] & 0x40) == wanted:
                return True
    return False


@pytest.mark.parametrize("family", FAMILIES)
def test_router_silent(world: World, family: Family) -> None:
    with faults.router_silent(world, "au"):
        assert not gateway(world, family)
        assert ping(world, family) is None
        assert others_are_fine(world)


def test_a_silent_router_does_not_even_answer_arp(world: World) -> None:
    """A link that was down has forgotten its neighbours, and learns none again."""
    with faults.link_down(world, "au"):
        pass
    with faults.router_silent(world, "au"):
        for family in FAMILIES:
            assert not gateway(world, family)


def test_one_way(world: World) -> None:
    before = lanes(world)
    with faults.one_way(world, "au"):
        assert ping(world, Family.IPV4) is None
        after = lanes(world)
    assert after["up"]["passed"] == before["up"]["passed"] + 1
    assert after["down"]["dropped"] == before["down"]["dropped"] + 1


def lanes(world: World) -> dict[str, dict[str, int]]:
    stats = world.link.ask({"stats": True})["stats"]
    return {lane["direction"]: lane for lane in stats if (lane["carrier"], lane["family"]) == ("au", "ipv4")}


def test_v6_blackhole(world: World) -> None:
    with faults.v6_blackhole(world, "au"):
        assert ping(world, Family.IPV6) is None
        assert ping(world, Family.IPV4) == REPLY[Family.IPV4]
        assert gateway(world, Family.IPV6)


@pytest.mark.parametrize("family", FAMILIES)
def test_prohibited(world: World, family: Family) -> None:
    """Every packet is answered, not one a second."""
    with faults.prohibited(world, "au"):
        assert [ping(world, family, target) for target in (0, 1, 2, 0, 1, 2)] == [PROHIBITED[family]] * 6
        assert gateway(world, family)
        assert others_are_fine(world)


@pytest.mark.parametrize("family", FAMILIES)
def test_portal(world: World, family: Family) -> None:
    with faults.portal(world, "au"):
        assert http_get(world.van, family, AU.interface) == (302, "http://portal.invalid/login")
        assert http_get(world.van, family, "wwan1") == (204, "")
        assert ask_dns(world.van, family, AU.interface, DNS[family], "example.com") == dns.rcode.NOERROR
        assert ping(world, family) == REPLY[family]
        assert udp_echo(world.van, family, AU.interface, 0.2) is None


def test_a_portal_may_swallow_icmp(world: World) -> None:
    with faults.portal(world, "au", icmp=False):
        assert ping(world, Family.IPV4) is None
        assert gateway(world, Family.IPV4)
        assert http_get(world.van, Family.IPV4, AU.interface) == (302, "http://portal.invalid/login")


@pytest.mark.parametrize("family", FAMILIES)
def test_dns_dead(world: World, family: Family) -> None:
    with faults.dns_dead(world, "au"):
        assert ask_dns(world.van, family, AU.interface, DNS[family], "example.com") is None
        assert ask_dns(world.van, family, "wwan1", DNS[family], "example.com") == dns.rcode.NOERROR
        assert ping(world, family) == REPLY[family]
        assert http_get(world.van, family, AU.interface) == (204, "")


@pytest.mark.parametrize("family", FAMILIES)
def test_dead_target(world: World, family: Family) -> None:
    with faults.dead_target(world, TARGETS[family][0]):
        assert ping(world, family, 0) is None
        assert ping(world, family, 1) == REPLY[family]


def test_moments_are_in_order(world: World) -> None:
    for make in (faults.blackout, faults.prohibited, faults.router_silent, faults.dns_dead):
        fault: Fault = make(world, "au")
        assert fault.begin() <= fault.end()


def test_gateways_of_both_families_answer_on_every_uplink(world: World) -> None:
    for carrier in CARRIERS:
        for family in FAMILIES:
            assert gateway_answers(world.van, family, carrier.interface, carrier.gateway), (carrier.name, GATEWAY6)
