"""What the requests over one uplink and family met: loss, latency, and whether that is a brownout.

Pure. Of the probes only steady ones count: those of a burst are sent because something was lost. Probes still out when
doubt falls belong to that silence, which has its own rules: in the ratio they do not count. While the user's own
traffic fills the link, nothing is judged: the queue is his own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from failover.core.brownout import Fate, H, Walk
from failover.core.stalls import Stalls
from failover.model import Outcome, ProbeKind
from failover.picture import TargetView

WINDOW: Final = 50
"""Steady probes that the loss shown is counted over."""
RTT_FACTOR_HIGH: Final = 4.0
RTT_HIGH: Final = 0.2
"""Seconds; latency below is never a brownout."""
RTT_MIN_SAMPLES: Final = 10
RECOVERED: Final = 0.5
"""High latency ends at this share of the upper threshold; what lies between changes nothing."""
OTHERS_MIN: Final = 5
"""Outcomes of the other targets that can tell a target that loses from a link that does."""
SILENT_STREAK: Final = 3
"""So many of its probes unanswered, and as many answers of others meanwhile: then the target itself is dead."""
LONG_STREAK: Final = 10
"""Unanswered in a row that a lossy link does not bring about by chance (1 in 1000 at 50 %): before, it excuses none."""
FIRST: Final = 3
"""Round trips of which the least is the start of smoothing: the very first one contains ARP, or a radio's waking up."""
SMOOTHING: Final = 1 / 8
"""RFC 6298's gain for the smoothed round-trip time."""
BASELINE_GAIN: Final = 1 / 600
"""Ten minutes of one probe a second."""
ANSWERS: Final = (Outcome.ANSWERED, Outcome.LATE, Outcome.CLOCK, Outcome.PORTAL)
"""Outcomes that came from beyond the link."""
_TRAFFIC: Final = ""
"""The user's own, among the sources of the walk."""


@dataclass(slots=True, eq=False)
class Entry:
    """One steady probe's place in the window; `lost` is repaired when the reply comes late."""

    target: str
    lost: bool
    fates: tuple[Fate, ...] = ()
    """Its place in each walk; none where it was not judged."""


@dataclass(slots=True)
class _Target:
    streak: int = 0
    """Unanswered in a row."""
    missed: deque[Entry] = field(default_factory=lambda: deque(maxlen=WINDOW))
    """Those of the streak that were steady."""
    answers_before: int = 0
    """Answers of all targets when the streak began."""
    rtt: float | None = None
    last: Outcome | None = None


