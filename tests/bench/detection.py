"""How soon the real agent leaves a broken uplink, in the lab: figures by traffic, profile and round trip.

What lives here: the cases, the fault of each, and whether the user's outage counts or the moment of the route. A run
has a world and an agent of its own (scene.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from failover.lab import faults, load
from failover.lab.faults import Fault
from failover.lab.pattern import CONNECTS, IDLE, Pattern, requests
from failover.lab.world import World
from failover.model import Family
from tests.bench.report import Figure
from tests.bench.scene import BROKEN, Scene, Setting, scene, side_by_side, tell

PATIENCE: Final = 10.0
"""Seconds until an outage counts as endless; what takes longer by nature has its own."""
REST: Final = 8.0
"""Seconds between two probes of a metered uplink at rest, times its families."""
STREAM: Final = Pattern({"tcp": 0.2})
"""One TCP connection, five messages a second: five outcomes."""

LOOK: Final = 0.05

Limits = Mapping[str, float]
Trouble = Callable[[World], Fault]
Load = Callable[[World], AbstractContextManager[object]]


def _blackout(world: World) -> Fault:
    return faults.blackout(world, BROKEN.name)


def _loss(ratio: float) -> Trouble:
    """Of every packet that is sent; answers come back."""
    return lambda world: faults.loss(world, BROKEN.name, ratio, direction="up")


def _download(world: World) -> AbstractContextManager[object]:
    return load.download(world, Family.IPV4)


@dataclass(frozen=True, slots=True)
class Case:
    """One row: the user's outage of new flows where `flows` names their kind, else fault to route replaced."""

    name: str
    setting: Setting
    reach: Limits = field(default_factory=dict)
    flows: str = ""
    trouble: Trouble = _blackout
    load: Load = lambda _world: nullcontext()
    patience: float = PATIENCE
    jobs: int = 1
    """Runs at a time: what sleeps nearly all the time bears company."""

    @property
    def measured(self) -> str:
        """What of it, in words."""
        return "new flows" if self.flows else "route replaced"

    def figure(self, values: Sequence[float]) -> Figure:
        """The row."""
        return Figure(f"{self.name}, {self.measured}", "s", values, dict(self.reach), str(self.setting))


def _reach(median: float, p95: float) -> Limits:
    return {"median": median, "p95": p95}


DENSE_REACH: Final[Mapping[tuple[str, float], Limits]] = {
    ("balanced", 0.0002): _reach(0.45, 0.55),
    ("balanced", 0.03): _reach(0.45, 0.55),
    ("balanced", 0.1): _reach(0.55, 0.70),
    ("fast", 0.03): _reach(0.35, 0.45),
}
"""By profile and round trip; nothing is promised of the others."""


def _dense(profile: str, round_trip: float, *, metered: bool = True) -> Case:
    setting = Setting(profile=profile, round_trip=round_trip, metered=metered)
    return Case("blackout, dense", setting, DENSE_REACH.get((profile, round_trip), {}), "new")


USUAL: Final = _dense("balanced", 0.03)
DENSE: Final = (
    USUAL,
    _dense("balanced", 0.03, metered=False),
    _dense("balanced", 0.0002),
    _dense("balanced", 0.1),
    _dense("fast", 0.03),
    _dense("frugal", 0.03),
)
IPV4: Final = (Family.IPV4,)
OTHERS: Final = {
    "sparse": (
        Case("blackout, 10 requests/s", Setting(requests(10)), _reach(0.48, 0.72), jobs=2),
        Case("blackout, 5 requests/s", Setting(requests(5)), _reach(0.55, 1.05), jobs=2),
        Case("blackout, a connection each 0.5 s", Setting(CONNECTS), _reach(0.7, 1.0), jobs=2),
    ),
    "bulk": (Case("blackout, bulk download", Setting(IDLE, families=IPV4), _reach(0.6, 0.8), load=_download),),
    "resting": (
        Case(
            "blackout, at rest",
            Setting(IDLE, families=IPV4, phase=REST),
            {"p95": 10.0},
            patience=3 * REST,
            jobs=6,
        ),
        Case("blackout, at rest", Setting(IDLE, phase=2 * REST), {"p95": 20.0}, patience=5 * REST, jobs=6),
    ),
    "loss": (
        Case("20 % loss, 5 outcomes/s", Setting(STREAM), _reach(7, 16), trouble=_loss(0.2), patience=60.0, jobs=3),
        Case("50 % loss, 5 outcomes/s", Setting(STREAM), {"median": 2.5}, trouble=_loss(0.5), patience=30.0, jobs=3),
    ),
}
CASES: Final[Mapping[str, Sequence[Case]]] = {"dense": DENSE, **OTHERS}


def run(case: Case, seed: int) -> list[float]:
    """Seconds of one run, of each family; infinite where they outlast the case's patience."""
    with scene(case.setting, seed) as here, case.load(here.stage.world):
        if case.load is _download:
            here.stage.watch(2.0)  # the window opens
        moment = here.stage.begin(case.name, case.trouble(here.stage.world))
        values = _outages(case, here, moment) if case.flows else _moves(case, here, moment)
        shown = " ".join("inf" if value == inf else f"{value:.3f}" for value in values)
        tell(f"{case.name} ({case.setting}), run {seed}: {shown} s")
        here.stage.watch(0.1)
        if max(values) > case.reach.get("p95", case.patience):
            for line in here.said(moment - 15.0 if case.flows else moment):
                tell(line)
    return values


def _outages(case: Case, here: Scene, moment: float) -> list[float]:
    here.stage.settle(moment, case.patience, case.setting.families, [case.flows])
    seen = here.stage.user.seen(moment)
    outages = (seen[family, case.flows].outage_seconds for family in case.setting.families)
    return [inf if outage is None else outage for outage in outages]


def _moves(case: Case, here: Scene, moment: float) -> list[float]:
    """When the kernel replaced the way of each family; the agent's lines are heard meanwhile."""
    families, deadline = case.setting.families, moment + case.patience
    while True:
        found = [here.switches.left(BROKEN.interface, family, moment, 0.0) for family in families]
        if None not in found or time.monotonic() > deadline:
            return [inf if left is None else left - moment for left in found]
        here.stage.watch(LOOK)


def play(runs: int, cases: Iterable[Case]) -> list[Figure]:
    """A figure of each case."""
    return [_figure(case, runs) for case in cases]


def _figure(case: Case, runs: int) -> Figure:
    values = [value for one in side_by_side(lambda seed: run(case, seed), runs, case.jobs) for value in one]
    return case.figure(values)


def chosen(names: Iterable[str], profile: str | None = None, round_trip: float | None = None) -> list[Case]:
    """The cases of these names; all of them under that profile or round trip (seconds), where it is told, and each
    once."""
    found = list[Case]()
    for case in (case for name in names for case in CASES[name]):
        one = _under(case, profile or case.setting.profile, round_trip or case.setting.round_trip)
        if one not in found:
            found.append(one)
    return found


def _under(case: Case, profile: str, round_trip: float) -> Case:
    """The same under another profile and round trip: nothing is promised of that, unless it is of dense traffic."""
    setting = replace(case.setting, profile=profile, round_trip=round_trip)
    if setting == case.setting:
        return case
    return replace(case, setting=setting, reach=_dense(profile, round_trip).reach if case.flows else {})
