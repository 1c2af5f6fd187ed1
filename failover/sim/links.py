"""What becomes of a packet on a virtual uplink: conditions over virtual time, and lanes that draw fates from them.

Here live loss, delay, stalls, refusals and portals of one uplink in one family. No engine, no kernel, no event loop.
Two consumers ride on one timeline, the agent's probes and the user's packets, each with dice of its own: so that the
user's rate never changes what the agent decides.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import NormalDist
from typing import Final, Protocol

from failover.model import PROBE_PATIENCE, Outcome, ProbeKind

SLOT: Final = 0.2
"""Seconds between the echoes of the PAM 2025 drives; burst probabilities are per slot of this length."""
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Rtt:
    """Round-trip times as a ladder of (share, seconds) steps, linear between; the last step is the longest there is."""

    steps: tuple[tuple[float, float], ...]
    memory: float = 0.0
    """Correlation of the ranks of two round trips that begin a SLOT apart."""

    @staticmethod
    def around(p50: float, p90: float | None = None, p99: float | None = None, memory: float = 0.0) -> Rtt:
        """A ladder through the median and two high quantiles (seconds); without them ±10 % and a tail to 1.5 × p50."""
        if p90 is None or p99 is None:
            return Rtt(((0.0, 0.9 * p50), (0.5, p50), (0.9, 1.1 * p50), (1.0, 1.5 * p50)))
        return Rtt(((0.0, 0.6 * p50), (0.5, p50), (0.9, p90), (0.99, p99), (1.0, 2 * p99)), memory)

    @staticmethod
    def between(low: float, high: float) -> Rtt:
        return Rtt(((0.0, low), (1.0, high)))

    @property
    def longest(self) -> float:
        return self.steps[-1][1]

    def draw(self, share: float) -> float:
        """Seconds at `share` (0-1) of the distribution."""
        low_share, low = self.steps[0]
        for high_share, high in self.steps[1:]:
            if share <= high_share:
                return low + (high - low) * (share - low_share) / (high_share - low_share)
            low_share, low = high_share, high
        return low


@dataclass(frozen=True, slots=True)
class Bursts:
    """A Gilbert loss process, stated as seen once per SLOT: P(lost | before ok) and P(lost | before lost)."""

    enter: float
    stay: float

    def lengths(self) -> tuple[float, float]:
        """Mean seconds of an ok and of a lost stretch of the two-state Markov process in continuous time that shows
        these two probabilities when sampled every SLOT (its matrix exponential, inverted)."""
        memory = self.stay - self.enter
        rate = -math.log(memory) / SLOT
        lost = self.enter / (1 - memory)
        return 1 / (rate * lost), 1 / (rate * (1 - lost))


@dataclass(frozen=True, slots=True)
class Nap:
    """A radio that sleeps after so many seconds without a packet, and takes so many to wake up."""

    after: float
    wakes: float


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds on one uplink in one family for a stretch of time."""

    rtt: Rtt
    factor: float = 1.0
    """Every round trip takes so many times its drawn length."""
    loss: float = 0.0
    """Chance of each packet to go unanswered, whatever became of the one before."""
    passes: float = 1.0
    """Share of new flows that the network lets through; a probe counts as one, a running flow does not."""
    refused: bool = False
    """The carrier answers `prohibited`."""
    portal: bool = False
    """A web request is answered by the portal, an echo and a name as ever; a user's flow gets nowhere."""
    resolver: bool = True
    """False: a DNS question goes unanswered."""
    echo: bool = True
    """False: the carrier drops ICMP."""
    unheard: bool = False
    """Nothing that is sent arrives; what peers send on their own does."""
    sleeps: Nap | None = None
    held_until: float | None = None
    """Replies wait until this moment of virtual time, then arrive together."""

    @property
    def dead(self) -> bool:
        return self.loss >= 1.0


class Lane(Protocol):
    """One uplink in one family."""

    def probe(self, at: float, kind: ProbeKind) -> tuple[Outcome, float | None]:
        """Outcome of a probe sent at `at`, and its round trip in seconds where there is one."""

    def packet(self, at: float) -> tuple[float | None, bool]:
        """Round trip of a running flow's packet sent at `at` (None: lost), and whether a new flow's passes as well."""


class Gate:
    """Where packets go through a modem."""

    __slots__ = ("shut",)

    def __init__(self) -> None:
        self.shut = False
        """It is not connected."""


