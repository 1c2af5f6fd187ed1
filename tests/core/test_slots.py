"""Two SIMs in one modem, of which one rests: when it is woken, and that this does not become a habit."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.core.ladder import Need
from failover.core.slots import COST, COST_MAX, COSTS, HOUR, LOSSY, RETURN, Seat, Slots, Trouble

A, B = Seat("a", 1), Seat("b", 2)
BOTH = (A, B)
ALONE = Need(100.0, others=False)


def test_it_flees_when_the_outage_has_cost_as_much_as_the_change_would() -> None:
    slots = Slots(0.0)
    assert slots.change(100.0, BOTH, 1, ALONE, 2) is None
    assert slots.deadline == 100.0 + COST
    assert slots.change(100.0 + COST, BOTH, 1, ALONE, 2) == 2
    dear = Slots(0.0, cost=40.0)
    assert dear.change(139.9, BOTH, 1, ALONE, 2) is None
    assert dear.change(140.0, BOTH, 1, ALONE, 2) == 2


@pytest.mark.parametrize("need", [Need(100.0), Need(100.0, others=True, convicted=False)])
def test_while_others_carry_it_stays(need: Need) -> None:
    slots = Slots(0.0)
    assert slots.change(9000.0, BOTH, 1, need, 2) is None


def test_one_sim_is_no_choice_nor_is_one_that_is_barred() -> None:
    slots = Slots(0.0)
    assert slots.change(9000.0, (A,), 1, ALONE, 2) is None
    assert slots.change(9000.0, (A, Seat("b", 2, barred=True)), 1, ALONE, 2) is None
    assert slots.deadline == inf


def test_the_operators_word_needs_no_reason() -> None:
    slots = Slots(0.0)
    assert slots.change(1.0, (A, Seat("b", 2, wanted=True)), 1, None, 0) == 2
    assert slots.change(1.0, (Seat("a", 1, barred=True), B), 1, None, 0) == 2
    assert slots.change(1.0, (A, Seat("b", 2, wanted=True)), 2, ALONE, 2) is None
    assert slots.change(1.0, BOTH, 3, None, 2) == 1, "a SIM that is no uplink's is left"


def test_what_a_change_cost_is_learned_and_bounded() -> None:
    slots = Slots(0.0)
    slots.passed(109.0, 100.0)
    assert slots.cost == 9.0
    slots.passed(5000.0, 100.0)
    assert slots.cost == COST_MAX
    slots.passed(5001.0, None)
    assert slots.cost == COST_MAX


def test_it_returns_in_time_and_ever_later_while_that_is_in_vain() -> None:
    slots, now, gaps = Slots(0.0), 100.0, list[float]()
    for _ in range(4):
        slots.chosen(now, 1, 2, BOTH, fled=True)
        left = now
        while slots.change(now, BOTH, 2, None, 60) is None:
            assert slots.deadline > now
            now = slots.deadline
        gaps.append(now - left)
        slots.chosen(now, 2, 1, BOTH, fled=False)
        now += 5.0
    assert gaps == [RETURN, 2 * RETURN, 4 * RETURN, 8 * RETURN]
    slots.passed(now + RETURN, None)
    slots.chosen(now + 2 * RETURN, 1, 2, BOTH, fled=True)
    assert slots.change(now + 3 * RETURN, BOTH, 2, None, 60) == 1, "what lasted is forgiven"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(1.0, 4000.0)), min_size=1, max_size=80), st.integers(0, 6))
def test_never_more_often_in_an_hour(spells: list[tuple[bool, float]], most: int) -> None:
    slots, now, slot, times = Slots(0.0), 0.0, 1, list[float]()
    for lost, seconds in spells:
        need, end = (Need(now, others=False) if lost else None), now + seconds
        while now < end:
            to = slots.change(now, BOTH, slot, need, most)
            if to is not None:
                assert to != slot
                slots.chosen(now, slot, to, BOTH, fled=need is not None)
                times.append(now)
                slot, need = to, Need(now, others=False) if lost else None
                continue
            assert slots.deadline > now
            now = min(end, slots.deadline)
        now = end
    assert all(later - earlier >= HOUR - 1e-6 for earlier, later in zip(times, times[most:], strict=False) if most)
    assert most or not times


def test_a_return_leaves_room_to_undo_it_at_once() -> None:
    """Of two changes in an hour, the flight is one; a return in vain after half an hour would last the other half."""
    slots = Slots(0.0)
    slots.chosen(100.0, 1, 2, BOTH, fled=True)
    assert slots.change(100.0 + RETURN, BOTH, 2, None, 2) is None
    assert slots.deadline == 100.0 + 3600.0
    assert slots.change(slots.deadline, BOTH, 2, None, 2) == 1


def test_a_brownout_is_left_when_it_has_cost_several_changes() -> None:
    slots = Slots(0.0)
    assert slots.change(100.0, BOTH, 1, None, 2) is None
    assert slots.better(100.0, BOTH, 1, 100.0, 2) is None
    assert slots.deadline == 100.0 + LOSSY
    assert slots.better(100.0 + LOSSY, BOTH, 1, 100.0, 2) == 2
    dear = Slots(0.0, cost=40.0)
    assert dear.better(99.9 + 40.0 * COSTS, BOTH, 1, 100.0, 2) is None
    assert dear.better(100.0 + 40.0 * COSTS, BOTH, 1, 100.0, 2) == 2


def test_a_brownout_of_both_sims_is_not_danced_to() -> None:
    slots = Slots(0.0)
    slots.chosen(1000.0, 1, 2, BOTH, fled=True)
    assert slots.better(1000.0 + LOSSY, BOTH, 2, 1000.0, 60) is None
    assert slots.deadline == 1000.0 + RETURN


@pytest.mark.parametrize("seats", [(A,), (A, Seat("b", 2, barred=True)), (Seat("a", 1, wanted=True), B)])
def test_a_brownout_is_borne_where_there_is_no_choice(seats: tuple[Seat, ...]) -> None:
    assert Slots(0.0).better(9000.0, seats, 1, 100.0, 2) is None
    assert Slots(0.0).better(9000.0, BOTH, 1, 100.0, 0) is None


def test_trouble_by_fits_and_starts_adds_up_and_good_times_make_up_for_it() -> None:
    trouble = Trouble()
    for start in range(0, 200, 20):
        trouble.note(start, bad=True)
        trouble.note(start + 15.0, bad=False)
    assert trouble.since is not None
    assert 195.0 - trouble.since == pytest.approx(15.0 + 9 * 10.0)
    trouble.note(300.0, bad=True)
    assert trouble.since == 300.0, "105 s of good times"
    trouble.note(340.0, bad=False)
    trouble.note(381.0, bad=False)
    assert trouble.since is None
