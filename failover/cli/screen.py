"""What reaches the terminal: complaints, JSON, lines and tables, whatever is in them.

Layout only; which words is another file's business. No rich here: it takes 45 ms to load, and `failover status` has
150 ms in all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO
from unicodedata import combining, east_asian_width

from failover.model import clean

COMPLAINT_LIMIT: Final = 2000
"""Characters of an error line."""
WIDTH: Final = 80
"""Columns where the terminal does not say."""
GAP: Final = "  "
INDENT: Final = " " * 5
"""Of a text that has no room in its row."""
COLOURS: Final = {"bold": "1", "green": "32", "yellow": "33", "red": "31"}
"""Of ECMA-48, Select Graphic Rendition."""
STYLES: Final = {
    "up": "green",
    "degraded": "yellow",
    "doubtful": "yellow",
    "portal": "red",
    "down": "red",
    "answered": "green",
    "late": "yellow",
    "silent": "red",
    "refused": "red",
}
"""Colours of whole cells."""


def complain(text: str, hint: str = "") -> None:
    """One line on stderr, with its hint."""
    with contextlib.suppress(OSError):  # nobody can be told
        print(clean(f"failover: {text}" + (f" ({hint})" if hint else ""), COMPLAINT_LIMIT), file=sys.stderr)


def json_text(value: Any, indent: int | None = 2) -> str:
    """JSON that is safe to look at: control, bidi and unassigned characters stand as escapes, and so are not lost."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


@dataclass(frozen=True, slots=True)
class Screen:
    """Where lines go: how wide it is, and whether it has colours."""

    width: int | None
    """Columns; None: no terminal, lines are as long as they are."""
    height: int = 0
    coloured: bool = False

    @staticmethod
    def of(stream: TextIO) -> Screen:
        """As the stream and the environment (COLUMNS, LINES, NO_COLOR, TERM) have it at this moment."""
        if not stream.isatty():
            return Screen(None)
        try:
            columns, lines = os.get_terminal_size(stream.fileno())
        except (OSError, ValueError):
            columns = lines = 0
        plain = "NO_COLOR" in os.environ or os.environ.get("TERM", "dumb") == "dumb"
        return Screen(_number("COLUMNS") or columns or WIDTH, _number("LINES") or lines or 24, not plain)

    def paint(self, text: str, style: str) -> str:
        """The text in its colour, where there are colours."""
        return f"\x1b[{COLOURS[style]}m{text}\x1b[0m" if self.coloured and style else text

    def wrap(self, text: str, indent: str = "  ", first: str = "") -> list[str]:
        """Lines of a text, broken between words only."""
        if self.width is None:
            return [first + text]
        return textwrap.wrap(
            text,
            max(self.width, 20),
            initial_indent=first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str] = ()) -> Iterator[str]:
        """Aligned columns; the last one is a text, and stands below its row where the row would be too wide.

        `spare`: heads of columns that are left out, in that order, as long as even this is too wide.
        """
        kept = list(range(len(heads)))
        table = [heads, *rows]
        widths = [max(cells(row[place]) for row in table) for place in kept]
        below = self.width is not None and _total(widths, kept) > self.width
        for name in spare if below else ():
            if self.width is not None and _total(widths, kept[:-1]) > self.width:
                kept.remove(heads.index(name))
        for row in table:
            yield from self._row(row, kept[:-1], widths, below=below, head=row is heads)

    def _row(
        self, row: Sequence[str], kept: Sequence[int], widths: Sequence[int], *, below: bool, head: bool
    ) -> Iterator[str]:
        """One row; its last cell below it or at its end."""
        texts = [
            self.paint(row[place], STYLES.get(row[place], "")) + " " * (widths[place] - cells(row[place]))
            for place in kept
        ]
        line = GAP.join(texts if below else [*texts, row[-1]])
        yield self.paint(line.rstrip(), "bold" if head else "")
        if below and not head and row[-1]:
            yield from self.wrap(row[-1], INDENT, INDENT)


def _number(variable: str) -> int:
    found = os.environ.get(variable, "")
    return int(found) if re.fullmatch("[1-9][0-9]{0,4}", found) else 0


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[place] for place in kept) + len(GAP) * (len(kept) - 1)


def cells(text: str) -> int:
    """Columns that a terminal takes for a printable text (UAX #11)."""
    return len(text) if text.isascii() else sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """A document on standard output."""
    sys.stdout.write(json_text(value) + "\n")


def print_lines(lines: Iterator[str]) -> None:
    """Lines on standard output."""
    for line in lines:
        sys.stdout.write(line + "\n")
