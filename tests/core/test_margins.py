"""What is clearly better than a degraded uplink, as a table; and that two degraded ones do not play ping-pong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.core.policy import Will, decide, hardly_better
from failover.model import Decision
from tests.core.test_policy import NOW, V4, situation

Numbers = dict[str, float | None]
SLOW: Numbers = {"slow": True, "rtt": 0.4}
LOSSY: Numbers = {"lossy": True}
QUICK: Numbers = {"rtt": 0.03}
# fmt: off
MARGINS: Mapping[str, tuple[Numbers, Numbers, str]] = {
    # name: a, which is degraded and carries all; b, which is up; where new flows are then
    "a slow one is left for a quick one": (SLOW, QUICK, "b"),
    "for two thirds of its time": (SLOW, {"rtt": 0.266}, "b"),
    "not for more": (SLOW, {"rtt": 0.267}, "a"),
    "nor for one that is quicker by much, but not by a third": ({"slow": True, "rtt": 3.0}, {"rtt": 2.1}, "a"),
    "nor for one that is quicker by a third, but not by much": ({"slow": True, "rtt": 0.028}, {"rtt": 0.0181}, "a"),
    "but for one that is quicker by both": ({"slow": True, "rtt": 0.031}, {"rtt": 0.0206}, "b"),
    "nor for the unmeasured": (SLOW, {"rtt": None}, "a"),
    "nor for one that loses nothing": (SLOW, {"rtt": 0.4, "loss_evidence": 0.0}, "a"),
    "a lossy one is left for one that does not lose": (LOSSY, {}, "b"),
    "for one that loses a little": (LOSSY, {"loss_evidence": 0.5}, "b"),
    "not for one that loses too": (LOSSY, {"loss_evidence": 0.51}, "a"),
    "however quick": (LOSSY | {"rtt": 0.1}, QUICK | {"loss_evidence": 0.9}, "a"),
    "one that is both for one that is better in either: time": (SLOW | LOSSY, QUICK | {"loss_evidence": 0.9}, "b"),
    "one that is both for one that is better in either: loss": (SLOW | LOSSY, {"rtt": 0.4}, "b"),
    "one that is both for none that is better in neither": (SLOW | LOSSY, {"rtt": 0.4, "loss_evidence": 0.9}, "a"),
    "for whatever reason else, at once": ({}, {"rtt": 0.4, "loss_evidence": 0.9}, "b"),
}
# fmt: on


@pytest.mark.parametrize(("here", "other", "active"), MARGINS.values(), ids=MARGINS)
def test_a_degraded_uplink_is_left_only_for_what_is_clearly_better(here: Numbers, other: Numbers, active: str) -> None:
    a, b = situation("a: degraded, b: up")
    them = [replace(a, **here), replace(b, **other)]  # type: ignore[arg-type]
    then = decide(NOW, Decision(V4, "a", "a"), them, Will(), moves_flows=False)
    assert (then.active, then.settled) == (active, "a")
    assert bool(hardly_better(*them)) is (active == "a")


# fmt: off
WORDS_AGAINST = [
    (SLOW, {"rtt": 0.3}, "takes hardly less time than a"),
    (SLOW, {"rtt": None}, "has no known round trip"),
    (LOSSY, {"loss_evidence": 0.9}, "loses too"),
    (SLOW | LOSSY, {"rtt": 0.3, "loss_evidence": 0.9}, "takes hardly less time than a"),
]
# fmt: on


@pytest.mark.parametrize(("here", "other", "words"), WORDS_AGAINST)
def test_why_another_uplink_is_hardly_better_is_said(here: Numbers, other: Numbers, words: str) -> None:
    a, b = situation("a: degraded, b: up")
    assert hardly_better(replace(a, **here), replace(b, **other)) == words  # type: ignore[arg-type]


@pytest.mark.parametrize(("words", "active"), [("up", "a"), ("up held", "b"), ("up resting", "b"), ("degraded", "b")])
def test_what_is_preferred_and_owes_nothing_is_returned_to_without_margin(words: str, active: str) -> None:
    a, b = situation(f"a: {words}, b: degraded")
    them = [replace(a, rtt=0.39), replace(b, slow=True, rtt=0.4)]
    assert decide(NOW, Decision(V4, "b", "b"), them, Will(), moves_flows=False).active == active


def test_of_those_that_are_up_the_first_that_is_clearly_better_is_taken() -> None:
    a, b, c = situation("a: degraded, b: up, c: up")
    them = [replace(a, slow=True, rtt=0.4), replace(b, rtt=0.35), replace(c, rtt=0.05)]
    then = decide(NOW, Decision(V4, "a", "a"), them, Will(), moves_flows=False)
    assert (then.active, then.numbers["standby_rtt_seconds"]) == ("c", 0.05)


# --- over all that may be measured ------------------------------------------------------------------------------------

services = st.builds(
    lambda slow, lossy, rtt, evidence: {"slow": slow, "lossy": lossy, "rtt": rtt, "loss_evidence": evidence},
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 5),
    st.floats(0, 1),
)


@given(st.lists(st.tuples(services, services), min_size=1), st.sampled_from("ab"))
def test_between_two_degraded_uplinks_nothing_moves(times: list[tuple[Numbers, ...]], active: str) -> None:
    decision = Decision(V4, active, active)
    for each in times:
        them = [replace(c, **of) for c, of in zip(situation("a: degraded, b: degraded"), each, strict=True)]  # type: ignore[arg-type]
        decision = decide(NOW, decision, them, Will(), moves_flows=False)
        assert decision.active == active


@given(services, services)
def test_what_was_left_for_another_is_not_clearly_better_than_that(one: Numbers, two: Numbers) -> None:
    """Measured at the same moment, of two uplinks only one is left for the other."""
    a, b = (replace(c, **of) for c, of in zip(situation("a: degraded, b: degraded"), (one, two), strict=True))  # type: ignore[arg-type]
    if (a.slow, a.lossy) == (b.slow, b.lossy) == (True, False):
        assert hardly_better(a, b) or hardly_better(b, a)
