"""The probe budget: what may be spent in any window, what doubt may and a steady probe may not, and its words."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.config import Metered
from failover.core.budget import DEPTH, MONTH, RESERVE, Budget

HOUR, DAY = 3600.0, 86400.0
PING = 56
USUAL = Metered()
DEEP = 2_000_000
"""Bytes in a full bucket of the usual budget: 30 MB in 30 days are 1 MB a day."""


def usual(level: float = DEEP, *, active: bool = False) -> Budget:
    """The usual budget with `level` bytes left at 0 s."""
    budget = Budget(0.0, USUAL)
    budget.role(0.0, active=active)
    budget.recall(0.0, level, 0.0)
    return budget


def drained(*, doubt: bool) -> Budget:
    """One that has paid all the pings it can."""
    budget = usual()
    while budget.affords(0.0, PING, doubt=doubt):
        budget.spend(0.0, PING)
    return budget


# --- what it holds ---------------------------------------------------------------------------------------------------


def test_it_starts_with_two_days_of_the_active_rate_also_for_a_standby() -> None:
    budget = Budget(5.0, USUAL)
    assert budget.left(5.0) == budget.known == budget.capacity == DEEP
    assert Budget(5.0, Metered(60_000_000, 1_000_000)).left(5.0) == 2 * DEEP


@pytest.mark.parametrize(("active", "rate"), [(True, 30_000_000 / 30), (False, 5_000_000 / 30)])
def test_it_fills_at_the_rate_of_its_role(active: bool, rate: float) -> None:
    budget = usual(0.0, active=active)
    assert budget.left(DAY) == pytest.approx(rate)
    assert budget.left(99 * DAY) == DEEP


def test_another_role_counts_from_when_it_was_taken() -> None:
    budget = usual(0.0)
    budget.role(DAY, active=True)
    budget.role(1.5 * DAY, active=False)
    assert budget.left(2.5 * DAY) == pytest.approx((5 + 15 + 5) * 10**6 / 30)


def test_what_is_known_is_as_of_the_last_question() -> None:
    budget = usual(0.0)
    found = budget.left(DAY)
    assert budget.known == found != 0.0
    budget.spend(DAY, 10**9)
    assert budget.known == 0.0, "what is owed is not shown"


def test_who_slept_was_paid_nothing_and_filled() -> None:
    budget = usual(0.0, active=True)
    budget.asleep(1.0, DAY)
    assert budget.left(1.0) == pytest.approx((DAY + 1) * 30_000_000 / MONTH)
    budget.asleep(2.0, 1e12)
    assert budget.left(2.0) == DEEP


def test_time_that_stands_still_or_runs_back_fills_nothing() -> None:
    budget = usual(1000.0)
    assert budget.left(-50.0) == 1000.0
    budget.spend(10.0, PING)
    level = budget.left(10.0)
    assert budget.left(5.0) == budget.left(10.0) == level


# --- who may spend ---------------------------------------------------------------------------------------------------


def test_the_last_fifth_is_for_doubt() -> None:
    budget = drained(doubt=False)
    left = budget.left(0.0)
    assert left is not None
    assert RESERVE * DEEP - PING < left <= RESERVE * DEEP
    assert budget.affords(0.0, PING, doubt=True)
    spent = DEEP - (drained(doubt=True).left(0.0) or 0.0)
    assert DEEP - PING < spent <= DEEP


def test_who_may_not_spend_may_again_as_it_fills() -> None:
    budget = drained(doubt=False)
    assert not budget.affords(0.0, PING, doubt=False)
    assert budget.affords(PING / (5_000_000 / MONTH) + 0.1, PING, doubt=False)


def test_what_weighs_more_has_its_turn_too() -> None:
    """Two families, one of which pays more for a ping, and one bucket that fills more slowly than they would like."""
    budget, paid = drained(doubt=False), {56: 0, 96: 0}
    for at in range(0, 100_000, 8):
        for weight, phase in ((56, 0.0), (96, 5.0)):
            if budget.affords(at + phase, weight, doubt=False):
                budget.spend(at + phase, weight)
                paid[weight] += 1
    assert paid[96] > paid[56] / 3
    assert paid[56] > paid[96] / 3


def test_at_rest_the_usual_paces_are_paid_for_ever() -> None:
    """One ping of two families in turn per 8 s while active, and per 90 s while not, out of the reserve's edge."""
    for active, pace in ((True, 8), (False, 90)):
        budget = usual(RESERVE * DEEP + 1, active=active)
        for turn in range(20_000):
            weight = (56, 96)[turn % 2]
            assert budget.affords(turn * pace, weight, doubt=False), (active, turn)
            budget.spend(turn * pace, weight)


