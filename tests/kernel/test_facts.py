"""Every form in which the kernel tells of a link, an address, a default route or a sysctl."""

from __future__ import annotations

import pytest

from failover.facts import PINS_MAX, Address, Pin, Route, RouteKind, Sysctl
from failover.kernel import Kernel
from failover.lab.rtnl import Route as LabRoute
from failover.model import Family

from .box import FLOOR_METRIC, GATEWAYS, OWN, V4, V6, WAN0, WAN1, Box, add, default, floor, mains, ours


def test_links(box: Box, kernel: Kernel) -> None:
    box.ip("link set wan1 mtu 1400 down")
    links = {link.name: link for link in kernel.read().links}
    assert set(links) == {"lo", "wan0", "wan1"}
    assert (links["wan0"].index, links["wan0"].up, links["wan0"].carrier, links["wan0"].mtu) == (WAN0, True, True, 1500)
    assert (links["wan1"].up, links["wan1"].carrier, links["wan1"].mtu) == (False, False, 1400)
    assert links["lo"].carrier, "a device that knows no operstate carries"


def test_a_lost_carrier(box: Box, kernel: Kernel) -> None:
    box.ends(WAN0)[1].down()
    facts = box.until(kernel, lambda facts: not next(link for link in facts.links if link.index == WAN0).carrier)
    assert next(link for link in facts.links if link.index == WAN0).up


def test_a_link_with_another_index_and_an_odd_name(box: Box, kernel: Kernel) -> None:
    box.ip("link add name wwan0.5\x07 index 77 type veth peer name other")
    assert next(link for link in kernel.read().links if link.index == 77).name == "wwan0.5?"


def test_addresses(box: Box, kernel: Kernel) -> None:
    box.ip("addr add 10.99.0.1 peer 10.99.0.2/32 dev wan0")
    box.ip("addr add 169.254.7.7/16 dev wan0 scope link")
    box.ip("-6 addr add fd10::9/64 dev wan0 nodad preferred_lft 0")
    found = {address.address: address for address in kernel.read().addresses}
    assert found["10.10.0.2"] == Address(WAN0, V4, "10.10.0.2", 24)
    assert found["fd20::2"] == Address(WAN1, V6, "fd20::2", 64)
    assert found["10.99.0.1"].prefix_length == 32, "ours, not the peer's"
    assert not found["fd10::9"].usable
    assert set(found) == {"10.10.0.2", "10.20.0.2", "fd10::2", "fd20::2", "10.99.0.1", "fd10::9"}


def test_a_tentative_address_is_not_usable(box: Box, kernel: Kernel) -> None:
    box.van.sysctl("ipv6/conf/wan0/accept_dad", 1)
    box.van.sysctl("ipv6/conf/wan0/dad_transmits", 10)
    box.ip("-6 addr add fd10::7/64 dev wan0")
    assert not next(a for a in kernel.read().addresses if a.address == "fd10::7").usable


def test_host_routes_that_somebody_set_in_main(box: Box, kernel: Kernel) -> None:
    for line in (
        "route add 203.0.113.1 via 10.10.0.1",
        "route add 203.0.113.2 dev wan1 proto static metric 7",
        "-6 route add 2001:db8:f::1 via fd10::1",
        "nexthop add id 1 via 10.20.0.1 dev wan1",
        "route add 203.0.113.3 nhid 1",
        "route add 203.0.113.4 via 10.20.0.1 proto bird",
        "route add 203.0.113.5 via 10.20.0.1 table 7",
        "route add 203.0.113.6/31 via 10.20.0.1",
        "route add unreachable 203.0.113.8",
        "-6 route add 2001:db8::/32 via fd10::1",
    ):
        box.ip(line)
    assert set(kernel.read().pins) == {
        Pin(V4, "203.0.113.1", WAN0),
        Pin(V4, "203.0.113.2", WAN1),
        Pin(V4, "203.0.113.3", WAN1),
        Pin(V6, "2001:db8:f::1", WAN0),
    }


def test_of_thousands_only_so_many_are_looked_at(box: Box, kernel: Kernel) -> None:
    for number in range(PINS_MAX + 100):
        box.van.rtnl.add_route(LabRoute(f"12.0.{number >> 8}.{number & 255}/32", WAN0, GATEWAYS[WAN0][V4]))
    assert len(kernel.read().pins) == PINS_MAX + 1


