"""Figures of the real agent on real routes in the lab: 30 ms round trip, default config, unmetered."""

from __future__ import annotations

import random
import re
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from failover.lab import faults
from failover.lab.meter import Meter
from failover.lab.places import CARRIERS
from failover.lab.stage import Stage
from failover.model import FAMILIES, Family
from tests.bench.report import Figure

DEFAULTS = ""
"""The empty config: uplinks from the default routes, everything else as shipped."""
MONTH = 30 * 86400
RTMGRP_LINK, RTM_NEWLINK, IFF_LOWER_UP = 1, 16, 0x10000
BUCKET = re.compile(r'failover_switch_apply_seconds_bucket\{le="([^"]+)"\} ([0-9.]+)')


@contextmanager
def stage(seed: int) -> Iterator[Stage]:
    """A stage with the agent in it, all uplinks proven, the van's traffic running."""
    with Stage(lambda _who, _what: None, seed, DEFAULTS) as built:
        built.start_agent()
        built.ready()
        built.check_traffic()
        yield built


class Switches:
    """Outages of new flows after faults, and how long the switch itself took in the agent's loop."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.blackout: dict[Family, list[float]] = {family: [] for family in FAMILIES}
        self.link_down: dict[Family, list[float]] = {family: [] for family in FAMILIES}
        self.announced: list[float] = []
        self.apply: list[float] = []

    def play(self, runs: int) -> list[Figure]:
        for run in range(runs):
            self._blackout(run)
            self._link_down(run)
        return self._figures()

    def _blackout(self, run: int) -> None:
        """At a random phase of the probes."""
        with stage(run) as here:
            here.watch(self._dice.random())
            moment = here.begin("blackout", faults.blackout(here.world, "au"))
            self._measure(here, moment, self.blackout)

    def _link_down(self, run: int) -> None:
        """Counted from the kernel's own event, which it may hold back."""
        with stage(1000 + run) as here, LinkEvents(here) as events:
            here.watch(self._dice.random())
            moment = here.begin("link-down", faults.link_down(here.world, "au"))
            event = events.carrier_lost(CARRIERS[0].interface)
            self.announced.append(event - moment)
            self._measure(here, event, self.link_down)

    def _measure(self, here: Stage, moment: float, into: dict[Family, list[float]]) -> None:
        here.settle(moment, 8.0, kinds=["new"])
        for family in FAMILIES:
            outage = here.user.seen(moment)[family, "new"].outage_seconds
            into[family].append(float("inf") if outage is None else outage)
        self.apply += applied(here)

    def _figures(self) -> list[Figure]:
        silent = [outage for outages in self.blackout.values() for outage in outages]
        down = [outage * 1000 for outages in self.link_down.values() for outage in outages]
        return [
            Figure("silent blackout, new flows", "s", silent, {"median": 1.0, "max": 1.6}, "both families"),
            Figure("link-down, new flows after the event", "ms", down, {"median": 50.0}, "user sends every 10 ms"),
            Figure("link-down, event after the fault", "ms", [held * 1000 for held in self.announced]),
            Figure(
                "decision to kernel",
                "ms",
                [value * 1000 for value in self.apply],
                {"median": 1.0, "p99": 10.0},
                "upper ends of histogram buckets",
            ),
        ]


def applied(here: Stage) -> list[float]:
    """Seconds of each switch so far: the upper ends of the histogram's buckets."""
    seconds: list[float] = []
    for bound, count in BUCKET.findall(here.metrics_page()):
        seconds += [float(bound)] * (round(float(count)) - len(seconds))
    return seconds


class LinkEvents:
    """The kernel's link messages in the van, with the moment of their arrival."""

    def __init__(self, here: Stage) -> None:
        self._socket = here.world.van.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, RTMGRP_LINK))
        with here.world.van.entered():
            self._indexes = {name: index for index, name in socket.if_nameindex()}

    def __enter__(self) -> LinkEvents:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def carrier_lost(self, interface: str, timeout: float = 5.0) -> float:
        """Wait for the interface to lose its carrier; monotonic seconds."""
        deadline = time.monotonic() + timeout
        while select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data, now = self._socket.recv(65536), time.monotonic()
            kind = struct.unpack_from("=H", data, 4)[0]
            index, flags = struct.unpack_from("=iI", data, 20)
            if kind == RTM_NEWLINK and index == self._indexes[interface] and not flags & IFF_LOWER_UP:
                return now
        raise TimeoutError(f"no carrier event of {interface}")


def start(runs: int) -> Figure:
    """From the start of the process to the first proven verdict."""
    seconds = []
    for run in range(runs):
        with Stage(lambda _who, _what: None, run, DEFAULTS) as here:
            began = time.monotonic()
            here.start_agent()
            proven = here.hear("verdict", "", 10.0, since=began)
            seconds.append(float("inf") if proven is None else proven.at - began)
    return Figure("agent start to first proven verdict", "s", seconds, {"max": 2.0})


def rest(seconds: float, settle: float) -> list[Figure]:
    """Three uplinks, two families, no traffic but the probes: memory, CPU, and bytes on the wire."""
    with Stage(lambda _who, _what: None, 1, DEFAULTS) as here:
        here.user.close()
        here.start_agent()
        here.ready()
        here.watch(settle)
        process = psutil.Process(here.agent_pid)
        with Meter(here.world.van, [carrier.interface for carrier in CARRIERS]) as meter:
            before, began = process.cpu_times(), time.monotonic()
            here.watch(seconds)
            after, lasted = process.cpu_times(), time.monotonic() - began
            bytes_seen = meter.counted()
        busy = after.user + after.system - before.user - before.system
        resident = process.memory_info().rss / 1e6
    figures = [
        Figure("at rest, resident memory", "MB", [resident], {"max": 55.0}),
        Figure("at rest, CPU", "% of a core", [100 * busy / lasted], {"max": 0.7}, f"over {lasted:.0f} s"),
    ]
    for carrier in CARRIERS:
        monthly = bytes_seen[carrier.interface] / lasted * MONTH / 1e6
        note = "on the wire, both directions, both families"
        figures.append(Figure(f"at rest, probes of {carrier.name}", "MB/month", [monthly], note=note))
    return figures
