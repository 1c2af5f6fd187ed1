"""A scrape is measured: the best of a few keeps the limit on the busiest of machines."""

from __future__ import annotations

from tests.bench.scraping import scrape


def test_scrape() -> None:
    first, exchange, late = scrape(times=30)
    assert 1.0 <= exchange.statistic("min") <= 10.0
    assert exchange.statistic("median") <= first.values[0] <= 500.0
    assert late.statistic("median") <= 5.0, "how late at worst is up to who else is on the machine"
    assert all(figure.row() for figure in (first, exchange, late))
