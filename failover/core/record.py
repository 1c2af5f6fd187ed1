"""What the steady probes of one uplink and family brought: loss, latency, and whether that is a brownout.

Pure. Only steady probes count: those of a burst are sent because something was lost, and probes still out when doubt
falls belong to that silence, which has its own rules; either would bias the ratio.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from failover.model import Outcome, TargetView

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
SILENT_STREAK: Final = 3
"""Unanswered in a row: then the target itself is taken for dead, as long as another one answers."""
SMOOTHING: Final = 1 / 8
"""RFC 6298's gain for the smoothed round-trip time."""
BASELINE_GAIN: Final = 1 / 600
"""Ten minutes of one probe a second."""


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
    rtt: float | None = None
    last: Outcome | None = None


@dataclass(slots=True)
class Record:
    targets: dict[str, _Target] = field(default_factory=dict)
    srtt: float | None = None
    baseline: float | None = None
    brownout: bool = False
    _window: deque[Entry] = field(default_factory=deque)
    _rtts: deque[float] = field(default_factory=lambda: deque(maxlen=RTT_MIN_SAMPLES))

    def clear(self) -> None:
        """Forget outcomes and brownout (a new path, a conviction); the targets' own record of life stays."""
        self._window.clear()
        self._rtts.clear()
        self.brownout = False
        for target in self.targets.values():
            target.count = target.lost = 0

    def keep_targets(self, urls: set[str]) -> None:
        """Know exactly these targets."""
        self.targets = {url: self.targets.get(url) or _Target() for url in urls}
        self._window = deque(entry for entry in self._window if entry.target in urls)

    def smooth(self, rtt: float) -> None:
        """Fold one round-trip time (seconds) into the smoothed one."""
        self.srtt = rtt if self.srtt is None else self.srtt + SMOOTHING * (rtt - self.srtt)

    def heard(self, target: str, outcome: Outcome, rtt: float | None) -> None:
        """Something came back for this target, whatever the probe was sent for."""
        known = self.targets.get(target)
        if known is None:
            return
        known.last = outcome
        if outcome is Outcome.ANSWERED or outcome is Outcome.LATE:
            known.streak = 0
            known.rtt = rtt

    def missed(self, target: str) -> None:
        """A probe of this target is lost so far."""
        known = self.targets.get(target)
        if known is not None:
            known.streak += 1
            known.last = Outcome.SILENT

    def add(self, target: str, lost: bool) -> Entry:
        """Append a steady outcome to the window."""
        entry = Entry(target, lost)
        known = self.targets.get(target)
        if known is None:
            return entry
        self._window.append(entry)
        known.count += 1
        known.lost += lost
        if len(self._window) > WINDOW:
            gone = self._window.popleft()
            old = self.targets[gone.target]
            old.count -= 1
            old.lost -= gone.lost
        return entry

    def repair(self, entry: Entry) -> None:
        """The reply came after all."""
        if entry.lost:
            entry.lost = False
            if any(entry is other for other in self._window):
                self.targets[entry.target].lost -= 1

    def latency(self, rtt: float) -> None:
        """Add a steady probe's round-trip time (seconds); the baseline follows slowly, and not into a brownout."""
        self._rtts.append(rtt)
        if len(self._rtts) < RTT_MIN_SAMPLES:
            return
        middle = median(self._rtts)
        if self.baseline is None:
            self.baseline = middle
        elif middle < RTT_FACTOR_HIGH * RECOVERED * self.baseline:
            self.baseline += BASELINE_GAIN * (middle - self.baseline)

    def dead_target(self, url: str) -> bool:
        """This target is silent while another one is not."""
        target = self.targets.get(url)
        return (
            target is not None
            and target.streak >= SILENT_STREAK
            and any(other.streak < SILENT_STREAK for other in self.targets.values())
        )

    def loss(self) -> tuple[int, int]:
        """(lost, outcomes) in the window, without the silence of dead targets."""
        count = len(self._window)
        lost = sum(target.lost for target in self.targets.values())
        for url, target in self.targets.items():
            if target.streak >= SILENT_STREAK and self.dead_target(url):
                silent = min(target.streak, target.lost)
                count -= silent
                lost -= silent
        return lost, count

    def loss_ratio(self) -> float | None:
        lost, count = self.loss()
        return lost / count if count else None

    def rtt(self) -> float | None:
        """Median of the last steady round-trip times, seconds."""
        return median(self._rtts) if self._rtts else None

    def judge(self) -> bool:
        """Update `brownout`; True when it changed."""
        lost, count = self.loss()
        ratio = lost / count if count else 0.0
        rtt = median(self._rtts) if len(self._rtts) >= RTT_MIN_SAMPLES else 0.0
        base = self.baseline or rtt
        if self.brownout:
            calm = ratio < LOSS_HIGH * RECOVERED
            quick = rtt < RTT_FACTOR_HIGH * RECOVERED * base or rtt < RTT_HIGH * RECOVERED
            now = not (calm and quick)
        else:
            lossy = ratio >= LOSS_HIGH and lost >= LOST_MIN
            slow = rtt >= RTT_FACTOR_HIGH * base and rtt >= RTT_HIGH
            now = lossy or slow
        changed = now is not self.brownout
        self.brownout = now
        return changed

    def views(self) -> tuple[TargetView, ...]:
        return tuple(
            TargetView(url, t.lost / t.count if t.count else None, t.rtt, t.last) for url, t in self.targets.items()
        )
