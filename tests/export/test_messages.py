"""The file of the messages: what is written is read, whatever else is in it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.config.modems import Matter
from failover.export.messages import (
    BYTES_MAX,
    LEFT_BYTES,
    NAME,
    TEXT_MAX,
    Kept,
    append,
    decode,
    encode,
    identity,
    read,
    write,
)
from failover.modem import Message

KEPT = Kept(
    id="0123456789abcdef",
    unix=1_790_000_000.5,
    trusted=True,
    uplink="au",
    imei="356938035640011",
    iccid="8981200000000000022",
    number="+818011112222",
    received_at="2026-10-01T12:00:00+09:00",
    matters=(Matter.SUSPENSION, Matter.PAYMENT),
    text="料金未納のため、ご利用を停止します 🚫",
)
MESSAGE = Message("/SMS/1", KEPT.imei, KEPT.iccid, KEPT.number, "a", KEPT.received_at)


def numbered(count: int, size: int = 5) -> list[Kept]:
    return [replace(KEPT, id=f"{number:016x}", text="あ" * size) for number in range(count)]


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    assert read(tmp_path) == []
    others = [replace(KEPT, id="2", text=None), replace(KEPT, id="3", uplink="", matters=(), trusted=False)]
    assert append(tmp_path, [KEPT])
    assert append(tmp_path, others)
    assert read(tmp_path) == [KEPT, *others]


def test_root_and_the_agent_alone_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        append(tmp_path, [KEPT])
        assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
        (tmp_path / NAME).chmod(0o644)
        append(tmp_path, [KEPT])
        assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
        write(tmp_path, [KEPT], BYTES_MAX)
        assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_message_is_there_once(tmp_path: Path) -> None:
    append(tmp_path, [KEPT, replace(KEPT, id="2"), KEPT])
    assert [kept.id for kept in read(tmp_path)] == [KEPT.id, "2"]


def test_half_a_line_costs_itself(tmp_path: Path) -> None:
    append(tmp_path, numbered(2))
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[:-20])
    append(tmp_path, [KEPT])
    assert read(tmp_path) == [numbered(1)[0], KEPT]


@given(st.binary(max_size=300))
def test_garbage_is_skipped(garbage: bytes) -> None:
    try:
        decode(garbage)
    except ValueError:
        return
    raise AssertionError(garbage)


@pytest.mark.parametrize(
    "change",
    [
        {"unix_seconds": -1},
        {"unix_seconds": True},
        {"unix_seconds": 1e300},
        {"clock_trusted": 1},
        {"matters": ["weather"]},
        {"matters": 1},
        {"text": 5},
        {"number": None},
        {"id": ["a"]},
    ],
)
def test_what_nobody_wrote_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no time|not a message|is not a valid Matter"):
        decode(json.dumps({**KEPT.document(), **change}).encode())


def test_strings_are_made_safe_again() -> None:
    found = decode(json.dumps({**KEPT.document(), "number": "\x1b[2J", "text": "\u202e" * (TEXT_MAX + 1)}).encode())
    assert found.number == "?[2J"
    assert found.text == "?" * (TEXT_MAX - 1) + "…"


@given(st.builds(replace, st.just(KEPT), text=st.none() | st.text(max_size=50)))
def test_any_text_survives(kept: Kept) -> None:
    once = decode(encode(kept))
    assert decode(encode(once)) == once
    assert encode(kept).count(b"\n") == 1


def test_a_full_file_takes_no_more_until_it_is_written_anew(tmp_path: Path) -> None:
    messages = numbered(2000, TEXT_MAX)
    count = next(n for n in range(2000) if not append(tmp_path, messages[n : n + 1]))
    size = (tmp_path / NAME).stat().st_size
    assert BYTES_MAX - 16384 < size <= BYTES_MAX
    left = write(tmp_path, messages[: count + 1], LEFT_BYTES)
    assert list(left) == read(tmp_path) == messages[count + 1 - len(left) : count + 1]
    assert LEFT_BYTES - 16384 < (tmp_path / NAME).stat().st_size <= LEFT_BYTES
    assert append(tmp_path, [KEPT])
    assert write(tmp_path, [], BYTES_MAX) == []
    assert not (tmp_path / NAME).exists()
    assert write(tmp_path, [], BYTES_MAX) == []


def test_what_is_no_file_is_neither_read_nor_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(OSError, match="regular"):
        read(tmp_path)
    with pytest.raises(OSError, match=r"regular|No such device"):
        append(tmp_path, [KEPT])


def test_a_message_is_known_by_what_the_network_tells_of_it() -> None:
    assert identity(MESSAGE) == identity(replace(MESSAGE, handle="/SMS/7"))
    for change in ({"iccid": "1"}, {"number": "1"}, {"text": "b"}, {"received_at": ""}):
        assert identity(replace(MESSAGE, **change)) != identity(MESSAGE)
    assert identity(replace(MESSAGE, iccid="", imei="1")) != identity(replace(MESSAGE, iccid="", imei="2"))
