"""How things are, as the document that `status --json` prints: names and units are a contract (DESIGN).

Ages in seconds, ratios 0-1. No I/O; the words for people are made by the command line.
"""

from __future__ import annotations

from typing import Final

from failover.model import FAMILIES, PROBE_PATIENCE, Decision, Verdict
from failover.picture import FamilyView, Snapshot, TargetView, UplinkView

USABLE: Final = frozenset((Verdict.UP, Verdict.DEGRADED))
"""Verdicts of an uplink that carries packets now; one in doubt may, for PROBE_PATIENCE."""


def document(snapshot: Snapshot, now: float) -> dict[str, object]:
    """`snapshot` as plain JSON values; `now` is the monotonic time of its stamps."""
    decisions = snapshot.decisions
    return {
        "active": {family.value: decisions[family].active if family in decisions else None for family in FAMILIES},
        "settled": {family.value: decisions[family].settled if family in decisions else None for family in FAMILIES},
        "usable": any(is_usable(uplink, now) for uplink in snapshot.uplinks),
        "use": _use(snapshot, now),
        "warnings": list(snapshot.warnings),
        "decisions": {family.value: _decision(decision, now) for family, decision in decisions.items()},
        "uplinks": [_uplink(uplink, now) for uplink in snapshot.uplinks],
    }


def is_usable(uplink: UplinkView, now: float) -> bool:
    """Whether it carries packets in any family, as far as anyone knows: it answers, or has been in doubt for less time
    than an answer may take."""
    return any(
        view.verdict in USABLE or (view.verdict is Verdict.DOUBTFUL and now - view.since < PROBE_PATIENCE)
        for view in uplink.families.values()
    )


def _use(snapshot: Snapshot, now: float) -> dict[str, object] | None:
    if snapshot.use is None:
        return None
    left = None if snapshot.use_until is None else max(0.0, snapshot.use_until - now)
    return {"name": snapshot.use, "remaining_seconds": _short(left), "strict": snapshot.use_strict}


def _decision(decision: Decision, now: float) -> dict[str, object]:
    return {
        "reason": decision.reason.value,
        "text": decision.text,
        "numbers": {name: _short(value) for name, value in decision.numbers.items()},
        "order": list(decision.order),
        "since_seconds": _age(decision.at, now),
    }


def _uplink(uplink: UplinkView, now: float) -> dict[str, object]:
    return {
        "name": uplink.name,
        "interface": uplink.interface,
        "carrier": uplink.carrier,
        "metered": uplink.metered,
        "drained": uplink.drained,
        "slot": uplink.slot,
        "usable": is_usable(uplink, now),
        "families": {family.value: _family(view, now) for family, view in uplink.families.items()},
    }


def _family(view: FamilyView, now: float) -> dict[str, object]:
    hold = None if view.hold_until is None or view.hold_until <= now else view.hold_until - now
    return {
        "verdict": view.verdict.value,
        "text": view.text,
        "loss_ratio": _short(view.loss_ratio),
        "rtt_seconds": _short(view.rtt_seconds),
        "since_seconds": _age(view.since, now),
        "last_proven_seconds": _age(view.last_proven, now),
        "hold_remaining_seconds": _short(hold),
        "targets": [_target(target) for target in view.targets],
    }


def _target(target: TargetView) -> dict[str, object]:
    return {
        "url": target.url,
        "loss_ratio": _short(target.loss_ratio),
        "rtt_seconds": _short(target.rtt_seconds),
        "last_outcome": None if target.last_outcome is None else target.last_outcome.value,
    }


def _age(stamp: float | None, now: float) -> float | None:
    return None if stamp is None else _short(max(0.0, now - stamp))


def _short(value: float | None) -> float | None:
    """Microseconds are enough, and JSON knows no infinity."""
    return None if value is None or value in (float("inf"), float("-inf")) or value != value else round(value, 6)
