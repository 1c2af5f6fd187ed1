"""Events: which make dirty, how urgently, and what happens when there are too many."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator

import pytest

from failover.facts import Rule, RuleAction, Verb
from failover.kernel import Dirty, Kernel, Watch
from failover.lab.rtnl import RULE_LOOKUP
from failover.lab.rtnl import Route as LabRoute
from failover.lab.rtnl import Rule as LabRule
from failover.model import FAMILIES, Family, KernelError

from .box import AF, GATEWAYS, V4, V6, WAN0, WAN1, Box, add, apply, default, drained, layout, quiet

CLEAN, CHANGED, URGENT = Dirty

BIRD = 12
"""A routing daemon's protocol (RTPROT_BIRD)."""


@pytest.fixture
def watch(kernel: Kernel) -> Iterator[Watch]:
    opened = Watch(kernel.port)
    try:
        yield quiet(opened)
    finally:
        opened.close()


def test_what_we_do_ourselves_is_no_event(kernel: Kernel, watch: Watch) -> None:
    for family in FAMILIES:
        add(kernel, *layout(family))
        assert apply(kernel, Verb.REPLACE, default(family, 15500, WAN1)) == [None]
        assert apply(kernel, Verb.DELETE, *layout(family)[::-1])
    assert watch.drain() is CLEAN


@pytest.mark.parametrize(
    ("line", "dirty"),
    [
        ("route add default via 10.10.0.1", CHANGED),
        ("-6 route add default via fd10::1", CHANGED),
        ("-6 route add unreachable default", CHANGED),
        ("route add default via 10.10.0.1 table 7", CLEAN),
        ("route add default via 10.10.0.1 table 15600", CLEAN),
        ("route add default via 10.10.0.1 table 15544", URGENT),
        ("route add 198.51.100.0/24 via 10.10.0.1", CLEAN),
        ("-6 route add 2001:db8:9::/48 via fd10::1", CLEAN),
        ("route add 0.0.0.0/1 via 10.10.0.1", CLEAN),
        ("route add 203.0.113.9 via 10.10.0.1", CHANGED),
        ("route add 203.0.113.9 dev wan0 proto static", CHANGED),
        ("-6 route add 2001:db8:f::9 via fd10::1", CHANGED),
        ("route add 203.0.113.9 via 10.10.0.1 proto bird", CLEAN),
        ("-6 route add 2001:db8:f::9 via fd10::1 proto zebra", CLEAN),
        ("route add 203.0.113.9 via 10.10.0.1 table 7", CLEAN),
        ("rule add prohibit pref 20000", CHANGED),
        ("rule add prohibit pref 15555", URGENT),
        ("-6 rule add prohibit pref 15555", URGENT),
        ("addr add 10.10.0.9/24 dev wan0", CHANGED),
        ("addr add 169.254.1.1/16 dev wan0 scope link", CLEAN),
        ("-6 addr add fd10::9/64 dev wan0", CHANGED),
        ("link set wan0 down", URGENT),
        ("link set wan0 name other", URGENT),
        ("link del wan0", URGENT),
        ("link add name new type veth peer name newer", URGENT),
    ],
)
def test_each_event(box: Box, watch: Watch, line: str, dirty: Dirty) -> None:
    if "name other" in line:
        box.ip("link set wan0 down")
        watch.drain()
    box.ip(line)
    assert watch.drain() is dirty


@pytest.mark.parametrize("name", ["ipv4/conf/wan0/forwarding", "ipv4/conf/wan0/rp_filter", "ipv6/conf/all/forwarding"])
def test_a_switch_that_somebody_turns(box: Box, watch: Watch, name: str) -> None:
    box.van.sysctl(name, 0)
    watch.drain()
    box.van.sysctl(name, 1)
    assert watch.drain() is CHANGED


@pytest.mark.parametrize("change", ["alias second", "mtu 1400"])
def test_a_link_that_goes_on_as_it_was_is_not_urgent(box: Box, watch: Watch, change: str) -> None:
    """So Wi-Fi tells of each scan."""
    box.ip("link set wan0 alias first")
    watch.drain()
    box.ip(f"link set wan0 {change}")
    assert watch.drain() is CHANGED


