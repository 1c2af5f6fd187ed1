"""The cost of a switch is measured, small: everything that is to move does, and nothing else is harmed."""

from __future__ import annotations

from tests.allowed import or_skip
from tests.bench import cost, crowd


def test_cost() -> None:
    with or_skip():
        moved, late, harmed = cost.figures(runs=2, sockets=600, tracked=[400])
    assert all(0.1 <= one <= 1000.0 for one in moved.values)
    assert late.statistic("min") <= 50.0, "how late at worst is up to who else is on the machine"
    assert (harmed.values, harmed.unit) == ([0.0, 0.0], "of 500")


def test_crowd() -> None:
    with or_skip():
        moved, late, harmed = crowd.figures(runs=1, connections=300, tracked=400)
    assert 1.0 <= moved.values[0] <= 2000.0
    assert late.values[0] in (1.0, 5.0, 20.0, 50.0, 200.0, 1000.0)
    assert (harmed.values[0], harmed.unit) == (0.0, "of 350")
