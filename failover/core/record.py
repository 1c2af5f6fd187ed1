"""What the steady probes of one uplink and family brought: loss, latency, and whether that is a brownout.

Pure. Only steady probes count: those of a burst are sent because something was lost, and probes still out when doubt
falls belong to that silence, which has its own rules; either would bias the ratio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from failover.model import Outcome
from failover.picture import TargetView

WINDOW: Final = 50
"""Outcomes that loss is judged by."""
LOSS_HIGH: Final = 0.10
LOST_MIN: Final = 5
RTT_FACTOR_HIGH: Final = 4.0
RTT_HIGH: Final = 0.2
"""Seconds; latency below is never a brownout."""
RTT_MIN_SAMPLES: Final = 10
RECOVERED: Final = 0.5
"""A brownout ends at this share of each upper threshold; what lies between changes nothing."""
OTHERS_MIN: Final = 5
"""Outcomes of the other targets that can tell a target that loses from a link that does."""
SILENT_STREAK: Final = 3
"""So many of its probes unanswered, and as many answers of others meanwhile: then the target itself is dead."""
SMOOTHING: Final = 1 / 8
"""RFC 6298's gain for the smoothed round-trip time."""
BASELINE_GAIN: Final = 1 / 600
"""Ten minutes of one probe a second."""
ANSWERS: Final = (Outcome.ANSWERED, Outcome.LATE, Outcome.CLOCK, Outcome.PORTAL)
"""Outcomes that came from beyond the link."""


@dataclass(slots=True)
class Entry:
    """One steady probe's place in the window; `lost` is repaired when the reply comes late."""

    target: str
    lost: bool


