"""The open probes of one uplink and family: which are overdue, which are lost for now, and who did not answer.

Pure. What went unanswered is told to the record; what that says about the link is health.py's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from failover.core.record import Entry, Record
from failover.model import Outcome, ProbeKind, Target

LOST_AFTER: Final = 1.0
"""Seconds without an answer after which a probe counts as lost for now (a request is bad after 1 s)."""
PENDING_MAX: Final = 400
"""Open probes remembered: 15 s of patience at the fastest pace, twice."""
SETTLED: Final = 2.0
"""Seconds after the end of a silence within which what was held back has come: it arrives all at once."""


@dataclass(slots=True)
class Probe:
    """One that is out."""

    target: Target
    sent: float
    overdue_at: float
    steady: bool
    """By the clock, not in a burst."""
    shown: bool
    """It counts for the loss that is shown."""
    overdue: bool = False
    missed: bool = False
    entry: Entry | None = None


@dataclass(slots=True)
class Stall:
    """A silence that has ended, until it is known whether its probes were held back or lost."""

    since: float
    until: float
    out: set[int]
    late: int

    def over(self, now: float) -> bool:
        """Whether nothing more of it is expected."""
        return not self.out or now >= self.until + SETTLED


class Flight:
    """Times are monotonic seconds, probes are known by their number."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._out: dict[int, Probe] = {}
        self._young: dict[int, Probe] = {}
        """Those that something falls due for by time alone."""
        self._late: dict[str, int] = {}
        """Overdue probes since the last reception, by target."""
        self._asked: set[str] = set()
        """Those of them that were asked in a burst."""
        self._quick: frozenset[str] = frozenset()
        """Targets that a burst can ask."""
        self._stall: Stall | None = None
        self.named_at = self.unnamed_at = -inf
        """When a name server last answered; when the last question left that none has answered."""

    def aim(self, targets: Sequence[Target]) -> None:
        """These are the targets from now on."""
        self._quick = frozenset([t.url for t in targets if not t.kind.is_web] or [t.url for t in targets])

    def forget(self) -> None:
        """Whatever is out is unknown."""
        self._out.clear()
        self._young.clear()
        self.heard()
        self._stall = None
        self.named_at = self.unnamed_at = -inf

    # --- evidence ----------------------------------------------------------------------------------------------------

    def send(self, number: int, probe: Probe) -> None:
        """It leaves."""
        self._out[number] = self._young[number] = probe
        if len(self._out) > PENDING_MAX:
            oldest = next(iter(self._out))
            del self._out[oldest]
            self._young.pop(oldest, None)

    def land(self, number: int, *, answered: bool) -> Probe | None:
        """Something came of it; None: it is unknown."""
        if self._stall is not None and number in self._stall.out and answered:
            self._stall.out.discard(number)
            self._stall.late += 1
        self._young.pop(number, None)
        return self._out.pop(number, None)

    def answered(self, now: float, probe: Probe) -> None:
        """As expected."""
        if probe.target.kind is ProbeKind.DNS:
            self.named_at = now

    def heard(self) -> None:
        """Something was received: what was overdue before says nothing any more."""
        self._late.clear()
        self._asked.clear()

    def ended(self, now: float, since: float, late: int) -> None:
        """A silence that was in doubt is over; of its probes `late` have been answered so far."""
        out = {number for number, probe in self._out.items() if probe.sent >= since and probe.overdue}
        self._stall = Stall(since, now, out, late)

    def settle(self, now: float, *, counts: bool) -> str:
        """What is overdue or lost by now; `counts`: as the link's usual loss. Returns in words how a silence that ended
        is to be called, once that is known."""
        if not self._young and self._stall is None:
            return ""
        for number, probe in list(self._young.items()):
            if not probe.overdue and probe.overdue_at <= now:
                self.overdue(probe)
            if not probe.missed and probe.sent + LOST_AFTER <= now:
                self.lost(probe, counts=counts)
            if probe.overdue and probe.missed:
                del self._young[number]
        if self._stall is None or not self._stall.over(now):
            return ""
        stall, self._stall = self._stall, None
        return self._record.silence_over(stall.until - stall.since, stall.late, len(stall.out))

    def overdue(self, probe: Probe) -> None:
        """It should have been answered by now."""
        if not probe.overdue:
            probe.overdue = True
            self._late[probe.target.url] = self._late.get(probe.target.url, 0) + 1
            if not probe.steady:
                self._asked.add(probe.target.url)

    def lost(self, probe: Probe, *, counts: bool) -> None:
        """Nothing came of it, so far."""
        if probe.missed:
            return
        probe.missed = True
        if probe.target.kind is ProbeKind.DNS and probe.shown:  # not where nobody answers
            self.unnamed_at = probe.sent
        self._record.missed(probe.target.url)
        if probe.steady and counts:
            probe.entry = self._record.add(probe.target.url, lost=True, sent=probe.sent, shown=probe.shown)

    def withdraw(self, probe: Probe) -> None:
        """It has never left the box, and is no evidence."""
        url = probe.target.url
        if probe.overdue and self._late.get(url, 0) > 1:
            self._late[url] -= 1
        elif probe.overdue:
            self._late.pop(url, None)
        if probe.missed:
            self._record.withdraw(url, probe.entry)

    def doubt(self) -> None:
        """There is doubt: what is out belongs to this silence, which is one event."""
        for probe in self._out.values():
            probe.shown = False

    # --- questions ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._out)

    def deadline(self, *, overdue: bool = True, lost: bool = True) -> float:
        """When something falls due by time alone: that a silence is settled, and that a probe is `overdue` or `lost`,
        where anything hangs on that."""
        due = inf if self._stall is None else self._stall.until + SETTLED
        if not overdue:
            return due
        for probe in self._young.values():
            if not probe.overdue and probe.overdue_at < due:
                due = probe.overdue_at
            if lost and not probe.missed and probe.sent + LOST_AFTER < due:
                due = probe.sent + LOST_AFTER
        return due

    def waiting(self) -> bool:
        """Whether an answer may still come in time, from somebody who usually answers."""
        return any(not probe.overdue and not self._dead(probe.target.url) for probe in self._young.values())

    @property
    def late(self) -> Collection[str]:
        """URLs that have not answered in time since the last reception."""
        return self._late.keys()

    def live_late(self) -> list[int]:
        """How often each of them did not; a dead target says nothing about the link."""
        return self._live(self._late)

    def asked_in_vain(self) -> bool:
        """Whether somebody was asked in a burst and did not answer; where nobody else could be, a steady probe does."""
        return any(not self._dead(url) for url in self._asked) or (bool(self.live_late()) and self._only_target())

    def silent_targets(self) -> bool:
        """Whether two targets did not answer; where there is only one, that one twice."""
        return self.two(self._late)

    def two(self, unanswered: Mapping[str, int]) -> bool:
        """The same of any count by target."""
        counts = self._live(unanswered)
        return len(counts) >= 2 or (sum(counts) >= 2 and self._only_target())

    def overdue_since(self, at: float) -> int:
        """Overdue probes that were sent at `at` or later, to live targets."""
        late: Iterable[Probe] = (p for p in self._out.values() if p.overdue and p.sent >= at)
        return sum(not self._dead(probe.target.url) for probe in late)

    def _live(self, unanswered: Mapping[str, int]) -> list[int]:
        return [count for url, count in unanswered.items() if not self._dead(url)]

    def _only_target(self) -> bool:
        return sum(not self._dead(url) for url in self._quick) < 2

    def _dead(self, url: str) -> bool:
        return self._record.dead_target(url)


class Hindrance:
    """What keeps this box from sending any probe at all: no evidence about the link, but somebody should know."""

    SURE: Final = 0.5
    """Seconds that it lasts at least; of an interface that vanishes the kernel tells within some milliseconds."""
    UNSENT: Final = (Outcome.LOCAL, Outcome.NAME, None)
    """What may have come of a probe that never left the box."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._since = inf
        self._words = ""

    def clear(self) -> None:
        """One gets out, or nothing is known."""
        self._since, self._words = inf, ""

    def met(self, now: float, outcome: Outcome, words: str, *, others: bool) -> str:
        """What came of a probe, in the kernel's words where it is LOCAL; `others` are still out. Returns what hinders,
        again and again; empty while that is not sure."""
        if outcome is Outcome.LOCAL:
            self._since, self._words = min(self._since, now), words or "no reason given"
        if outcome not in self.UNSENT:
            self.clear()
        lasts = now >= self._since + self.SURE and not others and self._record.ends_in(self.UNSENT)
        return self._words if lasts else ""
