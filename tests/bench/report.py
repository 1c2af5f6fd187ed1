"""Figures: several values of one thing, their spread, the limit they are held to; JSON and a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: what was measured, the values in `unit`, and the limits by statistic (`median`, `p99`, `max`)."""

    name: str
    unit: str
    values: Sequence[float]
    reach: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def statistic(self, name: str) -> float:
        """`median`, `max`, `min` or `pNN` (nearest rank) of the values."""
        ordered = sorted(self.values)
        match name:
            case "median":
                return statistics.median(ordered)
            case "max":
                return ordered[-1]
            case "min":
                return ordered[0]
            case _:
                rank = -(-int(name.removeprefix("p")) * len(ordered) // 100)
                return ordered[max(0, rank - 1)]

    @property
    def reached(self) -> bool:
        return bool(self.values) and all(self.statistic(name) <= limit for name, limit in self.reach.items())

    def document(self) -> dict[str, Any]:
        spread = {name: self.statistic(name) for name in ("min", "median", "p95", "p99", "max")} if self.values else {}
        return {
            "name": self.name,
            "unit": self.unit,
            "runs": len(self.values),
            **spread,
            "reach": self.reach,
            "reached": self.reached,
            "note": self.note,
            "values": list(self.values),
        }

    def row(self) -> list[str]:
        if not self.values:
            return [self.name, "0", *"----", self._limits(), "no", self.note]
        shown = [f"{self.statistic(name):.4g}" for name in ("min", "median", "p95", "max")]
        held = ("yes" if self.reached else "NO") if self.reach else ""
        return [f"{self.name}, {self.unit}", str(len(self.values)), *shown, self._limits(), held, self.note]

    def _limits(self) -> str:
        return " / ".join(f"{name} {limit:g}" for name, limit in self.reach.items())


def draw(figures: Sequence[Figure]) -> None:
    """The table, on stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for head in ("figure", "runs", "min", "median", "p95", "max", "reach", "held", ""):
        table.add_column(head)
    for figure in figures:
        table.add_row(*figure.row())
    Console(markup=False).print(table)
