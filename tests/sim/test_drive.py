"""The synthetic drive: what its weather shows, against what was measured on the PAM 2025 drives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby, pairwise
from statistics import correlation

import pytest

from failover.model import Family
from failover.sim.links import SLOT, ScriptedLane
from failover.sim.record import record
from failover.sim.scenario import find_script
from failover.sim.script import unroll

HOURS = 10
CARRIERS = ("att", "verizon")
FITTED = {"att": (0.0027, 0.640, 60, 95, 240), "verizon": (0.0031, 0.736, 51, 81, 591)}
"""P(lost | ok), P(lost | lost), round trips in ms at p50, p90 and p99."""
Fates = list[float | None]


@cache
def drive(seed: int = 1) -> dict[str, Fates]:
    """What an echo every 0.2 s met on each carrier: seconds, None where it was lost."""
    script = replace(find_script("drive"), length=HOURS * 3600.0)
    rows = [line.split(",") for line in record(script, seed)]
    assert rows[0][1:] == [f"rtt_ms_{name}" for name in CARRIERS]
    return {
        name: [float(row[place]) / 1000 if row[place] else None for row in rows[1:]]
        for place, name in enumerate(CARRIERS, 1)
    }


def silences(fates: Fates) -> list[tuple[float, float]]:
    """Of each gap of more than a second between receptions: its length, and the share of late replies in it."""
    heard = sorted(i * SLOT + rtt for i, rtt in enumerate(fates) if rtt is not None)
    found = []
    for one, next_ in pairwise(heard):
        if next_ - one > 1.0:
            inside = fates[math.ceil(one / SLOT) : math.ceil(next_ / SLOT) - 1]
            found.append((next_ - one, sum(rtt is not None for rtt in inside) / max(1, len(inside))))
    return found


@pytest.mark.parametrize("name", CARRIERS)
def test_losses_come_in_bursts_as_fitted(name: str) -> None:
    enter, stay, *_ = FITTED[name]
    lost = [rtt is None for rtt in drive()[name]]
    after: dict[bool, list[bool]] = {True: [], False: []}
    for one, next_ in pairwise(lost):
        after[one].append(next_)
    assert sum(after[False]) / len(after[False]) == pytest.approx(enter, rel=0.2)
    assert sum(after[True]) / len(after[True]) == pytest.approx(stay, rel=0.06)


@pytest.mark.parametrize("name", CARRIERS)
def test_round_trips_are_as_long_and_hang_together_as_measured(name: str) -> None:
    """Between stalls, whose length is their own. Log round trips 0.2 s apart correlate by 0.57-0.80 on the drives."""
    actor = next(one for one in find_script("drive").actors if one.name == name)
    dry = replace(actor, everyday=replace(actor.everyday, stalls=None, bursts=None, loss=(0.0, 0.0)))
    script = replace(find_script("drive"), length=HOURS * 3600.0, actors=(dry,))
    lane = ScriptedLane(unroll(script, 1).timelines[name, Family.IPV4], "1")
    rtts = [lane.packet(i * SLOT)[0] or 0.0 for i in range(round(script.length / SLOT))]
    ordered = sorted(rtts)
    told = [1000 * ordered[round(share * len(ordered))] for share in (0.5, 0.9, 0.99)]
    assert told == pytest.approx(FITTED[name][2:], rel=0.1)
    assert 0.57 <= correlation(*_logs(rtts)) <= 0.80


def _logs(rtts: Sequence[float]) -> tuple[list[float], list[float]]:
    logs = [math.log(rtt) for rtt in rtts]
    return logs[:-1], logs[1:]


def test_silences_and_how_many_of_them_are_stalls() -> None:
    """Measured: 9 to 25 silences over a second an hour and carrier, 50 to 71 % of them with replies that came late, and
    three losses in a row 5 to 14 times."""
    for name in CARRIERS:
        found = silences(drive()[name])
        assert 9 <= len(found) / HOURS <= 25, name
        stalls = [length for length, late in found if late >= 0.5]
        assert 5 <= len(stalls) / HOURS <= 10, name
        assert 1.0 < min(stalls) < max(stalls) <= 9.5
        assert 0.45 <= len(stalls) / len(found) <= 0.75, name
        assert 5 <= len([run for run in losses(drive()[name]) if run >= 3]) / HOURS <= 14, name


def losses(fates: Fates) -> list[int]:
    """Lengths of the runs of lost echoes."""
    return [len(list(run)) for lost, run in groupby(fates, key=lambda rtt: rtt is None) if lost]


def test_the_carriers_fail_apart() -> None:
    """In 71 of 71 silences over a second another carrier in the same car was alive."""
    bad = [sum(rtt is None or rtt > 1 for rtt in drive()[name]) / len(drive()[name]) for name in CARRIERS]
    both = sum(
        all(rtt is None or rtt > 1 for rtt in fates) for fates in zip(*(drive()[n] for n in CARRIERS), strict=True)
    )
    assert both / len(drive()["att"]) <= 3 * bad[0] * bad[1]