class Timeline:
    """Conditions from each start until the next; before the first start the first hold."""

    def __init__(self, stretches: Sequence[tuple[float, Conditions]], usual: Conditions | None = None) -> None:
        """`usual`: what holds where all is well; the first, if it is not said."""
        self.starts = [start for start, _ in stretches]
        self.conditions = [conditions for _, conditions in stretches]
        self._usual = usual or self.conditions[0]
        self._cursors: list[Cursor] = []

    def cursor(self) -> Cursor:
        self._cursors.append(Cursor(self))
        return self._cursors[-1]

    def cure(self, start: float, end: float) -> None:
        """All is well from `start` to `end`. Whatever was sent before has been asked for."""
        kept = list(zip(self.starts, self.conditions, strict=True))
        after = self.conditions[max(0, bisect_right(self.starts, end) - 1)]
        new = [*(one for one in kept if one[0] < start), (start, self._usual), (end, after)]
        new += [one for one in kept if one[0] > end]
        self.starts, self.conditions = [at for at, _ in new], [conditions for _, conditions in new]
        for cursor in self._cursors:
            cursor.forget()


class Cursor:
    """A reader of a timeline that remembers its stretch."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._from = math.inf
        self._until = -math.inf
        self._here = timeline.conditions[0]

    def at(self, moment: float) -> Conditions:
        if not self._from <= moment < self._until:
            self._seek(moment)
        return self._here

    def forget(self) -> None:
        """The timeline is another now."""
        self._until = -math.inf

    def _seek(self, moment: float) -> None:
        starts = self._timeline.starts
        place = bisect_right(starts, moment)
        self._from = starts[place - 1] if place else -math.inf
        self._until = starts[place] if place < len(starts) else math.inf
        self._here = self._timeline.conditions[max(0, place - 1)]


class Sway:
    """Ranks of round trips (0-1), one per SLOT, which hang together: normal scores of an AR(1) process.

    Whoever sends in a slot meets its rank.
    """

    def __init__(self, start: float, seed: str) -> None:
        """Before `start` the first rank holds."""
        self._start = start
        self._dice = Random(seed)
        self._score = self._dice.gauss(0.0, 1.0)
        self._ranks = array("d", [_NORMAL.cdf(self._score)])

    def rank(self, at: float, memory: float) -> float:
        slot = max(0, int((at - self._start) / SLOT))
        while slot >= len(self._ranks):
            fresh = math.sqrt(1 - memory * memory)
            self._score = memory * self._score + fresh * self._dice.gauss(0.0, 1.0)
            self._ranks.append(_NORMAL.cdf(self._score))
        return self._ranks[slot]


class Radio:
    """When packets left, and when it was awake for them."""

    def __init__(self) -> None:
        self._left = -math.inf
        self._awake = -math.inf

    def wait(self, at: float, nap: Nap) -> float:
        """Seconds until a packet that is to leave at `at` does."""
        if at - self._left > nap.after:
            self._awake = at + nap.wakes
        self._left = max(self._left, at)
        return max(0.0, self._awake - at)


class ScriptedLane:
    """A lane that follows a timeline; `seed` names its dice."""

    def __init__(
        self,
        timeline: Timeline,
        seed: str,
        sway: Sway | None = None,
        radio: Radio | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`gate`: packets go through this one; without one, only probes go through its own."""
        self._timeline = timeline
        self._seed = seed
        self.gate = gate or Gate()
        """A lane by itself tells the fate of packets as it would be with an open one."""
        self._through = gate
        self._sway = sway or Sway(timeline.starts[0] - 1.0, f"{seed}/sway")
        self._radio = radio or Radio()
        self._probes = timeline.cursor()
        self._packets = timeline.cursor()
        self._probe_dice = Random(f"{seed}/probes")
        self._packet_dice = Random(f"{seed}/packets")

    def beside(self, name: str) -> ScriptedLane:
        """The same uplink for one more consumer, with dice of its own."""
        return ScriptedLane(self._timeline, f"{self._seed}/{name}", self._sway, self._radio, self.gate)

    def cure(self, start: float, end: float) -> None:
        """Everyday weather from `start` to `end`."""
        self._timeline.cure(start, end)

    def probe(self, at: float, kind: ProbeKind) -> tuple[Outcome, float | None]:
        if self.gate.shut:
            return Outcome.SILENT, None
        here = self._probes.at(at)
        dice = self._probe_dice
        wait = self._radio.wait(at, here.sleeps) if here.sleeps else 0.0
        if (here.loss and dice.random() < here.loss) or (kind is ProbeKind.ICMP and not here.echo):
            return Outcome.SILENT, None
        rtt = wait + self._round_trip(here, at, dice)
        if here.refused:
            return Outcome.REFUSED, rtt
        if here.portal and kind.is_web:
            return Outcome.PORTAL, rtt
        muted = not here.resolver and kind is ProbeKind.DNS
        if muted or (here.passes < 1.0 and dice.random() >= here.passes):
            return Outcome.SILENT, None
        return in_time(rtt)

    def packet(self, at: float) -> tuple[float | None, bool]:
        here = self._packets.at(at)
        dice = self._packet_dice
        wait = self._radio.wait(at, here.sleeps) if here.sleeps else 0.0
        shut = self._through is not None and self._through.shut
        if shut or here.refused or here.portal or (here.loss and dice.random() < here.loss):
            return None, False
        passes = here.passes >= 1.0 or dice.random() < here.passes
        return wait + self._round_trip(here, at, dice), passes

    def push(self, at: float) -> tuple[float | None, bool]:
        """Seconds until what a peer sends unasked at `at` is here (None: lost), and whether it hears that it is."""
        here = self._packets.at(at)
        if here.unheard and not (self._through is not None and self._through.shut):
            return self._round_trip(here, at, self._packet_dice), False
        rtt, _ = self.packet(at)
        return rtt, rtt is not None

    def _round_trip(self, here: Conditions, at: float, dice: Random) -> float:
        rtt = here.rtt
        rank = self._sway.rank(at, rtt.memory) if rtt.memory else dice.random()
        seconds = rtt.draw(rank) * here.factor
        return seconds if here.held_until is None else seconds + here.held_until - at


