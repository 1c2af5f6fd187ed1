"""Loss that hurts, told from the loss that every link has: a walk over the fates of requests, in both directions.

Pure. Page's cumulative sum (Biometrika 41, 1954): S = max(0, S + z) with z = ln(P1/P0) for what was lost and
ln((1-P1)/(1-P0)) for what was answered; S >= H says P1. No test that alarms as seldom detects faster by more than a
constant (Lorden, 1971): the mean delay is about H / D, D = P1 ln(P1/P0) + (1-P1) ln((1-P1)/(1-P0)) = 0.225 per fate,
thus 36 of them at P1, and the mean time between false alarms at least e^H = 2981 fates at P0. From 9.2 % on, S rises.

Losses come in bursts, and a burst is no brownout: what is lost in a row, or reported at once, is one event and moves
the walk by EVENT at most, so that it takes three to reach H. On links of 1 % loss in bursts (P(loss|ok) 0.0027-0.0038,
P(loss|loss) 0.64-0.755 per 0.2 s) that leaves 0.1 false alarms an hour of 15-20, at five fates a second; it costs
0.2 s of 6.4 s at 20 %, and 0.6 s of 2.4 s at 50 %. What is lost for good in a row is silence, and not judged here.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from math import log
from typing import Final, NamedTuple

P0: Final = 0.03
"""Loss that is normal, 0-1."""
P1: Final = 0.20
"""Loss that traffic with a choice is moved for, 0-1."""
H: Final = 8.0
"""Evidence (log-likelihood ratio) that begins a brownout."""
H_OVER: Final = 16.0
"""Evidence that ends it, counted down from H; the walk seen from above is the test from P1 back to P0. Twice H: at 10 %
loss and five fates a second there are 13 brownouts an hour instead of 41, at 12 % 2 instead of 27; for an end 42 fates
later (without loss after 84)."""
LOST: Final = log(P1 / P0)
ANSWERED: Final = log((1 - P1) / (1 - P0))
EVENT: Final = 2 * LOST
"""The most that one event raises the walk by; see the module."""
BATCH: Final = 20
"""Fates that count of those reported at once: as much as without any loss lowers the walk by EVENT. So neither
the losses nor the successes of one bulk flow drown what all others meet."""
KEPT: Final = 100
"""Fates that can still be corrected: 15 s of patience at five a second, and more."""


class Stand(NamedTuple):
    """Where the walk is."""

    level: float = 0.0
    """From 0 to H; in a brownout from H - H_OVER to H."""
    risen: float = 0.0
    """By what has been lost since the last answer: that is one event."""
    brown: bool = False


START: Final = Stand()


@dataclass(slots=True, eq=False)
class Fate:
    """What became of one probe, or of some segments reported together, in the order of sending."""

    source: str
    """The target; empty for the user's own traffic."""
    lost: int
    answered: int
    at: float
    """Monotonic seconds at which it was sent."""
    after: Stand = START
    """Where the walk was after it."""


def step(stand: Stand, fate: Fate) -> Stand:
    """The walk after one more fate."""
    count = fate.lost + fate.answered
    gain = fate.lost * LOST + fate.answered * ANSWERED
    if count > BATCH:
        gain *= BATCH / count
    before = 0.0 if fate.answered else stand.risen
    gain = min(gain, EVENT - before)
    level = min(H, stand.level + gain)
    risen = before + max(0.0, gain)
    if stand.brown:
        return Stand(level, risen, True) if level > H - H_OVER else Stand(0.0, risen)
    return Stand(max(0.0, level), risen, level >= H)


class Walk:
    """The walk over all fates; the newest KEPT can be corrected, as if it had been known from the start."""

    def __init__(self) -> None:
        self.stand = START
        self._before = START
        """Where it was before the oldest fate that is kept."""
        self._kept: list[Fate] = []

    def clear(self) -> None:
        """Start afresh."""
        self.stand = self._before = START
        self._kept.clear()

    def add(self, source: str, lost: int, answered: int, at: float | None = None) -> Fate:
        """One more fate, of what was sent `at` (seconds; None: after all others); at least one was lost or answered."""
        newest = self._kept[-1].at if self._kept else 0.0
        fate = Fate(source, lost, answered, newest if at is None else at)
        if not self._kept or fate.at >= newest:
            self._kept.append(fate)
            self.stand = fate.after = step(self.stand, fate)
        else:
            insort(self._kept, fate, key=lambda other: other.at)
            self.recount(fate)
        if len(self._kept) > KEPT:
            self._before = self._kept.pop(0).after
        return fate

    def discard(self, unwanted: Callable[[Fate], bool]) -> None:
        """As if these had never been added."""
        kept = [fate for fate in self._kept if not unwanted(fate)]
        if len(kept) < len(self._kept):
            self._kept = kept
            self.recount()

    def recount(self, changed: Fate | None = None) -> None:
        """Walk over what is kept once more, after a change; from there on, if it is known where that was."""
        newest = range(len(self._kept) - 1, -1, -1)
        place = next((place for place in newest if self._kept[place] is changed), 0)
        self.stand = self._kept[place - 1].after if place else self._before
        for fate in self._kept[place:]:
            self.stand = fate.after = step(self.stand, fate)

    def recent(self, sources: Collection[str]) -> tuple[int, int]:
        """(lost, all) of these sources since the evidence began to grow: Page's estimate of when the change came."""
        fates: list[Fate] = []
        for fate in self._kept:
            if fate.after.level > 0 or fate.after.brown:
                fates.append(fate)
            else:
                fates.clear()
        return _count(fates, sources)

    def count(self, sources: Collection[str]) -> tuple[int, int]:
        """(lost, all) of these sources, as far as it is kept."""
        return _count(self._kept, sources)

    def losers(self) -> set[str]:
        """The sources that lost anything, as far as it is kept."""
        return {fate.source for fate in self._kept if fate.lost}


def _count(fates: Iterable[Fate], sources: Collection[str]) -> tuple[int, int]:
    counted = [fate for fate in fates if fate.source in sources]
    lost = sum(fate.lost for fate in counted)
    return lost, lost + sum(fate.answered for fate in counted)
