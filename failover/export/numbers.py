"""Numbers as the documents of the agent have them. Pure."""

from __future__ import annotations

from math import isfinite


def age(stamp: float | None, now: float) -> float | None:
    """Seconds since `stamp`, both monotonic."""
    return None if stamp is None else number(max(0.0, now - stamp))


def left(until: float | None, now: float) -> float | None:
    """Seconds until then, both monotonic."""
    return None if until is None else number(max(0.0, until - now))


def number(value: float | None) -> float | None:
    """As JSON has it: microseconds are enough, and there is no infinity."""
    return round(value, 6) if value is not None and isfinite(value) else None
