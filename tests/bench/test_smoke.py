"""Each figure is measured once, small: the bench itself works. Limits are held to by hand, on a quiet machine."""

from __future__ import annotations

from math import isfinite

from tests.bench import road, virtual
from tests.bench.report import Figure


def measured(figures: list[Figure]) -> None:
    for figure in figures:
        assert figure.values, figure.name
        assert all(isfinite(value) for value in figure.values), figure.document()
        assert figure.row()


def test_switches() -> None:
    measured(road.Switches(seed=1).play(runs=1))


def test_start() -> None:
    measured([road.start(runs=1)])


def test_rest() -> None:
    figures = road.rest(seconds=5.0, settle=0.0)
    measured(figures)
    assert {"MB", "% of a core", "MB/month"} == {figure.unit for figure in figures}


def test_harmless_loss() -> None:
    assert virtual.harmless_loss(hours=5).reached


def test_statistics() -> None:
    figure = Figure("x", "s", [3.0, 1.0, 2.0, 10.0], {"median": 2.5, "max": 9.0})
    assert figure.statistic("median") == 2.5
    assert figure.statistic("p99") == 10.0
    assert figure.statistic("p50") == 2.0
    assert not figure.reached
