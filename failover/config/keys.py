"""What is known of one key of the config file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from failover.config.yaml_reading import Reader


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
