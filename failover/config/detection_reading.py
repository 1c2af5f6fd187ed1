"""`detection:` of the config file -> Detection: a profile, or numbers of one's own, and what must hold between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from failover.config import PROFILES, Detection
from failover.config.keys import Key, Keys, timed
from failover.config.values import format_duration, parse_number, parse_whole
from failover.config.yaml_reading import Place, bounded, choice, find
from failover.config.yaml_tree import Scalar

_DEFAULT: Final = Detection()
_profile: Final = choice("a detection profile", tuple(PROFILES))


def read_detection(place: Place, read: Callable[[Place], dict[str, Any]]) -> Detection:
    """`read` reads the keys of one that is a mapping."""
    if isinstance(place.value, Scalar):
        return PROFILES[_profile(place)]
    before = len(place.notes.problems)
    values = read(place)
    detection = replace(PROFILES[values.pop("profile", "balanced")], **values)
    if len(place.notes.problems) == before:
        _ascending(place, detection, "suspicion", "doubt")
        _ascending(place, detection, "doubt", "conviction")
    return detection


def _ascending(place: Place, detection: Detection, lower: str, upper: str) -> None:
    """Notes two thresholds that stand the wrong way round, at the one that the file names."""
    low, high = getattr(detection, lower), getattr(detection, upper)
    at = find(place, upper) or find(place, lower) or place
    if low >= high:
        message = f"{lower} ({format_duration(low)}) is not below {upper} ({format_duration(high)})"
        at.problem(message, "suspicion < doubt < conviction")


DETECTION_KEYS: Final[Keys] = {
    "profile": Key(
        _profile,
        "`fast`, `balanced` or `frugal`",
        f"`{_DEFAULT.profile}`",
        "what the keys below start from where they are left out",
    ),
    "suspicion": timed("50ms", "10s", _DEFAULT.suspicion, "silence after which a burst of probes asks"),
    "doubt": timed("100ms", "30s", _DEFAULT.doubt, "silence after which new flows leave"),
    "conviction": timed("500ms", "2m", _DEFAULT.conviction, "silence after which everything leaves"),
    "return_after": timed("1s", "1h", _DEFAULT.return_after, "replies after a doubt before new flows come back"),
    "conviction_sends": Key(
        bounded("a number", parse_whole, 2, 100, str),
        "whole number",
        f"`{_DEFAULT.conviction_sends}`",
        "unanswered sends that a conviction takes: probes, and packets of flows that have been answered",
        "2 to 100",
        "sends",
    ),
    "rtt_factor": Key(
        bounded("a number", parse_number, 1.0, 10.0, lambda factor: f"{factor:g}"),
        "number",
        f"`{_DEFAULT.rtt_factor:g}`",
        "doubt waits at least this many round trips, up to `conviction`",
        "1 to 10",
        "round trips",
    ),
}
