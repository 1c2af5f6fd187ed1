"""The messages that are kept: lines of JSON in one file that root and the agent alone may read.

What lives here: the file, and what becomes of it when it is full. Not in the journal, which group failover reads: a
message may hold a one-time code. Half a line, and whatever else is no message, is skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from failover.config.modems import Matter
from failover.export.entries import UNIX_MAX
from failover.files import append_lines, give_to_owner_of, opened, replace, sync_folder, tail
from failover.model import clean
from failover.modem import Message

NAME: Final = "messages.jsonl"
MODE: Final = 0o600
BYTES_MAX: Final = 512 << 10
"""Of the file. Answered whole, it holds the agent's loop up for some 5 ms."""
LEFT_BYTES: Final = BYTES_MAX * 3 // 4
"""Of a full one that is written anew, so that this is not for every message."""
TEXT_MAX: Final = 2000
"""Characters; as long as a modem's messages are."""
LINE_MAX: Final = 16384
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that arrived."""

    id: str
    """The same, whenever it is read from the SIM."""
    unix: float
    """When it was read."""
    trusted: bool
    """Whether the wall clock was, then."""
    uplink: str
    """Empty: its SIM is no uplink's."""
    imei: str
    iccid: str
    number: str
    received_at: str
    """As the network told."""
    matters: tuple[Matter, ...]
    text: str | None = field(default=None, repr=False)
    """None: it is left out."""

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "id": self.id,
            "unix_seconds": round(self.unix, 3),
            "clock_trusted": self.trusted,
            "uplink": self.uplink,
            "imei": self.imei,
            "iccid": self.iccid,
            "number": self.number,
            "received_at": self.received_at,
            "matters": [matter.value for matter in self.matters],
            "text": self.text,
        }


def identity(message: Message) -> str:
    """Of the SIM that has it, who sent it when, and its text; not of what the modem's manager calls it."""
    parts = json.dumps([message.iccid or message.imei, message.number, message.received_at, message.text])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def encode(kept: Kept) -> bytes:
    """As one line, its newline included."""
    return json.dumps(kept.document(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Kept:
    """What `encode` wrote, its strings made safe again; ValueError for anything else."""
    if len(line) > LINE_MAX:
        raise ValueError("too long")
    try:
        return _kept(json.loads(line))
    except (RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a message") from error


def read(folder: Path) -> list[Kept]:
    """The oldest first, each once; none, where there is no file. OSError when it cannot be read."""
    try:
        data = tail(folder / NAME, 2 * BYTES_MAX)
    except FileNotFoundError:
        return []
    found: dict[str, Kept] = {}
    for line in data.split(b"\n"):
        with suppress(ValueError):
            kept = decode(line)
            found[kept.id] = kept
    return list(found.values())


def append(folder: Path, messages: Sequence[Kept]) -> bool:
    """Put them on disk, after what is there; False: it has no room for them, and `write` is due. OSError when they are
    not there."""
    lines = b"".join(map(encode, messages))
    with opened(folder / NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT, MODE) as file:
        size = os.fstat(file).st_size
        if size + len(lines) > BYTES_MAX:
            return False
        os.fchmod(file, MODE)
        append_lines(file, size, lines)
        if size == 0:
            give_to_owner_of(folder, file)
            sync_folder(folder)
    return True


def write(folder: Path, messages: Sequence[Kept], room: int) -> Sequence[Kept]:
    """Make the newest of them, as far as they go into so many bytes, the whole file; these. None: there is no file.
    OSError when the old one stayed."""
    lines = list[bytes]()
    for kept in reversed(messages):
        line = encode(kept)
        room -= len(line)
        if room < 0:
            break
        lines.append(line)
    if lines:
        replace(folder / NAME, b"".join(reversed(lines)), MODE, exact=True)
    else:
        (folder / NAME).unlink(missing_ok=True)
    return messages[len(messages) - len(lines) :]


def _kept(tree: Mapping[str, Any]) -> Kept:
    """ValueError, KeyError, TypeError or AttributeError where it is none."""
    unix, trusted, text = tree["unix_seconds"], tree["clock_trusted"], tree["text"]
    if isinstance(unix, bool) or not 0 <= unix <= UNIX_MAX or not isinstance(trusted, bool):
        raise ValueError("no time")
    words = {name: clean(tree[name]) for name in ("id", "uplink", "imei", "iccid", "number", "received_at")}
    matters = tuple(Matter(word) for word in tree["matters"])
    said = None if text is None else clean(text, TEXT_MAX)
    return Kept(unix=float(unix), trusted=trusted, matters=matters, text=said, **words)
