"""Recorded round trips as CSV: read row by row, every row checked, every complaint with its line.

Only the file's contract lives here: `t_s`, one `rtt_ms_NAME` column per uplink (blank: the reply never came), and
optionally `segment`, whose changes are jumps in time. `stage.py` takes an engine through it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from failover.config.values import WrongValueError, parse_name
from failover.model import FailoverError, clean
from failover.sim.links import SLOT
from failover.wording import suggest

PREFIX: Final = "rtt_ms_"
_EXAMPLE: Final = "t_s,rtt_ms_au,rtt_ms_docomo"
_ROW: Final = "0.2,51.8,"
UPLINKS_MAX: Final = 16
LINE_MAX: Final = 1 << 16
"""Characters."""
LINES_MAX: Final = 20_000_000
SEGMENTS_MAX: Final = 10_000
SPAN_MAX: Final = 1000 * 3600.0
"""Seconds in all segments together, as long as a scenario may be."""
TIME_MAX: Final = 1e10
"""Seconds before and after zero: room for Unix time, and floats that still tell microseconds apart."""
STEP_MIN: Final = 0.5e-6
"""Seconds: what a microsecond between two rows may come out as."""
RTT_MAX: Final = 1e9
"""Milliseconds."""


class TraceError(FailoverError):
    """The trace is not what the contract says."""


@dataclass(frozen=True, slots=True)
class Row:
    at: float
    """Seconds, as recorded."""
    segment: str
    rtts: tuple[float | None, ...]
    """Seconds, in the order of `Trace.names`."""


@dataclass(frozen=True, slots=True)
class Step:
    row: Row
    lasts: float
    """Seconds that the row stands for: until the next one, but no longer than the shortest step of the trace so far
    (where a row is missing nothing was measured)."""
    first: bool
    """A segment begins here."""


@dataclass(frozen=True, slots=True)
class _Columns:
    time: int
    segment: int | None
    rtts: tuple[int, ...]
    count: int


class Trace:
    """A trace being read: `names` at once, the steps as they are asked for, one row ahead of what was given out."""

    def __init__(self, lines: Iterable[str], source: str) -> None:
        """`source` is what complaints call it. Of `lines`, none needs to be longer than `LINE_MAX` + 1."""
        self._source = clean(source)
        self._lines = iter(lines)
        self._line = 0
        self.names: tuple[str, ...] = ()
        self._columns = self._read_header()

    def steps(self) -> Iterator[Step]:
        """Every row with its length. Raises TraceError; a trace without a row is one."""
        held: Row | None = None
        beat, first = math.inf, True
        for row in self._rows():
            if held is not None:
                same = held.segment == row.segment
                beat = min(beat, row.at - held.at) if same else beat
                yield Step(held, beat if beat < math.inf else SLOT, first)
                first = not same
            held = row
        if held is None:
            raise self._error("the trace has no rows", f"below the header comes a line per moment, as {_ROW}")
        yield Step(held, beat if beat < math.inf else SLOT, first)

    def _rows(self) -> Iterator[Row]:
        before: Row | None = None
        span, segments = 0.0, 1
        for fields in self._records():
            if not fields:
                continue
            row = self._row(fields)
            if before is not None and before.segment == row.segment:
                span += self._since(before, row)
            elif before is not None:
                segments += 1
            self._check_size(span, segments)
            before = row
            yield row

    def _since(self, before: Row, row: Row) -> float:
        if row.at - before.at < STEP_MIN:
            times = f"t_s goes from {before.at:.17g} to {row.at:.17g}"
            raise self._error(times, "time goes forward, by 1 us at least; a jump begins a new segment")
        return row.at - before.at

    def _check_size(self, span: float, segments: int) -> None:
        if span > SPAN_MAX:
            hint = "play it in parts; a jump in time begins a new segment"
            raise self._error(f"more than {SPAN_MAX / 3600:g} h from the first row to this one", hint)
        if segments > SEGMENTS_MAX:
            raise self._error(f"more than {SEGMENTS_MAX} segments", "play it in parts")

    def _records(self) -> Iterator[list[str]]:
        """The fields of each line; a quoted field ends on the line where it began, so that a line bounds it."""
        while line := self._next_line():
            try:
                yield next(csv.reader([line], strict=True), [])
            except csv.Error as error:
                raise self._error(f"not CSV: {clean(str(error))}") from None

    def _next_line(self) -> str:
        """Empty at the end."""
        self._line += 1
        try:
            line = next(self._lines, "")
        except UnicodeDecodeError:
            raise self._error("not UTF-8 text") from None
        if len(line) > LINE_MAX:
            raise self._error(f"more than {LINE_MAX} characters", f"is it CSV? It begins as {_EXAMPLE}")
        if self._line > LINES_MAX:
            raise self._error(f"more than {LINES_MAX} lines", "play it in parts")
        self._line -= not line
        return line

    def _row(self, fields: list[str]) -> Row:
        columns = self._columns
        if len(fields) != columns.count:
            raise self._error(f"{len(fields)} fields, the header has {columns.count}")
        segment = "" if columns.segment is None else fields[columns.segment]
        rtts = tuple(self._rtt(name, fields[place]) for name, place in zip(self.names, columns.rtts, strict=True))
        at = self._number("t_s", fields[columns.time])
        if abs(at) > TIME_MAX:
            raise self._error(f"t_s is {at:g}", f"seconds, from {-TIME_MAX:g} to {TIME_MAX:g}")
        return Row(at, segment, rtts)

    def _rtt(self, name: str, text: str) -> float | None:
        if not text or text.isspace():
            return None
        milliseconds = self._number(PREFIX + name, text)
        if milliseconds < 0:
            raise self._error(f"{PREFIX}{name} is {milliseconds:g}", "leave the field of a lost reply blank")
        if milliseconds > RTT_MAX:
            raise self._error(f"{PREFIX}{name} is {milliseconds:g}", f"milliseconds, at most {RTT_MAX:g}")
        return milliseconds / 1000

    def _number(self, column: str, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self._error(f"{column}: '{clean(text, 40)}' is not a number")
        return number

    def _read_header(self) -> _Columns:
        header = [field.strip().removeprefix("\ufeff") for field in next(self._records(), [])]
        if not header:
            raise self._error("empty", f"the first line names the columns, as {_EXAMPLE}")
        for name in header:
            self._check_column(name)
            if header.count(name) > 1:
                raise self._error(f"column '{clean(name, 60)}' is there twice")
        rtts = tuple(place for place, name in enumerate(header) if name.startswith(PREFIX))
        if "t_s" not in header or not rtts:
            missing = "t_s" if "t_s" not in header else f"{PREFIX}NAME"
            raise self._error(f"no column {missing}", f"the columns are as {_EXAMPLE}")
        if len(rtts) > UPLINKS_MAX:
            raise self._error(f"{len(rtts)} uplinks", f"at most {UPLINKS_MAX}")
        self.names = tuple(header[place].removeprefix(PREFIX) for place in rtts)
        segment = header.index("segment") if "segment" in header else None
        return _Columns(header.index("t_s"), segment, rtts, len(header))

    def _check_column(self, column: str) -> None:
        if column in ("t_s", "segment"):
            return
        if not column.startswith(PREFIX):
            near = suggest(column, ("t_s", "segment", f"{PREFIX}NAME"))
            hint = near or f"the columns are t_s, segment and {PREFIX}NAME"
            raise self._error(f"unknown column '{clean(column, 60)}'", hint)
        try:
            parse_name(column.removeprefix(PREFIX))
        except WrongValueError as error:
            raise self._error(f"column '{clean(column, 60)}': {error}", error.hint) from None

    def _error(self, message: str, hint: str = "") -> TraceError:
        return TraceError(f"{self._source}: line {max(1, self._line)}: {message}", hint)
