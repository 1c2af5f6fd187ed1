"""The thread that waits for the disk, with real disks: full, read-only, frozen, and back."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from failover.export.batch import PERIOD
from failover.export.entries import Entry, encode
from failover.export.journal import CURRENT, append, read
from failover.export.memory import NAME, Stamp, load
from failover.export.storage import HANGING, QUEUE_MAX, SAID_AGAIN, Past, Storage
from failover.memory import Memory
from failover.model import NoticeKind

from .disks import NEEDS_ROOT, among_own_mounts, frozen, mount_ext4, mount_memory, remount
from .happenings import UNIX, Happenings

PATIENCE = 20.0
RETRY = 0.01
MEMORY = Memory(use="au", use_seconds=60.0)


def stamp(boottime: float = 0.0) -> Stamp:
    return Stamp(UNIX, True, "boot", boottime)


class Agent:
    """One that keeps a storage, and hears what it says."""

    def __init__(self, folder: Path) -> None:
        self.said = list[str]()
        self.now = 0.0
        self.storage = Storage(folder, stamp(), self._hear, RETRY)
        self._happened = Happenings()

    def _hear(self, kind: str, text: str) -> None:
        assert kind == "warning"
        self.said.append(text)
        self.storage.note(self.now, self._happened.happen(NoticeKind.WARNING, text))  # as the agent does

    def switch(self, text: str = "") -> Entry:
        entry = self._happened.happen(NoticeKind.SWITCH, text)
        self.storage.note(self.now, entry)
        return entry

    def until(self, condition: Callable[[], object], ahead: float = 0.0) -> None:
        """Tick, `ahead` of the clock, until it holds."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end
            self.storage.tick(time.monotonic() + ahead)
            select.select([], [], [], 0.002)


@contextmanager
def agent(folder: Path) -> Iterator[Agent]:
    built = Agent(folder)
    assert built.storage.past(PATIENCE).complaints == ()
    yield built
    built.storage.close(built.now, PATIENCE)


def test_what_one_run_leaves_the_next_one_finds(tmp_path: Path) -> None:
    with agent(tmp_path) as first:
        assert first.storage.past() == Past()
        entries = [first.switch(), first.switch()]
        first.storage.remember(Memory(), stamp(4.0))
        first.storage.remember(MEMORY, stamp(5.0))
    second = Storage(tmp_path, stamp(30.0), lambda *_: None)
    assert second.past(PATIENCE) == Past(tuple(entries), Memory(use="au", use_seconds=60.0, age=25.0))
    second.close(0.0)
    assert first.said == []


def test_what_waits_is_written_at_its_deadline_and_at_the_end(tmp_path: Path) -> None:
    happened = Happenings()
    with agent(tmp_path) as one:
        one.storage.note(0.0, verdict := happened.verdict("au", "down"))
        one.storage.tick(PERIOD - 1.0)
        one.storage.note(PERIOD - 1.0, late := happened.verdict("au", "up"))
        one.storage.tick(PERIOD)
        one.until(lambda: read(tmp_path) == [verdict, late])
        one.storage.note(PERIOD, last := happened.verdict("au", "down"))
        one.now = PERIOD
    assert read(tmp_path) == [verdict, late, last]


@pytest.mark.parametrize(("content", "words"), [(b"{", "it is corrupt"), (b'{"version": 2}', "its version 2 is not 1")])
def test_a_memory_that_cannot_be_used_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / NAME).write_bytes(content)
    storage = Storage(tmp_path, stamp(), lambda *_: None)
    past = storage.past(PATIENCE)
    storage.close(0.0)
    assert past.memory is None
    assert [complaint.endswith(words) for complaint in past.complaints] == [True]


def test_a_journal_that_is_none_costs_the_journal_alone(tmp_path: Path) -> None:
    (tmp_path / CURRENT).mkdir()
    one = Agent(tmp_path)
    assert [str(tmp_path) in complaint for complaint in one.storage.past(PATIENCE).complaints] == [True]
    one.switch()
    one.storage.remember(MEMORY, stamp())
    one.until(lambda: one.said)
    assert one.storage.failing
    assert one.said == [f"{tmp_path}: journal.jsonl: Is a directory; what happens is kept in memory meanwhile"]
    one.until(lambda: load(tmp_path / NAME, stamp()) == (MEMORY, ""))
    (tmp_path / CURRENT).rmdir()
    one.until(lambda: len(one.said) == 2)
    one.storage.close(0.0, PATIENCE)
    assert one.said[1:] == [f"{tmp_path} is written to again; nothing lost"]
    assert [entry.kind for entry in read(tmp_path)] == ["switch", "warning", "warning"]


def test_the_folder_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "two"
    with agent(folder) as one:
        entry = one.switch()
    assert read(folder) == [entry]


