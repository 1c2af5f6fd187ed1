"""Why traffic goes as it goes, as the document that `failover explain --json` prints: names and units are a contract.

Ages and spans in seconds, ratios 0-1. No I/O; the words for people are made by the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite

from failover.picture import CandidateView, Explanation, Prospect


def document(explanations: Iterable[Explanation], now: float) -> dict[str, object]:
    """`explanations` as plain JSON values; `now` is the monotonic time of their stamps."""
    return {"families": {one.family.value: _family(one, now) for one in explanations}}


def _family(explanation: Explanation, now: float) -> dict[str, object]:
    decision = explanation.decision
    return {
        "active": decision.active,
        "settled": decision.settled,
        "rule": explanation.rule,
        "text": explanation.text,
        "reason": decision.reason.value,
        "decision_text": decision.text,
        "since_seconds": _short(max(0.0, now - decision.at)),
        "numbers": _numbers(decision.numbers),
        "candidates": [_candidate(candidate) for candidate in explanation.candidates],
        "prospects": [_prospect(prospect) for prospect in explanation.prospects],
    }


def _candidate(candidate: CandidateView) -> dict[str, object]:
    return {
        "name": candidate.name,
        "preference": candidate.preference,
        "verdict": candidate.verdict.value,
        "text": candidate.text,
        "active": candidate.active,
        "settled": candidate.settled,
        "drained": candidate.drained,
        "proven": candidate.proven,
        "owed_seconds": _short(candidate.owed_seconds),
        "relapses": _short(candidate.relapses),
        "numbers": _numbers(candidate.numbers),
        "objection": candidate.objection,
    }


def _prospect(prospect: Prospect) -> dict[str, object]:
    return {"text": prospect.text, "after_seconds": _short(prospect.after_seconds)}


def _numbers(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: short for name, value in numbers.items() if (short := _short(value)) is not None}


def _short(value: float | None) -> float | None:
    """Microseconds are enough, and JSON knows no infinity."""
    return round(value, 6) if value is not None and isfinite(value) else None
