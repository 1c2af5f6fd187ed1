"""Which entry is written to disk, and when: switches at once, verdicts by the minute, doubts and diverts counted.

Pure: `now`, in monotonic seconds, is an argument. What it lets through in a day is bounded, whatever happens: flash
wears out by writing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from failover.export.entries import LINE_MAX, Entry, encode
from failover.model import NoticeKind, Reason, Verdict

PERIOD: Final = 60.0
"""Seconds between two writes of what can wait."""
DAY_BYTES: Final = 5_000_000
"""What is written in any 24 hours, at most: BURST at once, and the rest at an even pace."""
PAGE: Final = 4096
"""Bytes that a write costs beyond its own: the disk takes whole pages."""
PENDING: Final = 16384
"""Bytes after which what can wait is only counted; twice that for what should not."""
BURST: Final = 500_000
RESERVE: Final = BURST // 2
"""Left to what should not wait."""
LANES: Final = 64
"""Uplinks and families that are counted apart."""
_WRITE_MAX: Final = PAGE + 2 * PENDING + LINE_MAX + LANES * 512
RATE: Final = (DAY_BYTES - BURST - _WRITE_MAX) / 86400
"""Bytes a second."""
_PATIENT: Final = frozenset(
    (NoticeKind.VERDICT, NoticeKind.UPLINK, NoticeKind.FLOWS, NoticeKind.MODEM, NoticeKind.KERNEL, NoticeKind.WARNING)
)

Lane = tuple[str, str]
"""Uplink and family; empty: everything that concerns none, or no longer fits in LANES."""


@dataclass(slots=True)
class _Count:
    """What happened to one lane and is not written one by one."""

    began: float
    first: Entry
    last: Entry
    numbers: dict[str, int] = field(default_factory=dict)


class Batch:
    """Entries in (`note`), lines to write out (`take`, from `deadline` on)."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._bytes = 0
        self._urgent = False
        self._due = inf
        """When what can wait has waited for long enough."""
        self._counts: dict[Lane, _Count] = {}
        self._credit = float(BURST)
        """Bytes that might be written at `_credited`; it grows by RATE, up to BURST."""
        self._credited = 0.0
        """When something was written last."""
        self._verdicts: dict[Lane, str] = {}
        """The last one written of each lane."""
        self._shown: dict[Lane, str] = {}
        """The last one heard of each lane."""
        self._diverted: set[str] = set()
        """Families whose new flows are away because of a doubt."""

    def note(self, now: float, entry: Entry) -> None:
        """It happened now: kept for the next write, or counted."""
        lane = _lane(entry)
        word = self._counted_as(lane, entry)
        if word is None:
            urgent = entry.kind not in _PATIENT
            if self._bytes < PENDING * (1 + urgent):
                self._keep(now, lane, entry, urgent=urgent)
                return
            word = "others"
        self._count(now, lane, word, entry)

    def deadline(self) -> float:
        """When `take` has something to give; inf when nothing waits."""
        soon = self._affordable(0.0) if self._urgent else inf
        return min(soon, max(self._due, self._affordable(RESERVE)) if self._due < inf else inf)

    def take(self, now: float) -> list[bytes]:
        """The lines to be written now, none before the deadline."""
        return self._out(now, counts=now >= self._due) if now >= self.deadline() else []

    def flush(self, now: float) -> list[bytes]:
        """Everything that waits, at the end of a run."""
        return self._out(now, counts=True)

    # --- kept or counted ---------------------------------------------------------------------------------------------

    def _counted_as(self, lane: Lane, entry: Entry) -> str | None:
        """The word under which an entry is only counted; None: it is worth its line."""
        match entry.kind:
            case NoticeKind.SWITCH:
                return self._divert(entry)
            case NoticeKind.VERDICT:
                return self._doubt(lane, entry)
            case NoticeKind.UPLINK if "silence" in entry.fields:
                return str(entry.fields["silence"])
            case NoticeKind.FLOWS if entry.fields.get("unanswered"):
                return "unanswered_flows"
            case _:
                return None

    def _divert(self, entry: Entry) -> str | None:
        """New flows leave an uplink in doubt, and come back."""
        family, reason = str(entry.fields.get("family")), entry.fields.get("reason")
        if reason == Reason.DOUBT:
            self._diverted.add(family)
            return "diverts"
        away = family in self._diverted
        self._diverted.discard(family)
        return "returns" if away and reason == Reason.ACQUITTAL else None

    def _doubt(self, lane: Lane, entry: Entry) -> str | None:
        """Into doubt, and back to what it was before."""
        verdict = str(entry.fields.get("verdict"))
        if len(self._shown) >= 4 * LANES:
            self._shown.clear()
        self._shown[lane] = verdict
        if verdict == Verdict.DOUBTFUL:
            return "doubts"
        return "acquittals" if verdict == self._verdicts.get(lane) else None

    def _keep(self, now: float, lane: Lane, entry: Entry, *, urgent: bool) -> None:
        line = encode(entry)
        self._lines.append(line)
        self._bytes += len(line)
        self._urgent = self._urgent or urgent
        if not urgent:
            self._due = min(self._due, now + PERIOD)
        if entry.kind is NoticeKind.VERDICT:
            if len(self._verdicts) >= 4 * LANES:
                self._verdicts.clear()
            self._verdicts[lane] = str(entry.fields.get("verdict"))

    def _count(self, now: float, lane: Lane, word: str, entry: Entry) -> None:
        if lane not in self._counts and len(self._counts) >= LANES - 1:
            lane = ("", "")
        count = self._counts.setdefault(lane, _Count(now, entry, entry))
        count.last = entry
        count.numbers[word] = count.numbers.get(word, 0) + 1
        self._due = min(self._due, now + PERIOD)

    # --- out ---------------------------------------------------------------------------------------------------------

    def _out(self, now: float, *, counts: bool) -> list[bytes]:
        lines, self._lines, self._bytes, self._urgent = self._lines, [], 0, False
        if counts:
            lines += self._summaries(now)
            self._counts = {}
        self._due = self._due if self._counts else inf
        if lines:
            self._credit = min(BURST, self._credit + (now - self._credited) * RATE)
            self._credit -= PAGE + sum(map(len, lines))
            self._credited = now
        return lines

    def _summaries(self, now: float) -> Iterable[bytes]:
        for lane, count in self._counts.items():
            yield encode(_summary(now, lane, count, self._shown.get(lane, "")))

    def _affordable(self, level: float) -> float:
        """The moment from which on more than `level` is to spend."""
        return self._credited + (level - self._credit) / RATE


def _lane(entry: Entry) -> Lane:
    """What it is about: for a divert the uplink in doubt."""
    back = entry.fields.get("reason") == Reason.ACQUITTAL
    name = entry.fields.get("uplink") or entry.fields.get("to" if back else "from")
    return str(name or ""), str(entry.fields.get("family") or "")


_WORDS: Final = ("doubts", "acquittals", "buffered", "lost", "diverts", "returns", "unanswered_flows", "others")
"""In the order in which they are told."""


def _summary(now: float, lane: Lane, count: _Count, verdict: str) -> Entry:
    """The count as an entry, under the id of the last one that it counts."""
    parts = [f"{word} {count.numbers[word]}" for word in _WORDS if word in count.numbers]
    about = f"{lane[0]} {lane[1]}".strip() or "all else"
    text = f"{about} in {now - count.began:.0f} s: {', '.join(parts)}" + (f"; now {verdict}" if verdict else "")
    fields = {
        "uplink": lane[0],
        "family": lane[1],
        **count.numbers,
        "verdict": verdict,
        "seconds": round(now - count.began, 3),
        "first_id": count.first.id,
    }
    last = count.last
    return Entry(last.id, last.unix, last.trusted, NoticeKind.COUNTED, text, fields)
