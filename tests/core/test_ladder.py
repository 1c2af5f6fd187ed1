"""The ladder alone: when each step is due, what forbids it, and that no dice and no trouble make it a storm."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.config.modems import Repair, Rung
from failover.core.ladder import DAY, HELPED, REST, REST_MAX, STUCK, TUNNEL, WAITS, Ladder, Need

ALL = frozenset(Rung)
PLAIN = Repair(steps=(Rung.RECONNECT, Rung.REGISTER, Rung.RESET))
LOST = Need(since=1000.0)


def level() -> float:
    return 0.0


def climbed(ladder: Ladder, until: float, need: Need | None = LOST, repair: Repair = PLAIN) -> list[tuple[float, Rung]]:
    """What it takes from 1000 s on, woken at its deadlines alone."""
    now, taken = 1000.0, []
    while now <= until:
        rung = ladder.climb(now, need, repair, ALL)
        if rung is not None:
            taken.append((now, rung))
            continue
        assert ladder.deadline > now
        now = ladder.deadline
    return taken


def test_step_by_step_each_after_what_the_one_before_is_given() -> None:
    assert climbed(Ladder(level), 1075.0) == [(1010.0, "reconnect"), (1030.0, "register"), (1070.0, "reset")]


def test_the_dice_make_waits_longer_and_by_no_more_than_a_quarter() -> None:
    (first, _), (second, _), (third, _) = climbed(Ladder(lambda: 0.999999), 1090.0)
    assert (first, second, third) == pytest.approx((1012.5, 1037.5, 1087.5), abs=0.01)


def test_pauses_double_and_resets_keep_their_distance() -> None:
    taken = climbed(Ladder(level), 1000.0 + DAY)
    starts = [at for at, rung in taken if rung is Rung.RECONNECT]
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert all(later >= earlier for earlier, later in itertools.pairwise(pauses))
    assert max(pauses) <= REST_MAX + sum(WAITS.values())
    assert pauses[-1] >= 4 * REST


def test_without_a_witness_a_tunnel_comes_first() -> None:
    assert climbed(Ladder(level), 1071.0, Need(1000.0, convicted=False))[0] == (1000.0 + TUNNEL + 10.0, "reconnect")


USELESS = [Need(1000.0, storm=True), Need(1000.0, others=False, stuck=True), Need(1000.0, storm=True, stuck=True)]


@pytest.mark.parametrize("need", [None, *USELESS])
def test_what_is_no_use_is_not_done(need: Need | None) -> None:
    ladder = Ladder(level)
    assert [ladder.climb(at, need, PLAIN, ALL) for at in (1000.0, 2000.0, 90000.0)] == [None] * 3
    assert ladder.deadline == inf


def test_who_is_stuck_waits_and_is_helped_while_others_carry() -> None:
    (first, _), *_ = climbed(Ladder(level), 1400.0, Need(1000.0, stuck=True))
    assert first == 1000.0 + STUCK + 10.0


def test_a_step_that_the_modem_cannot_take_is_left_out() -> None:
    ladder = Ladder(level)
    assert ladder.climb(1030.0, LOST, PLAIN, {Rung.RESET}) is None
    assert ladder.climb(1040.0, LOST, PLAIN, {Rung.RESET}) is Rung.RESET
    assert ladder.climb(1041.0, LOST, PLAIN, set()) is None
    assert 1041.0 < ladder.deadline <= 1041.0 + REST


def test_what_came_shortly_before_is_what_helped() -> None:
    for passed, helped in ((1010.0 + HELPED, Rung.RECONNECT), (1010.1 + HELPED, None)):
        ladder = Ladder(level)
        assert ladder.passed(1000.0) is None
        assert ladder.climb(1010.0, LOST, PLAIN, ALL) is Rung.RECONNECT
        assert ladder.passed(passed) is helped
        assert ladder.passed(passed) is None


def test_resets_before_a_restart_count() -> None:
    ladder = Ladder(level, resets=[1000.0 - 300.0])
    assert [rung for _, rung in climbed(ladder, 1290.0)] == ["reconnect", "register"]
    used_up = Ladder(level, resets=[1000.0 - 3600.0 * hours for hours in range(1, 7)])
    assert Rung.RESET not in {rung for _, rung in climbed(used_up, 1000.0 + 4 * 3600)}


def test_a_reset_that_was_none_is_forgiven() -> None:
    ladder = Ladder(level)
    assert ladder.climb(1040.0, LOST, replace(PLAIN, steps=(Rung.RESET,)), ALL) is Rung.RESET
    ladder.forgive(Rung.RESET)
    assert ladder.resets(1040.0) == ()


SPELLS = st.lists(
    st.tuples(st.sampled_from(("lost", "passes", "storm")), st.floats(1.0, 7200.0)), min_size=1, max_size=60
)


@settings(max_examples=150, deadline=None)
@given(SPELLS, st.integers(0, 8), st.floats(60.0, 3600.0), st.randoms(use_true_random=False))
def test_whatever_happens_resets_are_bounded(
    spells: list[tuple[str, float]], most: int, apart: float, dice: random.Random
) -> None:
    repair = Repair(steps=(*PLAIN.steps, Rung.POWER), resets_per_day=most, reset_interval=apart)
    ladder, now, resets = Ladder(dice.random), 0.0, list[float]()
    for kind, seconds in spells:
        began, end = now, now + seconds
        while now < end:
            if kind == "passes":
                ladder.passed(now)
                break
            rung = ladder.climb(now, Need(began, storm=kind == "storm"), repair, ALL)
            if rung is not None:
                assert kind == "lost"
                resets += [now] if rung in (Rung.RESET, Rung.POWER) else []
                continue
            assert ladder.deadline > now
            now = min(end, ladder.deadline)
        now = end
    assert all(later - earlier >= apart for earlier, later in itertools.pairwise(resets))
    assert all(len([one for one in resets if at - DAY < one <= at]) <= most for at in resets)


def test_bars_that_flicker_are_not_reconnected_each_time() -> None:
    """Five seconds of packets and fifteen without, for an hour."""
    ladder, taken = Ladder(level), list[float]()
    for cycle in range(180):
        began = 1000.0 + 20 * cycle
        if ladder.climb(began + 12.0, Need(since=began), PLAIN, {Rung.RECONNECT}):
            taken.append(began + 12.0)
        ladder.passed(began + 15.0)
    pauses = [later - earlier for earlier, later in itertools.pairwise(taken)]
    assert pauses[:4] == [60.0, 120.0, 240.0, 480.0]
    assert all(pause >= REST for pause in pauses[4:])
