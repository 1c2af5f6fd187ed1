"""How things are, as the document that `status --json` prints: names and units are a contract (DESIGN).

Ages in seconds, ratios 0-1. No I/O; sentence.py and table.py put it in words.
"""

from __future__ import annotations

from failover.export import fate, modem_status
from failover.export.numbers import age, number
from failover.model import FAMILIES, PROBE_PATIENCE, RECEIVING, Decision, Verdict
from failover.picture import FamilyView, Snapshot, TargetView, UplinkView


def document(snapshot: Snapshot, now: float) -> dict[str, object]:
    """`snapshot` as plain JSON values; `now` is the monotonic time of its stamps."""
    decisions = snapshot.decisions
    return {
        "active": {family.value: decisions[family].active if family in decisions else None for family in FAMILIES},
        "settled": {family.value: decisions[family].settled if family in decisions else None for family in FAMILIES},
        "usable": any(is_usable(uplink, now) for uplink in snapshot.uplinks),
        "flows_counted": snapshot.flows_counted,
        "gateway": gateway(snapshot),
        "use": _use(snapshot, now),
        "warnings": list(snapshot.warnings),
        "decisions": {family.value: _decision(decision, now) for family, decision in decisions.items()},
        "uplinks": [_uplink(uplink, now) for uplink in snapshot.uplinks],
    }


def is_usable(uplink: UplinkView, now: float) -> bool:
    """Whether it carries packets in any family, as far as anyone knows: it answers, or has been in doubt for less time
    than an answer may take (PROBE_PATIENCE)."""
    return any(
        view.verdict in RECEIVING or (view.verdict is Verdict.DOUBTFUL and now - view.since < PROBE_PATIENCE)
        for view in uplink.families.values()
    )


def gateway(snapshot: Snapshot) -> dict[str, object] | None:
    """For whose clients the box forwards; None: for nobody's."""
    return {"lan": list(snapshot.lan)} if snapshot.lan else None


def _use(snapshot: Snapshot, now: float) -> dict[str, object] | None:
    if snapshot.use is None:
        return None
    left = None if snapshot.use_until is None else max(0.0, snapshot.use_until - now)
    return {"name": snapshot.use, "remaining_seconds": number(left), "strict": snapshot.use_strict}


def _decision(decision: Decision, now: float) -> dict[str, object]:
    return {
        "reason": decision.reason.value,
        "text": decision.text,
        "numbers": {name: number(value) for name, value in decision.numbers.items()},
        "order": list(decision.order),
        "since_seconds": age(decision.since, now),
    }


def _uplink(uplink: UplinkView, now: float) -> dict[str, object]:
    return {
        "name": uplink.name,
        "interface": uplink.interface,
        "carrier": uplink.carrier,
        "metered": uplink.metered,
        "budget_remaining_bytes": None if uplink.budget_left is None else int(uplink.budget_left),
        "budget_capacity_bytes": None if uplink.budget is None else int(uplink.budget),
        "drained": uplink.drained,
        "slot": uplink.slot,
        "usable": is_usable(uplink, now),
        "name_servers": list(uplink.name_servers),
        "families": {family.value: _family(view, now) for family, view in uplink.families.items()},
        "shared_fate": fate.section(uplink.fate),
        "modem": None if uplink.modem is None else modem_status.section(uplink.modem, now),
    }


def _family(view: FamilyView, now: float) -> dict[str, object]:
    hold = view.hold_down if view.hold_until is None else max(0.0, view.hold_until - now)
    return {
        "verdict": view.verdict.value,
        "text": view.text,
        "cause": view.cause,
        "loss_ratio": number(view.loss_ratio),
        "rtt_seconds": number(view.rtt_seconds),
        "since_seconds": age(view.since, now),
        "last_proven_seconds": age(view.last_proven, now),
        "hold_remaining_seconds": number(hold or None),
        "flap_penalty": number(view.penalty.left(now)),
        "flap_forgiven_seconds": number(view.penalty.forgiven_in(now)),
        "last_silence": view.last_silence,
        "targets": [_target(target) for target in view.targets],
    }


def _target(target: TargetView) -> dict[str, object]:
    return {
        "url": target.url,
        "loss_ratio": number(target.loss_ratio),
        "rtt_seconds": number(target.rtt_seconds),
        "last_outcome": None if target.last_outcome is None else target.last_outcome.value,
    }
