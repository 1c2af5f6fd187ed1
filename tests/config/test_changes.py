"""What a reload says it changes; and in the lab, that flows stay as it says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from failover.config import DEFAULT_TARGETS, PROFILES, Config, Detection, Metered, Metrics, Names, Policy, Uplink
from failover.config.changes import changes
from failover.config.modems import Dialer, Messages, Modem, Repair, Roaming
from failover.config.rules import Aim, TrafficRule
from failover.export.client import call
from failover.facts import Gateway
from failover.lab.places import CARRIERS
from failover.lab.stage import Stage
from failover.model import FAMILIES, Family
from failover.modem import Dial
from failover.resolvers import Way

AU, DOCOMO, DEPOT = (Uplink(carrier.name, carrier.interface) for carrier in CARRIERS)
BASE = Config(uplinks=(AU, DOCOMO))
ON_MODEM = Uplink("au", modem=Modem(imei="490154203237518", pin="0123"))
CHANGES: dict[str, tuple[Config, list[str]]] = {
    "nothing": (BASE, []),
    "one number": (replace(BASE, detection=Detection(doubt=0.3)), ["detection.doubt: 300ms, was 350ms"]),
    "a profile": (
        replace(BASE, detection=PROFILES["frugal"]),
        [
            "detection.suspicion: 400ms, was 250ms",
            "detection.doubt: 500ms, was 350ms",
            "detection.conviction: 2s, was 1.5s",
        ],
    ),
    "the rest": (
        replace(
            BASE, policy=Policy(90.0, True), metrics=Metrics(None), fwmark_mask=0xFF0000, targets=DEFAULT_TARGETS[:1]
        ),
        [
            "probes.targets: 1, 0 of them new; were 7",
            "policy.failback_after: 90s, was 1m",
            "policy.failback_moves_flows: true, was false",
            "metrics.listen: none, was 127.0.0.1:9109",
            "kernel.fwmark_mask: 0x00ff0000, was 0x3f000000",
        ],
    ),
    "names": (
        replace(
            BASE, dns=Names(Way.FILE, ("9.9.9.9", "2620:fe::fe")), uplinks=(replace(AU, dns=("10.1.0.53",)), DOCOMO)
        ),
        [
            "uplinks: au: other dns",
            "dns.way: file, was auto",
            "dns.servers: 9.9.9.9, 2620:fe::fe, was none",
        ],
    ),
    "rules": (
        replace(BASE, rules=(TrafficRule("video", aim=Aim(never=frozenset(("au",)))), TrafficRule("rest"))),
        ["rules: video, rest; what they forbid is refused now"],
    ),
    "rules that forbid nothing": (
        replace(BASE, rules=(TrafficRule("video", aim=Aim(prefer=frozenset(("au",)))),)),
        ["rules: video"],
    ),
    "a gateway": (
        replace(BASE, gateway=Gateway(("br-lan", "eth1"), masquerade=False)),
        ["gateway: br-lan, eth1, untranslated"],
    ),
    "a prefix for the LAN": (
        replace(BASE, uplinks=(replace(AU, delegated=("2001:db8::/56",)), DOCOMO)),
        ["uplinks: au: other delegated"],
    ),
    "one more": (replace(BASE, uplinks=(AU, DEPOT, DOCOMO)), ["uplinks: depot on wlan0 is new"]),
    "one less": (replace(BASE, uplinks=(DOCOMO,)), ["uplinks: au on wwan0 is gone; its open flows end"]),
    "another order": (replace(BASE, uplinks=(DOCOMO, AU)), ["uplinks: preferred in the order docomo, au"]),
    "one between others that change places": (
        replace(BASE, uplinks=(DOCOMO, DEPOT, AU)),
        ["uplinks: depot on wlan0 is new", "uplinks: preferred in the order docomo, depot, au"],
    ),
    "another name": (replace(BASE, uplinks=(replace(AU, name="kddi"), DOCOMO)), ["uplinks: kddi, was au"]),
    "another interface": (
        replace(BASE, uplinks=(replace(AU, interface="wwan7"), DOCOMO)),
        ["uplinks: au on wwan0 is gone; its open flows end", "uplinks: au on wwan7 is new"],
    ),
    "details": (
        replace(BASE, uplinks=(replace(AU, carrier="KDDI", metered=Metered(), targets=()), DOCOMO)),
        ["uplinks: au: other carrier, metered, targets"],
    ),
    "modems": (
        replace(BASE, uplinks=(ON_MODEM, DOCOMO)),
        [
            "uplinks: au on wwan0 is gone; its open flows end",
            "uplinks: au on modem …7518, slot 1 is new",
        ],
    ),
    "repair and messages": (
        replace(
            BASE,
            repair=Repair((), 1200.0, 2, 0),
            messages=Messages(0.0, False, {"cap": ("a", "b")}),
            networks={"povo": "au"},
        ),
        [
            "sms.patterns: 2 of cap",
            "carriers: povo on au",
            "repair.steps: none, was reconnect, register, reset, power, slot",
            "repair.reset_interval: 20m, was 10m",
            "repair.resets_per_day: 2, was 6",
            "repair.switches_per_hour: 0, was 2",
            "sms.keep: none, was 90d",
            "sms.text: false, was true",
        ],
    ),
    "discovered": (
        replace(BASE, uplinks=()),
        ["uplinks: discovered; open flows of what is no uplink any more end"],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told(name: str) -> None:
    after, told = CHANGES[name]
    assert list(changes(BASE, after)) == told


def test_what_changes_of_a_modem_is_told_without_what_it_is() -> None:
    before = replace(BASE, uplinks=(ON_MODEM,))
    assert ON_MODEM.modem is not None
    parts: tuple[tuple[str, dict[str, Any]], ...] = (
        ("pin", {"pin": "9876"}),
        ("roaming", {"roaming": Roaming.DENY}),
        ("password", {"dial": Dial(password="x9876")}),
        ("iccid, connect, apn, ip", {"dial": Dial("a", families=(Family.IPV4,)), "iccid": "1", "connect": Dialer.NONE}),
    )
    for keys, part in parts:
        after = replace(BASE, uplinks=(replace(ON_MODEM, modem=replace(ON_MODEM.modem, **part)),))
        assert list(changes(before, after)) == [f"uplinks: au: other {keys}"]
    moved = replace(BASE, uplinks=(replace(ON_MODEM, modem=replace(ON_MODEM.modem, slot=2)),))
    assert list(changes(before, moved)) == [
        "uplinks: au on modem …7518, slot 1 is gone; its open flows end",
        "uplinks: au on modem …7518, slot 2 is new",
    ]


def test_the_way_back_from_discovered_uplinks_is_told() -> None:
    assert list(changes(Config(), BASE)) == ["uplinks: as listed; open flows of what is no uplink any more end"]
    assert list(changes(Config(), Config())) == []


def test_the_end_of_rules_forbids_nothing() -> None:
    (told,) = changes(replace(BASE, rules=(TrafficRule("video", aim=Aim(only=frozenset(("au",)))),)), BASE)
    assert told == "rules: none, were video"


def test_the_end_of_a_gateway_is_told_with_what_stays() -> None:
    (told,) = changes(replace(BASE, gateway=Gateway(("br-lan",))), BASE)
    assert told == "gateway: none; clients leave untranslated, and forwarding stays on until `failover cleanup`"


# --- in the lab ------------------------------------------------------------------------------------------------------

UNDER_WAY = 10
"""New flows in 0.1 s, three round trips."""
METRICS = "metrics: {listen: 127.0.0.1:9110}\n"
EVERYTHING_ELSE = """\
kernel: {fwmark_mask: 0x00ff0000}
detection: fast
policy: {failback_after: 7s, failback_moves_flows: true}
probes:
  targets: [icmp://8.8.8.8, icmp://9.9.9.9, "icmp://[2001:4860:4860::8888]", "icmp://[2620:fe::fe]"]
"""


def listed(*uplinks: Uplink) -> str:
    return "uplinks:\n" + "".join(f"  - {{name: {u.name}, interface: {u.interface}}}\n" for u in uplinks)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(lambda _who, _what: None, config=listed(AU, DOCOMO, DEPOT)) as built:
        built.check_traffic()
        built.start_agent()
        built.ready()
        yield built


def lost(stage: Stage, config: str, seconds: float) -> dict[tuple[Family, str], int]:
    """Messages of the user, sent after a reload, that had no answer a second later, where there are any."""
    stage.config.write_text(config)
    before = time.monotonic()
    call(stage.socket, "reload", {})
    stage.watch(seconds)
    seen = stage.user.seen(before, time.monotonic() - 1.0)
    return {key: flow.sent - flow.answered for key, flow in seen.items() if flow.sent > flow.answered}


def test_a_reload_that_takes_no_uplink_away_loses_no_packet(stage: Stage) -> None:
    assert lost(stage, METRICS + EVERYTHING_ELSE + listed(replace(AU, name="kddi"), DOCOMO, DEPOT), 2.5) == {}


def test_the_open_flows_of_an_uplink_that_is_taken_away_are_broken_and_begin_anew(stage: Stage) -> None:
    """Of what is under way at that moment, the reply may find no way back."""
    gone = lost(stage, METRICS + EVERYTHING_ELSE + listed(DOCOMO, DEPOT), 2.5)
    assert max(gone.values(), default=0) <= UNDER_WAY
    broken = [said.text for said in stage.said if said.kind == "flows" and said.text.startswith("wwan0 ")]
    assert {text.split()[1].strip(":") for text in broken} == set(FAMILIES)
