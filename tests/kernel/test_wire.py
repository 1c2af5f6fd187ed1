"""The wire format: strict about lengths, the same way out and in, and the same as pyroute2 understands it."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from failover.facts import Link, Route, RouteKind, Rule, RuleAction
from failover.kernel import links, nexthops, routes, rules, wire
from failover.kernel.netlink import Netlink
from failover.model import FAMILIES, Family, KernelError

from .box import V4, V6

U32 = st.integers(0, 0xFFFFFFFF)
ADDRESSES = {V4: st.ip_addresses(v=4).map(str), V6: st.ip_addresses(v=6).map(str)}
LETTERS = st.characters(codec="ascii", exclude_characters="/: ", exclude_categories=["Cc"])
NAMES = st.text(LETTERS, min_size=1, max_size=15)


def no_hops(_number: int) -> list[routes.Hop]:
    return []


@st.composite
def some_routes(draw: st.DrawFn) -> Route:
    family = draw(st.sampled_from(FAMILIES))
    optional = st.none() | U32
    route = Route(
        family,
        draw(st.integers(15500, 15599) | st.sampled_from([254, 7, 252, 256])),
        draw(U32),
        draw(st.sampled_from(RouteKind)),
        source=_plain(draw(st.none() | ADDRESSES[family]), family),
        mtu=draw(optional),
        advmss=draw(optional),
        hoplimit=draw(optional),
        protocol=draw(st.integers(0, 255)),
    )
    if route.kind is not RouteKind.UNICAST:
        return route
    other = draw(st.sampled_from([family, V6]))
    return replace(
        route,
        interface=draw(st.integers(1, 0x7FFFFFFF)),
        gateway=_plain(draw(st.none() | ADDRESSES[other]), other),
        onlink=draw(st.booleans()),
    )


def _plain(address: str | None, family: Family) -> str | None:
    """As the system spells it."""
    return None if address is None else wire.address_text(family, wire.address_bytes(family, address))


@st.composite
def some_rules(draw: st.DrawFn) -> Rule:
    family = draw(st.sampled_from(FAMILIES))
    length = st.integers(1, family.bits)
    prefix = st.none() | st.tuples(ADDRESSES[family], length)
    ends = [draw(prefix) for _ in range(2)]
    source, destination = (None if end is None else f"{_plain(end[0], family)}/{end[1]}" for end in ends)
    extra = draw(st.dictionaries(st.sampled_from([4, 11, 12, 13, 19, 20, 22, 23, 24, 25, 99]), st.binary(max_size=20)))
    return Rule(
        family,
        draw(U32),
        draw(st.sampled_from(RuleAction)),
        draw(U32),
        draw(st.booleans()),
        source,
        destination,
        draw(st.none() | NAMES),
        draw(st.none() | NAMES),
        draw(st.none() | U32),
        draw(st.none() | U32),
        draw(st.none() | st.integers(0, 0xFFFFFFFE)),
        draw(st.integers(0, 255)),
        tuple(sorted(extra.items())),
        draw(st.integers(0, 255)),
    )


@given(route=some_routes())
def test_a_route_says_the_same_out_and_in(route: Route) -> None:
    assert routes.decode(routes.encode(route), no_hops) == [(0, route)]


@given(rule=some_rules())
def test_a_rule_says_the_same_out_and_in(rule: Rule) -> None:
    assert rules.decode(rules.encode(rule)) == rule


@given(route=some_routes())
def test_pyroute2_reads_a_route_as_meant(route: Route) -> None:
    told = _pyroute2(rtmsg, routes.encode(route))
    assert (told["dst_len"], told["type"], told["proto"]) == (0, route.kind.value, route.protocol)
    assert told.get_attr("RTA_TABLE") == route.table
    assert told.get_attr("RTA_PRIORITY") == route.metric
    assert told.get_attr("RTA_OIF") == route.interface
    assert told.get_attr("RTA_PREFSRC") == route.source
    via = told.get_attr("RTA_VIA")
    assert (via["addr"] if via else told.get_attr("RTA_GATEWAY")) == route.gateway
    assert bool(told["flags"] & 4) is route.onlink
    metrics = told.get_attr("RTA_METRICS")
    for name, value in (("MTU", route.mtu), ("ADVMSS", route.advmss), ("HOPLIMIT", route.hoplimit)):
        assert (metrics.get_attr(f"RTAX_{name}") if metrics else None) == value


@given(rule=some_rules().map(lambda rule: replace(rule, extra=())))
def test_pyroute2_reads_a_rule_as_meant(rule: Rule) -> None:
    told = _pyroute2(fibmsg, rules.encode(rule))
    assert told["action"] == rule.action.value
    assert bool(told["flags"] & 2) is rule.invert
    ends = ((told.get_attr("FRA_SRC"), told["src_len"]), (told.get_attr("FRA_DST"), told["dst_len"]))
    assert [f"{address}/{length}" if address else None for address, length in ends] == [rule.source, rule.destination]
    assert told.get_attr("FRA_IIFNAME") == rule.iif
    assert told.get_attr("FRA_OIFNAME") == rule.oif
    assert told.get_attr("FRA_FWMARK") == rule.fwmark
    assert told.get_attr("FRA_FWMASK") == rule.fwmask
    assert told.get_attr("FRA_PRIORITY") == rule.priority
    assert told.get_attr("FRA_PROTOCOL") == rule.protocol
    assert (told.get_attr("FRA_TABLE") or 0) == rule.table


def _pyroute2(kind: type, body: bytes) -> Any:
    told = kind(wire.message(24, 0, 1, body))
    told.decode()
    return told


@given(rule=some_rules(), route=some_routes(), data=st.data())
def test_garbled_bodies_are_called_so(rule: Rule, route: Route, data: st.DataObject) -> None:
    body = data.draw(st.sampled_from([rules.encode(rule), routes.encode(route)]) | st.binary(max_size=80))
    cut = data.draw(st.integers(0, len(body)))
    flips = data.draw(st.dictionaries(st.integers(0, max(0, cut - 1)), st.integers(0, 255), max_size=4))
    broken = bytes(flips.get(place, byte) for place, byte in enumerate(body[:cut]))
    for decode in (links.link, links.global_address, rules.decode, lambda b: routes.decode(b, no_hops)):
        _reads_or_says_so(lambda decode=decode: decode(broken))
    _reads_or_says_so(lambda: nexthops.Nexthops([broken])(1))
    _reads_or_says_so(lambda: list(wire.messages(broken)))
    _reads_or_says_so(lambda: routes.table_of(broken))
    _reads_or_says_so(lambda: wire.verdict_of(wire.Message(2, 0x300, 1, 1, broken)))


def _reads_or_says_so(reading: Any) -> None:
    try:
        reading()
    except KernelError as error:
        said = str(error)
        assert "garbled" in said, said


@pytest.mark.parametrize(
    ("flags", "operstate", "up", "carrier"),
    [
        (0x11043, 6, True, True),
        (0x11043, 0, True, True),
        (0x11043, 5, True, True),
        (0x11003, 2, True, False),
        (0x11003, 3, True, False),
        (0x1003, 2, True, False),
        (0x1003, 6, True, False),
        (0x1002, 2, False, False),
    ],
)
def test_a_carrier_is_there_when_both_the_driver_and_the_stack_say_so(
    flags: int, operstate: int, up: bool, carrier: bool
) -> None:
    told = wire.attribute(links.IFLA_IFNAME, b"wwan0\0") + wire.attribute(links.IFLA_OPERSTATE, bytes((operstate,)))
    body = links.IFINFO.pack(0, 0, 1, 7, flags, 0) + told + wire.attribute(links.IFLA_MTU, wire.u32(1430))
    assert links.link(body) == Link(7, "wwan0", up, carrier, 1430)


def test_a_message_that_runs_over_its_datagram() -> None:
    whole = wire.message(24, 0, 1, b"12345678")
    assert [m.body for m in wire.messages(whole + whole)] == [b"12345678"] * 2
    for cut in (1, 8, 17, len(whole) + 3):
        with pytest.raises(KernelError, match="garbled"):
            list(wire.messages((whole + whole)[:cut]))


def test_attributes_that_are_too_short_or_too_long() -> None:
    assert list(wire.attributes(wire.attribute(7, b"abcde"))) == [(7, b"abcde")]
    for length in (0, 3, 9):
        with pytest.raises(KernelError, match="garbled attribute length"):
            list(wire.attributes(struct.pack("=HHI", length, 7, 0)))
    with pytest.raises(KernelError, match="garbled attribute header"):
        list(wire.attributes(wire.attribute(7, b"") + b"\0"))


def test_a_multipath_next_hop_that_is_longer_than_its_list() -> None:
    hop = routes.RTNEXTHOP.pack(40, 0, 0, 3)
    body = routes.RTMSG.pack(2, 0, 0, 0, 254, 3, 0, 1, 0) + wire.attribute(routes.RTA_MULTIPATH, hop)
    with pytest.raises(KernelError, match="next hop length"):
        routes.decode(body, no_hops)


def test_what_was_given_up_does_not_disturb_what_is_asked_next(kernel: object) -> None:
    """A dump is left unread in the middle: the kernel allows one at a time."""
    netlink = Netlink()
    try:
        netlink._send(links.RTM_GETLINK, wire.NLM_F_DUMP, links.LINKS_ASKED)
        first = [links.link(body).name for body in netlink.dump(links.RTM_GETLINK, links.LINKS_ASKED).bodies]
        assert sorted(first) == ["lo", "wan0", "wan1"]
    finally:
        netlink.close()


def test_the_kernels_words(kernel: object) -> None:
    netlink = Netlink()
    try:
        with pytest.raises(KernelError, match="does not list: Invalid argument: Invalid values in header"):
            netlink.dump(routes.RTM_GETROUTE, routes.RTMSG.pack(2, 24, 0, 0, 0, 0, 0, 0, 0))
    finally:
        netlink.close()


def test_a_kernel_that_is_gone(kernel: object) -> None:
    netlink = Netlink()
    netlink.close()
    with pytest.raises(KernelError, match="cannot ask the kernel: Bad file descriptor"):
        netlink.dump(links.RTM_GETLINK, links.LINKS_ASKED)
