"""What happened, one entry each, with the id that log, journal, control socket and JSON share. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from failover.model import Notice, NoticeKind


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened."""

    id: str
    """`RUN-NUMBER`: unique over restarts and without a look at the disk; numbers count up within one run."""
    unix: float
    trusted: bool
    """Whether the wall clock was, when it happened."""
    kind: NoticeKind
    text: str
    fields: Mapping[str, object]

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "id": self.id,
            "unix_seconds": round(self.unix, 3),
            "clock_trusted": self.trusted,
            "kind": self.kind.value,
            "text": self.text,
            "fields": dict(self.fields),
        }


class Numbering:
    """Makes entries of one run of the agent; `run` tells it from every other."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._numbers = count(1)

    def entry(self, notice: Notice, unix: float, *, trusted: bool) -> Entry:
        """The notice as the next entry."""
        return Entry(f"{self._run}-{next(self._numbers)}", unix, trusted, notice.kind, notice.text, notice.fields)
