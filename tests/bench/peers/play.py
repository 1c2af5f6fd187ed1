"""What is measured: outages after a silent blackout of the preferred carrier, and bytes at rest. The same for everyone.

Every run has a world of its own. An outage is that of the user's new flows (failover/lab/outage.py); where there is no
user, the time until a new flow would leave by the other carrier.
"""

from __future__ import annotations

import math
import random
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from failover.lab import faults
from failover.lab.meter import Meter
from failover.lab.pattern import DENSE, IDLE, Pattern, requests
from failover.lab.user import User
from failover.lab.world import World
from failover.model import Family
from tests.bench.peers.ranks import Peer
from tests.bench.peers.van import UPLINKS, Departure, van

NEW: Final = ("new", "connect")
"""Kinds of flows that are new with every message (failover/lab/pattern.py)."""
BROKEN, OTHER = (carrier.name for carrier in UPLINKS)
ROUND_TRIP: Final = 0.03
SETTLE: Final = 3.0
"""Seconds from readiness to the earliest fault: who watches adapts to the link first."""
AT_REST: Final = 15.0
"""The same before bytes are counted and before a blackout at rest: what only happens at the start is over."""
RARER: Final = 2
"""One run of the other conditions for so many of the usual one."""
RETURN: Final = 60.0
"""Seconds within which whoever left a healthy carrier comes back."""
SLOW_RUNS: Final = 5
"""A slow peer cares neither for what the user does nor for round trips: it is played under the usual condition only."""
TOGETHER: Final = 5
"""Runs of a slow peer side by side; it is asleep nearly all the time."""


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What the van's user does, and the round trip of every carrier in seconds."""

    name: str
    pattern: Pattern
    round_trip: float = ROUND_TRIP

    @property
    def kind(self) -> str:
        """Whose outage counts: the new flows'."""
        return next((kind for kind in NEW if kind in self.pattern.intervals), "")

    def __str__(self) -> str:
        return f"{self.name}, {self.round_trip * 1000:g} ms"


USUAL: Final = Condition("dense", DENSE)
CONDITIONS: Final = (
    USUAL,
    Condition("dense", DENSE, 0.0002),
    Condition("dense", DENSE, 0.1),
    Condition("10/s", requests(10)),
    Condition("idle", IDLE),
)


@dataclass
class Results:
    """Seconds of each outage by peer and condition; bytes per minute at rest by peer."""

    outages: dict[tuple[Peer, Condition], list[float]] = field(default_factory=dict)
    bytes_per_minute: dict[Peer, float] = field(default_factory=dict)


@contextmanager
def _playing(peer: Peer, seed: int, round_trip: float) -> Iterator[World]:
    """A van in which it watches both uplinks."""
    with (
        TemporaryDirectory(prefix="failover-peer-") as home,
        van(seed, round_trip) as world,
        peer.enter(world, Path(home)),
    ):
        yield world


def _pause(seconds: float) -> None:
    select.select([], [], [], seconds)


def outage(peer: Peer, condition: Condition, seed: int) -> float:
    """Seconds of one outage, infinite when it outlasts the peer's patience."""
    phase = random.Random(f"{seed} {peer} {condition}").uniform(0.0, peer.phase)
    with _playing(peer, seed, condition.round_trip) as world, Departure(world.van) as departure:
        if not condition.kind:
            moment = _break(world, departure, AT_REST + phase)
            left = departure.wait(OTHER, peer.patience)
            return math.inf if left is None else left - moment
        with User(world.van, [Family.IPV4], condition.pattern) as user:
            assert user.wait(timeout=10.0), "the user's traffic does not flow"
            moment = _break(world, departure, SETTLE + phase)
            user.wait(moment, peer.patience, kinds=[condition.kind])
            lasted = user.seen(moment)[Family.IPV4, condition.kind].outage_seconds
    return math.inf if lasted is None else lasted


def _break(world: World, departure: Departure, after: float) -> float:
    """The moment of the fault, so many seconds from now: or later, where a stall of this machine made the peer
    leave the carrier early."""
    _pause(after)
    assert departure.wait(BROKEN, RETURN) is not None, f"new flows do not come back to {BROKEN}"
    return faults.blackout(world, BROKEN).begin()


class Wires:
    """IPv4 bytes on the van's two wires, while entered: the whole packets of everyone, both ways."""

    def __init__(self, world: World) -> None:
        self.bytes = 0
        self._meter = Meter(world.van, [carrier.interface for carrier in UPLINKS], self._count)

    def __enter__(self) -> Wires:
        self._meter.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._meter.__exit__()

    def _count(self, _at: float, _interface: str, packet: bytes) -> None:
        if packet[:1] and packet[0] >> 4 == 4:
            self.bytes += int.from_bytes(packet[2:4], "big")


def at_rest(peers: Iterable[Peer], seconds: float, settle: float = AT_REST) -> dict[Peer, float]:
    """Bytes per minute of each without any user, all counted at the same time in worlds of their own."""
    with ExitStack() as stack:
        worlds = {peer: stack.enter_context(_playing(peer, 1, ROUND_TRIP)) for peer in peers}
        _pause(settle)
        wires = {peer: stack.enter_context(Wires(world)) for peer, world in worlds.items()}
        _pause(seconds)
        return {peer: one.bytes * 60 / seconds for peer, one in wires.items()}


def play(
    peers: Sequence[Peer], conditions: Sequence[Condition], runs: int, seconds: float, tell: Callable[[str], None]
) -> Results:
    """Everything, run by run and not peer by peer: a busy minute of the machine is everyone's. `seconds` at rest;
    `tell` hears how far it is."""
    tell(f"at rest: {seconds:g} s")
    results = Results({}, at_rest(peers, seconds))
    for run in range(runs):
        for condition in conditions if run < _rarer(runs) else [USUAL]:
            for peer in peers:
                if not peer.slow:
                    results.outages.setdefault((peer, condition), []).append(outage(peer, condition, run))
                    tell(f"run {run + 1} of {runs}, {condition}: {peer}: {results.outages[peer, condition][-1]:.2f} s")
    for peer in peers:
        if peer.slow:
            results.outages[peer, USUAL] = _side_by_side(peer, min(runs, SLOW_RUNS))
            tell(f"{peer}: {', '.join(f'{lasted:.1f} s' for lasted in results.outages[peer, USUAL])}")
    return results


def _rarer(runs: int) -> int:
    """How often all but the usual condition is played."""
    return math.ceil(runs / RARER)


def _side_by_side(peer: Peer, runs: int) -> list[float]:
    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(lambda run: outage(peer, USUAL, run), range(runs)))
