"""Every file in good/ gives exactly this tree and these warnings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from failover.config import (
    DEFAULT_TARGETS,
    PROFILES,
    Config,
    Detection,
    Flows,
    Metered,
    Metrics,
    Names,
    Policy,
    Uplink,
)
from failover.config.modems import Dialer, Messages, Modem, Repair, Roaming, Rung
from failover.config.reading import load, load_with_warnings
from failover.config.rules import Aim, Match, TrafficRule
from failover.config.targets import parse_target
from failover.facts import Gateway
from failover.model import Family, Keep, ProbeKind, Target
from failover.modem import Dial
from failover.resolvers import Way

GOOD = Path(__file__).parent / "good"


def icmp(address: str) -> Target:
    return Target(ProbeKind.ICMP, address, family=Family.IPV4, url=f"icmp://{address}")


KERNEL_ONLY = "that family is judged by kernel facts only"
ONE_HOST = "a dead target cannot be told from a dead link; name a second host"
ONLY_A, ONLY_B = Aim(only=frozenset("a")), Aim(only=frozenset("b"))
HOST = "198.51.100.7/32"
APN = (icmp("10.1.1.1"), icmp("10.1.1.2"))

TREES: dict[str, Config] = {
    "flows-keep": Config(flows=Flows(Keep(frozenset((22, 5060)), frozenset((0, 2**32 - 2))))),
    "aliases": Config(
        uplinks=(
            Uplink("au", "wwan0", metered=Metered(10_000_000), targets=APN),
            Uplink("docomo", "wwan1", metered=Metered(10_000_000), targets=APN),
        )
    ),
    "booleans": Config(
        uplinks=(Uplink("a", "eth0", metered=Metered()), Uplink("b", "eth1"), Uplink("c", "eth2", metered=Metered())),
        policy=Policy(failback_moves_flows=True),
    ),
    "byte-order-mark": Config(detection=PROFILES["fast"]),
    "comments": Config(),
    "contract": Config(
        uplinks=(
            Uplink("au", "wwan0", "au", Metered(30_000_000)),
            Uplink("docomo", "wwan1", metered=Metered(), targets=(icmp("10.1.1.1"),)),
            Uplink("depot", "wlan0"),
        ),
    ),
    "crlf": Config(detection=PROFILES["fast"], metrics=Metrics(None)),
    "detection-numbers": Config(detection=Detection(suspicion=0.4, doubt=1.0, conviction=120.0)),
    "detection-overrides": Config(
        detection=replace(PROFILES["fast"], doubt=0.3, return_after=60.0, conviction_sends=8, rtt_factor=3.0)
    ),
    "detection-profile": Config(detection=PROFILES["frugal"]),
    "dns": Config(
        uplinks=(Uplink("au", "wwan0", dns=("10.1.0.53", "2001:db8:1::53")), Uplink("depot", "wlan0", dns=())),
        dns=Names(Way.RESOLVED, ("9.9.9.9", "2620:fe::fe")),
    ),
    "dns-word": Config(dns=Names(Way.NONE)),
    "durations": Config(policy=Policy(failback_after=3570.0), detection=Detection(return_after=90.0)),
    "empty": Config(),
    "budgets": Config(
        uplinks=(
            Uplink("usual", "wwan0", metered=Metered(30_000_000, 5_000_000)),
            Uplink("large", "wwan1", metered=Metered(5_000_000_000, 5_000_000)),
            Uplink("small", "wwan2", metered=Metered(2_000_000, 2_000_000)),
            Uplink("both", "wwan3", metered=Metered(12_500_000, 12_500_000)),
            Uplink("standby", "wwan4", metered=Metered(30_000_000, 1_000_000)),
        )
    ),
    "gateway": Config(
        uplinks=(Uplink("au", "wwan0", delegated=("2001:db8:100::/40",)), Uplink("wire", "eth0")),
        gateway=Gateway(("br-lan",)),
    ),
    "json": Config(uplinks=(Uplink("au", "wwan0", metered=Metered(5_000_000_000)),), metrics=Metrics(None)),
    "mask-full": Config(uplinks=tuple(Uplink(f"u{i}", f"eth{i}") for i in range(1, 7)), fwmark_mask=0x700000),
    "mask-wide": Config(fwmark_mask=0xFFFFFFFF),
    "metrics-ipv6": Config(metrics=Metrics("[::1]:9110")),
    "modems": Config(
        uplinks=(
            Uplink(
                "whole",
                "wwan0",
                modem=Modem(
                    imei="356938035643809",
                    slot=8,
                    iccid="0098821100000001234",
                    dial=Dial("inter_net.v6@x", "0x1F", "no", (Family.IPV6,), roaming=False),
                    pin="0123",
                    roaming=Roaming.DENY,
                    connect=Dialer.NETWORKMANAGER,
                ),
            ),
            Uplink(
                "other-slot",
                modem=Modem(
                    imei="356938035643809", iccid="89882110000000123456", pin="01234567", roaming=Roaming.ALLOW
                ),
            ),
            Uplink(
                "slip",
                modem=Modem(imei="356938035643808", dial=Dial(families=(Family.IPV4,)), connect=Dialer.NONE),
            ),
            Uplink(
                "path",
                modem=Modem(
                    device="/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1",
                    dial=Dial(user="x"),
                    connect=Dialer.SELF,
                ),
            ),
            Uplink("place", modem=Modem(device="2-1.4")),
            Uplink("number", modem=Modem(serial="0012", dial=Dial("1e3", password=' "*!&'))),
        ),
        repair=Repair((Rung.SLOT, Rung.RECONNECT), 86400.0, 0, 12),
        messages=Messages(
            0.0,
            False,
            {
                "suspension": ("利用停止", "suspend(ed|sion)"),
                "cap": ("残り.{0,9}[0-9]{1,9} ?GB",),
                "roaming": ("abroad",),
            },
        ),
        networks={"Povo 2.0": "au", "44051": "KDDI", "440-10": "docomo"},
    ),
    "odd-names": Config(
        uplinks=(
            Uplink("-_.", "en*o@1"),
            Uplink("abcdefghijklmnopqrstuvwxyzABCDEF", "enx001122334455", "ドコモ"),
        )
    ),
    "quoted-names": Config(uplinks=(Uplink("no", "1", "3"), Uplink("null", "on", "7"))),
    "repair-off": Config(repair=Repair(())),
    "rules": Config(
        uplinks=(Uplink("au", "wwan0", metered=Metered()), Uplink("docomo", "wwan1"), Uplink("depot", "wlan0")),
        rules=(
            TrafficRule(
                "video",
                Match(
                    to=("198.51.100.0/24", "2001:db8:7::/48", "203.0.113.9/32", "2001:db8::1/128"),
                    protocols=("tcp", "udp"),
                    ports=((443, 443), (5000, 5100)),
                ),
                Aim(only=frozenset(("depot", "docomo")), hold=True),
            ),
            TrafficRule("telemetry", Match(uids=((0, 0), (1000, 1999)), dscp=0), Aim(never=frozenset(("metered",)))),
            TrafficRule(
                "terminal",
                Match(sources=("192.168.50.0/24",), lan=("br-lan", "eth1")),
                Aim(prefer=frozenset(("docomo",)), never=frozenset(("depot", "metered"))),
            ),
            TrafficRule("rest", Match(), Aim(prefer=frozenset(("depot",)))),
        ),
    ),
    "rules-doubtful": Config(
        uplinks=(Uplink("a", "eth0"), Uplink("b", "eth1")),
        rules=(
            TrafficRule(
                "wide",
                Match(to=("198.51.0.0/16", "203.0.113.0/24"), protocols=("tcp",), ports=((1, 1023),)),
                ONLY_A,
            ),
            TrafficRule(
                "narrow",
                Match(to=(HOST,), protocols=("tcp",), ports=((80, 80), (443, 443)), uids=((1000, 1000),)),
                ONLY_B,
            ),
            TrafficRule(
                "another-port", Match(to=(HOST,), protocols=("tcp",), ports=((443, 443), (8443, 8443))), ONLY_B
            ),
            TrafficRule(
                "another-family",
                Match(to=(HOST, "2001:db8::1/128"), protocols=("tcp",), ports=((443, 443),)),
                ONLY_B,
            ),
            TrafficRule("any-port", Match(to=(HOST,), protocols=("tcp",)), Aim(never=frozenset(("metered",)))),
            TrafficRule("all", Match(), ONLY_A),
            TrafficRule("none", Match(lan=("eth9",)), ONLY_B),
        ),
    ),
    "separator": Config(),
    "targets": Config(
        targets=(
            icmp("8.8.4.4"),
            Target(ProbeKind.ICMP, "2001:4860:4860::8844", family=Family.IPV6, url="icmp://[2001:4860:4860::8844]"),
            Target(ProbeKind.TCP, "1.1.1.1", 443, family=Family.IPV4, url="tcp://1.1.1.1:443"),
            Target(
                ProbeKind.TCP, "2606:4700:4700::1111", 53, family=Family.IPV6, url="tcp://[2606:4700:4700::1111]:53"
            ),
            Target(ProbeKind.DNS, "9.9.9.9", 53, "example.com", family=Family.IPV4, url="dns://9.9.9.9/example.com"),
            Target(
                ProbeKind.DNS,
                "9.9.9.9",
                5353,
                "_dns.resolver.arpa",
                family=Family.IPV4,
                url="dns://9.9.9.9:5353/_dns.resolver.arpa",
            ),
            Target(ProbeKind.HTTP, "example.com", 80, "/", url="http://example.com/"),
            Target(ProbeKind.HTTP, "example.com", 80, "/generate_204", url="http://example.com/generate_204"),
            Target(
                ProbeKind.HTTP,
                "example.com",
                8080,
                "/a%20b?x=1&y=2",
                200,
                url="http://example.com:8080/a%20b?x=1&y=2&status=200",
            ),
            Target(
                ProbeKind.HTTPS,
                "2001:db8::1",
                443,
                "/health",
                403,
                Family.IPV6,
                "https://[2001:db8::1]/health?status=403",
            ),
            Target(ProbeKind.HTTPS, "192.0.2.1", 443, "/", family=Family.IPV4, url="https://192.0.2.1/"),
        )
    ),
    "targets-none": Config(uplinks=(Uplink("au", "wwan0", targets=()),), targets=()),
    "targets-one-family": Config(
        uplinks=(Uplink("au", "wwan0", targets=(parse_target("http://example.com/"),)),),
        targets=(icmp("1.1.1.1"), parse_target("tcp://1.1.1.1:443")),
    ),
}

WARNINGS: dict[str, list[str]] = {
    "rules-doubtful": [
        "4: rules[1]: it is never asked: wide, before it, matches all of that; put it before that one",
        "7: rules[4]: no uplink is metered; say which are, as 'metered: true'",
        "9: rules[6]: it is never asked: all, before it, matches all of that; put it before that one",
    ],
    "modems": [
        "17: uplinks[2].modem.imei: its last digit does not fit the others; see whether it is a slip; "
        "`failover modems` shows it",
        "18: uplinks[3].modem.user: no apn beside it; a user and a password are for an access point: "
        "name it, as 'apn: internet'",
    ],
    "contract": [
        f"9: uplinks[1].targets: no IPv6 target; {KERNEL_ONLY}",
        f"9: uplinks[1].targets: one IPv4 host; {ONE_HOST}",
    ],
    "aliases": [
        f"5: uplinks[0].targets: no IPv6 target; {KERNEL_ONLY}",
        f"5: uplinks[1].targets: no IPv6 target; {KERNEL_ONLY}",
    ],
    "targets-none": [
        f"1: probes.targets: no IPv4 target; {KERNEL_ONLY}",
        f"1: probes.targets: no IPv6 target; {KERNEL_ONLY}",
        f"5: uplinks[0].targets: no IPv4 target; {KERNEL_ONLY}",
        f"5: uplinks[0].targets: no IPv6 target; {KERNEL_ONLY}",
    ],
    "targets-one-family": [
        f"3: probes.targets: no IPv6 target; {KERNEL_ONLY}",
        f"3: probes.targets: one IPv4 host; {ONE_HOST}",
        f"8: uplinks[0].targets: one IPv4 host; {ONE_HOST}",
        f"8: uplinks[0].targets: one IPv6 host; {ONE_HOST}",
    ],
}


@pytest.mark.parametrize("name", sorted(path.stem for path in GOOD.glob("*.yaml")))
def test_good_file(name: str) -> None:
    path = GOOD / f"{name}.yaml"
    config, warnings = load_with_warnings(path)
    assert config == TREES[name]
    assert load(path) == config
    assert [str(w).removeprefix(f"{path}:") for w in warnings] == WARNINGS.get(name, [])


def test_every_tree_has_its_file() -> None:
    assert {path.stem for path in GOOD.glob("*.yaml")} == set(TREES)


@pytest.mark.parametrize("target", DEFAULT_TARGETS, ids=lambda target: target.url)
def test_the_default_targets_are_as_parsed(target: Target) -> None:
    assert parse_target(target.url) == target


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_profiles_ascend(profile: Detection) -> None:
    assert profile.suspicion < profile.doubt < profile.conviction
