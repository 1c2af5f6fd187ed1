"""The one table of verdict transitions, and the diagram drawn from it.

Pure. What a sign is worth is decided in health.py; what follows from a verdict in policy.py.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from failover.model import Verdict


class Sign(enum.StrEnum):
    """What can happen to an uplink in one family."""

    PATH_LOST = "no interface, address or default route"
    PATH_COLD = "its modem uses another SIM"
    CARRIER_LOST = "carrier lost"
    PATH_BACK = "path is back"
    ANSWER = "answer"
    SILENCE = "doubt: silent, and two sends unanswered"
    CONVICTION = "conviction: silent for longer while another uplink receives"
    REFUSAL = "refused by two targets"
    BROWNOUT = "loss or latency over the upper threshold, or names do not resolve"
    RECOVERY = "loss, latency and names are normal again"
    PORTAL = "portal answers"
    PORTAL_OVER = "portal gone"
    RESUME = "machine slept"


LOST: Final = frozenset((Verdict.DOWN, Verdict.ABSENT, Verdict.PORTAL, Verdict.COLD))
"""No traffic gets through: left at once, and all but what is cold owe a hold-down before anything returns."""
WAYLESS: Final = frozenset((Verdict.ABSENT, Verdict.COLD))
"""There is no default route."""

V, S = Verdict, Sign

_ANYWHERE: Final[Mapping[Sign, Verdict]] = {
    S.PATH_LOST: V.ABSENT,
    S.PATH_COLD: V.COLD,
    S.CARRIER_LOST: V.DOWN,
    S.PATH_BACK: V.UNKNOWN,
}

TRANSITIONS: Final[Mapping[Verdict, Mapping[Sign, Verdict]]] = {
    V.UNKNOWN: {S.ANSWER: V.UP, S.SILENCE: V.DOUBTFUL, S.REFUSAL: V.DOWN, S.PORTAL: V.PORTAL},
    V.UP: {
        S.SILENCE: V.DOUBTFUL,
        S.REFUSAL: V.DOWN,
        S.BROWNOUT: V.DEGRADED,
        S.PORTAL: V.PORTAL,
        S.RESUME: V.UNKNOWN,
    },
    V.DEGRADED: {
        S.SILENCE: V.DOUBTFUL,
        S.REFUSAL: V.DOWN,
        S.RECOVERY: V.UP,
        S.PORTAL: V.PORTAL,
        S.RESUME: V.UNKNOWN,
    },
    V.DOUBTFUL: {S.ANSWER: V.UP, S.CONVICTION: V.DOWN, S.REFUSAL: V.DOWN, S.RESUME: V.UNKNOWN},
    V.DOWN: {S.ANSWER: V.UP},
    V.PORTAL: {S.PORTAL_OVER: V.UP},
    V.ABSENT: {},
    V.COLD: {},
}


def after(verdict: Verdict, sign: Sign) -> Verdict:
    """The verdict after a sign; a sign that says nothing new leaves it as it is."""
    return _ANYWHERE.get(sign) or TRANSITIONS[verdict].get(sign, verdict)


def diagram() -> str:
    """The table as a Mermaid state diagram (core/README.md carries it; a test compares)."""
    lines = ["stateDiagram-v2", "    [*] --> unknown"]
    for verdict, row in TRANSITIONS.items():
        lines += [f"    {verdict} --> {then}: {sign}" for sign, then in row.items()]
    lines += [f"    any --> {then}: {sign}" for sign, then in _ANYWHERE.items()]
    return "\n".join(lines)
