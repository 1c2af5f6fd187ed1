"""What happened, one entry each, with the id that log, journal, control socket and JSON share. No I/O here."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from math import isfinite
from typing import Any, Final

from failover.model import Notice, NoticeKind, clean

RECENT: Final = 1000
"""Entries held in memory."""
LINE_MAX: Final = 8192
"""Bytes of an entry on disk, its newline included."""
TEXT_MAX: Final = 2000
"""Characters, as in the log."""
FIELDS_MAX: Final = 64
UNIX_MAX: Final = 253402300799.0
"""The last second of the year 9999, beyond which no calendar goes."""


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
            "fields": {key: _plain(value) for key, value in self.fields.items()},
        }


class Numbering:
    """Makes entries of one run of the agent; `run` tells it from every other."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._numbers = count(1)

    def entry(self, notice: Notice, unix: float, *, trusted: bool) -> Entry:
        """The notice as the next entry."""
        return Entry(f"{self._run}-{next(self._numbers)}", unix, trusted, notice.kind, notice.text, notice.fields)


class Recent:
    """The newest entries of this run, all of them, on top of what the journal kept of earlier ones."""

    def __init__(self, capacity: int = RECENT) -> None:
        self._entries: deque[Entry] = deque(maxlen=capacity)

    def add(self, entry: Entry) -> None:
        """The newest; the oldest gives way."""
        self._entries.append(entry)

    def recent(self, limit: int, since: float | None = None, past: Iterable[Entry] = ()) -> list[Entry]:
        """The last `limit`, oldest first, of those not before `since` (unix seconds); `past`: from the journal."""
        own = {entry.id for entry in self._entries}
        everything = [*(entry for entry in past if entry.id not in own), *self._entries]
        late = [entry for entry in everything if since is None or entry.unix >= since]
        return late[-limit:] if limit > 0 else []


def encode(entry: Entry) -> bytes:
    """As one line of at most LINE_MAX bytes, newline included; fields that have no room are left out."""
    document = entry.document() | {"text": clean(entry.text, TEXT_MAX)}
    line = _dump(document)
    if len(line) > LINE_MAX:
        line = _dump(document | {"fields": {}})
    return line if len(line) <= LINE_MAX else _dump(document | {"text": clean(entry.text, TEXT_MAX // 8), "fields": {}})


def decode(line: bytes) -> Entry:
    """What `encode` wrote, its strings made safe again; ValueError for anything else."""
    if len(line) > LINE_MAX:
        raise ValueError("too long")
    try:
        tree = json.loads(line, parse_constant=_refuse)
        return _entry(tree)
    except (RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("not an entry") from error


def _dump(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _plain(value: object) -> object:
    """A JSON scalar; numbers that JSON does not know become null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _entry(tree: Mapping[str, Any]) -> Entry:
    """ValueError, KeyError, TypeError or AttributeError where it is none."""
    name, unix, trusted, text = tree["id"], tree["unix_seconds"], tree["clock_trusted"], tree["text"]
    if not (isinstance(name, str) and isinstance(text, str) and isinstance(trusted, bool)):
        raise TypeError("a value of the wrong type")
    if isinstance(unix, bool) or not 0 <= unix <= UNIX_MAX:
        raise ValueError("no time")
    fields = tree["fields"].items()
    if len(fields) > FIELDS_MAX or any(isinstance(value, dict | list) for _, value in fields):
        raise ValueError("fields that nobody wrote")
    safe = {clean(key): clean(value, TEXT_MAX) if isinstance(value, str) else value for key, value in fields}
    return Entry(clean(name), float(unix), trusted, NoticeKind(tree["kind"]), clean(text, TEXT_MAX), safe)
