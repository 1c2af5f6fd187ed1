"""Small words that the status document is told in, and what more than one of the tellers reads off it.

Pure but for the time zone. Everything that came in with the document is cleaned before it goes to screens. Moments are
told by this machine's clock: `now` is the unix time at which the document was true.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any, Final

from failover.model import clean

Document = Mapping[str, Any]

TEXT_LIMIT: Final = 500
"""Characters of one text of the document."""
UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
SIZES: Final = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
NEAR: Final = 120.0
"""Seconds from now within which a clock time is told to the second, as a rule."""
FROZEN: Final = re.compile(r"silent for ([0-9.]+) s, (.+)")
"""The text of a verdict of silence: how long it had lasted when the verdict fell, and what for."""


def cleaned(value: Any) -> Any:
    """A document whose every text, names of fields too, is safe for a screen."""
    match value:
        case str():
            return clean(value, TEXT_LIMIT)
        case Mapping():
            return {clean(str(key), TEXT_LIMIT): cleaned(one) for key, one in value.items()}
        case list() | tuple():
            return [cleaned(one) for one in value]
    return value


def span(seconds: float | None) -> str:
    """A duration to two digits or whole units: `0.4 s`, `12 s`, `5 min`, `1.5 h`, `3 d`."""
    if seconds is None:
        return "-"
    return _told(seconds, UNITS)


def size(amount: float) -> str:
    """Bytes likewise, in steps of a thousand: `28 B`, `1.9 MB`."""
    return _told(amount, SIZES)


def _told(amount: float, units: Sequence[tuple[float, str]]) -> str:
    length, unit = next(((length, unit) for length, unit in units if amount >= length), units[-1])
    count = amount / length
    return f"{count:.0f} {unit}" if count >= 10 else f"{count:.1f}".removesuffix(".0") + f" {unit}"


def clock(moment: float, now: float, near: float = NEAR) -> str:
    """A unix time by the local clock: `14:02`; to the second within `near` seconds of now; with its date when that is
    another."""
    there, here = time.localtime(moment), time.localtime(now)
    date = "" if there[:3] == here[:3] else "%Y-%m-%d "
    return time.strftime(f"{date}%H:%M:%S" if abs(moment - now) < near else f"{date}%H:%M", there)


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last


def ratio(value: float | None) -> str:
    """Of 0-1, in percent."""
    return "-" if value is None else f"{value:.0%}"


def milliseconds(seconds: float | None) -> str:
    """A round-trip time."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def lasting(text: str, age: float | None, silence: float | None = None) -> str:
    """The text of a verdict that fell `age` seconds ago, so that it holds now: a silence has gone on since then, or is
    known to have lasted so many seconds."""
    found = FROZEN.fullmatch(text)
    if found is None or (age is None and silence is None):
        return text
    return f"fell silent {span(float(found[1]) + (age or 0.0) if silence is None else silence)} ago: {found[2]}"


# --- what the document says ------------------------------------------------------------------------------------------


def views_of(uplinks: Iterable[Document], families: Sequence[str]) -> Iterator[Document]:
    return (uplink["families"][family] for uplink in uplinks for family in families if family in uplink["families"])


def flapped(penalty: float, forgiven: float | None) -> str:
    """What has come together against an uplink, and for how long that counts; empty where it makes no difference."""
    return "" if forgiven is None else f"flap penalty {penalty:.1f}, forgiven in {span(forgiven)}"


def is_waiting(view: Document) -> bool:
    """Whether it is well and only its hold-down keeps traffic away."""
    return view["verdict"] == "up" and bool(view["hold_remaining_seconds"])


def _is_used(status: Document, uplink: Document) -> bool:
    return status["use"] is not None and bool(status["use"]["name"] == uplink["name"])


def forwarded(gateway: Document | None) -> str:
    """What goes by the settled uplink: new flows of a gateway's clients go as the box's own."""
    return "forwarded traffic" if gateway is None else "other forwarded traffic"


def serving(gateway: Document) -> str:
    """Whose gateway the box is, and which way it has its clients go."""
    return f"gateway of {', '.join(gateway['lan'])}: new flows of its clients go as this box's own"


def wanted_more(status: Document, name: str) -> Iterator[Document]:
    """The uplinks that are wanted more than this one."""
    wished = sorted(status["uplinks"], key=lambda one: (one["drained"], not _is_used(status, one)))
    for uplink in wished:
        if uplink["name"] == name:
            return
        if not uplink["drained"]:
            yield uplink


def hold_left(status: Document, uplink: Document, family: str) -> int | None:
    """Whole seconds for which its hold-down alone keeps traffic from an uplink that is wanted; None: it does not."""
    view, active = uplink["families"][family], status["active"][family]
    known = any(one["name"] == active for one in status["uplinks"])
    waits = known and is_waiting(view) and uplink in wanted_more(status, active)
    return ceil(view["hold_remaining_seconds"]) if waits else None
