"""What detection costs on metered uplinks: probe bytes at rest, CPU at rest and while the user moves 20 Mbit/s, memory.

What lives here: the counting. Bytes are counted in a virtual day, in which every kind of probe has its turn, and for
some minutes on the wire, which holds the day's formats to real packets.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import psutil

from failover.config import Config
from failover.lab import load
from failover.lab.pattern import IDLE
from failover.model import FAMILIES, Family
from failover.sim.scenario import parse
from failover.sim.stage import play_script
from tests.bench.report import Figure
from tests.bench.scene import RETRY, UPLINKS, Setting, scene, side_by_side, tell

ROUND_HOURS: Final = 15.0
"""Of two standby web probes."""
PARKED: Final = """
title: two metered uplinks at rest
length: {hours}h
families: [ipv4]
user: {{requests: no, open: no}}
uplinks:
  - {{name: au, everyday: {{rtt: 30ms}}}}
  - {{name: docomo, everyday: {{rtt: 30ms}}}}
"""
SETTLE: Final = 15.0
"""Seconds at rest before anything is counted: what only happens at the start is over."""
REACH: Final = {"max": 0.6}
"""kB a minute."""
RATE: Final = 2_500_000.0
"""Bytes per second: 20 Mbit/s."""


def parked(hours: float = ROUND_HOURS, seed: int = 1) -> Figure:
    """Probe bytes of two metered uplinks in virtual time."""
    account = play_script(parse(PARKED.format(hours=hours), "bench"), Config(), None, seed, metered=True).account
    total = sum(spent.active + spent.standby for spent in account.bytes.values())
    return Figure("at rest, two metered uplinks", "kB/min", [total / hours / 60e3], REACH, f"{hours:g} virtual hours")


@dataclass(frozen=True, slots=True)
class Spent:
    """By the agent over some time."""

    cpu_percent: float
    memory_mb: float
    kb_per_minute: float


def spent(busy: bool, seconds: float, settle: float) -> Spent:
    """Over so many seconds, with 20 Mbit/s of the user's or without any; bytes are those of the probes."""
    setting = Setting(IDLE, families=FAMILIES if busy else (Family.IPV4,))
    with scene(setting, 1) as here:
        world, process = here.stage.world, psutil.Process(here.stage.agent_pid)
        with load.download(world, Family.IPV4, RATE) if busy else nullcontext():
            here.stage.watch(settle)
            before, wire = process.cpu_times(), _probed(here.stage.probe_bytes())
            here.stage.watch(seconds)
            after, bytes_seen = process.cpu_times(), _probed(here.stage.probe_bytes()) - wire
        cpu = after.user + after.system - before.user - before.system
        found = Spent(100 * cpu / seconds, process.memory_info().rss / 1e6, bytes_seen * 60e-3 / seconds)
    tell(f"{'20 Mbit/s' if busy else 'at rest'} ({setting}), {seconds:g} s: {found}")
    return found


def _probed(by_name: dict[str, int]) -> int:
    return sum(by_name[carrier.name] for carrier in UPLINKS)


def figures(seconds: float, hours: float = ROUND_HOURS, settle: float = SETTLE) -> list[Figure]:
    """`seconds` on the wire, at rest and busy at the same time in worlds of their own."""
    rest, busy = side_by_side(lambda run: spent(run % RETRY == 1, seconds, settle), 2, 2)
    note = f"over {seconds:g} s"
    return [
        parked(hours),
        Figure("the same, on the wire", "kB/min", [rest.kb_per_minute], REACH if seconds >= 300 else {}, note),
        Figure("at rest, two metered uplinks, CPU", "% of a core", [rest.cpu_percent], {"max": 0.5}, note),
        Figure("20 Mbit/s of the user's, CPU", "% of a core", [busy.cpu_percent], {"max": 2.0}, note),
        Figure("20 Mbit/s of the user's, resident memory", "MB", [busy.memory_mb], {"max": 55.0}),
    ]
