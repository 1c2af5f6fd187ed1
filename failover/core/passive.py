"""What the counters of one uplink and family tell: how much of the user's traffic came and went between two samples.

Pure. Differences, rates and rest only; what they mean for a verdict is silence.py's and health.py's business.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Final

from failover.facts import Counts

BUSY_WINDOW: Final = 0.5
BUSY_REPLIES: Final = 25
"""Replies in BUSY_WINDOW seconds that make a link busy: 50 a second, as the figures for dense traffic assume."""
LOAD_WINDOW: Final = 1.0
LOAD_SENT: Final = 50_000
LOAD_RECEIVED: Final = 200_000
"""Bytes in LOAD_WINDOW seconds from which on a queue of our own making may explain slow or lost packets: 0.4 Mbit/s up,
1.6 Mbit/s down, a tenth of what a poor LTE cell gives."""
LOAD_LINGERS: Final = 3.0
"""Seconds for which a queue of our own may still be full: it holds 2 s in the lab's bufferbloat."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What came and went since the sample before."""

    began: float
    """Monotonic time of the sample before."""
    at: float
    received: int
    sent: int
    fresh: int
    weak: bool

    def first(self, count: int) -> float:
        """Until when the first of `count` packets had left, if they are evenly spread: of one, nobody knows more than
        that it is gone by now."""
        return self.began + (self.at - self.began) / max(1, count)


class Passive:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self.at: float | None = None
        """When this lane was last counted; None: it is not."""
        self.weak = False
        self.moved = -inf
        """When a sample last held any packet."""
        self.opened = -inf
        """When a sample last held a packet of a flow that has not been answered."""
        self.replied = -inf
        """When a sample last held a reply."""
        self.busy_at = -inf
        """When the link was last busy."""
        self.flowing_since = inf
        """Since when every sample held a reply."""
        self._last = Counts()
        self._replies: deque[tuple[float, int]] = deque()
        self._volumes: deque[tuple[float, int, int]] = deque()
        self._loaded_at = -inf

    def take(self, now: float, counts: Counts | None, *, weak: bool) -> Sample | None:
        """One reading of the counters (None: this lane is not counted). Returns what is new since the one before; None
        at the first one, and when the counters have begun anew."""
        began, before = self.at, self._last
        if counts is None:
            self.at = None
            return None
        self.at, self.weak, self._last = now, weak, counts
        if began is None or not _grown(before, counts):
            return None
        sample = Sample(
            began,
            now,
            counts.received - before.received,
            counts.sent - before.sent,
            counts.fresh - before.fresh,
            weak,
        )
        if sample.received or sample.sent or sample.fresh:
            self.moved = now
        if sample.fresh:
            self.opened = now
        if not weak:
            self._reply(sample)
        self._weigh(now, counts.sent_bytes - before.sent_bytes, counts.received_bytes - before.received_bytes)
        return sample

    def loaded(self, now: float) -> bool:
        """Whether the user's own traffic may have filled a queue."""
        return now < self._loaded_at + LOAD_LINGERS

    def stale(self, now: float) -> bool:
        """Whether the counters may know better by now."""
        return self.at is not None and self.at < now

    @property
    def still(self) -> bool:
        """Whether the link was busy when a reply came last, and has been still in both directions since: a download
        whose replies stop acknowledges nothing any more."""
        return -inf < self.replied <= self.busy_at

    def _reply(self, sample: Sample) -> None:
        if sample.received:
            self.replied = sample.at
            self.flowing_since = min(self.flowing_since, sample.began)
            self._replies.append((sample.at, sample.received))
            while self._replies[0][0] <= sample.at - BUSY_WINDOW:
                self._replies.popleft()
            if sum(count for _, count in self._replies) >= BUSY_REPLIES:
                self.busy_at = sample.at
        else:
            self.flowing_since = inf
            if sample.sent:
                self.busy_at = -inf

    def _weigh(self, now: float, up: int, down: int) -> None:
        if up or down or self._volumes:
            self._volumes.append((now, up, down))
            while self._volumes[0][0] <= now - LOAD_WINDOW:
                self._volumes.popleft()
            heavy_up = sum(volume for _, volume, _ in self._volumes) >= LOAD_SENT
            if heavy_up or sum(volume for _, _, volume in self._volumes) >= LOAD_RECEIVED:
                self._loaded_at = now


def _grown(before: Counts, counts: Counts) -> bool:
    return (
        counts.received >= before.received
        and counts.sent >= before.sent
        and counts.fresh >= before.fresh
        and counts.sent_bytes >= before.sent_bytes
        and counts.received_bytes >= before.received_bytes
    )
