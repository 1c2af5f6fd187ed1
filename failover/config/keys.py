"""What is known of one key of the config file, and the kinds of keys that come often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from failover.config.values import DURATION_UNITS, format_duration
from failover.config.yaml_reading import Reader, boolean, duration


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file: how it is read, and what people need to know of it."""

    read: Reader[Any]
    kind: str
    default: str
    """In Markdown; empty: there is none."""
    meaning: str
    bounds: str = ""
    unit: str = ""


Keys = Mapping[str, Key]


def timed(low: str, high: str, default: float, meaning: str) -> Key:
    """Of a duration."""
    units = " ".join(f"`{unit}`" for unit in DURATION_UNITS)
    return Key(duration(low, high), "duration", f"`{format_duration(default)}`", meaning, f"{low} to {high}", units)


def switch(default: bool, meaning: str) -> Key:
    """Of what is on or off."""
    return Key(boolean, "`true` or `false`", f"`{str(default).lower()}`", meaning)
