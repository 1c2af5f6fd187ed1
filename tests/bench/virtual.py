"""Figures of the virtual world: recorded and synthetic drives, false alarms under harmless loss, CPU of 61 hours."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from failover.config import Config
from failover.model import Family, Reason
from failover.sim import report
from failover.sim.scenario import find_script, parse
from failover.sim.stage import Played, play_script, play_trace
from failover.sim.trace import Trace
from tests.bench.report import Figure

TRACE: Final = Path(__file__).resolve().parents[3] / "shared" / "traces" / "pam25_sync2_att_vzw.csv"
MEGABYTE: Final = 1e6

Limits = dict[str, float]
"""Measure -> the most it may be."""

RECORDED: Final[dict[tuple[str, bool], Limits]] = {
    ("att", False): {"bad": 7.5, "diverts": 27, "convictions": 3.5, "silent": 6.5, "active": 20, "standby": 2.5},
    ("vzw", False): {"bad": 7.5, "diverts": 27, "convictions": 6, "silent": 5, "active": 20, "standby": 2.5},
    ("att", True): {"bad": 8},
    ("vzw", True): {"bad": 9},
}
"""Primary, whether its packets are dithered -> limits."""

UNITS: Final = {
    "bad": "bad s/h of new flows",
    "silent": "silent s/h of open flows",
    "diverts": "diverts/h for silence",
    "brownouts": "diverts/h for a brownout",
    "convictions": "convictions/h",
    "active": "MB/720 h, primary",
    "standby": "MB/720 h, standby",
}

LOSSY: Final = """
title: harmless loss
length: {hours}h
uplinks:
  - {{name: a, everyday: {{rtt: 50ms, {weather}}}}}
  - {{name: b, everyday: {{rtt: 55ms, {weather}}}}}
"""


def measures(played: Played) -> dict[str, tuple[float, float]]:
    """Of a run with two uplinks: each measure for the agent, and for never switching (NaN where that has none)."""
    told = report.document(played)
    family = told["families"][Family.IPV4.value]
    months = [told["probes"][name]["bytes_per_720_hours"] / MEGABYTE for name in played.names]
    nothing = float("nan")
    ways = {what: family[f"{what}_seconds_per_hour"] for what in ("bad", "silent")}
    return {
        **{what: (told_["agent"], told_["never"]) for what, told_ in ways.items()},
        "diverts": (family["diverts_per_hour"], nothing),
        "brownouts": (family["brownout_diverts_per_hour"], nothing),
        "convictions": (family["convictions_per_hour"], nothing),
        "active": (months[0], nothing),
        "standby": (months[1], nothing),
    }


def figures(name: str, played: Played, limits: Limits) -> Iterable[Figure]:
    for measure, (agent, never) in measures(played).items():
        note = f"never switching {never:.1f}" if never == never else ""
        reach = {"max": limits[measure]} if measure in limits else {}
        yield Figure(name, UNITS[measure], [round(agent, 2)], reach, note)


def recorded(primary: str, *, dither: bool) -> Played:
    with TRACE.open(newline="") as lines:
        return play_trace(Trace(lines, TRACE.name), Config(), primary, 1, dither=dither, metered=True)


def drives() -> list[Figure]:
    """The recorded drive with each carrier as the primary; a note where it is not there."""
    if not TRACE.exists():
        return [Figure("recorded drive", "", [], note=f"skipped: no {TRACE.name} beside the checkout")]
    found: list[Figure] = []
    for (primary, dither), limits in RECORDED.items():
        name = f"{TRACE.stem}, {primary}{', dithered' if dither else ''}"
        found += figures(name, recorded(primary, dither=dither), limits)
    return found


def synthetic(hours: float = 5, seed: int = 1) -> list[Figure]:
    """The drive that ships, as long as that, with each carrier as the primary; its limits are the test's."""
    script = replace(find_script("drive"), length=hours * 3600.0)
    found: list[Figure] = []
    for primary in ("att", "verizon"):
        played = play_script(script, Config(), primary, seed, metered=True)
        found += figures(f"drive, {hours:g} h, {primary}", played, {})
    return found


def kddi(seed: int = 1) -> Figure:
    """CPU seconds for 61 virtual hours, two uplinks, IPv4, every invariant checked."""
    started = time.process_time()
    play_script(find_script("kddi2022"), Config(), None, seed)
    return Figure("kddi2022, 61 virtual hours", "s CPU", [time.process_time() - started], {"max": 60.0})


WEATHERS: Final[dict[str, tuple[str, Limits]]] = {
    "1 % independent": ("loss: 0.01", {"convictions": 0, "diverts": 9}),
    "3 % independent": ("loss: 0.03", {"convictions": 2, "diverts": 32}),
    "bursty": ("bursts: {enter: 0.0027, stay: 0.640}", {}),
}
"""Harmless loss -> its weather, and the limits: convictions in 100 h, diverts for silence per hour."""


def alarms(weather: str, hours: float, seed: int) -> tuple[int, int, int]:
    """Convictions, diverts for silence and for a brownout under such loss on both uplinks, with the usual traffic."""
    played = play_script(parse(LOSSY.format(weather=weather, hours=hours), "bench"), Config(), None, seed)
    switches = played.account.switches[Family.IPV4]
    return sum(played.account.downs.values()), switches[Reason.DOUBT], switches[Reason.DEGRADED]


def false_alarms(hours: int = 100, parts: int = 10) -> list[Figure]:
    """Under each harmless loss, in so many parts with seeds of their own, as many at a time as there are cores."""
    found: list[Figure] = []
    with ProcessPoolExecutor(min(parts, os.cpu_count() or 1)) as pool:
        for name, (weather, limits) in WEATHERS.items():
            runs = pool.map(alarms, [weather] * parts, [hours / parts] * parts, range(1, parts + 1))
            convictions, diverts, brownouts = (sum(column) for column in zip(*runs, strict=True))
            reach = {what: {"max": limit} for what, limit in limits.items()}
            title = f"{name} loss, {hours} h"
            found += [
                Figure(title, "convictions", [convictions], reach.get("convictions", {})),
                Figure(title, UNITS["diverts"], [diverts / hours], reach.get("diverts", {})),
                Figure(title, UNITS["brownouts"], [brownouts / hours]),
            ]
    return found
