"""The hold-down as a diary: second by second which verdict came, and from when on traffic may return."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.core.damping import FORGIVEN, HALF_LIFE, LONGEST, Standing
from failover.memory import Debt
from failover.model import Family, Verdict

V = Verdict
FAILBACK, DOUBT = 60.0, 10.0


def lived(*turns: tuple[float, Verdict], failback: float = FAILBACK, served: float | None = None) -> Standing:
    """A standing that has carried traffic at `served` (never: None)."""
    standing = Standing(wait=DOUBT)
    for now, verdict in turns:
        if served is not None and now >= served:
            standing.served()
            served = None
        standing.turn(now, verdict, failback, DOUBT)
    return standing


def outage(at: float, back: float) -> tuple[tuple[float, Verdict], ...]:
    return (at, V.DOUBTFUL), (at + 1.15, V.DOWN), (back, V.UP)


# fmt: off
UNTIL = {
    "never healthy": ((), inf),
    "the first health owes what a doubt owes": (((0, V.UP),), 10),
    "a doubt": (((0, V.UP), (100, V.DOUBTFUL), (100.5, V.UP)), 110.5),
    "a doubt in the hold-down of a doubt begins it anew": (
        ((0, V.UP), (100, V.DOUBTFUL), (101, V.UP), (105, V.DOUBTFUL), (106, V.UP)), 116),
    "in doubt": (((0, V.UP), (100, V.DOUBTFUL)), inf),
    "a brownout": (((0, V.UP), (100, V.DEGRADED), (200, V.UP)), 210),
    "a conviction": (((0, V.UP), *outage(100, 200)), 260),
    "no carrier": (((0, V.UP), (100, V.DOWN), (101, V.UNKNOWN), (102, V.UP)), 162),
    "an absence": (((0, V.UP), (100, V.ABSENT), (101, V.UNKNOWN), (102, V.UP)), 162),
    "a portal": (((0, V.UP), (100, V.PORTAL), (200, V.UP)), 260),
    "no carrier, then no route, is one outage": (
        ((0, V.UP), (100, V.DOWN), (106, V.ABSENT), (120, V.UNKNOWN), (121, V.UP)), 181),
    "a doubt in the hold-down of a conviction keeps it": (
        ((0, V.UP), *outage(100, 200), (230, V.DOUBTFUL), (231, V.UP)), 291),
    "a doubt after it owes ten seconds again": (
        ((0, V.UP), *outage(100, 200), (300, V.DOUBTFUL), (301, V.UP)), 311),
    "another way out after a served hold-down owes ten seconds": (
        ((0, V.UP), (100, V.UNKNOWN), (101, V.UP)), 111),
    "another way out in a hold-down owes it again": (
        ((0, V.UP), *outage(100, 200), (210, V.UNKNOWN), (211, V.UP)), 271),
    "a false dawn is the same outage": (
        ((0, V.UP), *outage(100, 200), (204, V.DOUBTFUL), (205, V.DOWN), (300, V.UP)), 360),
    "so are many of them": (
        ((0, V.UP), *outage(100, 200), *(t for n in range(20) for t in outage(202 + 4 * n, 205 + 4 * n))), 341),
}
# fmt: on


@pytest.mark.parametrize(("turns", "until"), UNTIL.values(), ids=UNTIL)
def test_when_traffic_may_return(turns: tuple[tuple[float, Verdict], ...], until: float) -> None:
    assert lived(*turns).until() == until


def test_what_carries_traffic_owes_nothing_until_it_falls() -> None:
    standing = lived((0, V.UP))
    standing.served()
    assert standing.until() == 0
    standing.turn(500, V.DOUBTFUL, FAILBACK, DOUBT)
    standing.turn(501, V.UP, FAILBACK, DOUBT)
    assert standing.until() == 511
    assert not standing.convicted


def waits(gap: float, count: int, failback: float = FAILBACK) -> list[float]:
    """Hold-downs of outages that follow each other `gap` seconds after the health before."""
    standing = Standing(wait=DOUBT)
    standing.turn(0, V.UP, failback, DOUBT)
    at, found = 0.0, []
    for _ in range(count):
        at += gap
        for moment, verdict in outage(at, at + 20):
            standing.turn(moment, verdict, failback, DOUBT)
        at += 20
        found.append(standing.wait)
    return found


def test_it_doubles_per_relapse_up_to_an_hour() -> None:
    found = waits(gap=11, count=40)
    assert found[0] == 60
    assert all(1.7 < later / earlier <= 2 for earlier, later in pairwise(found[:6]))
    assert found == sorted(found)
    assert found[-1] == LONGEST == 3600


def test_half_of_the_relapses_is_forgiven_every_quarter_of_an_hour() -> None:
    standing = lived((0, V.UP), (100, V.DOWN))
    assert [round(standing.relapses_now(100 + 900 * n), 4) for n in range(4)] == [1, 0.5, 0.25, 0.125]
    assert waits(gap=900 - 20, count=2)[1] == pytest.approx(60 * 2**0.5, rel=0.02)
    assert waits(gap=24 * 3600, count=9)[-1] == pytest.approx(60, rel=0.001)


# fmt: off
RFC2439 = {
    # outages' begins           penalty  traffic returns after  forgiven after the last
    "none": ((),                0.0,     None,                   None),
    "one": ((0,),               1.0,     60.0,                   3890.0),
    "an hour and a half ago": ((0, 5400), 1.0156, 60.7,          3910.0),
    "a quarter of an hour ago": ((0, 900), 1.5, 84.9,            4416.0),
    "twice at once": ((0, 60),  1.955,   116.3,                  4760.0),
    "three times": ((0, 60, 120), 2.8665, 218.8,                 5257.0),
    "a false dawn": ((0, 21),   1.0,     60.0,                   3890.0),
}
# fmt: on


@pytest.mark.parametrize(("begins", "penalty", "suppressed", "forgiven"), RFC2439.values(), ids=RFC2439)
def test_the_penalty_is_that_of_rfc_2439(
    begins: tuple[float, ...], penalty: float, suppressed: float | None, forgiven: float | None
) -> None:
    """One each, halved with time; it suppresses for so long, and goes on to count for the next for longer."""
    standing = lived((-100, V.UP), *(turn for at in begins for turn in ((at, V.DOWN), (at + 20, V.UP))))
    last = 0 if len(begins) < 2 or begins[-1] == 21 else begins[-1]
    assert standing.relapses_now(last) == pytest.approx(penalty, rel=1e-3)
    assert standing.penalty().left(last + HALF_LIFE) == pytest.approx(penalty / 2, rel=1e-3)
    assert standing.convicted is (suppressed is not None)
    assert standing.wait == pytest.approx(DOUBT if suppressed is None else suppressed, rel=1e-3)
    left = standing.penalty().forgiven_in(last)
    assert left == (forgiven if forgiven is None else pytest.approx(forgiven, rel=1e-3))


@given(st.lists(st.floats(31, 4000), max_size=12), st.floats(1, 1800))
def test_once_forgiven_the_next_conviction_waits_no_longer_than_a_first_one(gaps: list[float], failback: float) -> None:
    standing, now = Standing(wait=DOUBT), 0.0
    for gap in gaps:
        standing.turn(now, V.UP, failback, DOUBT)
        now += gap
        standing.turn(now, V.DOWN, failback, DOUBT)
    assert (standing.penalty().forgiven_in(now) is None) is (standing.relapses_now(now) <= FORGIVEN)
    now = max(now, standing.forgiven_at()) + DOUBT + 0.001
    assert standing.penalty().forgiven_in(now) is None
    standing.turn(now - DOUBT, V.UP, failback, DOUBT)
    standing.turn(now, V.DOWN, failback, DOUBT)
    assert failback <= standing.wait <= failback * 1.036


def test_a_doubt_costs_no_penalty_and_a_restart_keeps_it() -> None:
    doubted = lived((0, V.UP), (100, V.DOUBTFUL), (101, V.UP))
    assert (doubted.penalty().figure, doubted.forgiven_at()) == (0.0, -inf)
    before = lived((0, V.UP), *outage(100, 200))
    after = Standing(wait=DOUBT)
    after.recall(5.0, Debt("a", Family.IPV4, 60.0, convicted=True, relapses=before.relapses_now(200)), FAILBACK, DOUBT)
    assert after.penalty().left(5.0) == before.penalty().left(200)
    assert after.forgiven_at() - 5.0 == pytest.approx(before.forgiven_at() - 200)


@pytest.mark.parametrize(("healthy", "wait"), [(9.9, 60), (10, 120)])
def test_an_outage_counts_again_only_after_ten_seconds_of_health(healthy: float, wait: float) -> None:
    standing = lived((0, V.UP), *outage(100, 110), *outage(110 + healthy, 200))
    assert standing.wait == pytest.approx(wait, rel=0.03)


@pytest.mark.parametrize("failback", [1.0, 5.0, 10.0, 60.0, 3600.0])
def test_after_a_conviction_the_failback_time_is_owed_even_where_it_is_the_shorter_one(failback: float) -> None:
    assert lived((0, V.UP), *outage(100, 200), failback=failback).until() == 200 + failback


@given(st.lists(st.tuples(st.floats(0.01, 4000), st.sampled_from(Verdict)), max_size=60), st.floats(1, 3600))
def test_a_wait_never_exceeds_an_hour_and_ends_after_health_only(
    steps: list[tuple[float, Verdict]], failback: float
) -> None:
    standing, now = Standing(wait=DOUBT), 0.0
    for pause, verdict in steps:
        now += pause
        standing.turn(now, verdict, failback, DOUBT)
        assert standing.wait <= max(LONGEST, DOUBT)
        assert (standing.until() < inf) is (verdict is V.UP)
        assert standing.until() >= now + min(failback, DOUBT)
        if verdict in (V.DOWN, V.ABSENT, V.PORTAL):
            assert standing.convicted
            assert standing.wait >= failback


def test_what_follows_a_mistake_is_charged_as_if_that_had_not_been() -> None:
    standing = lived((0, V.UP), (100, V.PORTAL))
    standing.acquit(101, DOUBT)
    standing.turn(101, V.UP, FAILBACK, DOUBT)
    assert (standing.until(), standing.convicted, standing.relapses) == (111, False, 0.0)
    standing.turn(104, V.DOWN, FAILBACK, DOUBT)
    assert (standing.wait, standing.convicted, standing.relapses) == (60, True, 1.0)


def test_the_penalty_is_halved_in_sleep_too() -> None:
    standing = lived(*outage(0.0, 30.0))
    standing.slept(HALF_LIFE)
    assert standing.relapses_now(30.0) == pytest.approx(0.5, rel=0.05)