class SampledLane:
    """A lane that follows a recorded trace: whatever is sent meets the sample at or before its moment."""

    def __init__(self, rtt: float) -> None:
        self.sample: float | None = rtt
        """Round trip in seconds, None when the recorded reply never came."""

    def probe(self, at: float, kind: ProbeKind) -> tuple[Outcome, float | None]:  # noqa: ARG002
        return (Outcome.SILENT, None) if self.sample is None else in_time(self.sample)

    def packet(self, at: float) -> tuple[float | None, bool]:  # noqa: ARG002
        return self.sample, True


def in_time(rtt: float) -> tuple[Outcome, float | None]:
    """An answer, unless it comes after everybody stopped waiting."""
    return (Outcome.ANSWERED, rtt) if rtt < PROBE_PATIENCE else (Outcome.SILENT, None)


def windows(start: float, end: float, gap: Rtt, length: Rtt, dice: Random) -> list[tuple[float, float]]:
    """Holes in [start, end): each begins a drawn gap after the one before began, and lasts a drawn length (seconds)."""
    found: list[tuple[float, float]] = []
    begin = start + gap.draw(dice.random())
    while begin < end:
        lasts = length.draw(dice.random())
        found.append((begin, min(end, begin + lasts)))
        begin = max(begin + gap.draw(dice.random()), begin + lasts)
    return found


def bursts(start: float, end: float, process: Bursts, dice: Random) -> list[tuple[float, float]]:
    """Lost stretches of a Gilbert process in [start, end), which begins in its ok state."""
    ok, lost = process.lengths()
    found: list[tuple[float, float]] = []
    begin = start + dice.expovariate(1 / ok)
    while begin < end:
        stop = begin + dice.expovariate(1 / lost)
        found.append((begin, min(end, stop)))
        begin = stop + dice.expovariate(1 / ok)
    return found


def overlay(
    stretches: Sequence[tuple[float, Conditions]],
    end: float,
    holes: Sequence[tuple[float, float]],
    *,
    held: bool = False,
) -> list[tuple[float, Conditions]]:
    """The stretches (the last ends at `end`) with holes cut into them: loss 1, or replies held until the hole ends."""
    cut: list[tuple[float, Conditions]] = []
    waiting = list(reversed(holes))
    for (start, here), (stop, _) in zip(stretches, [*stretches[1:], (end, None)], strict=True):
        at = start
        while waiting and waiting[-1][0] < stop:
            begin, close = waiting[-1]
            if begin > at:
                cut.append((at, here))
            cut.append((max(at, begin), replace(here, held_until=close) if held else replace(here, loss=1.0)))
            at = min(close, stop)
            if close > stop:
                break
            waiting.pop()
        if at < stop:
            cut.append((at, here))
    return cut