def test_only_defaults_of_main_are_told(box: Box, kernel: Kernel) -> None:
    for line in (
        "route add default via 10.10.0.1 metric 100 proto dhcp src 10.10.0.2 mtu 1400 advmss 1200 hoplimit 33",
        "route add default via 10.20.0.1 table 7 metric 1",
        "route add 198.51.100.0/24 via 10.20.0.1",
        "route add 0.0.0.0/1 via 10.20.0.1",
        "route add throw default metric 900",
        "route add default via 10.20.0.1 tos 0x10 metric 800",
        "-6 route add default from 2001:db8:5::/48 via fd20::1 metric 10",
    ):
        box.ip(line)
    told = {"source": "10.10.0.2", "mtu": 1400, "advmss": 1200, "hoplimit": 33, "protocol": 16}
    assert kernel.read().routes == (default(V4, 254, WAN0, 100, **told),)


def test_refusing_defaults_of_main_are_told(box: Box, kernel: Kernel) -> None:
    for number, kind in enumerate(("blackhole", "unreachable", "prohibit")):
        box.ip(f"route add {kind} default metric {500 + number}")
        box.ip(f"-6 route add {kind} default metric {500 + number}")
    kinds = [RouteKind.BLACKHOLE, RouteKind.UNREACHABLE, RouteKind.PROHIBIT]
    for family in (V4, V6):
        told = mains(kernel.read(), family)
        assert [route.kind for route in told] == kinds
        assert all(route.interface is None and route.gateway is None for route in told)


@pytest.mark.parametrize(("family", "hops"), [(V4, ("10.10.0.1", "10.20.0.1")), (V6, ("fd10::1", "fd20::1"))])
def test_a_multipath_default_is_one_route_for_each_next_hop(
    box: Box, kernel: Kernel, family: Family, hops: tuple[str, str]
) -> None:
    ways = f"nexthop via {hops[0]} dev wan0 weight 3 nexthop via {hops[1]} dev wan1 onlink"
    box.ip(f"-{family[-1]} route add default metric 50 {ways}")
    told = mains(kernel.read(), family)
    assert [(r.interface, r.gateway, r.onlink) for r in told] == [(WAN0, hops[0], False), (WAN1, hops[1], True)]


def test_an_ipv4_route_with_an_ipv6_gateway(box: Box, kernel: Kernel) -> None:
    box.ip("-4 route add default via inet6 fe80::1 dev wan0 metric 5")
    (told,) = mains(kernel.read(), V4)
    assert (told.gateway, told.interface) == ("fe80::1", WAN0)


def test_raw_ip_links_without_a_gateway(box: Box, kernel: Kernel) -> None:
    box.ip("tuntap add dev wwan0 mode tun")
    box.ip("link set wwan0 up")
    box.ip("addr add 10.64.0.9/32 dev wwan0")
    box.ip("route add default dev wwan0 metric 7")
    box.ip("-6 route add default dev wwan0 metric 7")
    facts = kernel.read()
    for family in (V4, V6):
        (told,) = mains(facts, family)
        assert (told.gateway, told.metric, told.dead) == (None, 7, True), "nobody has opened the tun device"


def test_a_router_advertisement(box: Box, kernel: Kernel) -> None:
    for index, preference in ((WAN0, 0), (WAN1, 1)):
        box.far.rtnl.add_address(100 + index, f"fe80::{index}/64")
        box.advertise(index, lifetime=600, preference=preference)
    facts = box.until(kernel, lambda facts: len(mains(facts, V6)) == 2)
    first, second = mains(facts, V6)
    assert (first.interface, second.interface) == (WAN1, WAN0), "the better preference of RFC 4191 first"
    assert first.gateway == f"fe80::{WAN1}"
    assert first.hoplimit == 61
    assert first.protocol == 9
    assert first.expires is not None
    assert 590 < first.expires <= 600


def test_expiry_is_written_in_seconds_and_read_back(box: Box, kernel: Kernel) -> None:
    add(kernel, default(V6, 15500, WAN0, expires=45.4), default(V4, 15500, WAN0, expires=45.4))
    six, four = (next(r for r in kernel.read().routes if r.family is family) for family in (V6, V4))
    assert six.expires is not None
    assert 44 < six.expires <= 45
    assert four.expires is None, "IPv4 routes do not expire"


