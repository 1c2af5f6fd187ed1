"""The journal's files against power cuts, full disks, and what people put in their place."""

from __future__ import annotations

import ctypes
import os
import random
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from failover.export.entries import LINE_MAX, Entry, encode
from failover.export.journal import CURRENT, OLD, SEGMENT_MAX, append, read
from failover.files import replace
from failover.model import NoticeKind

from .disks import NEEDS_ROOT, among_own_mounts, mount_as_after_a_power_cut, mount_ext4, mount_memory, remount, unmount
from .happenings import UNIX, Happenings

AFTER = Happenings("after").happen(NoticeKind.READY, "after")


def happenings(count: int, run: str = "run", text: str = "something") -> list[Entry]:
    happened = Happenings(run)
    return [happened.happen(NoticeKind.SWITCH, f"{text} {number}") for number in range(count)]


def put(folder: Path, entries: Sequence[Entry]) -> None:
    append(folder, b"".join(map(encode, entries)))


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert read(tmp_path) == []


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    entries = happenings(5)
    put(tmp_path, entries[:2])
    put(tmp_path, entries[2:])
    assert read(tmp_path) == entries
    assert read(tmp_path, 2) == entries[3:]
    assert read(tmp_path, 0) == []
    assert (tmp_path / CURRENT).stat().st_mode & 0o777 == 0o640


@NEEDS_ROOT
def test_what_root_writes_is_its_folders_owners(tmp_path: Path) -> None:
    """An agent that root starts by hand, once, leaves a journal that the service can go on with. What has another name
    elsewhere is nobody's to give away."""
    os.chown(tmp_path, 54321, 54322)
    append(tmp_path, b"{}\n")
    made = (tmp_path / CURRENT).stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (54321, 54322, 0o640)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (tmp_path / CURRENT).unlink()
    (tmp_path / CURRENT).hardlink_to(elsewhere)
    append(tmp_path, b"{}\n")
    assert elsewhere.stat().st_uid == 0


def test_only_what_is_late_enough(tmp_path: Path) -> None:
    happened = Happenings()
    for unix in (UNIX + 5, UNIX, UNIX + 7):  # a clock that was set in between
        happened.unix = unix
        put(tmp_path, [happened.happen(NoticeKind.VERDICT)])
    assert [entry.unix for entry in read(tmp_path, since=UNIX + 1)] == [UNIX + 5, UNIX + 7]
    assert len(read(tmp_path, since=UNIX + 7)) == 1, "that very moment is not before it"


def test_more_than_a_file_takes_is_taken_by_an_empty_one(tmp_path: Path) -> None:
    append(tmp_path, b"x" * SEGMENT_MAX + b"\n")
    append(tmp_path, encode(happenings(1)[0]))
    assert (tmp_path / OLD).stat().st_size == SEGMENT_MAX + 1
    assert len(read(tmp_path)) == 1


def test_what_was_written_twice_is_read_once(tmp_path: Path) -> None:
    entries = happenings(3)
    put(tmp_path, entries[:2])
    put(tmp_path, entries)
    assert read(tmp_path) == entries


# --- power cuts ------------------------------------------------------------------------------------------------------


def test_cut_anywhere_only_the_tail_is_lost(tmp_path: Path) -> None:
    entries = happenings(4)
    lines = [encode(entry) for entry in entries]
    whole = b"".join(lines)
    ends = [len(b"".join(lines[: number + 1])) for number in range(4)]
    for cut in range(len(whole) + 1):
        (tmp_path / CURRENT).write_bytes(whole[:cut])
        kept = [entry for entry, end in zip(entries, ends, strict=True) if end <= cut]
        assert read(tmp_path) == kept, cut
        put(tmp_path, [AFTER])
        back = read(tmp_path)
        assert back[: len(kept)] == kept, cut
        assert back[-1] == AFTER, cut
        unended = [entry for entry, end in zip(entries, ends, strict=True) if end == cut + 1]
        assert back[len(kept) : -1] == unended, "a line that misses its newline only is whole"


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 5000, b"\xff\n\0\n", b'{"id":' * 3000, b"[" * 100_000, b"\n\n\n"])
def test_a_tail_of_rubbish_costs_nothing_else(tmp_path: Path, tail: bytes) -> None:
    entries = happenings(3)
    put(tmp_path, entries)
    with (tmp_path / CURRENT).open("ab") as file:
        file.write(tail)
    assert read(tmp_path) == entries
    put(tmp_path, [AFTER])
    assert read(tmp_path) == [*entries, AFTER]


