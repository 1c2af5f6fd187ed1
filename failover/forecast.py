"""What the agent would do with a config on this machine: the uplinks it would find, and what its probes would come to.

Nothing is changed and nothing is sent. `forecast` reads the kernel, which any user may; `document` is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from math import inf
from typing import Any, Final

from failover import config as will
from failover.config import Config
from failover.config.summary import budget, megabytes, modem, summary, urls
from failover.config.values import format_size
from failover.core.budget import MONTH
from failover.core.plan import plan
from failover.core.schedule import INTERVALS, METERED_ACTIVE, METERED_STANDBY, STANDBY_FACTOR, Schedule
from failover.core.uplinks import Path, Uplink, resolve
from failover.facts import Facts
from failover.kernel.kernel import Kernel
from failover.model import FAMILIES, Family, KernelError, Outcome, Target
from failover.weights import wire_bytes

PERIOD: Final = max(INTERVALS.values())
"""Seconds in which every target has had its turn: all other intervals divide it."""


def forecast(config: Config) -> dict[str, Any]:
    """`document` of the kernel as it is now; where it cannot be read, of the config alone, with `kernel_error`."""
    try:
        with closing(Kernel()) as kernel:
            return document(config, kernel.read())
    except KernelError as error:
        return document(config, None) | {"kernel_error": str(error)}


def document(config: Config, facts: Facts | None) -> dict[str, Any]:
    """The summary of a config, with what the machine adds to it; without facts, with what probes would come to."""
    base = summary(config) | {"kernel_error": None, "cautions": []}
    if facts is None:
        for entry, uplink in zip(base["uplinks"], config.uplinks, strict=True):
            targets = config.targets_of(uplink)
            entry |= {"present": None, "families": None}
            entry["at_rest"] = at_rest(targets, FAMILIES, metered=uplink.metered is not None)
    else:
        told = {uplink.name: uplink for uplink in config.uplinks}
        uplinks = resolve(facts, config, {})
        base["uplinks"] = [_found(uplink, told.get(uplink.name)) for uplink in uplinks]
        base["cautions"] += plan(uplinks, {}, facts, config.fwmark_mask, lan=config.lan).warnings
    costless = {uplink.name for uplink in config.uplinks if uplink.costless}
    doubtful = [uplink for uplink in base["uplinks"] if uplink["name"] not in costless]
    base["cautions"] += [*_unmetered(doubtful), *_overspent(base["uplinks"])]
    return base


def _found(uplink: Uplink, told: will.Uplink | None) -> dict[str, Any]:
    metered = told.metered if told is not None else None
    served = [family for family in FAMILIES if uplink.paths[family].route is not None]
    return {
        "name": uplink.name,
        "interface": uplink.interface,
        "modem": modem(told.modem) if told is not None else None,
        "carrier": uplink.carrier,
        "metered": metered is not None,
        "budget": budget(metered),
        "targets": urls(uplink.targets),
        "dns": list(told.dns) if told is not None and told.dns is not None else None,
        "present": uplink.index is not None if uplink.interface else None,
        "families": {family.value: _way(uplink.paths[family]) for family in FAMILIES} if uplink.interface else None,
        "at_rest": at_rest(uplink.targets, served or FAMILIES, metered=metered is not None),
    }


def _way(path: Path) -> dict[str, Any]:
    route = path.route
    return {
        "addresses": list(path.addresses),
        "gateway": None if route is None else route.gateway,
        "metric": None if route is None else route.metric,
        "fault": path.fault,
    }


# --- what probes come to ---------------------------------------------------------------------------------------------


def at_rest(targets: Sequence[Target], families: Sequence[Family], *, metered: bool) -> dict[str, Any]:
    """IP bytes a month, both ways, of an uplink that answers every probe: as the active one, and as a standby."""
    weights = {family: _per_period(targets, family) for family in families}
    monthly = MONTH / PERIOD * sum(weights.values())
    turns = max(1, sum(map(bool, weights.values())))  # a metered uplink asks its families in turn
    active, standby = (METERED_ACTIVE * turns, METERED_STANDBY * turns) if metered else (1.0, STANDBY_FACTOR)
    return {
        "active_bytes_per_month": round(monthly / active),
        "standby_bytes_per_month": round(monthly / standby),
        "families": [family.value for family, weight in weights.items() if weight],
    }


def _per_period(targets: Sequence[Target], family: Family) -> int:
    """Bytes of PERIOD seconds in the pace of an active, unmetered uplink, by playing its schedule; each probe weighs
    what the formats come to (weights.py). Every slower pace stretches all intervals alike."""
    schedule = Schedule(phase=0.0)
    schedule.aim(0.0, [target for target in targets if target.family in (None, family)])
    total = 0
    while (now := schedule.deadline()) < PERIOD:
        sent = schedule.due(now, overdue=(), dead=lambda _: False)
        total += sum(sum(wire_bytes(due.target, family, Outcome.ANSWERED)) for due in sent)
    return total


def _unmetered(uplinks: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Modems whose data seems to cost nothing, though nobody says so."""
    for uplink in uplinks:
        if uplink["modem"] and not uplink["metered"]:
            rest = uplink["at_rest"]
            active, standby = (megabytes(rest[f"{role}_bytes_per_month"]) for role in ("active", "standby"))
            yield (
                f"{uplink['name']} is a modem and not metered: its probes come to {active} a month while active, "
                f"{standby} as a standby; if its data costs, say `metered: true`, else `metered: false`"
            )


def _overspent(uplinks: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Budgets that are less than what they are for."""
    for uplink in uplinks:
        for key, words in (("active_bytes_per_month", "while active"), ("standby_bytes_per_month", "as a standby")):
            cost, allowed = uplink["at_rest"][key], (uplink["budget"] or {key: inf})[key]
            if cost > allowed:
                yield (
                    f"{uplink['name']}: probes at rest would come to {megabytes(cost)} a month {words}, more than the "
                    f"budget of {format_size(allowed)}/month: once that is used up, they leave as it refills"
                )
