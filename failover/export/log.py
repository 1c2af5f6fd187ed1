"""Log lines on stderr, one line per fact: `failover: <kind>: <text>`, or in the journal's own form where it listens.

The log never holds up the agent: a line that the reader of a full pipe has no room for is dropped and counted, a closed
stderr is no error.
"""

from __future__ import annotations

import os
import select
import traceback
from collections.abc import Callable, Mapping
from typing import Final

from failover.model import clean

LINE_LIMIT: Final = 2000
"""Characters of one line."""
WRITE_LIMIT: Final = select.PIPE_BUF
"""Bytes that a pipe which polls as writable takes without blocking."""
PRIORITIES: Final = {"error": 3, "warning": 4, "kernel": 4, "switch": 5}
"""Of syslog(3), by kind: LOG_ERR, LOG_WARNING, LOG_NOTICE."""
ORDINARY: Final = 6
"""LOG_INFO, the priority of every other kind."""


Say = Callable[[str, str], None]
"""Says one fact to the log: its kind, its text."""


class Log:
    """Writes to one file descriptor. Never raises, never blocks."""

    def __init__(self, fd: int = 2, environment: Mapping[str, str] = os.environ) -> None:
        self._fd = fd
        self._journal = _is_journal(fd, environment)
        self._dropped = 0

    def say(self, kind: str, text: str, id: str = "") -> None:  # noqa: A002
        """One line; never waits, and drops what nobody reads. `id`: of the journal's entry that it tells of."""
        lost = f"{self._dropped} log lines were dropped because nobody read them"
        if self._dropped and self._write("warning", lost, ""):
            self._dropped = 0
        if not self._write(kind, clean(text, LINE_LIMIT), f" [{clean(id)}]" if id else ""):
            self._dropped += 1

    def traceback(self, error: BaseException) -> None:
        """An error that nobody expected, with its traceback, line by line."""
        for chunk in traceback.format_exception(error):
            for line in chunk.rstrip().splitlines():
                self.say("error", line)

    def _write(self, kind: str, text: str, tail: str) -> bool:
        """What is too long loses the end of its text, not its tail."""
        start = f"<{PRIORITIES.get(kind, ORDINARY)}>" if self._journal else "failover: "
        end = f"{tail}\n".encode(errors="replace")
        data = f"{start}{kind}: {text}".encode(errors="replace")[: WRITE_LIMIT - len(end)] + end
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            ready = poll.poll(0)
            return bool(ready and ready[0][1] & select.POLLOUT) and os.write(self._fd, data) == len(data)
        except (OSError, ValueError):
            return False


def _is_journal(fd: int, environment: Mapping[str, str]) -> bool:
    """Whether JOURNAL_STREAM names this descriptor (systemd.exec(5)): a child's own pipe is not the journal."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def claim_standard_streams() -> None:
    """Opens /dev/null on those of descriptors 0-2 that are closed, so that no socket of ours ever becomes stderr."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