@settings(max_examples=100, deadline=None)
@example(at=1833, rubbish=b"0").via("the id of another")
@given(at=st.integers(0, 3000), rubbish=st.binary(min_size=1, max_size=600))
def test_a_block_overwritten_costs_the_lines_that_it_touches(
    at: int, rubbish: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    entries = happenings(30)
    put(folder, entries)
    with (folder / CURRENT).open("r+b") as file:
        file.seek(at)
        file.write(rubbish)
    ends = [sum(len(encode(entry)) for entry in entries[: number + 1]) for number in range(30)]
    starts = [0, *ends]
    untouched = [
        e for e, first, end in zip(entries, starts, ends, strict=False) if end <= at or first > at + len(rubbish)
    ]
    back = read(folder)
    assert [entry for entry in back if entry in untouched] == untouched


WRITER = """
import os, sys
from pathlib import Path
from failover.export.entries import encode
from failover.export.journal import append
from tests.export.test_journal import happenings
for entry in happenings(100_000, sys.argv[2], "x" * 700):
    append(Path(sys.argv[1]), encode(entry))
    os.write(1, f"{entry.id}\\n".encode())
"""


def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path) -> None:
    dice, acknowledged = random.Random(7), list[str]()
    for run in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, f"run{run}"], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        with writer.stdout as stdout:
            for _ in range(dice.randint(1, 40)):
                acknowledged.append(stdout.readline().decode().strip())
            writer.kill()
            acknowledged += stdout.read().decode().split()
        writer.wait()
    there = {entry.id for entry in read(tmp_path, 100_000)}
    assert len(acknowledged) > 5
    assert set(acknowledged) <= there


@NEEDS_ROOT
def test_what_was_acknowledged_outlives_a_power_cut(tmp_path: Path) -> None:
    def body() -> None:
        disk, later = tmp_path / "disk", tmp_path / "later"
        for place in (disk, later):
            place.mkdir()
        mount_ext4(disk, tmp_path / "image")
        for number, entry in enumerate(entries):
            put(disk, [entry])
            if number == 2:
                os.truncate(disk / CURRENT, SEGMENT_MAX)  # the next one goes to a new file
            mount_as_after_a_power_cut(later, tmp_path / "image", tmp_path / f"copy{number}")
            assert read(later) == entries[: number + 1]
            unmount(later)
        replace(disk / "memory.json", b"remembered")
        mount_as_after_a_power_cut(later, tmp_path / "image", tmp_path / "copy")
        assert (later / "memory.json").read_bytes() == b"remembered"

    entries = happenings(6)
    among_own_mounts(body)


# --- disks -----------------------------------------------------------------------------------------------------------


@NEEDS_ROOT
def test_a_disk_that_fills_up_in_mid_line_leaves_a_journal(tmp_path: Path) -> None:
    size = 64 << 10

    def body() -> tuple[list[Entry], list[Entry], int]:
        mount_memory(tmp_path, size)
        (tmp_path / "ballast").write_bytes(b"x" * (size - 12288))
        written = list[Entry]()
        with suppress(OSError):
            for entry in happenings(200):
                put(tmp_path, [entry])
                written.append(entry)
        with pytest.raises(OSError, match="No space left"):
            put(tmp_path, happenings(200, "more"))
        full = read(tmp_path)
        length = (tmp_path / CURRENT).stat().st_size
        assert full == written
        assert length == sum(len(encode(entry)) for entry in written), "half a line takes no room"
        (tmp_path / "ballast").unlink()
        put(tmp_path, [AFTER])
        return written, read(tmp_path), length

    written, after, length = among_own_mounts(body)
    assert length > 4096
    assert after == [*written, AFTER]