def test_what_is_owed_has_an_end() -> None:
    budget = usual()
    for _ in range(1000):
        budget.spend(0.0, 100_000)
    assert budget.left(0.0) == 0.0
    assert not budget.affords(0.0, 1, doubt=True)
    owed = RESERVE * DEEP / (5_000_000 / MONTH)
    assert not budget.affords(owed - 1, 1, doubt=True)
    assert budget.affords(owed + 1, 1, doubt=True)


def test_the_operator_spends_nothing_of_the_reserve() -> None:
    budget = usual()
    for _ in range(1000):
        budget.grant(0.0, 100_000)
    assert budget.left(0.0) == RESERVE * DEEP
    budget.spend(0.0, PING)
    budget.grant(0.0, 100_000)
    assert budget.left(0.0) == RESERVE * DEEP - PING


def test_it_is_used_up_too_when_not_even_a_doubt_can_be_paid() -> None:
    """As at a start with nothing left, where nothing is known yet."""
    budget = usual(0.0)
    assert not budget.affords(0.0, PING, doubt=True)
    assert budget.exhausted(0.0)


def test_what_is_refunded_can_be_spent_and_is_never_more_than_there_is_room_for() -> None:
    budget = usual(1000.0)
    budget.spend(0.0, PING)
    budget.refund(0.0, PING // 2)
    assert budget.left(0.0) == 1000 - PING / 2
    budget.refund(0.0, 10**12)
    assert budget.left(0.0) == DEEP


def test_what_came_to_more_than_was_paid_is_paid_too() -> None:
    budget = usual(1000.0)
    budget.refund(0.0, -400)
    assert budget.left(0.0) == 600
    budget.refund(0.0, -(10**12))
    assert budget.affords(RESERVE * DEEP / (5_000_000 / MONTH) + 1, 1, doubt=True), "what is owed has an end here too"


def test_below_half_it_is_poor() -> None:
    assert not usual(DEEP / 2).poor(0.0)
    budget = usual(DEEP / 2 - 1)
    assert budget.poor(0.0)
    assert not budget.poor(1.0)


def test_who_is_not_metered_can_pay_everything() -> None:
    budget = Budget(0.0, None)
    budget.spend(0.0, 10**9)
    budget.refund(0.0, 10**3)
    budget.recall(0.0, 0.0, 0.0)
    budget.asleep(0.0, 10.0)
    assert budget.affords(0.0, 10**15, doubt=False)
    assert (budget.left(1.0), budget.poor(1.0), budget.exhausted(1.0)) == (None, False, False)
    assert (budget.known, budget.capacity) == (None, None)
    assert budget.warning(1.0, "au") == ""


# --- another config --------------------------------------------------------------------------------------------------


def test_another_budget_is_as_full_as_the_one_before_and_nothing_is_gained_by_changing_it() -> None:
    budget = usual()
    for size in (3_000_000, 60_000_000):
        budget.configure(0.0, Metered(size, 1_000_000))
        assert budget.left(0.0) == budget.capacity
    budget.configure(0.0, USUAL)
    budget.spend(0.0, round(0.9 * DEEP))
    budget.configure(0.0, Metered(3_000_000, 1_000_000))
    assert budget.left(0.0) == pytest.approx(DEEP / 100)
    budget.configure(0.0, USUAL)
    assert budget.left(0.0) == pytest.approx(DEEP / 10)


def test_a_larger_budget_is_for_steady_probes_at_once_where_the_smaller_one_was() -> None:
    budget = usual()
    budget.spend(0.0, round(0.7 * DEEP))
    assert budget.affords(0.0, PING, doubt=False)
    budget.configure(0.0, Metered(90_000_000, 5_000_000))
    assert budget.affords(0.0, PING, doubt=False)


def test_the_time_before_a_new_budget_filled_as_the_old_one() -> None:
    budget = usual(0.0)
    budget.configure(DAY, Metered(60_000_000, 30_000_000))
    assert budget.left(DAY) == pytest.approx(2 * 5_000_000 / 30)


def test_who_becomes_metered_starts_full_and_who_is_no_longer_is_forgiven() -> None:
    budget = drained(doubt=False)
    assert not budget.affords(0.0, PING, doubt=False)
    assert budget.exhausted(0.0)
    budget.configure(0.0, None)
    assert (budget.left(0.0), budget.exhausted(0.0)) == (None, False)
    budget.configure(1.0, USUAL)
    assert budget.left(1.0) == DEEP


# --- what is said ----------------------------------------------------------------------------------------------------


def test_it_is_used_up_once_a_steady_probe_was_refused_and_said_with_the_same_words_until_an_hour_is_there() -> None:
    budget = usual()
    budget.role(0.0, active=True)
    assert budget.warning(0.0, "au") == ""
    while budget.affords(0.0, PING, doubt=False):
        assert not budget.exhausted(0.0)
        budget.spend(0.0, PING)
    said = {budget.warning(float(at), "au") for at in range(0, 3600, 60)}
    assert said == {
        "au: the probe budget of 30MB/month (5MB/month as a standby) is used up; until it has refilled, the uplink is "
        "watched by its traffic and the kernel, and probed only as far as the budget refills"
    }
    assert budget.affords(3600.0, PING, doubt=False), "it is probed as far as it refills"
    assert budget.warning(3700.0, "au") == ""


def test_what_doubt_is_refused_is_not_what_makes_it_used_up() -> None:
    budget = usual()
    assert not budget.affords(0.0, DEEP + 1, doubt=True)
    assert not budget.exhausted(0.0)


def test_a_heavy_probe_that_cannot_be_paid_does_not_come_and_go_in_words() -> None:
    """One of 5 kB out of 1 MB a month: more than an hour brings."""
    budget = Budget(0.0, Metered(1_000_000, 1_000_000))
    budget.recall(0.0, RESERVE * DEEP / 30, 0.0)
    seen, paid = [], 0
    for minute in range(24 * 60):
        if budget.affords(60.0 * minute, 5500, doubt=False):
            budget.spend(60.0 * minute, 5500)
            paid += 1
        seen.append(budget.exhausted(60.0 * minute))
    assert seen.count(True) == len(seen)
    assert paid == pytest.approx(1_000_000 / 30 / 5500, abs=1)


# --- over a restart --------------------------------------------------------------------------------------------------


def test_what_was_left_is_left_and_it_filled_as_a_standby_meanwhile() -> None:
    budget = Budget(7.0, USUAL)
    budget.role(7.0, active=True)
    budget.recall(7.0, 1000.0, DAY)
    assert budget.left(7.0) == pytest.approx(1000 + 5_000_000 / 30)


@pytest.mark.parametrize(
    ("left", "age", "found"),
    [(1e12, 0.0, DEEP), (-5.0, 0.0, 0.0), (5.0, -DAY, 5.0), (0.0, 1e15, DEEP), (inf, inf, DEEP), (nan, nan, 0.0)],
)
def test_whatever_is_remembered_there_is_no_more_than_it_holds(left: float, age: float, found: float) -> None:
    budget = Budget(0.0, USUAL)
    budget.recall(0.0, left, age)
    assert budget.left(0.0) == found


# --- any life --------------------------------------------------------------------------------------------------------

METERED = st.builds(Metered, st.integers(10**6, 10**9), st.integers(10**6, 10**9))
STEPS = st.lists(st.tuples(st.floats(0, 2 * DAY), st.booleans(), st.booleans(), st.integers(1, 10**6)), max_size=60)


@given(METERED, STEPS)
@settings(max_examples=300, deadline=None)
def test_in_no_window_is_more_spent_than_the_bucket_and_what_it_filled(
    metered: Metered, steps: list[tuple[float, bool, bool, int]]
) -> None:
    budget, now = Budget(0.0, metered), 0.0
    depth, fastest = metered.budget / MONTH * DEPTH, max(metered.budget, metered.standby) / MONTH
    spent: list[tuple[float, int]] = []
    for wait, active, doubt, weight in steps:
        now += wait
        budget.role(now, active=active)
        before = budget.left(now)
        assert before is not None
        if budget.affords(now, weight, doubt=doubt):
            budget.spend(now, weight)
            spent.append((now, weight))
            after = budget.left(now)
            assert after is not None
            assert after == pytest.approx(before - weight, abs=1e-3)
            assert doubt or after >= RESERVE * depth - weight, "the reserve is for doubt, but for a last one"
    for first, (start, _) in enumerate(spent):
        for end in range(first, len(spent)):
            window = sum(weight for _, weight in spent[first : end + 1])
            assert window <= depth + fastest * (spent[end][0] - start) + 1e-3


@given(METERED, METERED, st.lists(st.tuples(st.sampled_from("srcaz"), st.integers(0, 10**8)), max_size=40))
def test_there_is_never_less_than_nothing_nor_more_than_it_holds(
    metered: Metered, other: Metered, steps: list[tuple[str, int]]
) -> None:
    budget, now, current = Budget(0.0, metered), 0.0, metered
    for step, number in steps:
        now += number % 1000
        match step:
            case "s":
                budget.spend(now, number)
            case "r":
                budget.refund(now, number)
            case "c":
                current = other if current is metered else metered
                budget.configure(now, current)
            case "a":
                budget.role(now, active=bool(number % 2))
            case "z":
                budget.asleep(now, number)
        left = budget.left(now)
        assert left is not None
        assert 0 <= left <= current.budget / MONTH * DEPTH
