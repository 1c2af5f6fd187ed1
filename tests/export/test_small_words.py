"""Spans, sizes and clock times as people read them."""

from __future__ import annotations

import time

import pytest

from failover.export.words import clock, size, span

pytestmark = pytest.mark.usefixtures("utc")

UNIX = 1_790_000_000.0
"""2026-09-21 14:13:20 UTC."""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0.0, "0 s"), (0.44, "0.4 s"), (12.3, "12 s"), (90, "1.5 min"), (5400, "1.5 h"), (3e5, "3.5 d")],
)
def test_spans(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0.0, "0 B"), (28, "28 B"), (1500, "1.5 kB"), (1_912_345.6, "1.9 MB"), (30e6, "30 MB"), (2e12, "2000 GB")],
)
def test_sizes(amount: float, words: str) -> None:
    assert size(amount) == words


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (0, "14:13:20"),
        (119, "14:15:19"),
        (-119, "14:11:21"),
        (120, "14:15"),
        (-3600, "13:13"),
        (10 * 3600, "2026-09-22 00:13"),
        (-15 * 3600, "2026-09-20 23:13"),
    ],
)
def test_clock_times_are_as_exact_as_they_are_near(after: float, words: str) -> None:
    assert clock(UNIX + after, UNIX) == words


def test_clock_times_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert clock(UNIX - 3600, UNIX) == "22:13"
    assert clock(UNIX + 3600, UNIX) == "2026-09-22 00:13"
