"""The journal on disk: entries as lines of JSON, appended to one file; a full one becomes the old one.

What lives here: the two files. No state is kept between two writes, so that whatever became of the disk, or of the
files, the next one begins anew. Half a line, as a power cut leaves it, is ended by the next write, and skipped by
readers. When to write is `batch.py`'s business, waiting for the disk `storage.py`'s.

Lines, not SQLite: of 1000 entries, each on disk before the next, SQLite (WAL) makes 13.5 MB of writes and takes 3 MB
of memory, lines make 4.4 MB and half of that; and what is cut or overwritten anywhere costs the lines that it touches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from failover.export.entries import RECENT, Entry, decode
from failover.files import append_lines, give_to_owner_of, opened, sync_folder, tail

CURRENT, OLD = "journal.jsonl", "journal.old.jsonl"
SEGMENT_MAX: Final = 2 << 20
"""Bytes of one file: 7000 entries or so."""


def append(folder: Path, lines: bytes) -> None:
    """Put whole lines on disk, after what is there; OSError when they are not, and then nothing of them should be."""
    path = folder / CURRENT
    with opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
        size = os.fstat(file).st_size
        if size == 0 or size + len(lines) <= SEGMENT_MAX:
            append_lines(file, size, lines)
            if size == 0:
                give_to_owner_of(folder, file)
                sync_folder(folder)
            return
    path.replace(folder / OLD)
    append(folder, lines)


def read(folder: Path, limit: int = RECENT, since: float | None = None) -> list[Entry]:
    """The last `limit` entries, oldest first, of those not before `since` (unix seconds); with no journal none.

    Whatever is no entry is skipped. OSError when a file that is there cannot be read.
    """
    found: dict[bytes, Entry] = {}
    for line in _backwards(folder):
        if len(found) >= limit:
            break
        with suppress(ValueError):
            entry = decode(line)
            if since is None or entry.unix >= since:
                found[line] = entry  # by its line: what was overwritten may have the id of another
    return list(reversed(found.values()))


def _backwards(folder: Path) -> Iterator[bytes]:
    """Whole lines, the newest first; no more than one file is held at a time."""
    for name in (CURRENT, OLD):
        with suppress(FileNotFoundError):
            yield from _lines_backwards(tail(folder / name, SEGMENT_MAX))


def _lines_backwards(data: bytes) -> Iterator[bytes]:
    end = data.rfind(b"\n")
    while end >= 0:
        before = data.rfind(b"\n", 0, end)
        yield data[before + 1 : end]
        end = before
