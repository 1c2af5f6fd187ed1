"""The document of explanations: the contract's names and units, and nothing that JSON cannot say."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, nan

from failover.export.explain import document
from failover.model import Decision, Family, Reason, Verdict
from failover.picture import CandidateView, Explanation, Prospect

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
