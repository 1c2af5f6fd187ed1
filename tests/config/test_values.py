"""Durations as operators write them."""

from __future__ import annotations

import pytest

from failover.config.values import WrongValueError, parse_duration

DAY = 86400.0
WRITTEN = {
    "250ms": 0.25,
    "1.5s": 1.5,
    "10m": 600.0,
    "0.5h": 1800.0,
    "1d": DAY,
    "1h30m": 5400.0,
    "1m30s": 90.0,
    "90m30s": 5430.0,
    "2d3h4m5s6ms": 2 * DAY + 11045.006,
    "1d1ms": DAY + 0.001,
    "0s": 0.0,
}
SHAPE = "write it as 1.5s, 10m or 1h30m, larger units first"
UNITS = "units: ms, s, m, h, d"
WRONG = {
    "": ("'' is not a duration", SHAPE),
    "h": ("'h' is not a duration", SHAPE),
    "30m1h": ("'30m1h' is not a duration", SHAPE),
    "1h1h": ("'1h1h' is not a duration", SHAPE),
    "1.5h30m": ("'1.5h30m' is not a duration", SHAPE),
    "1h 30m": ("'1h 30m' is not a duration", SHAPE),
    "1h30": ("'1h30' is not a duration", SHAPE),
    "-1h30m": ("'-1h30m' is not a duration", SHAPE),
    "1h٣m": ("'1h٣m' is not a duration", SHAPE),
    "1w": ("'1w' has an unknown unit", UNITS),
    "1H": ("'1H' has an unknown unit", UNITS),
    "2 d": ("'2 d' has a blank in it", "write 2d"),
    "90": ("'90' has no unit", f"write 90s ({UNITS})"),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_duration(text: str) -> None:
    assert parse_duration(text) == pytest.approx(WRITTEN[text], abs=1e-9)


@pytest.mark.parametrize("text", WRONG)
def test_no_duration(text: str) -> None:
    with pytest.raises(WrongValueError) as caught:
        parse_duration(text)
    assert (str(caught.value), caught.value.hint) == WRONG[text]
