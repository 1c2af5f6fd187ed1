"""The thread that waits for the disk, so that nobody else has to: the journal and the files beside it.

What lives here: a queue with a bound, one thread, and what is said when the disk fails, hangs, and is back. What is
written is made elsewhere (`batch.py`, `journal.py`, `memory.py`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

from failover.export import journal
from failover.export import memory as memories
from failover.export.batch import Batch
from failover.export.entries import Entry
from failover.export.log import Say
from failover.export.memory import Stamp
from failover.files import replace
from failover.memory import Memory
from failover.model import clean

QUEUE_MAX: Final = 1 << 20
"""Bytes that wait for the disk; then the oldest are dropped."""
RETRY: Final = 10.0
"""Seconds until a disk that failed is tried again."""
HANGING: Final = 2.0
"""Seconds after which a disk that does not answer is said to hang."""
PRIVATE: Final = 0o600
"""Mode of the files: the config holds PINs and passwords."""
SAID_AGAIN: Final = 60.0
"""Seconds; a disk that comes and goes is not talked about more often."""


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier runs left on disk."""

    entries: tuple[Entry, ...] = ()
    memory: Memory | None = None
    complaints: tuple[str, ...] = ()
    """What could not be read, one line each."""


class Storage:
    """Journal and memory of one agent. Only `past` and `close` wait for the disk, and not for long."""

    def __init__(self, folder: Path, stamp: Stamp, say: Say, retry: float = RETRY) -> None:
        """`stamp`: now; `say` is called by `tick` and `close` only; `retry`: seconds after a failure."""
        self._folder, self._say = folder, say
        self._batch = Batch()
        self._writer = _Writer(folder, stamp, retry)
        self._silenced = -inf
        self._told = False

    @property
    def dropped(self) -> int:
        """Lines that were lost because the disk took too long."""
        return self._writer.dropped

    @property
    def failing(self) -> bool:
        """Whether the disk does not take what it is given."""
        return bool(self._writer.trouble(time.monotonic()))

    def past(self, timeout: float = 1.0) -> Past:
        """What was there at the start; nothing, and a complaint, when the disk takes longer than `timeout` seconds."""
        return self._writer.past(timeout) or Past(complaints=(f"{self._folder} does not answer; starting afresh",))

    def note(self, now: float, entry: Entry) -> None:
        """It happened now (monotonic seconds)."""
        self._batch.note(now, entry)
        self._writer.add(self._batch.take(now))

    def remember(self, memory: Memory, stamp: Stamp) -> None:
        """Write this instead of what was remembered before."""
        self.keep(memories.NAME, memories.encode(memory, stamp))

    def keep(self, name: str, data: bytes) -> None:
        """Make `data` the whole file of that name in the folder."""
        self._writer.keep(name, data)

    def tick(self, now: float) -> None:
        """Pass on what is due, say what became of the disk; to be called every second or so."""
        self._writer.add(self._batch.take(now))
        trouble = self._writer.trouble(now)
        if trouble and not self._told and now >= self._silenced:
            self._told, self._silenced = True, now + SAID_AGAIN
            self._say("warning", f"{self._folder}: {trouble}; what happens is kept in memory meanwhile")
        elif not trouble and self._told:
            self._told = False
            lost = self._writer.lost()
            self._say("warning", f"{self._folder} is written to again; {f'{lost} entries' if lost else 'nothing'} lost")

    def close(self, now: float, timeout: float = 2.0) -> None:
        """Write what is left; a disk that takes longer is not waited for."""
        self._writer.add(self._batch.flush(now))
        left = self._writer.end(timeout)
        if left:
            self._say("warning", f"{self._folder}: {left} entries are not on disk")


