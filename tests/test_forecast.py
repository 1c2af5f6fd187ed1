"""What `check` says the agent would do: by hand-made facts, by a kernel of our own, and against the engine at rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from failover.config import PROFILES, Config, Metered, Names, Uplink
from failover.config.modems import Modem
from failover.config.reading import parse
from failover.config.summary import lines
from failover.config.targets import parse_target
from failover.core.budget import MONTH
from failover.facts import TABLE_MAIN, Address, Facts, Link, Route
from failover.forecast import at_rest, document, forecast
from failover.model import FAMILIES, Family, ProbeKind
from failover.sim.flows import Counting
from failover.sim.script import Actor, Script
from failover.sim.stage import play_script
from tests.kernel.box import Box

V4, V6 = FAMILIES
CONFIG = Config(
    uplinks=(
        Uplink("au", "wwan0", "KDDI", Metered()),
        Uplink(
            "depot",
            "wlan0",
            targets=(parse_target("icmp://10.1.1.1"), parse_target("icmp://10.1.1.2")),
            dns=("10.1.1.53",),
        ),
        Uplink("spare", "wwan9"),
    ),
    detection=replace(PROFILES["fast"], doubt=0.3, conviction_sends=8),
    dns=Names(servers=("9.9.9.9",)),
)
FACTS = Facts(
    links=(Link(2, "wwan0", True, True), Link(3, "wlan0", True, True)),
    addresses=(
        Address(2, V4, "192.168.8.100", 24),
        Address(2, V6, "2001:db8::2", 64),
        Address(3, V4, "192.168.8.100", 24),
    ),
    routes=(
        Route(V4, TABLE_MAIN, 100, interface=2, gateway="192.168.8.1", protocol=3),
        Route(V6, TABLE_MAIN, 100, interface=2, protocol=3),
        Route(V4, TABLE_MAIN, 600, interface=3, gateway="192.168.8.1", protocol=3),
    ),
)


def test_the_uplinks_are_shown_as_the_kernel_has_them() -> None:
    found = list(lines(document(CONFIG, FACTS)))
    assert found[:13] == [
        "uplink 1: au on wwan0, KDDI, metered",
        "  ipv4: 192.168.8.100 by 192.168.8.1, metric 100",
        "  ipv6: 2001:db8::2 without a gateway, metric 100",
        "  probes at rest: 27 MB a month while active, 2.4 MB as a standby (ipv4 and ipv6); "
        "budget 30MB/month and 5MB/month",
        "uplink 2: depot on wlan0",
        "  ipv4: 192.168.8.100 by 192.168.8.1, metric 600",
        "  ipv6: no address",
        "  ipv4 targets of its own: icmp://10.1.1.1, icmp://10.1.1.2",
        "  ipv6 targets of its own: none",
        "  name servers as told here: 10.1.1.53",
        "  probes at rest: 145 MB a month while active, 29 MB as a standby (ipv4)",
        "uplink 3: spare on wwan9",
        "  there is no interface wwan9 now",
    ]
    assert (
        found[-1] == "caution: au and depot hold the same address 192.168.8.100: their open flows move with each switch"
    )


def test_the_numbers_in_force_are_shown_with_what_they_override() -> None:
    said = list(lines(document(CONFIG, FACTS)))
    assert (
        "detection: fast, overriding its doubt of 250ms, conviction_sends of 6: "
        "suspicion 150ms, doubt 300ms or 2.5 round trips, conviction 1s and 8 sends, return after 10s"
    ) in said
    assert "policy: failback after 1m, forwarded traffic not along" in said
    assert "dns: auto; where an uplink's own do not answer, 9.9.9.9" in said
    plain = document(Config(), FACTS)["detection"]
    assert plain["overridden"] == {}
    assert (plain["profile"], plain["doubt_seconds"], plain["conviction_sends"]) == ("balanced", 0.35, 6)


def test_without_uplinks_in_the_config_those_of_the_default_routes_are_found() -> None:
    found = document(Config(), FACTS)
    assert found["discovered"] is True
    assert [uplink["name"] for uplink in found["uplinks"]] == ["wwan0", "wlan0"]
    assert list(lines(document(Config(), Facts())))[:2] == [
        "uplinks: discovered from the default routes of table main, in metric order",
        "  there is no default route now",
    ]


def test_where_the_kernel_cannot_be_read_the_config_alone_is_told() -> None:
    found = document(CONFIG, None) | {"kernel_error": "no socket"}
    assert [uplink["present"] for uplink in found["uplinks"]] == [None] * 3
    assert found["uplinks"][0]["at_rest"] == document(CONFIG, FACTS)["uplinks"][0]["at_rest"]
    said = list(lines(found))
    assert said[:2] == [
        "uplink 1: au on wwan0, KDDI, metered",
        "  probes at rest: 27 MB a month while active, 2.4 MB as a standby (ipv4 and ipv6); "
        "budget 30MB/month and 5MB/month",
    ]
    assert "caution: the kernel cannot be read, so nothing is said of interfaces: no socket" in said


def test_of_an_uplink_that_is_not_there_both_families_are_told() -> None:
    spare = document(CONFIG, FACTS)["uplinks"][2]
    assert spare["present"] is False
    assert spare["at_rest"] == document(CONFIG, None)["uplinks"][2]["at_rest"]
    assert spare["at_rest"]["active_bytes_per_month"] > 0


def test_the_kernel_of_this_namespace_is_read() -> None:
    box = Box()
    try:
        box.ip("route add default via 10.10.0.1 dev wan0 metric 50")
        with box.van.entered():
            found = forecast(Config())
    finally:
        box.close()
    assert found["kernel_error"] is None
    (uplink,) = found["uplinks"]
    assert uplink["families"]["ipv4"] == {"addresses": ["10.10.0.2"], "gateway": "10.10.0.1", "metric": 50, "fault": ""}
    assert uplink["families"]["ipv6"]["fault"] == "no default route"
    assert uplink["at_rest"]["families"] == ["ipv4"]


@pytest.mark.parametrize(("metered", "length"), [(False, 1500.0), (True, 54_000.0)], ids=["free", "metered"])
@pytest.mark.parametrize("families", [FAMILIES, (V4,)], ids=["dual stack", "ipv4"])
def test_the_bytes_at_rest_are_those_of_the_engine_at_rest(
    metered: bool, length: float, families: tuple[Family, ...]
) -> None:
    """In so long a standby has asked each kind of target once; nobody uses the uplinks, or fewer probes would do."""
    actors = (Actor("au", metered=metered), Actor("docomo", metered=metered))
    script = Script("rest", actors, length, families=families, counted=Counting.NOTHING)
    spent = play_script(script, Config(), None, 1).account.bytes
    told: dict[str, Any] = at_rest(Config().targets, families, metered=metered)
    for place, pace in enumerate(("active", "standby")):
        seen = sum(getattr(spent[place, family], pace) for family in families) / length * MONTH
        assert told[f"{pace}_bytes_per_month"] == pytest.approx(seen, rel=0.02)


def test_a_budget_that_is_less_than_what_the_targets_come_to_is_a_caution() -> None:
    pings = replace(CONFIG, targets=tuple(target for target in CONFIG.targets if target.kind is ProbeKind.ICMP))
    for config, roles in ((CONFIG, ["while active", "as a standby"]), (pings, ["while active"])):
        scarce = replace(config, uplinks=(replace(CONFIG.uplinks[0], metered=Metered(2_000_000, 2_200_000)),))
        for facts in (FACTS, None):
            found = [text for text in document(scarce, facts)["cautions"] if "budget" in text]
            assert [role for text in found for role in ("while active", "as a standby") if role in text] == roles
            assert found[0].startswith("au: probes at rest would come to 2")
            assert "more than the budget of 2MB/month: " in found[0]
    assert not document(CONFIG, None)["cautions"]


def test_a_modem_that_is_not_metered_is_a_caution_with_what_its_probes_come_to() -> None:
    sim = replace(CONFIG.uplinks[2], modem=Modem(imei="490154203237518"))
    for facts in (FACTS, None):
        (said,) = document(replace(CONFIG, uplinks=(sim,)), facts)["cautions"]
        assert said == (
            "spare is a modem and not metered: its probes come to 438 MB a month while active, 88 MB as a standby; "
            "if its data costs, say `metered: true`, else `metered: false`"
        )
        for said in ("true", "false"):
            text = f"uplinks: [{{name: spare, modem: {{imei: '490154203237518'}}, metered: {said}}}]"
            assert not document(parse(text, "said")[0], facts)["cautions"]


def test_only_who_is_metered_has_a_budget() -> None:
    for facts in (FACTS, None):
        budgets = [uplink["budget"] for uplink in document(CONFIG, facts)["uplinks"]]
        assert budgets == [{"active_bytes_per_month": 30_000_000, "standby_bytes_per_month": 5_000_000}, None, None]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_target_no_bytes(family: Family) -> None:
    assert at_rest((), [family], metered=False)["active_bytes_per_month"] == 0
