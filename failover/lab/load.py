"""Load on a link: a bottleneck with a deep queue, and what the van's user fills it with. The lab's end of bulk.py.

    with load.bottleneck(world, "au"), load.upload(world) as upload: ...
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from failover.lab import faults
from failover.lab.control import Helper
from failover.lab.faults import Fault
from failover.lab.namespaces import LabError, Namespace
from failover.lab.places import DEAD_SERVER
from failover.model import Family

if TYPE_CHECKING:
    from failover.lab.world import World


@dataclass(frozen=True, slots=True)
class Carried:
    """What a load has done so far."""

    opened: int
    """Connections that were made; of retries: that were tried."""
    bytes: int
    """That arrived: that the server has acknowledged, or the van received. Of datagrams: that were sent."""


class Load:
    """A process of the van's user, from its making to close()."""

    def __init__(self, van: Namespace, kind: str, family: Family, flows: int, pace: float, congestion: str) -> None:
        """The arguments of bulk.py; LabError when the kernel has no such congestion control."""
        self._helper = Helper(van, "failover.lab.bulk", kind, family, str(flows), str(pace), congestion)
        try:
            self._helper.ready()
        except LabError:
            self.close()
            raise

    def carried(self) -> Carried:
        """Since it began."""
        return Carried(**self._helper.ask({}))

    def close(self) -> None:
        """Stop it; what is inside the link still arrives."""
        self._helper.close()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def bottleneck(world: World, carrier: str, rate: float = 625_000.0, queue: float = 2.0, direction: str = "up") -> Fault:
    """That direction carries so many bytes per second (5 Mbit/s), and packets of both families wait in one queue for
    up to `queue` seconds; those that come on top are dropped. At its end nothing waits any more that is not inside."""
    where = {"carrier": carrier, "direction": direction}
    right = {key: world.shape_of_health[key] for key in ("rate", "queue")}

    def shape(wanted: dict[str, Any]) -> float:
        return world.shape({**where, "shape": wanted})

    return Fault(lambda: shape({"rate": rate, "queue": int(rate * queue)}), lambda: shape(right))


def upload(world: World, family: Family = Family.IPV4, flows: int = 8, congestion: str = "cubic") -> Load:
    """TCP flows to a server that takes everything, each with always more to send.

    The congestion control is the caller's choice since the machine's may be BBR, which keeps a queue empty.
    """
    return Load(world.van, "upload", family, flows, 0.0, congestion)


def download(
    world: World, family: Family = Family.IPV4, rate: float = 2_500_000.0, flows: int = 1, congestion: str = "cubic"
) -> Load:
    """TCP flows from a server that sends so many bytes per second in all (20 Mbit/s), evenly."""
    return Load(world.van, "download", family, flows, rate / flows, congestion)


def datagrams(world: World, family: Family = Family.IPV4, per_second: float = 50.0) -> Load:
    """One UDP flow to a server that takes it and never answers."""
    return Load(world.van, "datagrams", family, 1, per_second, "-")


@contextmanager
def retries(world: World, family: Family = Family.IPV4, per_second: float = 1.0) -> Iterator[Load]:
    """New TCP connections, at that pace, to a server that is dead: its packets are swallowed in the internet."""
    with faults.dead_target(world, DEAD_SERVER[family]), Load(world.van, "retries", family, 1, per_second, "-") as load:
        yield load
