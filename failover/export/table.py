"""The status document as the rows of a table, and the remarks that go with it. Pure but for the time zone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from failover.export.fate import groups
from failover.export.words import (
    Document,
    cleaned,
    clock,
    flapped,
    hold_left,
    lasting,
    milliseconds,
    ratio,
    serving,
    span,
)

WELL: Final = "answers"
"""The text of an uplink of which there is nothing else to say."""
UNMEASURED: Final = ("down", "absent")
"""Verdicts with which loss and round-trip time are those of another time."""
COLUMNS: Final = ("", "uplink", "interface", "family", "verdict", "for", "loss", "rtt", "answered", "why")


def rows(status: Document, now: float, name: str | None = None) -> Iterator[tuple[str, ...]]:
    """One row of COLUMNS per uplink (or of that one) and family, in order of preference; `*`: where new flows go."""
    status, name = cleaned(status), cleaned(name)
    for uplink in (one for one in status["uplinks"] if name in (None, one["name"])):
        for family, view in uplink["families"].items():
            shown = view["verdict"] not in UNMEASURED
            answered = "never" if view["last_proven_seconds"] is None else f"{span(view['last_proven_seconds'])} ago"
            yield (
                "*" if status["active"][family] == uplink["name"] else "",
                uplink["name"],
                uplink["interface"],
                family,
                view["verdict"],
                span(view["since_seconds"]),
                ratio(view["loss_ratio"] if shown else None),
                milliseconds(view["rtt_seconds"] if shown else None),
                answered,
                "; ".join(_why(status, uplink, family, now)),
            )


def _why(status: Document, uplink: Document, family: str, now: float) -> Iterator[str]:
    """What is to be said of an uplink besides its verdict: of one that is well nothing."""
    view = uplink["families"][family]
    yield from ("drained",) if uplink["drained"] else ()
    yield from (lasting(view["text"], view["since_seconds"]),) if view["text"] != WELL else ()
    yield from _return(status, uplink, family, now)
    yield from filter(None, (flapped(view["flap_penalty"], view["flap_forgiven_seconds"]),))


def _return(status: Document, uplink: Document, family: str, now: float) -> Iterator[str]:
    """Why a healthy uplink is not in use though it is wanted more than the one that is: its hold-down."""
    left = hold_left(status, uplink, family)
    if left is not None:
        yield f"may take traffic in {span(left)}, at {clock(now + left, now)}"


def remarks(status: Document) -> Iterator[str]:
    """What else somebody should know."""
    status = cleaned(status)
    yield from (serving(gateway) for gateway in [status["gateway"]] if gateway is not None)
    yield from (f"warning: {text}" for text in status.get("warnings", ()))
    yield from (f"shared fate: {group.sentence()}" for group in groups(status["uplinks"]))
    config = status.get("config", {"ok": True})
    if not config["ok"]:
        first, *more = config["problems"] or [f"{config['path']}: refused"]
        others = f" (and {len(more)} more)" if more else ""
        yield f"warning: the config file is not in force, the one before it is: {first}{others}"
