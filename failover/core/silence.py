"""Since when one uplink and family is silent: what was sent and has found no answer since anything was received.

Pure. Four kinds of evidence, each with a start and a back-off of its own: probes, packets of flows that have been
answered (`sent`), packets of flows that have not (`fresh`), and a busy link that stands still (`quiet`). How long is
too long is health.py's business.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Final

from failover.core.passive import Sample

GATE: Final = 2.5
"""Seconds before a silence within which a reply makes it a matter of the link: a flow that never hears anything, as a
one-way stream, says nothing by hearing nothing (DESIGN §3)."""
PATIENCE: Final = 5.0
PATIENCE_MAX: Final = 300.0
"""Seconds that a refuted suspicion waits, doubling."""
EXCHANGES: Final = 3
"""Prompt replies in a row after which a refuted suspicion is forgotten: real two-way traffic."""
FLOWING: Final = 10.0
"""Seconds of replies without a gap that do the same for a link which stood still: pieces of a film do not."""
SENDS_KEPT: Final = 64


@dataclass(slots=True)
class Waiting:
    """One kind of sends since the last reception: when the first left, how many, and whether they count just now."""

    first: float | None = None
    held_until: float = -inf
    _patience: float = PATIENCE
    _sends: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SENDS_KEPT))

    def send(self, at: float, count: int) -> None:
        """So many left, the first of them at `at`."""
        if count and at >= self.held_until:
            self.first = at if self.first is None else self.first
            self._sends.append((at, count))

    def since(self, at: float) -> int:
        """How many left at `at` or later (the last SENDS_KEPT entries at most)."""
        return sum(count for moment, count in self._sends if moment >= at)

    def heard(self) -> None:
        """Something was received: nothing waits any more."""
        self.first = None
        self._sends.clear()

    def refuted(self, now: float) -> None:
        """A probe was answered while these were not: they say nothing for a while, longer each time."""
        self.heard()
        self.held_until = now + self._patience
        self._patience = min(PATIENCE_MAX, 2 * self._patience)

    def forget(self) -> None:
        """What was refuted is forgotten."""
        self.held_until, self._patience = -inf, PATIENCE


class Silence:
    """Times are monotonic seconds. Probes are only timed here; which are overdue is known elsewhere."""

    def __init__(self) -> None:
        self.since: float | None = None
        """The first unanswered send of any kind after the last reception; None: nothing waits for an answer."""
        self.grave_since: float | None = None
        """The same, of what can convict: probes and flows that have been answered."""
        self.user_since: float | None = None
        """The same, of the user's own traffic."""
        self.sent = Waiting()
        self.fresh = Waiting()
        self.quiet = Waiting()
        self.replied = -inf
        """When the user's traffic was last answered."""
        self._probe_since: float | None = None
        self._asked_at: float | None = None
        """First packet of the user's since the last reply, whether it counts or not."""
        self._exchanges = 0

    @property
    def probe_since(self) -> float | None:
        """First probe that is unanswered since the last reception."""
        return self._probe_since

    @probe_since.setter
    def probe_since(self, at: float | None) -> None:
        self._probe_since = at
        self._date()

    def _date(self) -> None:
        """Work out the beginnings, which are asked for more often than they change."""
        probe, sent = self._probe_since, self.sent.first
        self.grave_since = _first(probe, sent)
        self.user_since = _first(_first(sent, self.fresh.first), self.quiet.first)
        self.since = _first(probe, self.user_since)

    @property
    def user(self) -> bool:
        """Whether the user's own traffic waits."""
        return self.user_since is not None

    def take(self, sample: Sample, prompt: float) -> None:
        """What the counters saw. `prompt`: seconds within which an answer is nothing to wonder about."""
        if sample.weak:
            self._take_weak(sample)
            self._date()
            return
        left = sample.sent + sample.fresh
        if left and self._asked_at is None:
            self._asked_at = sample.first(left)
        if sample.received:
            self._replied(sample.at, prompt)
        else:
            self.sent.send(sample.first(sample.sent), sample.sent)
            self.fresh.send(sample.first(sample.fresh), sample.fresh)
        self._date()

    def still(self, since: float | None, flowing: bool) -> None:
        """A busy link stands still since `since` (None: it does not); `flowing`: replies have come for FLOWING seconds
        without a gap."""
        if flowing:
            self.quiet.forget()
        if since is not None and self.quiet.first is None:
            self.quiet.send(since, 1)
            self._date()

    def heard(self, now: float, waiting: bool) -> None:
        """Something was received; `waiting`: a probe is still out, which begins a silence anew."""
        if self.user_since is not None:
            for kind in (self.sent, self.fresh, self.quiet):
                kind.heard()
        self.probe_since = now if waiting else None

    def refuted(self, now: float) -> None:
        """A probe has been answered, and the user's traffic, which was suspicious, has not."""
        for kind in (self.sent, self.fresh, self.quiet):
            if kind.first is not None:
                kind.refuted(now)
        self._exchanges = 0
        self._date()

    def clear(self) -> None:
        """Another way, or a sleep: nothing waits, and nothing is remembered."""
        self._asked_at = None
        self._exchanges = 0
        for kind in (self.sent, self.fresh, self.quiet):
            kind.heard()
            kind.forget()
        self.probe_since, self.replied = None, -inf

    def answered_before(self) -> bool:
        """Whether the user was answered shortly before this silence."""
        since = self.since
        return since is not None and since - self.replied <= GATE

    def held_back(self, now: float) -> float:
        """Seconds for which some of the user's own packets, refuted as a suspicion, say nothing yet; 0: all count."""
        return max(0.0, *(kind.held_until - now for kind in (self.sent, self.fresh, self.quiet)))

    def _replied(self, now: float, prompt: float) -> None:
        late = self._asked_at is not None and now - self._asked_at > prompt
        self._exchanges = 0 if late else self._exchanges + 1
        self._asked_at = None
        self.replied = now
        if self._exchanges >= EXCHANGES:
            self.sent.forget()
            self.fresh.forget()

    def _take_weak(self, sample: Sample) -> None:
        """The interface's own counters: that something came in may be a neighbour's chatter and acquits nobody."""
        if sample.received:
            self.fresh.heard()
        else:
            self.fresh.send(sample.first(sample.fresh), sample.fresh)


def _first(one: float | None, other: float | None) -> float | None:
    """The earlier of two moments that may not have been."""
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
