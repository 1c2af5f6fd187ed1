"""Each figure of the lab is measured once, small: the bench works, and no figure is out of all proportion.

The limits of the figures themselves are held to by hand, on a quiet machine.
"""

from __future__ import annotations

from tests.bench import road, virtual
from tests.bench.report import Figure

SANE = {
    "silent blackout, new flows": (0.2, 2.5),
    "link-down, new flows after the event": (0.0, 500.0),
    "link-down, event after the fault": (0.0, 1500.0),
    "decision to kernel": (0.1, 100.0),
    "agent start to first proven verdict": (0.1, 5.0),
    "at rest, resident memory": (10.0, 80.0),
    "at rest, CPU": (0.0, 10.0),
    "at rest, probes of au": (50.0, 1500.0),
    "at rest, probes of docomo": (50.0, 1500.0),
    "at rest, probes of depot": (50.0, 1500.0),
}
"""Least and most, in the figure's own unit, on the busiest of machines."""


def measured(figures: list[Figure]) -> None:
    for figure in figures:
        least, most = SANE[figure.name]
        assert figure.values, figure.name
        assert all(least <= value <= most for value in figure.values), figure.document()
        assert figure.row()


def test_switches() -> None:
    measured(road.Switches(seed=1).play(runs=1))


def test_start() -> None:
    measured([road.start(runs=1)])


def test_rest() -> None:
    measured(road.rest(seconds=5.0, settle=0.0))


def test_harmless_loss() -> None:
    convictions, diverts, _ = virtual.alarms("loss: 0.01", 0.5, seed=1)
    assert (convictions, diverts <= 9) == (0, True)


def test_statistics() -> None:
    figure = Figure("x", "s", [3.0, 1.0, 2.0, 10.0], {"median": 2.5, "max": 9.0})
    assert figure.statistic("median") == 2.5
    assert figure.statistic("p99") == 10.0
    assert figure.statistic("p50") == 2.0
    assert not figure.reached
