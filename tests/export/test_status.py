"""`status --json`: the contract's names and units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from failover.export.status import document
from failover.export.table import remarks
from failover.model import Decision, Family, Verdict
from failover.picture import Snapshot
from tests.export.pictures import FLAPPED, NOW, family, snapshot, uplink

BUDGET = ("budget_remaining_bytes", "budget_capacity_bytes")


def told(picture: Snapshot) -> Mapping[str, Any]:
    return document(picture, NOW)


def test_the_contract() -> None:
    found = told(snapshot())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["active"] == {"ipv4": "docomo", "ipv6": None}
    assert found["settled"] == {"ipv4": "au", "ipv6": None}
    assert found["use"] == {"name": "docomo", "remaining_seconds": 3600.0, "strict": False}
    au, docomo = found["uplinks"]
    assert {key: au[key] for key in ("name", "interface", "carrier", "metered", "drained", *BUDGET)} == {
        "name": "au",
        "interface": "wwan-au",
        "carrier": "KDDI",
        "metered": True,
        "drained": False,
        "budget_remaining_bytes": 1_999_944,
        "budget_capacity_bytes": 2_000_000,
    }
    assert {key: docomo[key] for key in ("metered", *BUDGET)} == {"metered": False, **dict.fromkeys(BUDGET)}
    assert au["families"]["ipv4"] == {
        "verdict": "doubtful",
        "text": "because",
        "cause": "",
        "loss_ratio": 0.25,
        "rtt_seconds": 0.030123,
        "since_seconds": 60.0,
        "last_proven_seconds": 0.5,
        "hold_remaining_seconds": 10.0,
        "flap_penalty": 0.0,
        "flap_forgiven_seconds": None,
        "last_silence": "",
        "targets": [{"url": "icmp://1.1.1.1", "loss_ratio": 0.25, "rtt_seconds": 0.03, "last_outcome": "answered"}],
    }
    assert au["families"]["ipv6"]["last_proven_seconds"] is None
    assert docomo["families"]["ipv4"]["hold_remaining_seconds"] is None
    assert found["decisions"]["ipv4"] == {
        "reason": "doubt",
        "text": "silent",
        "numbers": {"silence_seconds": 0.36},
        "order": ["docomo", "au"],
        "since_seconds": 30.0,
    }


def test_what_flapping_has_earned_and_when_that_is_forgiven() -> None:
    view = replace(family(Verdict.UP), penalty=FLAPPED)
    picture = replace(snapshot(), uplinks=(uplink("au", view, view),))
    for later, penalty, forgiven in ((0.0, 1.0, 3890.0), (900.0, 0.5, 2990.0), (3890.0, 0.04999, None)):
        found: Mapping[str, Any] = document(picture, NOW + later)
        shown = found["uplinks"][0]["families"]["ipv6"]
        assert (shown["flap_penalty"], shown["flap_forgiven_seconds"]) == (penalty, forgiven)


def test_the_last_silence_and_whether_flows_are_counted() -> None:
    view = replace(family(Verdict.UP), last_silence="buffered 3.2 s: 5 replies came late")
    weak = told(replace(snapshot(), uplinks=(uplink("au", view, view),), flows_counted=False))
    assert weak["uplinks"][0]["families"]["ipv4"]["last_silence"] == "buffered 3.2 s: 5 replies came late"
    assert (told(snapshot())["flows_counted"], weak["flows_counted"]) == (True, False)


def test_a_gateway_is_named_with_its_interfaces() -> None:
    guests = told(replace(snapshot(), lan=("br-lan", "eth1")))
    assert (told(snapshot())["gateway"], guests["gateway"]) == (None, {"lan": ["br-lan", "eth1"]})
    assert list(remarks(guests)) == ["gateway of br-lan, eth1: new flows of its clients go as this box's own"]


def test_before_the_first_decision() -> None:
    found = told(Snapshot({}, (), None, None, False))
    assert found["active"] == {"ipv4": None, "ipv6": None}
    assert found["uplinks"] == []
    assert found["usable"] is False


def test_a_use_whose_time_is_over_has_none_left() -> None:
    found = told(replace(snapshot(), use_until=NOW - 0.5))
    assert found["use"] == {"name": "docomo", "remaining_seconds": 0.0, "strict": False}


def test_infinity_is_no_number() -> None:
    decision = Decision(Family.IPV4, "au", "au", numbers={"hold_seconds": float("inf"), "odd": float("nan")})
    found = told(replace(snapshot(), decisions={Family.IPV4: decision}))
    assert found["decisions"]["ipv4"]["numbers"] == {"hold_seconds": None, "odd": None}


@pytest.mark.parametrize("verdict", Verdict)
def test_usable_is_who_answers_or_was_heard_a_moment_ago(verdict: Verdict) -> None:
    absent = family(Verdict.ABSENT)
    for since, usable in (
        (NOW - 14.9, verdict in (Verdict.UP, Verdict.DEGRADED, Verdict.DOUBTFUL)),
        (NOW - 15.0, verdict in (Verdict.UP, Verdict.DEGRADED)),
    ):
        found = told(replace(snapshot(), uplinks=(uplink("au", absent, replace(family(verdict), since=since)),)))
        assert found["usable"] is found["uplinks"][0]["usable"] is usable


def test_one_usable_uplink_is_enough() -> None:
    down, up = family(Verdict.DOWN), family(Verdict.UP)
    found = told(replace(snapshot(), uplinks=(uplink("au", down, down), uplink("docomo", down, up))))
    assert [one["usable"] for one in found["uplinks"]] == [False, True]
    assert found["usable"] is True
