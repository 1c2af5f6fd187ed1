"""The operator's rules with real packets: strict rp_filter, both families, and a router behind each uplink."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from failover.config.rules import Aim, Match, TrafficRule, aims
from failover.core.diff import diff
from failover.core.plan import plan
from failover.core.steering import Course, Steered
from failover.facts import Facts, Operation
from failover.model import FAMILIES, Decision, Family

from .test_foreign import WG_UP
from .van import AF, INTERNET, MASK, PATIENCE, PORT, TCP, TUNNEL, UDP, V4, Flow, Van, built, own

HERE = tuple(f"{address}/{family.bits}" for family, address in INTERNET.items())
ELSEWHERE = ("198.51.100.0/24", "2001:db8:eeee::/48")
WAN0, WAN1 = Aim(only=frozenset({"wan0"})), Aim(only=frozenset({"wan1"}))
UP = {WAN0: Course("wan0", "wan0"), WAN1: Course("wan1", "wan1")}
Courses = dict[Aim, Course]
UDP_PORT = Match(to=HERE, protocols=("udp",), ports=((4000, 4000),))
ALL = Match()


@pytest.fixture
def van(tmp_path: Path) -> Iterator[Van]:
    with built(tmp_path / "state") as van:
        yield van


def steer(van: Van, *rules: TrafficRule, courses: Courses = UP, active: str = "wan0") -> tuple[Operation, ...]:
    """Carry out a plan; returns what was done. AssertionError when anything is refused or left to do."""
    steered = Steered(rules, {(family, aim): courses[aim] for family in FAMILIES for aim in aims(rules)})

    def wanted(facts: Facts) -> tuple[Operation, ...]:
        uplinks = van.agent.uplinks(facts)
        decisions = {f: Decision(f, active, active, ("wan0", "wan1")) for f in FAMILIES}
        return diff(facts, plan(uplinks, decisions, facts, MASK, steered))

    with van.van.entered():
        done = wanted(van.agent.kernel.read())
        results = van.agent.kernel.apply(done)
        assert [result for result in results if result.error] == []
        assert wanted(van.agent.kernel.read()) == ()
    return done


def rule(match: Match, aim: Aim = WAN1) -> TrafficRule:
    return TrafficRule("r", match, aim)


def sent(van: Van, family: Family, *, kind: int = UDP, uid: int = 0, dscp: int = 0) -> str | None:
    """Who answers; None when the kernel refuses."""
    with van.van.socket(AF[family], kind) as made:
        made.settimeout(PATIENCE)
        os.fchown(made.fileno(), uid, -1)
        level = (socket.IPPROTO_IP, socket.IP_TOS) if family is V4 else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        made.setsockopt(*level, dscp << 2)
        try:
            made.connect((INTERNET[family], PORT))
            return Flow(made).ask()
        except TimeoutError:
            raise
        except OSError:
            return None


CASES: list[tuple[Match, dict[str, int], bool]] = [
    (ALL, {}, True),
    (Match(to=HERE), {}, True),
    (Match(to=ELSEWHERE), {}, False),
    (Match(to=(*ELSEWHERE, *HERE)), {}, True),
    (UDP_PORT, {}, True),
    (UDP_PORT, {"kind": TCP}, False),
    (replace(UDP_PORT, protocols=("tcp", "udp")), {"kind": TCP}, True),
    (replace(UDP_PORT, ports=((4001, 5000),)), {}, False),
    (replace(UDP_PORT, ports=((1, 10), (3000, 5000))), {}, True),
    (Match(protocols=("icmp",)), {}, False),
    (Match(uids=((1000, 1000), (2000, 2999))), {"uid": 2500}, True),
    (Match(uids=((1000, 1000),)), {"uid": 1001}, False),
    (Match(dscp=46), {"dscp": 46}, True),
    (Match(dscp=46), {"dscp": 34}, False),
    (Match(dscp=46), {}, False),
    (Match(dscp=0), {}, True),
    (Match(dscp=0), {"dscp": 1}, False),
    (Match(sources=("192.168.50.0/24", "fd00:50::/64")), {}, False),
    (Match(lan=("lan0",)), {}, False),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_rule_names_goes_its_way_and_nothing_else(van: Van, family: Family) -> None:
    for match, traits, meant in CASES:
        steer(van, rule(match))
        assert sent(van, family, **traits) == ("wan1" if meant else "wan0"), (match, traits)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_that_matches_decides(van: Van, family: Family) -> None:
    steer(van, rule(UDP_PORT, WAN0), rule(ALL))
    assert sent(van, family) == "wan0"
    assert sent(van, family, kind=TCP) == "wan1"
    steer(van, rule(ALL), rule(UDP_PORT, WAN0))
    assert sent(van, family) == sent(van, family, kind=TCP) == "wan1"


@contextmanager
def bound_to(van: Van, number: int, family: Family, kind: int) -> Iterator[socket.socket]:
    """A user's socket that leaves with an uplink's address."""
    with van.van.socket(AF[family], kind) as made:
        made.settimeout(PATIENCE)
        os.fchown(made.fileno(), 1000, -1)
        made.bind((own(number, family), 0))
        yield made


@pytest.mark.parametrize("family", FAMILIES)
def test_an_uplink_that_is_out_of_bounds_is_so_for_who_asks_for_its_address(van: Van, family: Family) -> None:
    steer(van, rule(Match(to=HERE)))
    with bound_to(van, 1, family, UDP) as allowed:
        allowed.connect((INTERNET[family], PORT))
        assert Flow(allowed).ask() == "wan1"
    with bound_to(van, 0, family, UDP) as forbidden, pytest.raises(OSError, match=r"unreachable|No route"):
        forbidden.connect((INTERNET[family], PORT))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [UDP, TCP])
def test_what_nothing_may_carry_is_refused_at_once_and_slips_out_nowhere(van: Van, family: Family, kind: int) -> None:
    steer(van, rule(Match(to=HERE)), courses={WAN1: Course()})
    assert sent(van, family, kind=kind) is None
    for number, kind_ in ((0, UDP), (1, UDP), (0, TCP)):
        with bound_to(van, number, family, kind_) as bound, pytest.raises(OSError, match=r"unreachable|No route"):
            bound.connect((INTERNET[family], PORT))
    assert van.probed("wan0", family)
    assert van.probed("wan1", family)


def test_an_uplink_without_carrier_is_no_way_out_even_before_the_agent_hears_of_it(van: Van) -> None:
    steer(van, rule(ALL))
    for family in FAMILIES:
        van.ip(f"-{family[-1]} route flush table 15502 proto 155 type unicast")
        assert sent(van, family) is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [UDP, TCP])
def test_an_open_flow_stays_when_its_rule_leads_elsewhere(van: Van, family: Family, kind: int) -> None:
    either = Aim(only=frozenset({"wan0", "wan1"}))
    steer(van, rule(Match(to=HERE), either), courses={either: Course("wan1", "wan1")})
    with van.flow(family, kind) as flow:
        assert flow.ask() == "wan1"
        done = steer(van, rule(Match(to=HERE), either), courses={either: Course("wan0", "wan1")})
        assert flow.ask() == "wan1"
        assert sent(van, family, kind=kind) == "wan0"
    assert len(done) == len(FAMILIES), "one rule per family"


def test_a_switch_costs_two_operations_a_family_however_much_is_named(van: Van) -> None:
    nets = (*(f"198.51.{n}.0/24" for n in range(8)), "2001:db8:eeee::/48")
    many = Match(to=nets, protocols=("tcp", "udp"), ports=((1, 9), (20, 29)))
    either = Aim(only=frozenset({"wan0", "wan1"}))
    first = steer(van, rule(many, either), courses={either: Course("wan0", "wan0")})
    assert len(first) > 36
    assert len(steer(van, rule(many, either), courses={either: Course("wan1", "wan1")})) == 2 * len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kill_switch_stays_tight(van: Van, family: Family) -> None:
    van.run("bash", "-c", WG_UP)
    steer(van, rule(ALL))
    assert sent(van, family) == TUNNEL
    assert van.via(family, mark=51820) == "wan1", "the tunnel's own packets are what the rule is about"
    steer(van, rule(Match(to=ELSEWHERE)))
    assert sent(van, family) == TUNNEL
    assert van.via(family, mark=51820) == "wan0"


def test_what_prefers_and_finds_nothing_goes_as_all_else(van: Van) -> None:
    aim = Aim(prefer=frozenset({"wan1"}))
    steer(van, rule(UDP_PORT, aim), rule(ALL), courses={**UP, aim: Course(common=True)})
    for family in FAMILIES:
        assert sent(van, family) == "wan0"
        assert sent(van, family, kind=TCP) == "wan1"


def test_when_the_rules_are_gone_nothing_is_left_of_them(van: Van) -> None:
    steer(van)
    before = set(van.agent.facts().rules)
    steer(van, rule(UDP_PORT, WAN0), rule(ALL))
    assert set(van.agent.facts().rules) != before
    steer(van)
    assert set(van.agent.facts().rules) == before