def test_down_and_up_again_between_two_looks_is_urgent(box: Box, watch: Watch) -> None:
    box.ip("link set wan0 alias seen")
    watch.drain()
    box.ip("link set wan0 down")
    box.ip("link set wan0 up")
    assert watch.drain() is URGENT


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_a_carrier_is_urgent(box: Box, watch: Watch, family: Family) -> None:
    box.ends(WAN0)[1].down()
    assert drained(watch, URGENT) is URGENT


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rule_and_a_route_of_ours_that_others_delete(box: Box, kernel: Kernel, watch: Watch, family: Family) -> None:
    add(kernel, *layout(family))
    box.ip(f"-{family[-1]} rule del pref 15580")
    assert watch.drain() is URGENT
    box.ip(f"-{family[-1]} route del default table 15500 metric 1")
    assert watch.drain() is URGENT
    box.ip(f"-{family[-1]} route replace unreachable default table 15500 metric 101")
    assert watch.drain() is URGENT


def test_thousands_of_other_routes_do_not_even_wake_us(box: Box, kernel: Kernel) -> None:
    """With room for a dozen events, and 6000 that do not concern us, none that does is lost."""
    watch = quiet(Watch(kernel.port, queue_bytes=1))
    try:
        for change in (box.van.rtnl.add_route, box.van.rtnl.remove_route):
            for number in range(1000):
                change(LabRoute(f"11.{number >> 8}.{number & 255}.0/24", WAN0, GATEWAYS[WAN0][V4]))
                change(LabRoute(f"2001:{number:x}::/48", WAN0, GATEWAYS[WAN0][V6]))
                change(LabRoute(f"12.0.{number >> 8}.{number & 255}/32", WAN0, GATEWAYS[WAN0][V4], protocol=BIRD))
        box.ip("route add default via 10.10.0.1")
        assert watch.drain() is CHANGED
    finally:
        watch.close()


def test_lost_events_make_everything_dirty_and_the_next_ones_count_again(box: Box, kernel: Kernel) -> None:
    watch = quiet(Watch(kernel.port, queue_bytes=1))
    try:
        for _ in range(50):
            box.van.rtnl.add_route(LabRoute("default", WAN0, GATEWAYS[WAN0][V4], metric=7))
            box.van.rtnl.remove_route(LabRoute("default", WAN0, GATEWAYS[WAN0][V4], metric=7))
        assert watch.drain() is URGENT
        assert watch.drain() is CLEAN
        box.ip("rule add prohibit pref 15555")
        assert watch.drain() is URGENT
    finally:
        watch.close()


def test_a_socket_that_is_of_no_more_use_is_replaced(box: Box, kernel: Kernel) -> None:
    watch = quiet(Watch(kernel.port))
    try:
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), watch.fileno())
        with pytest.raises(KernelError, match="no events from the kernel: Socket operation on non-socket"):
            watch.drain()
        watch.reopen()
        assert watch.drain() is CLEAN
        add(kernel, *layout(V4))
        assert watch.drain() is CLEAN, "still told apart from others"
        box.ip("rule add prohibit pref 15555")
        assert watch.drain() is URGENT
    finally:
        watch.close()


def test_a_drain_takes_its_share_and_leaves_the_rest(box: Box, watch: Watch) -> None:
    for _ in range(300):
        box.van.rtnl.add_route(LabRoute("default", WAN0, GATEWAYS[WAN0][V4], metric=7))
        box.van.rtnl.remove_route(LabRoute("default", WAN0, GATEWAYS[WAN0][V4], metric=7))
    assert [watch.drain(), watch.drain(), watch.drain()] == [CHANGED, CHANGED, CLEAN]


def test_a_missing_rule_is_back_within_20_ms(box: Box, kernel: Kernel, watch: Watch) -> None:
    """Notice, read, write: the median of ten, as the machine may be busy."""
    rule = Rule(V4, 15511, RuleAction.LOOKUP, table=15501)
    add(kernel, *layout(V4), *layout(V6), rule)
    took = []
    for _ in range(10):
        box.van.rtnl.remove_rule(LabRule(15511, AF[V4], RULE_LOOKUP, table=15501))
        began = time.monotonic()
        assert watch.drain() is URGENT
        if rule not in kernel.read().rules:
            add(kernel, rule)
        took.append(time.monotonic() - began)
        assert rule in kernel.read().rules
        watch.drain()
    assert statistics.median(took) <= 0.02