@dataclass(slots=True)
class _Target:
    count: int = 0
    lost: int = 0
    streak: int = 0
    """Unanswered in a row."""
    lost_in_streak: int = 0
    """Those of the window."""
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
    _answers: int = 0
    """Of all targets, ever."""
    _window: deque[Entry] = field(default_factory=deque)
    _rtts: deque[float] = field(default_factory=lambda: deque(maxlen=RTT_MIN_SAMPLES))

    def clear(self) -> None:
        """Forget outcomes and brownout (a new path, a conviction); the targets' own record of life stays."""
        self._window.clear()
        self._rtts.clear()
        self.lossy = self.slow = False
        for target in self.targets.values():
            target.count = target.lost = target.lost_in_streak = 0

    def keep_targets(self, urls: Iterable[str]) -> None:
        """Know exactly these targets."""
        self.targets = {url: self.targets.get(url) or _Target() for url in urls}
        self._window = deque(entry for entry in self._window if entry.target in self.targets)

    def smooth(self, rtt: float) -> None:
        """Fold one round-trip time (seconds) into the smoothed one."""
        self.srtt = rtt if self.srtt is None else self.srtt + SMOOTHING * (rtt - self.srtt)

    def heard(self, target: str, outcome: Outcome, rtt: float | None) -> None:
        """Something came back for this target, whatever the probe was sent for."""
        known = self.targets.get(target)
        if known is None:
            return
        known.last = outcome
        if outcome in ANSWERS:
            if self.dead_target(target):
                self._excuse(target, known)
            self._answers += 1
            known.streak = known.lost_in_streak = 0
            known.rtt = rtt

    def missed(self, target: str, outcome: Outcome = Outcome.SILENT) -> None:
        """A probe of this target has no answer so far."""
        known = self.targets.get(target)
        if known is not None:
            if not known.streak:
                known.answers_before = self._answers
            known.streak += 1
            known.last = outcome

    def _excuse(self, url: str, target: _Target) -> None:
        """What a dead target has missed was never the link's loss."""
        missed = [entry for entry in self._window if entry.lost and entry.target == url]
        excused = {id(entry) for entry in missed[len(missed) - target.lost_in_streak :]}
        self._window = deque(entry for entry in self._window if id(entry) not in excused)
        target.count -= len(excused)
        target.lost -= len(excused)

    def add(self, target: str, lost: bool) -> Entry:
        """Append a steady outcome to the window."""
        entry = Entry(target, lost)
        known = self.targets.get(target)
        if known is None:
            return entry
        self._window.append(entry)
        known.count += 1
        known.lost += lost
        known.lost_in_streak += lost
        if len(self._window) > WINDOW:
            self._drop(self._window.popleft())
        return entry

    def _drop(self, entry: Entry) -> None:
        target = self.targets[entry.target]
        target.count -= 1
        target.lost -= entry.lost
        target.lost_in_streak = min(target.lost_in_streak, target.lost)

    def repair(self, entry: Entry) -> None:
        """The reply came after all."""
        if entry.lost:
            entry.lost = False
            if any(entry is other for other in self._window):
                self.targets[entry.target].lost -= 1

    def withdraw(self, url: str, entry: Entry | None) -> None:
        """A probe that was missed has never left the box: as if it had not been sent."""
        target = self.targets.get(url)
        if target is None:
            return
        target.streak = max(0, target.streak - 1)
        if entry is None or not any(entry is other for other in self._window):
            return
        self._window = deque(other for other in self._window if other is not entry)
        target.count -= 1
        target.lost -= entry.lost
        target.lost_in_streak = min(max(0, target.lost_in_streak - 1), target.lost)

    def latency(self, rtt: float) -> None:
        """Add a steady probe's round-trip time (seconds); the baseline follows slowly, and not into a brownout."""
        self._rtts.append(rtt)
        if len(self._rtts) < RTT_MIN_SAMPLES:
            return
        middle = median(self._rtts)
        if self.baseline is None:
            self.baseline = middle
        elif middle < self._rtt_limit() * RECOVERED:
            self.baseline += BASELINE_GAIN * (middle - self.baseline)

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

    def loss(self) -> tuple[int, int]:
        """(lost, outcomes) in the window, without the silence of dead targets."""
        counted = [self._counted(url, target) for url, target in self.targets.items()]
        return sum(lost for lost, _ in counted), sum(count for _, count in counted)

    def _counted(self, url: str, target: _Target) -> tuple[int, int]:
        silence = target.lost_in_streak if target.lost_in_streak and self.dead_target(url) else 0
        return target.lost - silence, target.count - silence

    def loss_ratio(self) -> float | None:
        """Lost of all in the window, 0-1; None before the first outcome."""
        lost, count = self.loss()
        return lost / count if count else None

    def rtt(self) -> float | None:
        """Median of the last steady round-trip times, seconds."""
        return median(self._rtts) if self._rtts else None

    @property
    def brownout(self) -> bool:
        """Too lossy or too slow for traffic that has a choice."""
        return self.lossy or self.slow

    def judge(self) -> None:
        """Update `lossy` and `slow`, each with a dead band of its own."""
        lost, count = self.loss()
        ratio = lost / count if count else 0.0
        if self.lossy:
            self.lossy = ratio >= LOSS_HIGH * RECOVERED
        else:
            self.lossy = ratio >= LOSS_HIGH and lost >= LOST_MIN and not self._lone_loss()
        rtt = median(self._rtts) if len(self._rtts) >= RTT_MIN_SAMPLES else 0.0
        self.slow = rtt >= self._rtt_limit() * (RECOVERED if self.slow else 1.0)

    def _lone_loss(self) -> bool:
        """Whether it is one target that loses, which may limit its rate, and hardly the link."""
        lost, count = self.loss()
        most = max((self._counted(url, target) for url, target in self.targets.items()), default=(0, 0))
        return count - most[1] >= OTHERS_MIN and lost == most[0]

    def _rtt_limit(self) -> float:
        """Seconds from which on a median is a brownout."""
        return max(RTT_HIGH, RTT_FACTOR_HIGH * (self.baseline or 0.0))

    def views(self) -> tuple[TargetView, ...]:
        """Every target for the snapshot."""
        return tuple(
            TargetView(url, t.lost / t.count if t.count else None, t.rtt, t.last) for url, t in self.targets.items()
        )
