"""What is said of a packet's way is what the kernel says of it, for a table of packets and of rules."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from failover.config.rules import PROTOCOLS, Aim, Match, TrafficRule, aims
from failover.core.diff import diff
from failover.core.packet import Ground, passage
from failover.core.plan import plan
from failover.core.steering import Course, Steered
from failover.model import FAMILIES, Decision, Family, Verdict
from failover.picture import Packet, Passage

from .test_foreign import WG_UP
from .van import INTERNET, MASK, TUNNEL, Van, built, own

ELSEWHERE = {Family.IPV4: "198.51.100.9", Family.IPV6: "2001:db8:eeee::9"}
NETS = tuple(f"{address}/{family.bits}" for family, address in INTERNET.items())
LAN = {Family.IPV4: "10.66.0.7", Family.IPV6: "fd66::7"}
"""Behind the cable that stands for the LAN here."""
BESIDE = {Family.IPV4: "10.66.0.2", Family.IPV6: "fd66::2"}
"""The box's own address there."""
WAN0, WAN1 = Aim(only=frozenset({"wan0"})), Aim(only=frozenset({"wan1"}))
GONE, SOFT = Aim(never=frozenset({"wan0", "wan1"})), Aim(prefer=frozenset({"wan1"}))
COURSES = {
    WAN0: Course("wan0", "wan0"),
    WAN1: Course("wan1", "wan0"),
    GONE: Course(),
    SOFT: Course(common=True),
}
RULES = (
    TrafficRule("soft", Match(to=NETS, protocols=("tcp",), ports=((22, 22),)), SOFT),
    TrafficRule("web", Match(to=NETS, protocols=("tcp", "udp"), ports=((443, 443), (5000, 5100))), WAN1),
    TrafficRule("user", Match(uids=((1000, 1999),)), GONE),
    TrafficRule("guests", Match(sources=("10.66.0.0/24", "fd66::/64"), lan=(TUNNEL,)), WAN1),
    TrafficRule("voice", Match(dscp=46), WAN1),
    TrafficRule("pings", Match(protocols=("icmp",)), WAN0),
)


@pytest.fixture(scope="module")
def van(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Van]:
    with built(tmp_path_factory.mktemp("passage") / "state") as van:
        for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            van.van.sysctl(key, 1)
        van.van.sysctl(f"ipv4/conf/{TUNNEL}/rp_filter", 0)
        yield van


def packets(family: Family) -> Iterator[Packet]:
    here = INTERNET[family]
    for to in (here, ELSEWHERE[family]):
        for protocol, port in (("tcp", 22), ("tcp", 443), ("udp", 5050), ("udp", 53), ("icmp", 0)):
            for uid in (0, 1000, 2000):
                yield Packet(to, protocol, port, uid=uid)
        yield Packet(to, "udp", 53, dscp=46)
        for protocol, port in (("tcp", 22), ("udp", 53), ("tcp", 443)):
            yield Packet(to, protocol, port, source=LAN[family], uid=1000)
            for source in (own(0, family), own(1, family), BESIDE[family]):
                yield Packet(to, protocol, port, source=source)


def asked(van: Van, packet: Packet) -> str | None:
    """The device that the kernel names; None when it refuses."""
    words = ["ip", f"-{packet.family[-1]}", "route", "get", packet.to, "tos", hex(packet.dscp << 2)]
    words += ["ipproto", str(PROTOCOLS[packet.protocol][packet.family])]
    words += ["dport", str(packet.port)] if packet.port else []
    words += ["from", packet.source] if packet.source else ["uid", str(packet.uid)]
    words += ["iif", TUNNEL] if packet.source == LAN[packet.family] else []
    with van.van.entered():
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    told = done.stdout.split()
    assert done.returncode in (0, 2), done.stderr
    return told[told.index("dev") + 1] if done.returncode == 0 else None


def carry_out(van: Van, rules: tuple[TrafficRule, ...]) -> Iterator[tuple[Packet, Passage, str | None]]:
    steered = Steered(rules, {(family, aim): COURSES[aim] for family in FAMILIES for aim in aims(rules)})
    decisions = {family: Decision(family, "wan1", "wan0", ("wan0", "wan1")) for family in FAMILIES}
    with van.van.entered():
        for _ in range(2):
            facts = van.agent.kernel.read()
            uplinks = van.agent.uplinks(facts)
            desired = plan(uplinks, decisions, facts, MASK, steered)
            van.agent.kernel.apply(diff(facts, desired))
    up, steering = dict.fromkeys(van.names, Verdict.UP), {key: decisions[key[0]] for key in steered.courses}
    for family in FAMILIES:
        ground = Ground(facts, desired, steered, uplinks, up, decisions[family], steering)
        for packet in packets(family):
            yield packet, passage(packet, ground), asked(van, packet)


@pytest.mark.parametrize("count", range(len(RULES) + 1))
def test_the_answer_is_the_kernel_s(van: Van, count: int) -> None:
    for rules in (RULES[:count], tuple(reversed(RULES[:count]))):
        for packet, said, told in carry_out(van, rules):
            assert (said.uplink, said.refused) == (told, told is None), (packet, said)
            assert said.rule != "soft" or packet.source or "as all other traffic: " in said.text


def test_a_tunnel_of_others_is_told_as_that(van: Van) -> None:
    van.run("bash", "-c", WG_UP)
    for packet, said, told in carry_out(van, RULES):
        assert (said.uplink, said.text, told) == (None, "a rule of others sends it to table 51820", TUNNEL), packet


def test_a_packet_to_a_network_of_the_box_leaves_by_no_uplink(van: Van) -> None:
    steered = Steered()
    with van.van.entered():
        facts = van.agent.kernel.read()
    uplinks = van.agent.uplinks(facts)
    common = Decision(Family.IPV4, "wan0", "wan0")
    ground = Ground(facts, plan(uplinks, {}, facts, MASK), steered, uplinks, {}, common, {})
    assert passage(Packet(LAN[Family.IPV4]), ground).text == f"it leaves by no uplink: its network is on {TUNNEL}"
