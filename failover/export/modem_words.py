"""The modems of the status document as rows of a table, and their repair as sentences. Pure but for the time zone."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final

from failover.export.words import Document, cleaned, clock, span

COLUMNS: Final = ("modem", "slot", "state", "network", "signal", "repair")


def rows(status: Document, name: str | None = None) -> Iterator[tuple[str, ...]]:
    """One row of COLUMNS per uplink (or of that one) that is a modem."""
    status, name = cleaned(status), cleaned(name)
    for uplink in (one for one in status["uplinks"] if name in (None, one["name"])):
        modem = uplink.get("modem")
        if modem is not None:
            rsrp = modem["signal"]["rsrp_dbm"]
            signal = "-" if rsrp is None else f"{rsrp:.0f} dBm"
            rests = modem["slot_in_use"] not in (None, modem["slot"])
            repair = "" if rests else "; ".join(_repair(modem, _change(uplink, status["uplinks"])))
            yield uplink["name"], str(modem["slot"]), _state(modem), _network(modem), signal, repair


def _state(modem: Document) -> str:
    if not modem["listed"]:
        return "not there"
    if modem["slot_in_use"] != modem["slot"]:
        return f"uses slot {modem['slot_in_use']}"
    detail = modem["lock"] or modem["failure"] if modem["state"] in ("locked", "failed") else ""
    return f"{modem['state']} ({detail})" if detail else str(modem["state"])


def _network(modem: Document) -> str:
    """Which network serves it and how; home is left unsaid."""
    operator = " ".join(filter(None, (modem["operator_name"] or modem["operator_code"], *modem["technologies"][-1:])))
    known = modem["registration"] not in ("home", "unknown")
    return ", ".join(filter(None, (operator, modem["registration"] if known else ""))) or "-"


def _change(uplink: Document, listed: list[Document]) -> str:
    """What its modem's next change of SIM is: away from one that is lost, or lossy, or back to a preferred one."""
    if not uplink["usable"]:
        return "another SIM"
    behind = {one["name"] for one in listed[listed.index(uplink) :]} | {one["name"] for one in listed if one["drained"]}
    sharing = (one["uplink"] for one in uplink.get("shared_fate", ()) if one["why"] == "modem")
    preferred = next((name for name in sharing if name not in behind), "")
    return f"returns to {preferred}" if preferred else "another SIM"


def _repair(modem: Document, change: str) -> Iterator[str]:
    """`change`: what the next change of its SIM is called."""
    repair, slot_due = modem["repair"], modem["slot_due_seconds"]
    after = f"after {repair['step']}: " if repair["step"] else ""
    if repair["next"]:
        yield f"{after}{repair['next']} in {span(repair['next_seconds'])}"
    elif repair["obstacle"]:
        yield f"{after}nothing: {repair['obstacle']}"
    elif repair["step"]:
        yield f"{repair['step']} taken"
    if slot_due is not None:
        yield f"{change} in {span(slot_due)}"
    if repair["resets_24h"]:
        yield _resets(repair["resets_24h"])


def sentences(modems: list[Document], now: float) -> Iterator[str]:
    """What is done to the modems that want repair, and when, or why nothing is; `modems`: of the explanation, cleaned.
    `now`: unix time at which that was true."""
    for one in modems:
        done = f"{one['step']} was tried" if one["step"] else ""
        follows = f"{one['next']} {_at(one['next_seconds'], now)}" if one["next"] else ""
        nothing = f"nothing is done: {one['obstacle']}" if one["obstacle"] and not follows else ""
        change = f"another SIM {_at(one['slot_due_seconds'], now)}" if one["slot_due_seconds"] is not None else ""
        said = (done, follows or nothing, change, _resets(one["resets_24h"]))
        yield f"modem of {one['uplink']}: {'; '.join(filter(None, said))}"


def _at(seconds: float, now: float) -> str:
    return f"not before {clock(now + ceil(seconds), now)}"


def _resets(count: int) -> str:
    return f"{count} reset{'' if count == 1 else 's'} in 24 h" if count else ""
