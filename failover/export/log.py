"""Log lines on stderr: one line per fact, `failover: <kind>: <text>`.

The log never holds up the agent: a line that the reader of a full pipe has no room for is dropped and counted, a closed
stderr is no error.
"""

from __future__ import annotations

import os
import select
import traceback
from collections.abc import Callable
from typing import Final

from failover.model import clean

LINE_LIMIT: Final = 2000
"""Characters of one line."""
WRITE_LIMIT: Final = select.PIPE_BUF
"""Bytes that a pipe which polls as writable takes without blocking."""


Say = Callable[[str, str], None]
"""Says one fact to the log: its kind, its text."""


class Log:
    """Writes to one file descriptor. Never raises, never blocks."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._dropped = 0

    def say(self, kind: str, text: str) -> None:
        """One line; never waits, and drops what nobody reads."""
        lost = f"failover: warning: {self._dropped} log lines were dropped because nobody read them"
        if self._dropped and self._write(lost):
            self._dropped = 0
        if not self._write(f"failover: {kind}: {clean(text, LINE_LIMIT)}"):
            self._dropped += 1

    def traceback(self, error: BaseException) -> None:
        """An error that nobody expected, with its traceback, line by line."""
        for chunk in traceback.format_exception(error):
            for line in chunk.rstrip().splitlines():
                self.say("error", line)

    def _write(self, line: str) -> bool:
        data = line.encode(errors="replace")[: WRITE_LIMIT - 1] + b"\n"
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            ready = poll.poll(0)
            return bool(ready and ready[0][1] & select.POLLOUT) and os.write(self._fd, data) == len(data)
        except (OSError, ValueError):
            return False


def claim_standard_streams() -> None:
    """Opens /dev/null on those of descriptors 0-2 that are closed, so that no socket of ours ever becomes stderr."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
