"""The document of explanations: the contract's names and units, and nothing that JSON cannot say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import inf, nan

import pytest

from failover.config import Config
from failover.export.explain import document, passage
from failover.model import FAMILIES, ControlError, Decision, Family, Reason, Verdict
from failover.picture import CandidateView, Explanation, Prospect
from tests.core.box import PINGS, PINGS6, Box

NOW = 1000.0
DECISION = Decision(Family.IPV4, "docomo", "au", ("docomo", "au"), Reason.DOUBT, "silent", {"rtt_seconds": 0.5}, 990.0)
AU = CandidateView(
    name="au",
    preference=0,
    verdict=Verdict.DOUBTFUL,
    text="silent for 0.35 s",
    active=False,
    settled=True,
    drained=False,
    proven=False,
    owed_seconds=None,
    relapses=1.25,
    forgiven_seconds=1234.5678901,
    counted="flows",
    last_silence="silent 4.0 s: 9 probes lost",
    numbers={"silence_seconds": 0.3500000001, "lost_count": 0.0, "odd": nan},
    objection="is doubtful",
)
WHY = Explanation(
    family=Family.IPV4,
    decision=DECISION,
    rule="stay",
    text="docomo is up",
    candidates=(AU,),
    prospects=(Prospect("new flows go back to au", 43.5), Prospect("on `failover auto`", None)),
)


def test_the_whole_of_it() -> None:
    assert document([WHY], NOW) == {
        "families": {
            "ipv4": {
                "active": "docomo",
                "settled": "au",
                "rule": "stay",
                "text": "docomo is up",
                "reason": "doubt",
                "decision_text": "silent",
                "since_seconds": 10.0,
                "numbers": {"rtt_seconds": 0.5},
                "candidates": [
                    {
                        "name": "au",
                        "preference": 0,
                        "verdict": "doubtful",
                        "text": "silent for 0.35 s",
                        "active": False,
                        "settled": True,
                        "drained": False,
                        "proven": False,
                        "owed_seconds": None,
                        "relapses": 1.25,
                        "forgiven_seconds": 1234.56789,
                        "counted": "flows",
                        "last_silence": "silent 4.0 s: 9 probes lost",
                        "numbers": {"silence_seconds": 0.35, "lost_count": 0.0},
                        "objection": "is doubtful",
                    }
                ],
                "prospects": [
                    {"text": "new flows go back to au", "after_seconds": 43.5},
                    {"text": "on `failover auto`", "after_seconds": None},
                ],
            }
        }
    }


def test_what_is_no_number_is_left_out_or_null() -> None:
    odd = replace(WHY, candidates=(replace(AU, owed_seconds=inf, relapses=nan),), prospects=(Prospect("x", inf),))
    (told,) = json.loads(json.dumps(document([odd], NOW), allow_nan=False))["families"].values()
    assert told["candidates"][0]["owed_seconds"] is None
    assert told["candidates"][0]["relapses"] is None
    assert told["prospects"] == [{"text": "x", "after_seconds": None}]


def test_what_may_happen_at_once_is_not_what_has_no_time() -> None:
    soon = replace(WHY, prospects=(Prospect("x", 0.0),))
    (told,) = json.loads(json.dumps(document([soon], NOW)))["families"].values()
    assert told["prospects"] == [{"text": "x", "after_seconds": 0.0}]


def test_a_decision_of_the_next_moment_has_no_age_below_zero() -> None:
    (told,) = json.loads(json.dumps(document([WHY], 980.0)))["families"].values()
    assert told["since_seconds"] == 0.0


def test_before_anything_is_known_there_is_no_family() -> None:
    assert document([], NOW) == {"families": {}}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"uid": 1}, "where does the packet go"),
        ({"to": "example.com"}, "does not appear to be"),
        ({"to": "198.51.100.1:0"}, "'0' is not a port"),
        ({"to": "198.51.100.1:x"}, "'x' is not a port"),
        ({"to": "[2001:db8::1]:65536"}, "'65536' is not a port"),
        ({"to": "198.51.100.1", "protocol": "tpc"}, "unknown protocol 'tpc'"),
        ({"to": "198.51.100.1", "from": "br-lan"}, "does not appear to be"),
        ({"to": "198.51.100.1", "from": "fd00::7"}, "of different families"),
        ({"to": "198.51.100.1", "from": "192.0.2.7", "uid": 0}, "'uid' is of a sender on this box"),
        ({"to": "198.51.100.1"}, "nothing is decided yet"),
    ],
)
def test_a_packet_that_cannot_be_is_refused(arguments: dict[str, object], told: str) -> None:
    with pytest.raises(ControlError, match=re.escape(told)) as caught:
        passage((), arguments)
    assert caught.value.hint


def test_the_hint_is_about_what_is_wrong() -> None:
    with pytest.raises(ControlError) as caught:
        passage((), {"to": "198.51.100.1", "from": "br-lan"})
    assert caught.value.hint.startswith("as --from ")


@pytest.mark.parametrize(
    ("to", "host", "port", "protocol"),
    [
        ("198.51.100.1", "198.51.100.1", None, None),
        ("198.51.100.1:443", "198.51.100.1", 443, "tcp"),
        ("2001:DB8::1", "2001:db8::1", None, None),
        ("[2001:db8::1]", "2001:db8::1", None, None),
        ("[2001:db8::1]:443", "2001:db8::1", 443, "tcp"),
    ],
)
def test_a_packet_is_understood(to: str, host: str, port: int | None, protocol: str | None) -> None:
    box = Box("au", "docomo", config=Config(targets=(*PINGS, *PINGS6)), families=FAMILIES).run(100.0)
    found = passage(box.engine.explain(box.now), {"to": to, "uid": 7})
    assert found["packet"] == {"to": host, "protocol": protocol, "port": port, "uid": 7, "from": None}
    assert (found["uplink"], found["refused"], found["rule"]) == ("au", False, None)
    assert found["allowed"] == [{"name": name, "verdict": "up"} for name in ("au", "docomo")]
