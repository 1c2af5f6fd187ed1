"""Traces: what is read of them, and what is said about a bad one."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO, StringIO, TextIOWrapper
from itertools import chain, count

import pytest

from failover.sim.trace import Trace, TraceError


def read(text: str) -> list[tuple[float, str, tuple[float | None, ...], float, bool]]:
    trace = Trace(StringIO(text), "drive.csv")
    return [(s.row.at, s.row.segment, s.row.rtts, s.lasts, s.first) for s in trace.steps()]


def test_rows_blanks_and_segments() -> None:
    text = "t_s,segment,rtt_ms_att,rtt_ms_vzw\n0.0,a,51.8,\n0.2,a,,60\n0.6,a,50,\n\n5.0,b,1,2\n5.25,b,1,2\n"
    assert read(text) == [
        (0.0, "a", (0.0518, None), 0.2, True),
        (0.2, "a", (None, 0.06), 0.2, False),
        (0.6, "a", (0.05, None), 0.2, False),
        (5.0, "b", (0.001, 0.002), 0.2, True),
        (5.25, "b", (0.001, 0.002), 0.2, False),
    ]


def test_columns_in_any_order_with_mark_and_windows_line_ends() -> None:
    text = "\ufeffrtt_ms_b, t_s,rtt_ms_a\r\n10,1,\r\n"
    trace = Trace(StringIO(text, newline=""), "drive.csv")
    assert trace.names == ("b", "a")
    assert [step.row.rtts for step in trace.steps()] == [(0.01, None)]


def test_a_trace_is_read_as_it_is_asked_for() -> None:
    asked = []

    def lines() -> Iterator[str]:
        yield "t_s,rtt_ms_a\n"
        for i in range(1000):
            asked.append(i)
            yield f"{i},5\n"

    steps = Trace(lines(), "endless").steps()
    next(steps)
    assert asked == [0, 1]


HEAD = "t_s,rtt_ms_a,rtt_ms_b\n"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "line 1: empty", "t_s,rtt_ms_au,rtt_ms_docomo"),
        (HEAD, "line 1: the trace has no rows", "0.2,51.8,"),
        ("t_s\n0\n", "line 1: no column rtt_ms_NAME", "columns are as"),
        ("rtt_ms_a\n0\n", "line 1: no column t_s", "columns are as"),
        ("t_s,rtt_ms_a,rtt_ms_a\n", "line 1: column 'rtt_ms_a' is there twice", ""),
        ("t_s,rtt_ms,loss,operator\n", "line 1: unknown column 'rtt_ms'", "did you mean 'rtt_ms_NAME'?"),
        ("t_s,rtt_ms_a,loss\n", "line 1: unknown column 'loss'", "t_s, segment and rtt_ms_NAME"),
        ("t_s,rtt_ms_a b\n", "line 1: column 'rtt_ms_a b': 'a b' is not a name", "A-Z"),
        ("t_s," + ",".join(f"rtt_ms_{i}" for i in range(17)) + "\n", "line 1: 17 uplinks", "at most 16"),
        (HEAD + "0,5,5\n0.2,5\n", "line 3: 2 fields, the header has 3", ""),
        (HEAD + "0,5,5\n0,5,5\n", "line 3: t_s goes from 0 to 0", "jump begins a new segment"),
        (HEAD + "100,5,5\n100.00000000000001,5,5\n", "t_s goes from 100 to 100.00000000000001", "new segment"),
        (HEAD + "1e17,5,5\n1.000000000000001e17,5,5\n", "line 2: t_s is 1e+17", "from -1e+10 to 1e+10"),
        (HEAD + "-1e11,5,5\n", "line 2: t_s is -1e+11", "from -1e+10 to 1e+10"),
        (HEAD + "0,5,5\n1e300,5,5\n", "line 3: t_s is 1e+300", "from -1e+10 to 1e+10"),
        (HEAD + "0,5,5\n3600001,5,5\n", "line 3: more than 1000 h from the first row", "new segment"),
        (HEAD + "nan,5,5\n", "line 2: t_s: 'nan' is not a number", ""),
        (HEAD + "inf,5,5\n", "line 2: t_s: 'inf' is not a number", ""),
        (HEAD + "0,1e300,5\n", "line 2: rtt_ms_a is 1e+300", "milliseconds, at most"),
        (HEAD + "0,5,5\n" + "\0" * 65537, "line 3: more than 65536 characters", "is it CSV?"),
        ("\0" * 65537, "line 1: more than 65536 characters", "t_s,rtt_ms_au"),
        (HEAD + '0,"5\n5",5\n', "line 2: not CSV: unexpected end of data", ""),
        (HEAD + "x,5,5\n", "line 2: t_s: 'x' is not a number", ""),
        (HEAD + "0,five,5\n", "line 2: rtt_ms_a: 'five' is not a number", ""),
        (HEAD + "0,5,nan\n", "line 2: rtt_ms_b: 'nan' is not a number", ""),
        (HEAD + "0,5,inf\n", "line 2: rtt_ms_b: 'inf' is not a number", ""),
        (HEAD + "0,5,-3\n", "line 2: rtt_ms_b is -3", "lost reply blank"),
        (HEAD + '0,"5,5\n', "line 2: not CSV: unexpected end of data", ""),
        ("t_s,rtt_ms_a\x1b[31m\n", "line 1: column 'rtt_ms_a?[31m'", "A-Z"),
    ],
)
def test_what_is_wrong_and_where(text: str, message: str, hint: str) -> None:
    with pytest.raises(TraceError) as caught:
        read(text)
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert str(caught.value).startswith("drive.csv: ")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(TraceError, match="not UTF-8"):
        list(Trace(TextIOWrapper(BytesIO(b"t_s,rtt_ms_a\n\xff\xfe\n"), encoding="utf-8"), "drive.csv").steps())


def test_a_microsecond_is_a_step_at_unix_time_too() -> None:
    assert len(read(HEAD + "1.7e9,5,5\n1700000000.000001,5,5\n1700000000.000002,5,5\n")) == 3


def test_the_time_of_all_segments_counts() -> None:
    head = "t_s,segment,rtt_ms_a\n"
    assert len(read(head + "0,a,1\n1800000,a,1\n0,b,1\n1800000,b,1\n-1e10,c,1\n")) == 5
    with pytest.raises(TraceError, match="line 5: more than 1000 h"):
        read(head + "0,a,1\n1800000,a,1\n0,b,1\n1800001,b,1\n")


@pytest.mark.parametrize(("limit", "most"), [("LINES_MAX", "4 lines"), ("SEGMENTS_MAX", "4 segments")])
def test_a_trace_ends(monkeypatch: pytest.MonkeyPatch, limit: str, most: str) -> None:
    monkeypatch.setattr(f"failover.sim.trace.{limit}", 4)
    with pytest.raises(TraceError, match=f"more than {most}"):
        for _ in Trace(chain(["t_s,segment,rtt_ms_a\n"], (f"{i},{i},5\n" for i in count())), "endless").steps():
            pass
