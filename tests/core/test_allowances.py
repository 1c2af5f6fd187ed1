"""What metered uplinks had left for probes, over a restart."""

from __future__ import annotations

from math import inf, nan

import pytest

from failover.config import Config, Metered
from failover.core.budget import Budget
from failover.core.policy import Will
from failover.core.recall import Recall
from failover.facts import SLOTS_MAX
from failover.memory import Allowance, Memory

DAY = 86400.0
DEEP = 2_000_000


def given(memory: Memory | None, *, now: float = 5.0, **budgets: Metered | None) -> tuple[Recall, dict[str, Budget]]:
    """A recall that has given these budgets what is remembered of them."""
    recall, found = Recall(memory), {name: Budget(now, metered) for name, metered in budgets.items()}
    recall.will(now)
    recall.give(now, (), Config(), found)
    return recall, found


def told(age: float, **left: float) -> Memory:
    return Memory(allowances=tuple(Allowance(name, value) for name, value in left.items()), age=age)


def test_each_metered_uplink_has_what_it_had_left_and_what_the_pause_brought() -> None:
    _, found = given(told(DAY, au=1000.0, docomo=DEEP), au=Metered(), docomo=Metered(), depot=None)
    left = {name: budget.left(5.0) for name, budget in found.items()}
    assert left == {"au": pytest.approx(1000 + 5_000_000 / 30), "docomo": DEEP, "depot": None}


def test_of_whom_nothing_is_remembered_all_is_left() -> None:
    for memory in (None, Memory(), told(0.0, ghost=1.0)):
        assert given(memory, au=Metered())[1]["au"].left(5.0) == DEEP


def test_where_nobody_knows_how_long_it_was_nothing_was_filled() -> None:
    assert given(told(0.0, au=1000.0), au=Metered())[1]["au"].left(5.0) == 1000


def test_it_is_given_once() -> None:
    recall, found = given(told(0.0, au=1000.0), au=Metered())
    found["au"].spend(5.0, 600)
    recall.give(5.0, (), Config(), found)
    assert found["au"].left(5.0) == 400


def test_what_is_left_now_is_remembered_of_metered_ones() -> None:
    recall, found = given(None, au=Metered(), depot=None, docomo=Metered())
    found["au"].spend(5.0, 600)
    taken = recall.take(5.0, Will(), (), found).allowances
    assert taken == (Allowance("au", DEEP - 600), Allowance("docomo", DEEP))
    again = given(Memory(allowances=taken), au=Metered(), docomo=Metered())[1]
    assert again["au"].left(5.0) == DEEP - 600


def test_before_the_kernel_was_read_what_was_remembered_is_remembered() -> None:
    assert Recall(told(7.0, au=1000.0)).take(3.0, Will(), (), {}).allowances == (Allowance("au", 1000.0),)


@pytest.mark.parametrize(
    ("left", "age", "found"),
    [(nan, nan, 0), (-1.0, -1.0, 0), (inf, 0.0, DEEP), (0.0, inf, DEEP), (1e308, 1e308, DEEP), (5e-324, 0.0, 0)],
)
def test_odd_numbers_do_no_harm(left: float, age: float, found: float) -> None:
    assert given(told(age, au=left), au=Metered())[1]["au"].left(5.0) == pytest.approx(found)


def test_a_memory_of_a_thousand_uplinks_is_cut() -> None:
    memory = told(0.0, **{f"n{n}": 1.0 for n in range(1000)})
    assert len(Recall(memory).take(0.0, Will(), (), {}).allowances) == SLOTS_MAX