@pytest.mark.parametrize("compatible", ["1", "0"])
def test_nexthop_objects(box: Box, kernel: Kernel, compatible: str) -> None:
    box.van.sysctl("ipv4/nexthop_compat_mode", int(compatible))
    for line in (
        "nexthop add id 1 via 10.10.0.1 dev wan0",
        "nexthop add id 2 via 10.20.0.1 dev wan1",
        "nexthop add id 9 group 1/2",
        "nexthop add id 6 via fd10::1 dev wan0",
        "nexthop add id 7 blackhole",
        "route add default nhid 1 metric 1",
        "route add default nhid 9 metric 2",
        "-6 route add default nhid 6 metric 3",
        "route add default nhid 7 metric 4",
    ):
        box.ip(line)
    facts = kernel.read()
    four = [(r.metric, r.interface, r.gateway, r.kind) for r in mains(facts, V4)]
    assert four == [
        (1, WAN0, "10.10.0.1", RouteKind.UNICAST),
        (2, WAN0, "10.10.0.1", RouteKind.UNICAST),
        (2, WAN1, "10.20.0.1", RouteKind.UNICAST),
        (4, None, None, RouteKind.BLACKHOLE),
    ]
    assert [(r.interface, r.gateway) for r in mains(facts, V6)] == [(WAN0, "fd10::1")]


def test_everything_in_our_tables_whoever_made_it(box: Box, kernel: Kernel) -> None:
    add(kernel, default(V4, 15507, WAN0), floor(V6, 15507))
    box.ip("route add default via 10.20.0.1 table 15507 metric 9 proto static")
    box.ip("route add default via 10.20.0.1 table 15544 proto static")
    box.ip("rule add from 10.20.0.2 lookup 15544")
    facts = kernel.read()
    assert {(r.table, r.metric, r.protocol) for r in facts.routes} == {
        (15507, 1, 155),
        (15507, 9, 4),
        (15507, FLOOR_METRIC, 155),
        (15544, 0, 4),
    }
    assert len(ours(facts)) == 2


@pytest.mark.parametrize(
    "route",
    [
        default(V4, 15500, WAN0),
        default(V6, 15500, WAN1, 103, hoplimit=7),
        default(V4, 15501, WAN0, source=OWN[WAN0][V4], mtu=1300, advmss=1111, hoplimit=9),
        default(V6, 15501, WAN0, source=OWN[WAN0][V6], mtu=1300, advmss=1111),
        default(V4, 15599, WAN0, FLOOR_METRIC),
        Route(V4, 15500, 1, interface=WAN0),
        Route(V6, 15500, 1, interface=WAN0),
        Route(V4, 15500, 1, interface=WAN0, gateway="fe80::1"),
        Route(V4, 15500, 1, interface=WAN0, gateway="192.0.2.1", onlink=True),
        Route(V6, 15500, 1, interface=WAN0, gateway="2001:db8::1", onlink=True),
        Route(V6, 15500, 1, interface=WAN0, gateway="fe80::1"),
        *(floor(family, 15501) for family in (V4, V6)),
        Route(V4, 15501, 5, RouteKind.PROHIBIT),
        Route(V6, 15501, 5, RouteKind.BLACKHOLE),
    ],
    ids=str,
)
def test_what_is_written_is_read_back(box: Box, kernel: Kernel, route: Route) -> None:
    add(kernel, route)
    assert kernel.read().routes == (route,)


def test_sysctls_of_the_devices_that_a_default_leads_out_of(box: Box, kernel: Kernel) -> None:
    box.ip("route add default via 10.10.0.1")
    told = kernel.read().sysctls
    assert set(told) == {
        Sysctl("net/ipv4/conf/all/rp_filter", "1"),
        Sysctl("net/ipv4/conf/wan0/rp_filter", "1"),
        Sysctl("net/ipv4/conf/wan0/ignore_routes_with_linkdown", "0"),
        Sysctl("net/ipv6/conf/wan0/ignore_routes_with_linkdown", "0"),
    }


def test_gateways_of_two_links_in_the_same_subnet(box: Box, kernel: Kernel) -> None:
    """Two USB dongles: same address, subnet and gateway."""
    box.ip("addr add 10.10.0.2/24 dev wan1")
    for index, metric in ((WAN0, 1), (WAN1, 2)):
        box.ip(f"route add default via {GATEWAYS[WAN0][V4]} dev {'wan0' if index == WAN0 else 'wan1'} metric {metric}")
    assert [(r.interface, r.gateway) for r in mains(kernel.read(), V4)] == [(WAN0, "10.10.0.1"), (WAN1, "10.10.0.1")]
    assert [a.index for a in kernel.read().addresses if a.address == "10.10.0.2"] == [WAN0, WAN1]
