"""The cost of a switch is measured, small: everything that is to move does, and nothing else is harmed."""

from __future__ import annotations

from tests.allowed import or_skip
from tests.bench.cost import figures


def test_cost() -> None:
    with or_skip():
        moved, late, harmed = figures(runs=2, sockets=600, tracked=[400])
    assert all(0.1 <= one <= 1000.0 for one in moved.values)
    assert late.statistic("min") <= 50.0, "how late at worst is up to who else is on the machine"
    assert (harmed.values, harmed.unit) == ([0.0, 0.0], "of 500")