def test_of_two_that_cannot_be_read_both_are_said(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("{")
    (tmp_path / CURRENT).mkdir()
    one = Agent(tmp_path)
    memory, journal = one.storage.past(PATIENCE).complaints
    one.storage.close(0.0, PATIENCE)
    assert (NAME in memory, "the journal in" in journal) == (True, True)


def holds(condition: Callable[[], object], seconds: float = 0.2) -> bool:
    """Whether it does for so long."""
    end = time.monotonic() + seconds
    while condition() and time.monotonic() < end:
        select.select([], [], [], 0.002)
    return bool(condition())


def test_a_journal_that_failed_is_tried_again_when_it_is_time(tmp_path: Path) -> None:
    """Not whenever there is something more to write: a disk that fails would be asked all the time."""
    (tmp_path / CURRENT).mkdir()
    one = Storage(tmp_path, stamp(), lambda *_: None, retry=PATIENCE)
    happened = Happenings()
    one.note(0.0, first := happened.happen(NoticeKind.SWITCH))
    assert not holds(lambda: not one.failing, PATIENCE)
    (tmp_path / CURRENT).rmdir()
    one.note(1.0, second := happened.happen(NoticeKind.SWITCH))
    assert holds(lambda: one.failing and not read(tmp_path))
    one.close(1.0, PATIENCE)
    assert read(tmp_path) == [first, second]


def test_a_memory_is_written_once(tmp_path: Path) -> None:
    """Flash wears out by writing; each time makes another file of it."""
    with agent(tmp_path) as one:
        one.storage.remember(MEMORY, stamp())
        assert not holds(lambda: not (tmp_path / NAME).exists(), PATIENCE)
        made = (tmp_path / NAME).stat().st_mtime_ns
        assert holds(lambda: (tmp_path / NAME).stat().st_mtime_ns == made)


def test_a_memory_that_failed_is_tried_again_when_it_is_time(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    one = Storage(tmp_path, stamp(), lambda *_: None, retry=PATIENCE)
    one.remember(MEMORY, stamp())
    assert not holds(lambda: not one.failing, PATIENCE)
    (tmp_path / NAME).rmdir()
    assert holds(lambda: not (tmp_path / NAME).exists())
    one.close(0.0, PATIENCE)
    assert load(tmp_path / NAME, stamp()) == (MEMORY, "")


def test_a_memory_that_cannot_be_written_delays_no_entry(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    said = list[str]()
    one = Storage(tmp_path, stamp(), lambda _, text: said.append(text), retry=PATIENCE)
    assert [str(tmp_path / NAME) in complaint for complaint in one.past(PATIENCE).complaints] == [True]
    one.remember(MEMORY, stamp())
    end = time.monotonic() + PATIENCE / 2
    while not one.failing and time.monotonic() < end:
        select.select([], [], [], 0.002)
    entry = Happenings().happen(NoticeKind.SWITCH)
    one.note(0.0, entry)
    while not read(tmp_path) and time.monotonic() < end:
        select.select([], [], [], 0.002)
    assert one.failing
    assert read(tmp_path) == [entry]
    one.tick(1.0)
    assert [text.removeprefix(f"{tmp_path}: ").partition(":")[0] for text in said] == [NAME], "which file it is"
    (tmp_path / NAME).rmdir()
    one.close(0.0, PATIENCE)
    assert load(tmp_path / NAME, stamp()) == (MEMORY, ""), "the last try"


# --- disks -----------------------------------------------------------------------------------------------------------


@NEEDS_ROOT
def test_a_full_disk_is_said_once_and_what_happens_is_written_when_there_is_room(tmp_path: Path) -> None:
    def body() -> None:
        mount_memory(tmp_path, 64 << 10)
        ballast = tmp_path / "ballast"
        with agent(tmp_path) as one:
            entries = [one.switch()]
            one.until(lambda: read(tmp_path) == entries)
            ballast.write_bytes(b"x" * (56 << 10))
            entries += [one.switch("x" * 100) for _ in range(50)]
            one.storage.remember(MEMORY, stamp())
            one.until(lambda: one.said)
            assert one.said == [f"{tmp_path}: No space left on device; what happens is kept in memory meanwhile"]
            assert one.storage.failing
            entries += [one.switch("y" * 100) for _ in range(50)]
            assert len(read(tmp_path)) < 51
            ballast.unlink()
            one.until(lambda: len(one.said) == 2)
            assert one.said[1:] == [f"{tmp_path} is written to again; nothing lost"]
        assert not one.storage.failing
        assert [entry for entry in read(tmp_path) if entry.kind is NoticeKind.SWITCH] == entries
        assert load(tmp_path / NAME, stamp())[0] == MEMORY

    among_own_mounts(body)


@NEEDS_ROOT
def test_a_disk_that_comes_and_goes_is_not_talked_about_all_the_time(tmp_path: Path) -> None:
    def body() -> None:
        mount_memory(tmp_path, 64 << 10)
        with agent(tmp_path) as one:
            for _ in range(3):
                remount(tmp_path, "ro")
                entry = one.switch()
                one.until(lambda: one.storage.failing)
                remount(tmp_path, "rw")
                one.until(lambda: not one.storage.failing)
                assert entry in read(tmp_path)
                one.storage.tick(time.monotonic())
            assert len(one.said) == 2
            assert "Read-only file system" in one.said[0]
            remount(tmp_path, "ro")
            one.switch()
            one.until(lambda: len(one.said) == 3, ahead=SAID_AGAIN + 1.0)
            one.storage.tick(time.monotonic() + 3 * SAID_AGAIN)
            assert len(one.said) == 3, "said once, however long it lasts"
            remount(tmp_path, "rw")

    among_own_mounts(body)


@NEEDS_ROOT
def test_a_disk_that_hangs_holds_up_nobody_and_loses_nothing(tmp_path: Path) -> None:
    def body() -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        mount_ext4(disk, tmp_path / "image")
        with agent(disk) as one:
            entries = [one.switch()]
            one.until(lambda: read(disk) == entries)
            with frozen(disk):
                begun = time.monotonic()
                entries += [one.switch(str(number)) for number in range(100)]
                one.storage.remember(MEMORY, stamp())
                spent = time.monotonic() - begun
                one.until(lambda: one.said, ahead=HANGING + 1.0)
                assert [text.split(" for ")[0] for text in one.said] == [f"{disk}: the disk has not answered"]
            one.until(lambda: len(one.said) == 2)
            assert one.said[1:] == [f"{disk} is written to again; nothing lost"]
        assert spent < 1.0
        assert [entry for entry in read(disk) if entry.kind is NoticeKind.SWITCH] == entries
        assert load(disk / NAME, stamp())[0] == MEMORY

    among_own_mounts(body)


@NEEDS_ROOT
def test_neither_start_nor_stop_waits_long_for_a_disk_that_hangs(tmp_path: Path) -> None:
    def body() -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        mount_ext4(disk, tmp_path / "image")
        append(disk, encode(Happenings("old").happen(NoticeKind.SWITCH)))
        with frozen(disk):
            one = Agent(disk)
            assert one.storage.past(PATIENCE).complaints == (), "reading a frozen disk works"
            one.switch()
            one.until(lambda: one.said, ahead=HANGING + 1.0)
            one.switch()
            begun = time.monotonic()
            one.storage.close(0.0, timeout=0.2)
            assert time.monotonic() - begun < 1.0
            assert one.said[-1] == f"{disk}: 3 entries are not on disk"
        for thread in threading.enumerate():
            if thread.name == "storage":
                thread.join(PATIENCE)

    among_own_mounts(body)


@NEEDS_ROOT
def test_the_queue_has_a_bound_and_what_is_dropped_is_counted_and_said(tmp_path: Path) -> None:
    def body() -> None:
        mount_memory(tmp_path, 8 << 20)
        with agent(tmp_path) as one:
            remount(tmp_path, "ro")
            happened, entries = Happenings("flood"), list[Entry]()
            for _ in range(QUEUE_MAX // 10_000):
                one.now += 3600.0
                entries += [happened.happen(NoticeKind.SWITCH, "x" * 1900) for _ in range(8)]
                for entry in entries[-8:]:
                    one.storage.note(one.now, entry)
            one.until(lambda: one.said)
            remount(tmp_path, "rw")
            one.until(lambda: len(one.said) == 2)
            remount(tmp_path, "ro")
            one.switch("more")
            one.until(lambda: len(one.said) == 3, ahead=SAID_AGAIN + 1.0)
            remount(tmp_path, "rw")
            one.until(lambda: len(one.said) == 4)
        lost = one.storage.dropped
        assert lost > 10
        back = [entry for entry in read(tmp_path, 10_000) if entry.kind is NoticeKind.SWITCH]
        assert one.said[1] == f"{tmp_path} is written to again; {lost} entries lost"
        assert one.said[3] == f"{tmp_path} is written to again; nothing lost", "since then"
        assert back[:-1] == entries[lost:]
        assert QUEUE_MAX - 4096 < sum(len(encode(entry)) for entry in back[:-1]) <= QUEUE_MAX

    among_own_mounts(body)


def test_what_may_hold_secrets_is_for_the_agent_alone(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.storage.keep("config.json", b"pin")
    agent.until((tmp_path / "config.json").exists)
    agent.storage.close(agent.now)
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
