"""The thread that waits for the disk, with real files and real disks."""

from __future__ import annotations

from pathlib import Path

from failover.export.journal import read
from failover.export.memory import Stamp
from failover.export.storage import Past, Storage
from failover.memory import Memory
from failover.model import NoticeKind

from .happenings import UNIX, Happenings


def stamp(boottime: float = 0.0) -> Stamp:
    return Stamp(UNIX, True, "boot", boottime)


def test_what_one_run_leaves_the_next_one_finds(tmp_path: Path) -> None:
    said = list[tuple[str, str]]()
    first = Storage(tmp_path, stamp(), lambda kind, text: said.append((kind, text)))
    assert first.past(10) == Past()
    happened = Happenings()
    entries = [happened.switch("au", "docomo", "conviction"), happened.verdict("au", "down")]
    for entry in entries:
        first.note(1.0, entry)
    first.remember(Memory(use="au", use_seconds=60.0), stamp(5.0))
    first.close(2.0, 10)
    second = Storage(tmp_path, stamp(30.0), lambda kind, text: said.append((kind, text)))
    past = second.past(10)
    second.close(0.0, 10)
    assert list(past.entries) == entries == read(tmp_path)
    assert past.memory == Memory(use="au", use_seconds=60.0, age=25.0)
    assert past.complaints == ()
    assert said == []
    assert NoticeKind.COUNTED not in {entry.kind for entry in past.entries}
