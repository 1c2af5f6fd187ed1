"""A second opinion: what we write is what pyroute2 reads, and what pyroute2 writes is what we read.

Each case says the same thing twice, in our words and in the kernel's (rtnetlink's, as pyroute2 spells them).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from failover.facts import Address, Link, Operation, Route, RouteKind, Rule, RuleAction, Verb
from failover.kernel import Kernel, Ledger
from failover.lab.namespaces import Namespace, gain_privileges
from failover.lab.wire import End, cable
from failover.model import Family
from tests.allowed import or_skip

V4, V6 = Family.IPV4, Family.IPV6
AF = {V4: socket.AF_INET, V6: socket.AF_INET6}
WAN = 10
ROUTE = {"table": 15500, "proto": 155, "type": 1, "scope": 0, "flags": 0}
RULE = {"action": 1, "table": 15500, "protocol": 155, "tos": 0, "flags": 0, "src_len": 0, "dst_len": 0}
RULE |= {"res1": 0, "res2": 0, "suppress_prefixlen": 0xFFFFFFFF}
NOISE = {"cacheinfo", "pref", "dst_len", "src_len", "tos"}
"""What the kernel adds to routes, and what a default route has not."""
ONLINK = 4
Words = dict[str, Any]

ROUTES: list[tuple[Route, Words]] = [
    (Route(V4, 15500, 1, interface=WAN, gateway="10.10.0.1"), {"priority": 1, "oif": WAN, "gateway": "10.10.0.1"}),
    (Route(V6, 15500, 1, interface=WAN, gateway="fe80::1"), {"priority": 1, "oif": WAN, "gateway": "fe80::1"}),
    (Route(V4, 15500, 102, interface=WAN), {"priority": 102, "oif": WAN, "scope": 253}),
    (Route(V6, 15500, 102, interface=WAN), {"priority": 102, "oif": WAN}),
    (
        Route(V4, 15500, 7, interface=WAN, gateway="fe80::1"),
        {"priority": 7, "oif": WAN, "via": {"family": socket.AF_INET6, "addr": "fe80::1"}},
    ),
    (
        Route(V4, 15500, 5, interface=WAN, gateway="192.0.2.1", source="10.10.0.2", onlink=True),
        {"priority": 5, "oif": WAN, "gateway": "192.0.2.1", "prefsrc": "10.10.0.2", "flags": ONLINK},
    ),
    (
        Route(V6, 15500, 5, interface=WAN, gateway="2001:db8::1", source="fd10::2", onlink=True),
        {"priority": 5, "oif": WAN, "gateway": "2001:db8::1", "prefsrc": "fd10::2", "flags": ONLINK},
    ),
    *(
        (
            Route(family, 15500, 1, interface=WAN, gateway=gateway, mtu=1300, advmss=1111, hoplimit=9),
            {
                "priority": 1,
                "oif": WAN,
                "gateway": gateway,
                "metrics": {"mtu": 1300, "advmss": 1111, "hoplimit": 9},
            },
        )
        for family, gateway in ((V4, "10.10.0.1"), (V6, "fd10::1"))
    ),
    (Route(V4, 15500, 0xFFFFFFFF, RouteKind.UNREACHABLE), {"priority": 0xFFFFFFFF, "type": 7}),
    (Route(V6, 15500, 0xFFFFFFFF, RouteKind.UNREACHABLE), {"priority": 0xFFFFFFFF, "type": 7, "oif": 1}),
    (Route(V4, 15500, 9, RouteKind.BLACKHOLE), {"priority": 9, "type": 6}),
    (Route(V4, 15500, 9, RouteKind.PROHIBIT), {"priority": 9, "type": 8}),
]
RULES: list[tuple[Rule, Words]] = [
    (Rule(V4, 15500, table=254, suppress_prefix_length=0), {"table": 254, "suppress_prefixlen": 0}),
    (Rule(V4, 15510, table=15500, source="10.10.0.2/32"), {"src": "10.10.0.2", "src_len": 32}),
    (Rule(V6, 15510, table=15500, source="fd10::/64"), {"src": "fd10::", "src_len": 64}),
    (Rule(V6, 15530, table=15500, destination="2001:db8::/32"), {"dst": "2001:db8::", "dst_len": 32}),
    (
        Rule(V4, 15520, table=15500, fwmark=1 << 24, fwmask=0x3F000000),
        {"fwmark": 1 << 24, "fwmask": 0x3F000000},
    ),
    (
        Rule(V4, 15530, table=51820, invert=True, fwmark=51820, fwmask=0xFFFFFFFF),
        {"table": 51820, "flags": 2, "fwmark": 51820, "fwmask": 0xFFFFFFFF},
    ),
    (Rule(V6, 15580, table=15500, iif="lo", oif="wan0"), {"iifname": "lo", "oifname": "wan0"}),
    (Rule(V4, 15530, table=15500, tos=0x10), {"tos": 0x10}),
    (Rule(V4, 15530, RuleAction.PROHIBIT), {"action": 8, "table": 0}),
    (
        Rule(V4, 15530, table=15500, extra=((20, struct.pack("=II", 1000, 1999)),)),
        {"uid_range": "1000:1999"},
    ),
    (
        Rule(V6, 15530, table=15500, extra=((22, b"\x11"), (23, b"\xe8\x03\xd0\x07"), (24, b"\x35\0\x36\0"))),
        {"ip_proto": 17, "sport_range": "1000:2000", "dport_range": "53:54"},
    ),
    (Rule(V4, 15530, table=254, extra=((13, b"\x04\0\0\0"),)), {"table": 254, "suppress_ifgroup": 4}),
]


class Bench:
    """wan0 (index 10, 10.10.0.2/24, fd10::2/64) in a namespace; pyroute2 and our kernel beside each other in it."""

    def __init__(self, van: Namespace, kernel: Kernel) -> None:
        self.van, self.kernel, self.pyroute2 = van, kernel, IPRoute()

    def write(self, item: Route | Rule) -> None:
        (result,) = self.kernel.apply([Operation(Verb.ADD, item)])
        assert result.error is None

    def route(self, family: Family) -> Words:
        """The only route in table 15500, as pyroute2 reads it."""
        (told,) = self.pyroute2.route("dump", family=AF[family], table=15500)
        words = {key: value for key, value in plain(told).items() if key not in NOISE}
        return {**words, "flags": words["flags"] & ONLINK}

    def rule(self, family: Family) -> Words:
        """The only rule of protocol 155, as pyroute2 reads it."""
        (told,) = (rule for rule in self.pyroute2.rule("dump", family=AF[family]) if rule.get("protocol") == 155)
        return plain(told)


def plain(message: Any) -> Words:
    """Head and attributes of a pyroute2 message in one dictionary."""
    words = {name: message[name] for name, _ in message.fields}
    for kind, value in message["attrs"]:
        words[message.nla2name(kind)] = plain(value) if kind == "RTA_METRICS" else value
    return words


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with or_skip():
        gain_privileges()
        van, far = Namespace("van"), Namespace("far")
    with van, far:
        near = End(van, "wan0", WAN)
        cable(near, End(far, "wan0", 110))
        near.up()
        End(far, "wan0", 110).up()
        van.rtnl.add_address(WAN, "10.10.0.2/24")
        van.rtnl.add_address(WAN, "fd10::2/64")
        with van.entered():
            made = Bench(van, Kernel(Ledger(tmp_path / "state")))
            try:
                yield made
            finally:
                made.kernel.close()
                made.pyroute2.close()


@pytest.mark.parametrize(("route", "words"), ROUTES)
def test_routes(bench: Bench, route: Route, words: Words) -> None:
    expected = {"family": AF[route.family], **ROUTE, **words}
    bench.write(route)
    assert bench.route(route.family) == expected
    bench.kernel.apply([Operation(Verb.DELETE, route)])
    assert bench.kernel.read().routes == ()
    bench.pyroute2.route("add", **expected)
    assert bench.kernel.read().routes == (route,)


@pytest.mark.parametrize(("rule", "words"), RULES)
def test_rules(bench: Bench, rule: Rule, words: Words) -> None:
    expected = {"family": AF[rule.family], "priority": rule.priority, **RULE, **words}
    bench.write(rule)
    assert bench.rule(rule.family) == expected
    bench.kernel.apply([Operation(Verb.DELETE, rule)])
    bench.pyroute2.rule("add", **expected)
    assert [told for told in bench.kernel.read().rules if told.protocol == 155] == [rule]


def test_expiry(bench: Bench) -> None:
    bench.write(Route(V6, 15500, 1, interface=WAN, gateway="fe80::1", expires=45.4))
    (told,) = bench.pyroute2.route("dump", family=AF[V6], table=15500)
    assert 44 < told.get("cacheinfo")["rta_expires"] / os.sysconf("SC_CLK_TCK") <= 45


def test_links_and_addresses(bench: Bench) -> None:
    bench.pyroute2.addr("add", index=WAN, address="192.0.2.9", prefixlen=25)
    nodad = 2
    bench.pyroute2.addr("add", index=WAN, address="2001:db8::9", prefixlen=48, flags=nodad)
    bench.pyroute2.link("set", index=WAN, mtu=1400)
    facts = bench.kernel.read()
    assert Link(WAN, "wan0", up=True, carrier=True, mtu=1400) in facts.links
    assert {Address(WAN, V4, "192.0.2.9", 25), Address(WAN, V6, "2001:db8::9", 48)} <= set(facts.addresses)