@dataclass(slots=True)
class Record:
    """Outcomes of one lane: the loss window, round trips in seconds, and what each target does."""

    targets: dict[str, _Target] = field(default_factory=dict)
    srtt: float | None = None
    baseline: float | None = None
    lossy: bool = False
    slow: bool = False
    loaded: bool = False
    """The user's own traffic fills the link, or did within the last few seconds: what is met now is not judged."""
    stalls: Stalls = field(default_factory=Stalls)
    walk: Walk = field(default_factory=Walk)
    """Of probes and of the user's own traffic."""
    fresh: Walk = field(default_factory=Walk)
    """Of probes alone. Each is a new flow to the carrier, who may refuse those while running ones are fine."""
    _answers: int = 0
    """Of all targets, ever."""
    _smoothed: int = 0
    _pinged: bool = False
    """A ping was answered on this path."""
    """Round trips since the start, at most FIRST."""
    _window: deque[Entry] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _rtts: deque[float] = field(default_factory=lambda: deque(maxlen=RTT_MIN_SAMPLES))
    _calm_rtts: deque[float] = field(default_factory=lambda: deque(maxlen=RTT_MIN_SAMPLES))
    """Those that were not measured under the user's own load."""
    _calm_rtt: float = 0.0
    """Their median, as soon as there are enough."""

    def clear(self) -> None:
        """Forget outcomes and brownout (a new path, a conviction); the targets' own record of life stays."""
        self._window.clear()
        self._rtts.clear()
        self._calm_rtts.clear()
        self._calm_rtt = 0.0
        for walk in (self.walk, self.fresh):
            walk.clear()
        self.lossy = self.slow = False
        for target in self.targets.values():
            target.missed.clear()

    def keep_targets(self, urls: Iterable[str]) -> None:
        """Know exactly these targets."""
        self.targets = {url: self.targets.get(url) or _Target() for url in urls}
        known = {_TRAFFIC, *self.targets}
        self._remove(lambda entry: entry.target not in known)
        self._discard(lambda fate: fate.source not in known)

    # --- evidence ----------------------------------------------------------------------------------------------------

    def another_path(self) -> None:
        """Its round trips are unknown."""
        self.srtt = self.baseline = None
        self._pinged = False

    def smooth(self, rtt: float, kind: ProbeKind) -> None:
        """Fold one round-trip time (seconds) into the smoothed one. Others than pings count until a ping is answered:
        a server takes longer than the link, and where pings are dropped there is nothing else."""
        if kind.is_web or (self._pinged and kind is not ProbeKind.ICMP):
            return
        if kind is ProbeKind.ICMP and not self._pinged:
            self._pinged, self.srtt = True, None
        self._smoothed = 1 if self.srtt is None else min(FIRST + 1, self._smoothed + 1)
        if self.srtt is None or self._smoothed <= FIRST:
            self.srtt = rtt if self.srtt is None else min(self.srtt, rtt)
        else:
            self.srtt += SMOOTHING * (rtt - self.srtt)

    def heard(self, target: str, outcome: Outcome, rtt: float | None) -> None:
        """Something came back for this target, whatever the probe was sent for."""
        known = self.targets.get(target)
        if known is None:
            return
        known.last = outcome
        if outcome in ANSWERS:
            if self._excused(target):
                missed = set(known.missed)
                self._remove(missed.__contains__)
            self._answers += 1
            known.streak = 0
            known.missed.clear()
            known.rtt = rtt
            self._excuse()

    def missed(self, target: str, outcome: Outcome = Outcome.SILENT) -> None:
        """A probe of this target has no answer so far."""
        known = self.targets.get(target)
        if known is not None:
            if not known.streak:
                known.answers_before = self._answers
            known.streak += 1
            known.last = outcome
            self._excuse()

    def add(self, target: str, lost: bool, sent: float | None = None, *, shown: bool = True) -> Entry:
        """One more steady outcome, of a probe that was `sent` at (monotonic seconds; None: after all others).

        Not `shown`: it was out when doubt fell. It is part of one event, and no loss that is shown.
        """
        entry = Entry(target, lost)
        known = self.targets.get(target)
        if known is None:
            return entry
        if lost:
            known.missed.append(entry)
        if shown:
            self._window.append(entry)
        if not (self.loaded or (lost and self._excused(target))):
            walks = self.walk, self.fresh
            entry.fates = tuple(walk.add(target, int(lost), int(not lost), sent) for walk in walks)
        return entry

    def outcomes(self, ok: int, lost: int) -> None:
        """What became of the user's own requests or segments since the last time; one event (see brownout.py)."""
        if ok + lost and not self.loaded:
            self.walk.add(_TRAFFIC, lost, ok)

    def repair(self, entry: Entry) -> None:
        """The reply came after all: the brownout is judged as if it had never been missed."""
        if entry.lost:
            entry.lost = False
            for walk, fate in zip((self.walk, self.fresh), entry.fates, strict=False):
                fate.lost, fate.answered = 0, 1
                walk.recount(fate)

    def withdraw(self, url: str, entry: Entry | None) -> None:
        """A probe that was missed has never left the box: as if it had not been sent."""
        target = self.targets.get(url)
        if target is None:
            return
        target.streak = max(0, target.streak - 1)
        if entry is not None:
            self._remove(lambda other: other is entry)
            self._discard(lambda fate: fate in entry.fates)
            target.missed = deque((other for other in target.missed if other is not entry), WINDOW)

    def latency(self, rtt: float) -> None:
        """Add a steady probe's round-trip time (seconds); the baseline follows slowly, and not into a brownout."""
        self._rtts.append(rtt)
        if self.loaded:
            return
        self._calm_rtts.append(rtt)
        if len(self._calm_rtts) < RTT_MIN_SAMPLES:
            return
        middle = self._calm_rtt = median(self._calm_rtts)
        if self.baseline is None:
            self.baseline = middle
        elif middle < self.slow_from() * RECOVERED:
            self.baseline += BASELINE_GAIN * (middle - self.baseline)

    def silence_over(self, lasted: float, late: int, lost: int) -> str:
        """A silence of so many seconds is settled, with so many late replies and lost probes; in words."""
        return self.stalls.over(lasted, late, lost)

    # --- judgement ---------------------------------------------------------------------------------------------------

    @property
    def brownout(self) -> bool:
        """Too lossy or too slow for traffic that has a choice."""
        return self.lossy or self.slow

    def judge(self) -> None:
        """Update `lossy` and `slow`, each with a dead band of its own."""
        loses = self.walk.stand.brown and (self.lossy or not self._lone_loss())
        self.lossy = loses or self._refuses()
        self.slow = self._calm_rtt >= self.slow_from() * (RECOVERED if self.slow else 1.0)

    def loss_evidence(self) -> float:
        """How near a brownout by loss is: evidence for it, as a share (0-1) of what begins one."""
        return max(0.0, self.walk.stand.level / H, self.fresh.stand.level / H)

    @property
    def pings_lost(self) -> bool:
        """Whether probes are lost as in a brownout, and the user's traffic is not: other kinds of probes will tell."""
        return self.fresh.stand.brown and not self.lossy

    def slow_from(self) -> float:
        """Seconds: a median round trip from here on is a brownout."""
        return max(RTT_HIGH, RTT_FACTOR_HIGH * (self.baseline or 0.0))

    def ends_in(self, outcomes: Collection[Outcome | None]) -> bool:
        """Whether the newest outcome of every target is one of these (None: none yet)."""
        return all(seen.last in outcomes for seen in self.targets.values())

    def dead_target(self, url: str) -> bool:
        """This target is silent while others are not."""
        target = self.targets.get(url)
        return (
            target is not None
            and target.streak >= SILENT_STREAK
            and self._answers - target.answers_before >= SILENT_STREAK
        )

    # --- what is shown -----------------------------------------------------------------------------------------------

    def loss(self) -> tuple[int, int]:
        """(lost, outcomes) in the window, without the silence of dead targets."""
        excused = {entry for url, known in self.targets.items() if self._excused(url) for entry in known.missed}
        counted = [entry.lost for entry in self._window if entry not in excused]
        return sum(counted), len(counted)

    def loss_ratio(self) -> float | None:
        """Lost of all in the window, 0-1; None before the first outcome."""
        lost, count = self.loss()
        return lost / count if count else None

    def rtt(self) -> float | None:
        """Median of the last steady round-trip times, seconds."""
        return median(self._rtts) if self._rtts else None

    def signs(self) -> dict[str, float]:
        """What else tells of the link's quality, as far as there is any; units in the names."""
        signs = {
            "loss_evidence_ratio": self.loss_evidence(),
            "silences_buffered_count": self.stalls.buffered,
            "silences_lost_count": self.stalls.broken,
        }
        return {name: value for name, value in signs.items() if value}

    def brownout_text(self) -> str:
        """What a brownout rests on, as `7 of 25 probes lost, 12 of 80 segments sent again, rtt 30 ms`."""
        (lost, count), (again, segments) = self.walk.recent(self.targets.keys()), self.walk.recent((_TRAFFIC,))
        said = [f"{lost} of {count} probes lost"] if lost else []
        if self._refuses() and not self.walk.stand.brown:
            lost, count = self.fresh.recent(self.targets.keys())
            said = [f"new flows get nowhere while running ones pass: {lost} of {count} probes of several kinds lost"]
        said += [f"{again} of {segments} segments sent again"] if again else []
        if (rtt := self.rtt()) is not None:
            usually = "" if self.baseline is None else f" (usually {self.baseline * 1000:.0f} ms)"
            said.append(f"rtt {rtt * 1000:.0f} ms{usually}")
        return ", ".join(said)

    def views(self) -> tuple[TargetView, ...]:
        """Every target for the snapshot; here the silence of a dead one is loss."""
        lost = {url: [entry.lost for entry in self._window if entry.target == url] for url in self.targets}
        return tuple(
            TargetView(url, sum(lost[url]) / len(lost[url]) if lost[url] else None, target.rtt, target.last)
            for url, target in self.targets.items()
        )

    # --- inside ------------------------------------------------------------------------------------------------------

    def _remove(self, unwanted: Callable[[Entry], bool]) -> None:
        """Take entries out of the window."""
        self._window = deque((entry for entry in self._window if not unwanted(entry)), WINDOW)

    def _excused(self, url: str) -> bool:
        """Whether what this target has missed was not the link's loss: it is dead, and not by chance."""
        return self.dead_target(url) and (not self.lossy or self.targets[url].streak >= LONG_STREAK)

    def _excuse(self) -> None:
        """Take the silence of dead targets out of the walk."""
        for url, target in self.targets.items():
            if target.missed and self._excused(url):
                fates = {fate for entry in target.missed for fate in entry.fates}
                self._discard(fates.__contains__)
                for entry in target.missed:
                    entry.fates = ()

    def _discard(self, unwanted: Callable[[Fate], bool]) -> None:
        """Take fates out of the walks."""
        for walk in (self.walk, self.fresh):
            walk.discard(unwanted)

    def _refuses(self) -> bool:
        """Whether new flows get nowhere; not just pings, which a carrier may limit."""
        return self.fresh.stand.brown and len({source.partition(":")[0] for source in self.fresh.losers()}) > 1

    def _lone_loss(self) -> bool:
        """Whether it is one target that loses, which may limit its rate, and hardly the link."""
        losers = self.walk.losers()
        if len(losers) > 1 or _TRAFFIC in losers:
            return False
        others = {_TRAFFIC, *self.targets} - losers
        return self.walk.count(others)[1] >= OTHERS_MIN
