"""The picture that status, metrics and the control socket are drawn from. Times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from failover.model import Decision, Family, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target over one uplink."""

    url: str
    loss_ratio: float | None
    rtt_seconds: float | None
    last_outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class FamilyView:
    """One uplink in one family."""

    verdict: Verdict
    text: str
    """Why this verdict."""
    since: float
    """Monotonic time of the verdict."""
    loss_ratio: float | None
    rtt_seconds: float | None
    last_proven: float | None
    """Monotonic time of the last answer."""
    hold_until: float | None
    """Monotonic time before which traffic does not return here."""
    targets: tuple[TargetView, ...]


@dataclass(frozen=True, slots=True)
class UplinkView:
    """One uplink."""

    name: str
    interface: str
    carrier: str
    slot: int
    metered: bool
    drained: bool
    families: Mapping[Family, FamilyView]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole picture of one moment."""

    decisions: Mapping[Family, Decision]
    uplinks: tuple[UplinkView, ...]
    use: str | None
    use_until: float | None
    use_strict: bool
    warnings: tuple[str, ...] = ()
    """What stands in the way of doing it truly, as long as it does."""
