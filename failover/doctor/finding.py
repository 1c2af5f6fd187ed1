"""What a check says, and how that is shown: as a document and in words. Nothing is looked at here."""

from __future__ import annotations

import enum
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from failover.model import clean

WIDTH: Final = 80
TEXT_LIMIT: Final = 500
"""Characters of one text."""


class Level(enum.StrEnum):
    """How bad it is, best first."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing: also what could not be checked, and why."""
    WARNING = "warning"
    """Failover works, but not as well as it could."""
    FAILURE = "failure"
    """It would not work, or not for some uplink."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What a check says; it does not know its own name."""

    level: Level
    text: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check; `mend` says what to do about it, and is empty where there is nothing to do."""

    check: str
    level: Level
    text: str
    mend: str = ""

    @staticmethod
    def of(check: str, remark: Remark) -> Finding:
        """Made safe for screen and log, whatever names are in it."""
        return Finding(check, remark.level, clean(remark.text, TEXT_LIMIT), clean(remark.mend, TEXT_LIMIT))


Remarks = Iterator[Remark]


def ok(text: str) -> Remark:
    """What was looked at is as it should be."""
    return Remark(Level.OK, text)


def note(text: str, mend: str = "") -> Remark:
    """See Level.NOTE."""
    return Remark(Level.NOTE, text, mend)


def warning(text: str, mend: str) -> Remark:
    """See Level.WARNING."""
    return Remark(Level.WARNING, text, mend)


def failure(text: str, mend: str) -> Remark:
    """See Level.FAILURE."""
    return Remark(Level.FAILURE, text, mend)


def document(findings: Iterable[Finding]) -> dict[str, Any]:
    """As plain JSON values: `ok` is false when any is a failure, `counts` has every level."""
    listed = list(findings)
    counts = Counter(finding.level for finding in listed)
    return {
        "ok": not counts[Level.FAILURE],
        "counts": {level.value: counts[level] for level in Level},
        "findings": [asdict(finding) | {"level": finding.level.value} for finding in listed],
    }


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """In words, each finding as it comes, and at the end what they come to; at most 80 columns wide."""
    counts: Counter[Level] = Counter()
    for finding in findings:
        counts[finding.level] += 1
        yield from _wrapped(f"{finding.level.value:<8} {finding.check}: {finding.text}")
        if finding.mend:
            yield from _wrapped(f"{'':<8}   mend: {finding.mend}")
    parts = [_counted(counts[level], level.value) for level in (Level.FAILURE, Level.WARNING, Level.NOTE)]
    said = ", ".join(part for part in parts if part) or "nothing to mend"
    yield f"{said}; {'something' if counts[Level.FAILURE] else 'nothing'} here would break failover"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * 11, break_on_hyphens=False)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}" if count else ""
