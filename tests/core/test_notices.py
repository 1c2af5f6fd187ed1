"""What is said, and how often."""

from __future__ import annotations

from failover.core.notices import Warnings, recalled
from failover.core.policy import Will


def test_what_lasts_is_said_once_and_what_comes_again_after_a_minute() -> None:
    warnings, there = Warnings(), ("a", "b")
    assert [n.text for n in warnings.news(0.0, there)] == ["a", "b"]
    assert warnings.news(30.0, there) == []
    assert warnings.news(300.0, there) == []
    assert (warnings.news(301.0, ()), warnings.texts) == ([], ())
    assert [n.text for n in warnings.news(302.0, there)] == ["a", "b"]


def test_what_comes_and_goes_is_said_once_a_minute() -> None:
    warnings = Warnings()
    said = [now for now in range(0, 200, 10) for _ in warnings.news(float(now), ("a",) if now % 20 == 0 else ())]
    assert said == [0, 60, 120, 180]


def test_what_is_recalled_is_one_sentence_the_use_first() -> None:
    [notice] = recalled(10.0, Will("au", 70.0, strict=True, drained=frozenset(("wlan", "docomo", "depot"))))
    use, *drained = notice.text.split("; ")
    assert use == "still using au for 1m more, strictly"
    assert drained == ["depot is still drained", "docomo is still drained", "wlan is still drained"]
    assert recalled(70.0, Will("au", 70.0)) == []
    assert [n.text for n in recalled(70.0, Will("au"))] == ["still using au"]
