"""Entries as the agent makes them, for the tests of what becomes of them."""

from __future__ import annotations

from failover.export.entries import Entry, Numbering
from failover.model import Notice, NoticeKind

UNIX = 1_700_000_000.0


class Happenings:
    """One run of an agent; `unix` is its wall clock."""

    def __init__(self, run: str = "run") -> None:
        self.unix = UNIX
        self._numbering = Numbering(run)

    def happen(self, kind: NoticeKind, text: str = "something", /, **fields: object) -> Entry:
        return self._numbering.entry(Notice(kind, text, fields), self.unix, trusted=True)

    def switch(self, left: str | None, taken: str | None, reason: str, family: str = "ipv4") -> Entry:
        text = f"{family} {left} -> {taken}: {reason}: {left} silent for 0.4 s, 2 targets unanswered"
        fields = {"family": family, "from": left, "to": taken, "settled": left, "reason": reason, "silent_seconds": 0.4}
        return self.happen(NoticeKind.SWITCH, text, **fields)

    def verdict(self, uplink: str, verdict: str, family: str = "ipv4") -> Entry:
        text = f"{uplink} {family} is {verdict}: silent for 0.4 s, 2 targets unanswered"
        return self.happen(NoticeKind.VERDICT, text, uplink=uplink, family=family, verdict=verdict)