@NEEDS_ROOT
def test_a_disk_that_is_read_only_can_be_read(tmp_path: Path) -> None:
    def body() -> None:
        mount_memory(tmp_path, 1 << 20)
        put(tmp_path, entries)
        remount(tmp_path, "ro")
        with pytest.raises(OSError, match="Read-only"):
            put(tmp_path, [AFTER])
        assert read(tmp_path) == entries
        remount(tmp_path, "rw")
        put(tmp_path, [AFTER])
        assert read(tmp_path) == [*entries, AFTER]

    entries = happenings(3)
    among_own_mounts(body)


# --- its length ------------------------------------------------------------------------------------------------------


def test_the_oldest_give_way(tmp_path: Path) -> None:
    entries = happenings(8000, text="x" * 1900)
    for start in range(0, len(entries), 50):
        put(tmp_path, entries[start : start + 50])
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= SEGMENT_MAX
    back = read(tmp_path, 100_000)
    assert back == entries[-len(back) :]
    assert sum(len(encode(entry)) for entry in back) > SEGMENT_MAX
    assert read(tmp_path) == entries[-1000:]


def test_a_huge_file_is_read_from_its_end(tmp_path: Path) -> None:
    with (tmp_path / CURRENT).open("wb") as file:
        file.truncate(1 << 40)
    put(tmp_path, [AFTER])
    assert read(tmp_path) == [AFTER]
    assert (tmp_path / OLD).stat().st_size == 1 << 40


def test_a_huge_line_is_skipped(tmp_path: Path) -> None:
    entries = happenings(2)
    put(tmp_path, entries[:1])
    append(tmp_path, b'{"id":"' + b"x" * LINE_MAX + b'"}\n')
    put(tmp_path, entries[1:])
    assert read(tmp_path) == entries


# --- what people put there -------------------------------------------------------------------------------------------


@pytest.fixture(params=[stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A place with something that is no file; where a link leads to, or what it is."""
    folder, victim = tmp_path / "state", tmp_path / "victim"
    folder.mkdir()
    place = folder / CURRENT
    if request.param == stat.S_IFDIR:
        place.mkdir()
    elif request.param == stat.S_IFLNK:
        place.symlink_to(victim)
    else:
        os.mknod(place, request.param | 0o600)
    return folder, victim


def test_what_is_no_file_is_refused_at_once_and_stays(odd: tuple[Path, Path]) -> None:
    folder, victim = odd
    kind = stat.S_IFMT((folder / CURRENT).lstat().st_mode)
    with pytest.raises(OSError):
        put(folder, [AFTER])
    with pytest.raises(OSError):
        read(folder)
    assert stat.S_IFMT((folder / CURRENT).lstat().st_mode) == kind
    assert not victim.exists()


def test_a_pipe_that_somebody_reads_is_refused_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / CURRENT)
    reader = os.open(tmp_path / CURRENT, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="regular"):
        put(tmp_path, [AFTER])
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_an_odd_thing_in_the_place_of_the_old_one_costs_no_entry(tmp_path: Path) -> None:
    entries = happenings(2)
    put(tmp_path, entries)
    (tmp_path / OLD).mkdir()
    with (tmp_path / CURRENT).open("ab") as file:
        file.truncate(SEGMENT_MAX)
    with pytest.raises(OSError):
        put(tmp_path, [AFTER])
    (tmp_path / OLD).rmdir()
    put(tmp_path, [AFTER])
    assert read(tmp_path) == [*entries, AFTER]


@NEEDS_ROOT
def test_a_file_of_somebody_else_is_an_error_and_no_more(tmp_path: Path) -> None:
    """Written by root once, then by another user."""

    def body() -> None:
        os.chdir(tmp_path)  # of this thread alone; the way here is closed to others
        ctypes.CDLL(None).setfsuid(65534)
        with pytest.raises(PermissionError):
            put(Path(), [AFTER])
        with pytest.raises(PermissionError):
            read(Path())

    entries = happenings(1)
    put(tmp_path, entries)
    among_own_mounts(body)
    assert read(tmp_path) == entries