class _Writer:
    """The queue and its thread. What the two share is held under one lock, never while the disk is asked."""

    def __init__(self, folder: Path, stamp: Stamp, retry: float) -> None:
        self.dropped = 0
        self._folder, self._stamp, self._retry = folder, stamp, retry
        self._change = threading.Condition()
        self._past: Past | None = None
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._flying = 0
        """Lines that the disk has been given, and not yet taken."""
        self._files: dict[str, bytes] = {}
        """Those to be replaced, by name."""
        self._mourned = 0
        self._ending = False
        self._unwritten = self._unkept = ""
        """Why the journal could not be written the last time; why a file."""
        self._asked_at: float | None = None
        """Since when the disk has not answered; None: nothing is asked of it."""
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)
        self._thread.start()

    # --- asked by the agent ------------------------------------------------------------------------------------------

    def past(self, timeout: float) -> Past | None:
        """None when it is not there in time."""
        with self._change:
            self._change.wait_for(lambda: self._past is not None, timeout)
            return self._past

    def add(self, lines: Sequence[bytes]) -> None:
        """To be written as soon as the disk takes them."""
        if lines:
            with self._change:
                self._lines.extend(lines)
                self._fit(sum(map(len, lines)))
                self._change.notify_all()

    def keep(self, name: str, data: bytes) -> None:
        """The newest is enough."""
        with self._change:
            self._files[name] = data
            self._change.notify_all()

    def trouble(self, now: float) -> str:
        """What is wrong with the disk at this moment; empty: nothing."""
        asked = self._asked_at
        if asked is not None and now - asked >= HANGING:
            return f"the disk has not answered for {now - asked:.0f} s"
        return self._unwritten or self._unkept

    def lost(self) -> int:
        """Lines dropped since this was asked last."""
        lost, self._mourned = self.dropped - self._mourned, self.dropped
        return lost

    def end(self, timeout: float) -> int:
        """Let the thread try once more; the number of lines that are not on disk after `timeout` seconds."""
        with self._change:
            self._ending = True
            self._change.notify_all()
        self._thread.join(timeout)
        return len(self._lines) + self._flying

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._asked_at = time.monotonic()
        past = _look_back(self._folder, self._stamp)
        with self._change:
            self._past = past
            self._change.notify_all()
        with suppress(OSError):  # the first write says it
            self._folder.mkdir(parents=True, exist_ok=True)
        self._asked_at = None
        ending = False
        while not ending:
            with self._change:
                if self._unwritten or self._unkept:
                    self._change.wait_for(lambda: self._ending or (self._lines and not self._unwritten), self._retry)
                self._change.wait_for(lambda: self._ending or self._lines or self._files)
                ending, lines, files = self._ending, list(self._lines), self._files
                self._lines.clear()
                self._bytes, self._files, self._flying = 0, {}, len(lines)
            self._write(lines, files)

    def _write(self, lines: Sequence[bytes], files: Mapping[str, bytes]) -> None:
        """Put them on disk; what fails waits for the next time."""
        self._asked_at = time.monotonic()
        unwritten = _error(journal.append, self._folder, b"".join(lines)) if lines else ""
        keep = partial(replace, mode=PRIVATE)
        tried = {name: _error(keep, self._folder / name, data) for name, data in files.items()}
        failed = {name: why for name, why in tried.items() if why}
        with self._change:
            self._flying = 0
            if unwritten:
                self._lines.extendleft(reversed(lines))
                self._fit(sum(map(len, lines)))
            self._files = {name: files[name] for name in failed} | self._files
            self._unwritten, self._unkept, self._asked_at = unwritten, next(iter(failed.values()), ""), None

    def _fit(self, more: int) -> None:
        """So many bytes have been added: the oldest lines give way."""
        self._bytes += more
        while self._bytes > QUEUE_MAX:
            self._bytes -= len(self._lines.popleft())
            self.dropped += 1


def _error(step: Callable[[Path, bytes], None], path: Path, data: bytes) -> str:
    """The words of the OSError that it ended in, and of which file; empty: none."""
    try:
        step(path, data)
    except OSError as error:
        name = error.filename2 or error.filename  # of two, what should have become of the other
        return clean((f"{Path(name).name}: " if name else "") + (error.strerror or str(error)))
    return ""


def _look_back(folder: Path, stamp: Stamp) -> Past:
    memory, complaint = memories.load(folder / memories.NAME, stamp)
    try:
        return Past(tuple(journal.read(folder)), memory, (complaint,) if complaint else ())
    except OSError as error:
        unread = f"the journal in {folder} cannot be read: {clean(error.strerror or str(error))}"
        return Past((), memory, (complaint, unread) if complaint else (unread,))
