"""A stage for one measurement of detection: a world, the real agent on two uplinks, one user, one fault.

What lives here: setting up and waiting, for detection.py, calm.py and expense.py. No figure.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from failover.lab.ground import Ground
from failover.lab.lan import Lan
from failover.lab.namespaces import LabError
from failover.lab.pattern import DENSE, IDLE, Pattern
from failover.lab.places import CARRIERS, GATEWAY6
from failover.lab.rtnl import Route
from failover.lab.stage import Stage
from failover.lab.switches import Switches
from failover.model import FAMILIES, Family

UPLINKS: Final = CARRIERS[:2]
"""au, which is preferred and breaks; docomo. The depot is in the lab, and no uplink."""
BROKEN: Final = UPLINKS[0]
SETTLE: Final = 3.0
"""Seconds from readiness to the earliest fault: the agent has left the pace of the start."""
PROVEN: Final = 20.0
"""Seconds within which every uplink is proven, on a busy machine."""
ATTEMPTS: Final = 3
"""How often a run is begun anew whose world a busy machine could not build or keep up."""

RETRY: Final = 1000
"""What its seed then grows by."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a measurement takes place under. Seconds."""

    pattern: Pattern = DENSE
    profile: str = "balanced"
    round_trip: float = 0.03
    metered: bool = True
    families: tuple[Family, ...] = FAMILIES
    """With IPv4 alone, no uplink has a way out over IPv6."""
    phase: float = 1.0
    """A fault comes up to so much later, at random."""
    lan: Lan | None = None
    guest: Pattern = IDLE
    """What somebody does at a client of the LAN, where there is one."""
    extra: str = ""
    """Whole lines of the agent's config that come on top."""

    @property
    def config(self) -> str:
        """Of the agent."""
        rows = [
            f"  - {{name: {carrier.name}, interface: {carrier.interface}, metered: {str(self.metered).lower()}}}\n"
            for carrier in UPLINKS
        ]
        return f"uplinks:\n{''.join(rows)}detection: {self.profile}\n{self.extra}"

    def __str__(self) -> str:
        cost = "metered" if self.metered else "unmetered"
        ways = "dual stack" if len(self.families) > 1 else str(self.families[0])
        return f"{self.profile}, {self.round_trip * 1000:g} ms, {cost}, {ways}"


@dataclass(frozen=True, slots=True)
class Scene:
    """The stage, with the agent settled; what the kernel switched."""

    stage: Stage
    switches: Switches

    def said(self, since: float) -> list[str]:
        """The agent's lines from that monotonic moment on, with the seconds after it."""
        return [f"  {one.at - since:+8.3f} {one}" for one in self.stage.said if one.at >= since]


@contextmanager
def scene(setting: Setting, seed: int) -> Iterator[Scene]:
    """Everything under way; a fault may come now."""
    families = list(setting.families)
    half = setting.round_trip / 2 if setting.round_trip > 0.001 else 0.0
    with Stage(
        _nobody,
        seed,
        setting.config,
        delay=half,
        pattern=setting.pattern,
        families=families,
        lan=setting.lan,
        guest=setting.guest,
    ) as stage:
        if Family.IPV6 not in families:
            _without_ipv6(stage.world.ground)
        with Switches(stage.world.van) as switches:
            stage.start_agent()
            _prove(stage, families)
            stage.check_traffic()
            stage.watch(SETTLE + random.Random(f"{seed} {setting}").uniform(0.0, setting.phase))
            yield Scene(stage, switches)


def _nobody(_who: str, _what: str) -> None:
    """The stage's story is told to nobody."""


def _without_ipv6(ground: Ground) -> None:
    for carrier in UPLINKS:
        ground.van.rtnl.remove_route(Route("default", 10 + carrier.number, GATEWAY6, carrier.metric))


def _prove(stage: Stage, families: Collection[Family]) -> None:
    deadline = time.monotonic() + PROVEN
    while True:
        uplinks = stage.status().get("uplinks", [])
        verdicts = {one["families"][family.value]["verdict"] for one in uplinks for family in families}
        if verdicts == {"up"}:
            return
        if time.monotonic() > deadline:
            raise LabError(f"the agent has not proven its uplinks within {PROVEN:.0f} s: {verdicts}")
        stage.watch(0.1)


def tell(text: str) -> None:
    """How far it is, on stderr, with the machine's load."""
    print(f"[load {os.getloadavg()[0]:.1f}] {text}", file=sys.stderr, flush=True)


def side_by_side(play: Callable[[int], T], runs: int, jobs: int) -> Iterable[T]:
    """`play(seed)` so often, as many at a time as told; a run that the lab could not bear is begun anew."""

    def once(run: int) -> T:
        for attempt in range(ATTEMPTS - 1):
            try:
                return play(run + RETRY * attempt)
            except LabError as error:
                tell(f"run {run} once more: {error}")
        return play(run + RETRY * ATTEMPTS)

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(once, range(runs))
