"""Entries: their ids, their lines, and the newest of them in memory."""

from __future__ import annotations

import json
from math import inf, nan

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from failover.export.entries import LINE_MAX, Entry, Numbering, Recent, decode, encode
from failover.model import Notice, NoticeKind

from .happenings import UNIX, Happenings

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
LINES = st.builds(
    Entry,
    id=st.from_regex(r"[0-9a-f]{8}-[0-9]{1,6}", fullmatch=True),
    unix=st.integers(0, 253402300799).map(float),
    trusted=st.booleans(),
    kind=st.sampled_from(NoticeKind),
    text=st.text('abc é"\\{}[]:,', max_size=200),
    fields=st.dictionaries(st.text("abc_", max_size=20), SCALARS | st.text("xyz ", max_size=40), max_size=20),
)
GOOD: dict[str, object] = {
    "id": "run-1",
    "unix_seconds": 5,
    "clock_trusted": True,
    "kind": "switch",
    "text": "x",
    "fields": {},
}


def test_numbers_count_up_within_a_run() -> None:
    numbering = Numbering("ab12")
    entries = [numbering.entry(Notice(NoticeKind.READY, "x"), UNIX, trusted=False) for _ in range(3)]
    assert [entry.id for entry in entries] == ["ab12-1", "ab12-2", "ab12-3"]


def test_a_document_is_plain_json_whatever_the_fields_are() -> None:
    fields = {"inf": inf, "nan": nan, "kind": NoticeKind.SWITCH, "odd": {1}, "none": None, "yes": True}
    document = Happenings().happen(NoticeKind.KERNEL, "x", **fields).document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["fields"] == {"inf": None, "nan": None, "kind": "switch", "odd": "{1}", "none": None, "yes": True}


@given(LINES)
def test_an_entry_is_one_line_and_comes_back(entry: Entry) -> None:
    line = encode(entry)
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert decode(line) == entry


@given(LINES, st.data())
def test_half_a_line_is_no_entry(entry: Entry, data: st.DataObject) -> None:
    line = encode(entry)
    with pytest.raises(ValueError):
        decode(line[: data.draw(st.integers(0, len(line) - 2))])


@given(st.text(max_size=3000), st.dictionaries(st.text(max_size=300), st.text(max_size=3000), max_size=80))
@example("\U0001f600" * 3000, {})
@settings(deadline=None)
def test_a_line_has_a_length_and_nothing_in_it_can_harm_a_screen(text: str, fields: dict[str, str]) -> None:
    line = encode(Happenings().happen(NoticeKind.WARNING, text, **fields))
    assert len(line) <= LINE_MAX
    assert all(byte >= 0x20 for byte in line[:-1])


def test_what_a_stranger_wrote_is_made_safe() -> None:
    line = json.dumps(GOOD | {"id": "a\x1b[2J", "text": "b\n\u202e", "fields": {"c\x07": "d\r"}}).encode()
    entry = decode(line)
    assert (entry.id, entry.text, entry.fields) == ("a?[2J", "b??", {"c?": "d?"})


WRONG: list[dict[str, object]] = [
    {"id": 5},
    {"id": None},
    {"unix_seconds": -1},
    {"unix_seconds": 1e308},
    {"unix_seconds": nan},
    {"unix_seconds": inf},
    {"unix_seconds": True},
    {"unix_seconds": "5"},
    {"clock_trusted": 1},
    {"kind": "murder"},
    {"kind": {}},
    {"text": []},
    {"fields": None},
    {"fields": []},
    {"fields": {"x": {}}},
    {"fields": {"x": [[]]}},
    {"fields": {"x": nan}},
    {"fields": {str(number): 0 for number in range(65)}},
]
STRANGE = [
    b"",
    b"\0" * 100,
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b'"' + b"x" * LINE_MAX + b'"',
    b"[" * 5000,
    b'{"id":' * 1000,
    b"9" * 5000,
    json.dumps(GOOD).encode() + b" " * LINE_MAX,
]


@pytest.mark.parametrize("line", [*STRANGE, *(json.dumps(GOOD | wrong).encode() for wrong in WRONG)])
def test_a_strange_line_is_no_entry(line: bytes) -> None:
    assert decode(json.dumps(GOOD).encode()).id == "run-1"
    with pytest.raises(ValueError):
        decode(line)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300)
    | st.text(max_size=100).map(str.encode)
    | st.recursive(SCALARS, st.lists).map(repr).map(str.encode)
)
def test_noise_is_no_entry(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode(line)


def test_the_newest_stay_and_follow_the_past() -> None:
    happened, recent = Happenings("new"), Recent(capacity=3)
    entries = [happened.happen(NoticeKind.VERDICT, str(number)) for number in range(5)]
    for entry in entries:
        recent.add(entry)
    past = [Happenings("old").happen(NoticeKind.SWITCH), entries[4]]
    assert recent.recent(10) == entries[2:]
    assert recent.recent(10, past=past) == [past[0], *entries[2:]]
    assert recent.recent(2, past=past) == entries[3:]
    assert recent.recent(0) == []


def test_only_what_is_late_enough() -> None:
    happened, recent = Happenings(), Recent()
    for second in range(4):
        happened.unix = UNIX + second
        recent.add(happened.happen(NoticeKind.VERDICT))
    past = [
        Entry("old-1", UNIX - 1, True, NoticeKind.SWITCH, "x", {}),
        Entry("old-2", UNIX + 9, True, NoticeKind.SWITCH, "x", {}),
    ]
    assert [entry.id for entry in recent.recent(10, UNIX + 2, past)] == ["old-2", "run-3", "run-4"]
