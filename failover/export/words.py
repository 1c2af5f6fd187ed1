"""The status document in words: one sentence, then a table. rich is loaded only when a table is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from textwrap import fill
from typing import Any, Final, TextIO

from failover.export.status import USABLE

STYLES: Final = {"up": "green", "degraded": "yellow", "doubtful": "yellow", "portal": "red", "down": "red"}
COLUMNS: Final = ("", "uplink", "interface", "family", "verdict", "since", "loss", "rtt", "proven", "why")
UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
GAP: Final = "  "
INDENT: Final = " " * 5
"""Of a reason that has no room in its row."""


def sentence(status: Mapping[str, Any]) -> str:
    """How things are, for somebody in a hurry."""
    ways: dict[tuple[str, str], list[str]] = {}
    for family, name in status["active"].items():
        if name is not None:
            ways.setdefault((name, _verdict(status, name, family)), []).append(family)
    if not ways:
        return "offline: no uplink has a default route" if not status["uplinks"] else "offline: no uplink can be used"
    state = "online" if any(verdict in USABLE for _, verdict in ways) else "not proven online"
    said = [f"{' and '.join(families)} by {name} ({verdict})" for (name, verdict), families in ways.items()]
    return "; ".join([f"{state}: {', '.join(said)}", *_forwarded(status), *_will(status)])


def _verdict(status: Mapping[str, Any], name: str, family: str) -> str:
    found = (uplink["families"][family]["verdict"] for uplink in status["uplinks"] if uplink["name"] == name)
    return str(next(found, "absent"))


def _forwarded(status: Mapping[str, Any]) -> Iterator[str]:
    """Where forwarded traffic goes, in the families in which that is not where new flows go."""
    ways: dict[str, list[str]] = {}
    for family, name in status["settled"].items():
        if name not in (None, status["active"][family]):
            ways.setdefault(name, []).append(family)
    for name, families in ways.items():
        yield f"forwarded {' and '.join(families)} traffic by {name}"


def _will(status: Mapping[str, Any]) -> Iterator[str]:
    """What the operator wanted."""
    use = status["use"]
    if use is not None:
        left = "" if use["remaining_seconds"] is None else f" for {span(use['remaining_seconds'])}"
        yield f"told to use {use['name']}{left}"
    drained = [uplink["name"] for uplink in status["uplinks"] if uplink["drained"]]
    if drained:
        yield f"drained: {', '.join(drained)}"


def rows(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row per uplink and family, in order of preference; `*` marks where new flows go."""
    for uplink in status["uplinks"]:
        for family, view in uplink["families"].items():
            yield (
                "*" if status["active"][family] == uplink["name"] else "",
                uplink["name"],
                uplink["interface"],
                family,
                view["verdict"],
                span(view["since_seconds"]),
                "-" if view["loss_ratio"] is None else f"{view['loss_ratio']:.0%}",
                "-" if view["rtt_seconds"] is None else f"{view['rtt_seconds'] * 1000:.0f} ms",
                span(view["last_proven_seconds"]),
                ("drained; " if uplink["drained"] else "") + view["text"] + _waits(status, uplink, family),
            )


def _waits(status: Mapping[str, Any], uplink: Mapping[str, Any], family: str) -> str:
    """Why a healthy uplink is not in use though it is wanted more than the one that is: its hold-down."""
    view = uplink["families"][family]
    left = view["hold_remaining_seconds"]
    wished = sorted(status["uplinks"], key=lambda other: (other["drained"], not _is_used(status, other)))
    names = [other["name"] for other in wished]
    active = status["active"][family]
    ahead = active in names and names.index(uplink["name"]) < names.index(active)
    return f"; may take traffic in {span(ceil(left))}" if view["verdict"] == "up" and ahead and left else ""


def _is_used(status: Mapping[str, Any], uplink: Mapping[str, Any]) -> bool:
    return status["use"] is not None and bool(status["use"]["name"] == uplink["name"])


def span(seconds: float | None) -> str:
    """A duration to two digits or whole units: `0.4 s`, `12 s`, `5 min`, `1.5 h`, `3 d`."""
    if seconds is None:
        return "-"
    length, unit = next(((length, unit) for length, unit in UNITS if seconds >= length), UNITS[-1])
    count = seconds / length
    return f"{count:.0f} {unit}" if count >= 10 else f"{count:.1f}".removesuffix(".0") + f" {unit}"


def draw(status: Mapping[str, Any], out: TextIO) -> None:
    """Sentence and table on `out`. Where the table is wider than the terminal, each reason stands below its row."""
    out.write(sentence(status) + "\n")
    for warning in status.get("warnings", ()):
        out.write(f"warning: {warning}\n")
    if not status["uplinks"]:
        return
    out.flush()
    from rich.cells import cell_len, set_cell_size
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False, markup=False)
    table = [COLUMNS, *rows(status)]
    widths = [max(cell_len(row[place]) for row in table) for place in range(len(COLUMNS))]
    below = out.isatty() and sum(widths) + len(GAP) * (len(widths) - 1) > console.width
    for row in table:
        *cells, why = row
        texts = [
            Text(set_cell_size(cell, wide), STYLES.get(cell, "")) for cell, wide in zip(cells, widths, strict=False)
        ]
        line = Text(GAP, "bold" if row is COLUMNS else "").join(texts if below else [*texts, Text(why)])
        line.rstrip()
        console.print(line, soft_wrap=True)
        if below and row is not COLUMNS:
            console.print(fill(why, console.width, initial_indent=INDENT, subsequent_indent=INDENT), soft_wrap=True)
