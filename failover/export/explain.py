"""Why traffic goes as it goes, as the document that `failover explain --json` prints: names and units are a contract.

Ages and spans in seconds, ratios 0-1. No I/O; words for people are made by the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from failover.export.status import age, number
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
        "since_seconds": age(decision.at, now),
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
        "owed_seconds": number(candidate.owed_seconds),
        "relapses": number(candidate.relapses),
        "forgiven_seconds": number(candidate.forgiven_seconds),
        "counted": candidate.counted,
        "last_silence": candidate.last_silence,
        "numbers": _numbers(candidate.numbers),
        "objection": candidate.objection,
    }


def _prospect(prospect: Prospect) -> dict[str, object]:
    return {"text": prospect.text, "after_seconds": number(prospect.after_seconds)}


def _numbers(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: short for name, value in numbers.items() if (short := number(value)) is not None}
