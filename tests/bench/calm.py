"""What must not move anything: one-way uploads, the own full queue, a dead target, a dead server tried again and again.

What lives here: what is played, and the count of what the agent did about it, which should be nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

from failover.lab import faults, load
from failover.lab.pattern import IDLE
from failover.lab.places import TARGETS
from failover.lab.reach import udp_echo
from failover.lab.world import World
from failover.model import FAMILIES, Family
from tests.bench.report import Figure
from tests.bench.scene import BROKEN, RETRY, Scene, Setting, scene, side_by_side, tell

AT_FIRST: Final = 5.0
"""Seconds in which a suspicion may still be refuted."""
LOOK: Final = 10.0
CONGESTION: Final = "cubic"
QUEUED: Final = 0.4
"""Seconds; where the user's packets do not take as long beside the own upload, nothing is tested (BBR: 0.2)."""

Nuisance = Callable[[World], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Calm:
    """What the agent did about a nuisance."""

    name: str
    early: int
    """Diverts in the first AT_FIRST seconds, of all families."""
    late: int
    """Those after."""
    convictions: int
    round_trips: tuple[float, ...]
    """Of the user's packets by the uplink; what was lost is not among them."""


@contextmanager
def one_way(world: World) -> Iterator[None]:
    with load.datagrams(world, Family.IPV4), load.datagrams(world, Family.IPV6):
        yield


@contextmanager
def own_upload(world: World) -> Iterator[None]:
    with load.bottleneck(world, BROKEN.name), load.upload(world, congestion=CONGESTION):
        yield


@contextmanager
def dead_targets(world: World) -> Iterator[None]:
    """The first of each family."""
    with ExitStack() as stack:
        for family in FAMILIES:
            stack.enter_context(faults.dead_target(world, TARGETS[family][0]))
        yield


@contextmanager
def dead_server(world: World) -> Iterator[None]:
    with load.retries(world, Family.IPV4), load.retries(world, Family.IPV6):
        yield


NUISANCES: Final[Mapping[str, Nuisance]] = {
    "one-way UDP upload": one_way,
    "own upload": own_upload,
    "dead target": dead_targets,
    "dead server retried": dead_server,
}
UPLOAD: Final = "own upload"


def play(name: str, setting: Setting, seconds: float, seed: int = 1) -> Calm:
    """One nuisance for so long."""
    with scene(setting, seed) as here, NUISANCES[name](here.stage.world):
        began, round_trips = time.monotonic(), list[float]()
        while (left := began + seconds - time.monotonic()) > 0:
            here.stage.watch(min(LOOK, left))
            if name == UPLOAD:
                echo = udp_echo(here.stage.world.van, Family.IPV4, BROKEN.interface, timeout=3.0)
                round_trips += [] if echo is None else [echo]
        if name == UPLOAD:
            assert median(round_trips or [0.0]) >= QUEUED, f"the upload fills no queue: {round_trips}"
        found = _counted(name, here, began, round_trips)
        tell(f"{name}, {setting}: {found}")
        for line in here.said(began):
            tell(line)
    return found


def _counted(name: str, here: Scene, began: float, round_trips: Collection[float]) -> Calm:
    diverts = [at - began for family in FAMILIES for at in _diverts(here, family, began)]
    early = sum(at <= AT_FIRST for at in diverts)
    downs = [one for one in here.stage.said if one.at >= began and one.kind == "verdict" and " is down:" in one.text]
    return Calm(name, early, len(diverts) - early, len(downs), tuple(round_trips))


def _diverts(here: Scene, family: Family, began: float) -> Iterator[float]:
    """When new flows of the family left the preferred uplink; the kernel may be told of one switch twice."""
    last = BROKEN.interface
    for switch in here.switches.since(began):
        if switch.family is family:
            if last == BROKEN.interface != switch.interface:
                yield switch.at
            last = switch.interface


def everything(setting: Setting, seconds: float) -> list[Calm]:
    """Each nuisance for so long, all at the same time in worlds of their own."""
    names = list(NUISANCES)
    return list(side_by_side(lambda run: play(names[run % RETRY], setting, seconds), len(names), len(names)))


def figures(seconds: float, profile: str = "balanced") -> list[Figure]:
    """What each moved, of two metered uplinks in both families: nothing."""
    played = everything(Setting(IDLE, profile), seconds)
    return [figure for calm in played for figure in _figures(calm, seconds)]


def _figures(calm: Calm, seconds: float) -> list[Figure]:
    title, trips = f"{calm.name}, {seconds / 60:.3g} min", calm.round_trips
    note = f"{CONGESTION}, the user's round trip {median(trips):.1f} s" if trips else ""
    return [
        Figure(f"{title}: convictions", "", [calm.convictions], {"max": 0}, note),
        Figure(f"{title}: diverts at first", "", [calm.early], {"max": 1}, f"within {AT_FIRST:g} s, both families"),
        Figure(f"{title}: diverts later", "", [calm.late], {"max": 0}),
    ]
