"""What a switch costs: open flows moved by the thousand, by the agent's own executor, in namespaces of our own.

What lives here: half of the sockets and half of the tracked flows are the lost uplink's, the other half is foreign. How
long it takes until the former are gone, how late the loop is meanwhile, and what of the latter is harmed. No agent.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import IPPROTO_TCP, SOCK_STREAM, socket
from tempfile import TemporaryDirectory
from typing import Final

from failover.agent import GIVE_WAY
from failover.kernel import conntrack
from failover.lab.namespaces import gain_privileges
from failover.model import FAMILIES, Family
from failover.moving import Moving
from failover.seam import ForgetFlows, Moved, SocketsDestroyed
from tests.bench.report import Figure
from tests.kernel.box import GATEWAYS, INTERNET, OWN, WAN0, WAN1, Box
from tests.kernel.flows import PATIENCE, PORT, Place, connected, order
from tests.kernel.tracked import flows, track

SOCKETS: Final = 5000
TRACKED: Final = (10, 1000, 20_000)
SPARE: Final = 500
"""Files that are open besides."""
MASK: Final = 0x3F000000
LOST: Final = 1 << 24
FOREIGN: Final = (2 << 24, 0x80000)
"""Marks: of another uplink, of Tailscale."""
CLIENTS: Final = ("192.0.2.0/24", "2001:db8::/64")
"""Where tracked flows come from."""
TICK: Final = 0.002
"""Seconds between two things that the loop has to do."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one switch."""

    seconds: float
    """Until all that was to move has moved."""
    late_seconds: float
    """How late at worst the loop was meanwhile."""
    harmed: int
    """Sockets and tracked flows of others that are not as they were."""


def figures(runs: int, sockets: int = SOCKETS, tracked: Sequence[int] = TRACKED) -> list[Figure]:
    """Three rows for each number of tracked flows; a value per run, by turns of IPv4 and IPv6."""
    gain_privileges()
    found: list[Figure] = []
    with files(sockets + SPARE), closing(Box()) as box, closing(Place(box)) as place:
        for number in tracked:
            costs = [cost(place, FAMILIES[run % len(FAMILIES)], sockets, number) for run in range(runs)]
            found += _rows(sockets, number, costs)
    return found


def _rows(sockets: int, tracked: int, costs: Sequence[Cost]) -> list[Figure]:
    note, unrelated = f"{sockets} sockets, {tracked} tracked flows, half of them foreign", (sockets + tracked) // 2
    milliseconds, late = [1000 * one.seconds for one in costs], [1000 * one.late_seconds for one in costs]
    harmed = [float(one.harmed) for one in costs]
    return [
        Figure("open flows moved", "ms", milliseconds, {"max": 150.0}, note),
        Figure("open flows moved, loop late meanwhile", "ms", late, {"max": 10.0}, note),
        Figure("unrelated flows harmed", f"of {unrelated}", harmed, {"max": 0.0}, note),
    ]


def cost(place: Place, family: Family, sockets: int, tracked: int) -> Cost:
    """One switch: half of so many sockets and tracked flows move. AssertionError if one does not."""
    with ExitStack() as held, place.box.van.entered():
        ours = _connected(held, sockets // 2, OWN[WAN0][family], INTERNET[family])
        others = _connected(held, sockets // 2, OWN[WAN1][family], GATEWAYS[WAN1][family])
        before = fill(family, tracked)
        seconds, late = asyncio.run(_measured(family, len(ours)))
        assert conntrack.count(LOST, MASK) == 0
        assert _served(place, INTERNET[family], ours) == 0
        harmed = len(before - tracked_now()) + len(others) - _served(place, GATEWAYS[WAN1][family], others)
        for mark in FOREIGN:
            conntrack.forget(mark, mark)
    return Cost(seconds, late, harmed)


def _connected(held: ExitStack, number: int, source: str, target: str) -> list[socket]:
    return [connected(held, SOCK_STREAM, source, target) for _ in range(number)]


def _served(place: Place, target: str, clients: Sequence[socket]) -> int:
    """How many of these, all that the far end has there, still bring it a message."""
    for client in clients:
        with suppress(OSError):
            client.send(b"?")
    came = 0
    for _ in clients:
        with place.servers[target, PORT, SOCK_STREAM].accept()[0] as opened, suppress(ConnectionResetError):
            opened.settimeout(PATIENCE)
            came += opened.recv(1) == b"?"
    return came


def fill(family: Family, number: int) -> set[conntrack.Entry]:
    """Track so many flows in this thread's namespace, half of them with the mark LOST; the others."""
    track(flows(family, number // 2, IPPROTO_TCP), LOST)
    others = flows(family, number // 2)
    for turn, mark in enumerate(FOREIGN):
        track(others[turn :: len(FOREIGN)], mark)
    return {one for one in tracked_now() if one.mark in FOREIGN}


def tracked_now() -> set[conntrack.Entry]:
    return {one for some in conntrack.entries(0, 0) for one in some}


async def _measured(family: Family, sockets: int) -> tuple[float, float]:
    """Seconds until all has moved, and how late at worst the loop was meanwhile."""
    gc.collect()
    gc.freeze()  # as the agent does
    interval = sys.getswitchinterval()
    sys.setswitchinterval(GIVE_WAY)
    late, loop = [0.0], asyncio.get_running_loop()
    began = time.monotonic()
    moved = asyncio.ensure_future(_moved(family, sockets))
    while not moved.done():
        due = loop.time() + TICK
        await asyncio.sleep(TICK)
        late.append(loop.time() - due)
    gc.unfreeze()
    sys.setswitchinterval(interval)
    return await moved - began, max(late)


async def _moved(family: Family, sockets: int) -> float:
    """The moment at which all has."""
    came: asyncio.Queue[Moved] = asyncio.Queue()
    with TemporaryDirectory() as home, closing(Moving(Path(home, "mptcp.json"), came.put_nowait, _nobody)) as moving:
        before = asyncio.all_tasks()
        moving.carry_out(order(family))
        moving.carry_out(ForgetFlows("au", family, LOST, MASK, clients=CLIENTS))
        broken, forgotten = await came.get(), await came.get()
        moment = time.monotonic()
        await asyncio.gather(*asyncio.all_tasks() - before)  # until the clients are told
    assert isinstance(broken, SocketsDestroyed)
    assert (broken.tcp, broken.error, forgotten.error) == (sockets, "", "")
    return moment


def _nobody(_kind: str, text: str) -> None:
    raise AssertionError(text)


@contextmanager
def files(number: int) -> Iterator[None]:
    """This process may open so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), max(hard, number)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
