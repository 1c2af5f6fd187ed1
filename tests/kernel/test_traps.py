"""What the kernel does that one would not expect, each thing pinned: the design rests on it."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace

import pytest

from failover.facts import Route, RouteKind, Rule, RuleAction, Verb
from failover.kernel import Dirty, Kernel, Watch
from failover.kernel.routes import RTM_DELROUTE, is_default, table_of
from failover.kernel.wire import messages
from failover.model import FAMILIES, Family

from .box import AF, GATEWAYS, INTERNET, OWN, V4, V6, WAN0, WAN1, Box, add, apply, default, floor, layout, mains, ours

RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE = 0x40, 0x400


def tables_deleted_from(events: socket.socket) -> set[int | None]:
    """Where the waiting events say that a default is gone."""
    found = set()
    with contextlib.suppress(BlockingIOError):
        while True:
            told = messages(events.recv(65536, socket.MSG_DONTWAIT))
            found |= {table_of(event.body) for event in told if event.kind == RTM_DELROUTE and is_default(event.body)}
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_replace_overwrites_a_foreign_route_of_the_same_metric(box: Box, kernel: Kernel, family: Family) -> None:
    box.ip(f"-{family[-1]} route add default via {GATEWAYS[WAN0][family]} table 15500 metric 1 proto static")
    assert apply(kernel, Verb.REPLACE, default(family, 15500, WAN1)) == [None]
    assert kernel.read().routes == (default(family, 15500, WAN1),)


def test_ipv4_goes_in_silence_with_a_link_set_down_and_does_not_come_back(box: Box, kernel: Kernel) -> None:
    add(kernel, *layout(V4))
    watch = Watch(kernel.port)
    try:
        with box.van.socket(socket.AF_NETLINK, socket.SOCK_RAW) as events:
            events.bind((0, RTMGRP_IPV4_ROUTE))
            box.ip("link set wan0 down")
            assert tables_deleted_from(events) == set()
        assert watch.drain() is Dirty.URGENT
        gone = kernel.read()
        assert {route.interface for route in ours(gone)} == {WAN1, None}
        assert floor(V4, 15501) in gone.routes, "a floor hangs on no device"
        box.ip("link set wan0 up")
        assert watch.drain() is Dirty.URGENT
        assert ours(kernel.read()) == ours(gone)
    finally:
        watch.close()


def test_ipv6_goes_with_an_event_for_each_route(box: Box, kernel: Kernel) -> None:
    add(kernel, *layout(V6))
    with box.van.socket(socket.AF_NETLINK, socket.SOCK_RAW) as events:
        events.bind((0, RTMGRP_IPV6_ROUTE))
        box.ip("link set wan0 down")
        assert tables_deleted_from(events) == {15500, 15501, 15590}
    assert {route.interface for route in ours(kernel.read())} == {WAN1, None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("ignored", "way"), [(0, "wan0"), (1, "wan1")])
def test_without_a_carrier_a_dead_route_stays_in_use_unless_ignored(
    box: Box, kernel: Kernel, family: Family, ignored: int, way: str
) -> None:
    add(kernel, *layout(family))
    box.van.sysctl(f"{family}/conf/wan0/ignore_routes_with_linkdown", ignored)
    assert box.way(family) == "wan0"
    box.ends(WAN0)[1].down()
    facts = box.until(kernel, lambda facts: any(route.dead for route in ours(facts)))
    assert all(route.dead == (route.interface == WAN0) for route in ours(facts))
    assert box.way(family) == way
    assert box.way(family, "mark 0x1000000") == ("wan0" if way == "wan0" else None), "its floor, not the other uplink"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_flush_of_a_device_takes_its_routes_in_every_table_and_no_rule(
    box: Box, kernel: Kernel, family: Family
) -> None:
    """What NetworkManager does at `con up`."""
    add(kernel, *layout(family))
    rules = kernel.read().rules
    box.ip(f"-{family[-1]} route flush table all exact default dev wan0")
    assert {route.interface for route in ours(kernel.read())} == {WAN1, None}
    assert kernel.read().rules == rules
    assert box.way(family) == "wan1"


@pytest.mark.parametrize(("accept_ra", "kept"), [(1, 0), (2, 1)])
def test_ipv6_forwarding_deletes_an_advertised_default(box: Box, kernel: Kernel, accept_ra: int, kept: int) -> None:
    box.van.sysctl("ipv6/conf/wan0/accept_ra", accept_ra)
    box.far.rtnl.add_address(100 + WAN0, f"fe80::{WAN0}/64")
    box.advertise(WAN0)
    box.until(kernel, lambda facts: len(mains(facts, V6)) == 1)
    copy = replace(mains(kernel.read(), V6)[0], table=15501, metric=1, protocol=155)
    add(kernel, copy)
    box.van.sysctl("ipv6/conf/all/forwarding", 1)
    assert len(mains(kernel.read(), V6)) == kept
    assert len(ours(kernel.read())) == 1, "a copy of it stays"


@pytest.mark.parametrize("family", FAMILIES)
def test_open_flows_stay_and_new_ones_move_under_strict_rp_filter(box: Box, kernel: Kernel, family: Family) -> None:
    add(kernel, *layout(family))
    server = box.far.socket(AF[family], socket.SOCK_DGRAM)
    with server, _flow(box, family) as old:
        server.bind((INTERNET[family], 4000))
        server.settimeout(20)
        assert apply(kernel, Verb.REPLACE, default(family, 15500, WAN1)) == [None]
        with _flow(box, family) as new:
            for flow, index in ((old, WAN0), (new, WAN1)):
                flow.send(b"ping")
                told, peer = server.recvfrom(99)
                assert (told, peer[0]) == (b"ping", OWN[index][family])
                server.sendto(b"pong", peer)
                assert flow.recv(99) == b"pong"


def _flow(box: Box, family: Family) -> socket.socket:
    flow = box.van.socket(AF[family], socket.SOCK_DGRAM)
    flow.settimeout(20)
    with box.van.entered():
        flow.connect((INTERNET[family], 4000))
    return flow


def test_an_open_socket_is_not_told_that_its_address_is_gone(box: Box, kernel: Kernel) -> None:
    add(kernel, *layout(V6))
    with _flow(box, V6) as flow:
        box.ip("-6 addr del fd10::2/64 dev wan0")
        box.ip("-6 addr add fd10::3/64 dev wan0 nodad")
        assert flow.send(b"into the void") == 13
        assert flow.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert flow.getsockname()[0] == "fd10::2"


def test_ipv6_does_not_ask_for_the_kind_of_what_it_deletes(box: Box, kernel: Kernel) -> None:
    """So no two routes of ours share a metric in a table."""
    unicast, refusing = (Route(f, 15500, 5, RouteKind.UNREACHABLE) for f in (V4, V6))
    add(kernel, default(V4, 15500, WAN0, 5), default(V6, 15500, WAN0, 5))
    assert apply(kernel, Verb.DELETE, unicast, refusing) == [None, None]
    assert ours(kernel.read()) == [default(V4, 15500, WAN0, 5)]


def test_a_deleted_rule_is_the_first_that_has_what_was_named(box: Box, kernel: Kernel) -> None:
    """What a deletion does not name matches anything, and `not` is never asked for."""
    box.ip("rule add not fwmark 0x10 lookup 7 pref 20000")
    box.ip("rule add fwmark 0x10 lookup 7 pref 20001")
    box.ip("rule del fwmark 0x10 lookup 7")
    assert [rule.priority for rule in kernel.read().rules if rule.table == 7] == [20001]
    copy = Rule(V4, 15530, RuleAction.PROHIBIT, fwmark=0x10, fwmask=0xFFFFFFFF)
    add(kernel, copy)
    box.ip("rule add prohibit fwmark 0x10 pref 20000")
    box.ip("rule del prohibit fwmark 0x10")
    assert copy not in kernel.read().rules, "selectors alone hit ours, which comes first"


def test_a_deletion_of_ours_names_its_protocol(box: Box, kernel: Kernel) -> None:
    box.ip("rule add prohibit fwmark 0x10 pref 15530")
    mine = Rule(V4, 15530, RuleAction.PROHIBIT, fwmark=0x10, fwmask=0xFFFFFFFF)
    assert apply(kernel, Verb.DELETE, mine) == [None]
    assert [rule.protocol for rule in kernel.read().rules if rule.priority == 15530] == [0]


def test_a_tentative_address_is_no_preferred_source(box: Box, kernel: Kernel) -> None:
    box.van.sysctl("ipv6/conf/wan0/accept_dad", 1)
    box.van.sysctl("ipv6/conf/wan0/dad_transmits", 10)
    box.ip("-6 addr add fd10::7/64 dev wan0")
    error = apply(kernel, Verb.ADD, default(V6, 15500, WAN0, source="fd10::7"))[0]
    assert error == "Invalid argument: Invalid source address"


def test_the_highest_metric_is_taken_as_it_is_and_ipv6_knows_no_metric_0(box: Box, kernel: Kernel) -> None:
    add(kernel, floor(V4, 15501), floor(V6, 15501), default(V6, 15502, WAN0, 0), default(V4, 15502, WAN0, 0))
    told = {(route.family, route.table): route.metric for route in kernel.read().routes}
    assert told == {(V4, 15501): 0xFFFFFFFF, (V6, 15501): 0xFFFFFFFF, (V4, 15502): 0, (V6, 15502): 1024}


def test_a_rule_that_says_less_than_another_of_its_pref_is_called_a_double(box: Box, kernel: Kernel) -> None:
    add(kernel, Rule(V4, 15510, table=15501, source="10.10.0.2/32"))
    assert apply(kernel, Verb.ADD, Rule(V4, 15510, table=15501)) == ["File exists"]
    assert apply(kernel, Verb.ADD, Rule(V4, 15511, table=15501)) == [None]
