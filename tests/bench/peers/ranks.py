"""Who is played, in which settings: the ones they come with, and the fastest that somebody sane would choose."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from failover.lab.world import World
from tests.bench.peers import frr, keepalived, manager, ours
from tests.bench.peers.box import program


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """One agent in one setting. `enter` starts it in the van and gives it up when it watches both uplinks."""

    name: str
    setting: str
    enter: Callable[[World, Path], AbstractContextManager[None]]
    needs: tuple[str, ...]
    """Programs."""
    package: str
    """What Debian calls it."""
    phase: float = 1.0
    """Seconds between two looks at a link at rest: the fault comes at a random moment of as many."""
    patience: float = 10.0
    """Seconds after which an outage is taken for endless."""

    @property
    def slow(self) -> bool:
        """A run takes half a minute or more."""
        return self.patience > 60

    @property
    def installed(self) -> bool:
        return all(program(name) for name in self.needs)

    def __str__(self) -> str:
        return f"{self.name}, {self.setting}"


def _ours(setting: str, phase: float, metered: bool, detection: str = "balanced") -> Peer:
    enter = partial(ours.failover, metered=metered, detection=detection)
    return Peer("failover", setting, enter, (), "", phase, 30.0)


def _keepalived(setting: str, wait: float) -> Peer:
    return Peer("keepalived", setting, partial(keepalived.keepalived, wait=wait), keepalived.NEEDS, "keepalived")


def _frr(setting: str, interval: float) -> Peer:
    return Peer("FRR, BFD at both ends", setting, partial(frr.frr, interval=interval), frr.NEEDS, "frr")


def _manager(setting: str, interval: int) -> Peer:
    enter, package = partial(manager.manager, interval=interval), "network-manager dbus"
    return Peer("NetworkManager", setting, enter, manager.NEEDS, package, interval, interval + 60.0)


METERED: Final = _ours("metered", 8.0, metered=True)
"""Whom the others are compared to."""
OURS: Final = (
    METERED,
    _ours("metered, fast", 8.0, metered=True, detection="fast"),
    _ours("unmetered", 1.0, metered=False),
)
PEERS: Final = (
    _frr("300 ms × 3, the default", 0.3),
    _frr("50 ms × 3", 0.05),
    _keepalived("ping each 1 s, waits 1 s, the default", 1.0),
    _keepalived("ping each 1 s, waits 0.3 s", 0.3),
    _manager("check each 300 s, the default", 300),
    _manager("check each 1 s", 1),
)
EVERYONE: Final = (*OURS, *PEERS)
