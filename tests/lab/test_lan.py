"""The LAN behind the van: who is on it, what the van does for it, and how its users' flows are measured."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address, ip_network

import pytest

from failover.lab import faults
from failover.lab.lan import CLIENT_INTERFACE, Lan
from failover.lab.meter import Meter
from failover.lab.namespaces import Namespace
from failover.lab.pattern import Pattern
from failover.lab.places import CARRIERS, GATEWAY6, LAN, LAN_GATEWAY, LAN_NETWORK, client_address
from failover.lab.reach import AF, udp_echo
from failover.lab.rtnl import Route
from failover.lab.user import User
from failover.lab.world import World
from failover.model import FAMILIES, Family
from tests.allowed import or_skip

from .looks import once, undisturbed

CLOSED_PORT = 1
RTT = pytest.approx(0.031, abs=0.006)
DOCOMO = 10 + CARRIERS[1].number


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Two clients, and a van that filters strictly and lets them out."""
    with or_skip(), World(seed=11, lan=Lan(2, gateway=True)) as built:
        yield built


def sources(packets: list[bytes]) -> set[str]:
    return {str(ip_address(one[12:16] if one[0] >> 4 == 4 else one[8:24])) for one in packets if one[0] >> 4 in (4, 6)}


def refused(client: Namespace, family: Family) -> bool:
    """Whether the van answers there, where nobody listens."""
    with client.socket(AF[family], socket.SOCK_STREAM) as tcp:
        tcp.settimeout(2.0)
        try:
            tcp.connect((LAN_GATEWAY[family], CLOSED_PORT))
        except ConnectionRefusedError:
            return True
    return False


def test_every_client_is_served_as_the_van_itself(world: World) -> None:
    pattern = Pattern({"new": 0.02, "udp": 0.02, "tcp": 0.05, "begun": 0.1, "lookup": 0.1})
    for client in world.clients:
        with User(client, pattern=pattern) as user:
            seen = once(partial(undisturbed, user), lambda found: all(one.rtt_seconds == RTT for one in found.values()))
        assert {kind for _, kind in seen} == set(pattern.intervals)
        for flow in seen.values():
            assert flow.rtt_seconds == RTT
            assert flow.reconnects == 0


def test_the_internet_sees_the_van_alone(world: World) -> None:
    packets: dict[str, list[bytes]] = {LAN: [], "wwan0": []}
    with Meter(world.van, packets, lambda _at, name, packet: packets[name].append(packet)):
        for client in world.clients:
            assert {udp_echo(client, family, CLIENT_INTERFACE) is None for family in FAMILIES} == {False}
    for family in FAMILIES:
        network = ip_network(LAN_NETWORK[family])
        clients = {client_address(number)[family] for number in (1, 2)}
        inside, outside = sources(packets[LAN]), sources(packets["wwan0"])
        assert clients <= inside
        assert CARRIERS[0].address[family] in outside
        assert not any(ip_address(one) in network for one in outside)


def test_a_clients_open_flows_are_measured_over_a_switch(world: World) -> None:
    """The kernel forgets a masqueraded flow that leaves by another interface: UDP goes on, TCP is made anew."""
    better = [Route("default", DOCOMO, gateway, metric=50) for gateway in (CARRIERS[1].gateway, GATEWAY6)]
    with User(world.clients[0]) as user:
        assert user.wait(timeout=10.0)
        with faults.blackout(world, "au") as began:
            assert not user.wait(began, timeout=0.4)
            for route in better:
                world.van.rtnl.add_route(route)
            switched = time.monotonic()
            try:
                assert user.wait(began, timeout=10.0)
                flows = user.seen(began)
            finally:
                for route in better:
                    world.van.rtnl.remove_route(route)
    for family in FAMILIES:
        for kind in ("new", "udp"):
            assert flows[family, kind].outage_seconds == pytest.approx(switched - began, abs=0.25), kind
        assert (flows[family, "udp"].reconnects, flows[family, "tcp"].reconnects >= 1) == (0, True)


def test_nothing_is_done_for_a_lan_unasked() -> None:
    """Its clients reach the van, and no further; without a LAN there is no bridge."""
    with or_skip(), World(seed=12, lan=Lan()) as world:
        (client,) = world.clients
        for family in FAMILIES:
            assert refused(client, family)
            assert udp_echo(client, family, CLIENT_INTERFACE, timeout=0.3) is None
            assert udp_echo(world.van, family, "wwan0") is not None
    with World(seed=12) as world, world.van.entered():
        assert world.clients == ()
        assert LAN not in {name for _, name in socket.if_nameindex()}
