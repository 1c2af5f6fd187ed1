"""The measures of a run as a document and as a table. Numbers only from the account; nothing is judged here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from failover.model import Family, Reason
from failover.sim.account import Account, Bytes
from failover.sim.stage import Played
from failover.sim.traffic import Meter

MONTH_SECONDS: Final = 720 * 3600
STORY_LINES: Final = 20
"""Lines of the decision log, from its start and from its end, that a person is shown unasked; the document has all."""


def document(played: Played) -> dict[str, Any]:
    """For machines: base units, names end in the unit."""
    account = played.account
    return {
        "title": played.title,
        "uplinks": list(played.names),
        "primary": played.names[0],
        "families": {family.value: _family(account, family, meter) for family, meter in account.meters.items()},
        "probes": {name: _probes(account, place) for place, name in enumerate(played.names)},
        "down_count": account.downs,
        "log": played.journal.lines,
    }


def _family(account: Account, family: Family, meter: Meter) -> dict[str, Any]:
    ways = {"agent": meter.agent, "never": meter.never, "oracle": meter.oracle}
    settled = meter.lasted + meter.passed
    switches = account.switches[family]
    return {
        "seconds": round(meter.seconds, 3),
        "bad_seconds_per_hour": {way: _hourly(tally.bad, meter) for way, tally in ways.items()},
        "silent_seconds_per_hour": {way: _hourly(tally.silent, meter) for way, tally in ways.items()},
        "diverts_per_hour": _hourly(switches[Reason.DOUBT], meter),
        "brownout_diverts_per_hour": _hourly(switches[Reason.DEGRADED], meter),
        "switches_per_hour": _hourly(switches.total(), meter),
        "switches": {reason.value: count for reason, count in sorted(switches.items())},
        "convictions_per_hour": _hourly(meter.convictions, meter),
        "convictions": meter.convictions,
        "convictions_lasted_ratio": round(meter.lasted / settled, 3) if settled else None,
    }


def _hourly(amount: float, meter: Meter) -> float:
    return round(amount * 3600 / meter.seconds, 3) if meter.seconds else 0.0


def _probes(account: Account, place: int) -> dict[str, Any]:
    """Bytes in all, and what a month of 720 h would cost: of such a run, as the active uplink, and as a standby."""
    spent = [(account.bytes[place, family], family) for family in account.meters]
    total = sum(one.active + one.standby for one, _ in spent)
    seconds = max(meter.seconds for meter in account.meters.values())
    return {
        "bytes": total,
        "bytes_per_720_hours": round(total * MONTH_SECONDS / seconds) if seconds else 0,
        "active_bytes_per_720_hours": _monthly(account, place, spent, active=True),
        "standby_bytes_per_720_hours": _monthly(account, place, spent, active=False),
    }


def _monthly(account: Account, place: int, spent: list[tuple[Bytes, Family]], *, active: bool) -> int | None:
    """All families together; None where the uplink never had that part."""
    total = 0.0
    for one, family in spent:
        meter = account.meters[family]
        used = meter.active_seconds[place]
        seconds = used if active else meter.seconds - used
        if seconds < 1.0:
            return None
        total += (one.active if active else one.standby) * MONTH_SECONDS / seconds
    return round(total)


def lines(played: Played, *, story: int | None) -> Iterator[str]:
    """For people: so many lines of the decision log from its start and from its end (None: all), then the tables."""
    told = document(played)
    if story != 0:
        yield from _story(played.journal.lines, story)
        yield ""
        yield played.title
    for family, numbers in told["families"].items():
        yield from _table(family, numbers)
    yield ""
    yield f"{'probe bytes in 720 h':<34}{'of this':>12}{'when active':>16}{'when standby':>16}"
    for name, probes in told["probes"].items():
        month = [_megabytes(probes[f"{part}bytes_per_720_hours"]) for part in ("", "active_", "standby_")]
        yield f"{name:<34}{month[0]:>12}{month[1]:>16}{month[2]:>16}"


def _story(log: list[str], kept: int | None) -> Iterator[str]:
    if kept is None or len(log) <= 2 * kept + 1:
        yield from log
        return
    yield from log[:kept]
    yield f"... {len(log) - 2 * kept} more lines; --log prints them"
    yield from log[-kept:]


def _table(family: str, numbers: dict[str, Any]) -> Iterator[str]:
    hours = numbers["seconds"] / 3600
    yield ""
    yield f"{f'{family}, {hours:.2f} h, per hour':<34}{'agent':>12}{'never switch':>16}{'oracle':>16}"
    for label, key in (("bad seconds of new flows", "bad"), ("silent seconds of open flows", "silent")):
        ways = numbers[f"{key}_seconds_per_hour"]
        yield f"{label:<34}{ways['agent']:>12.1f}{ways['never']:>16.1f}{ways['oracle']:>16.1f}"
    for label, key in (
        ("diverts for silence", "diverts"),
        ("diverts for a brownout", "brownout_diverts"),
        ("convictions", "convictions"),
    ):
        yield f"{label:<34}{numbers[f'{key}_per_hour']:>12.1f}{'-':>16}{'-':>16}"
    lasted = numbers["convictions_lasted_ratio"]
    if lasted is not None:
        yield f"{'  of which silent for 2 s more':<34}{lasted:>12.0%}{'-':>16}{'-':>16}"


def _megabytes(amount: int | None) -> str:
    return "-" if amount is None else f"{amount / 1e6:.2f} MB"
