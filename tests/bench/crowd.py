"""What a switch does to a crowd: the real agent in the lab, and thousands of flows by the lost carrier and beside it.

What lives here: half of the connections are by that one, half by the other; half of the tracked flows bear its
mark, half others. From the agent's verdict to its word that all has moved, and what of the rest is harmed.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Final

from failover.lab import faults
from failover.lab.lan import Lan
from failover.lab.pattern import IDLE
from failover.lab.places import APP, ECHO_PORT
from failover.lab.reach import AF
from failover.lab.stage import GATEWAY, Stage
from failover.model import FAMILIES, Family
from tests.bench.cost import SOCKETS, SPARE, TRACKED, files, fill, tracked_now
from tests.bench.report import Figure
from tests.bench.scene import BROKEN, UPLINKS, Setting, scene, side_by_side, tell

SETTING: Final = Setting(lan=Lan(), guest=IDLE, extra=GATEWAY)
AT_ONCE: Final = 100
"""Connections that are made at a time: as many as a server's backlog holds."""
PATIENCE: Final = 15.0
LATE: Final = re.compile(r'failover_loop_late_seconds_bucket\{le="([0-9.]+)"\} ([0-9.]+)')


def figures(runs: int, connections: int = SOCKETS, tracked: int = TRACKED[-1]) -> list[Figure]:
    """A value per run, by turns of IPv4 and IPv6."""
    note, unrelated = f"the agent; {connections} sockets, {tracked} tracked flows", (connections + tracked) // 2
    with files(2 * connections + SPARE):
        values = list(side_by_side(lambda run: play(run, FAMILIES[run % 2], connections, tracked), runs, 1))
    moved, late, harmed = zip(*values, strict=True)
    return [
        Figure("verdict to all moved", "ms", moved, {"median": 150.0}, note),
        Figure("loop late meanwhile, at most", "ms", late, {"median": 20.0}, note),
        Figure("unrelated flows harmed", f"of {unrelated}", harmed, {"max": 0.0}, note),
    ]


def play(seed: int, family: Family, connections: int, tracked: int) -> tuple[float, float, float]:
    """A value of each figure."""
    with scene(SETTING, seed) as here, ExitStack() as held, here.stage.world.van.entered():
        stage, half = here.stage, connections // 2
        ours, others = ([*_made(held, carrier.address[family], half)] for carrier in UPLINKS)
        theirs = fill(family, tracked)
        before = _late(stage)
        stage.begin("blackout", faults.blackout(stage.world, BROKEN.name))
        seconds = _moved(stage, f"{BROKEN.name} {family}")
        late = max(bound for bound, count in _late(stage).items() if count > before.get(bound, 0.0))
        assert _echoed(ours) == 0
        still = tracked_now()
        harmed = len(theirs - still) + len(others) - _echoed(others)
    tell(f"a crowd of {family}: moved in {1000 * seconds:.1f} ms, late by {1000 * late:g} ms, harmed {harmed}")
    return 1000 * seconds, 1000 * late, float(harmed)


def _made(held: ExitStack, source: str, number: int) -> Iterator[socket.socket]:
    """So many connections from that address, each of which is open."""
    family = Family.of(source)
    for at in range(0, number, AT_ONCE):
        some = [held.enter_context(socket.socket(AF[family], socket.SOCK_STREAM)) for _ in range(at, number)[:AT_ONCE]]
        for one in some:
            one.setblocking(False)
            one.bind((source, 0))
            one.connect_ex((APP[family], ECHO_PORT))
        for one in some:
            assert _ready(one, select.POLLOUT, PATIENCE)
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        yield from some


def _ready(one: socket.socket, event: int, seconds: float) -> bool:
    """select() ends at 1024 files."""
    poll = select.poll()
    poll.register(one, event)
    return bool(poll.poll(1000 * seconds))


def _moved(stage: Stage, lane: str) -> float:
    """Seconds from the verdict to the last of what came of it."""
    convicted = _told(stage, "verdict", f"{lane} is down", stage.t0)
    ends = [_told(stage, "flows", f"{lane}: {what}", convicted) for what in ("open flows of", r"\d+ forwarded flows")]
    return max(ends) - convicted


def _told(stage: Stage, kind: str, pattern: str, since: float) -> float:
    """When the agent first said so from that moment on."""
    deadline = time.monotonic() + PATIENCE
    while True:
        for line in stage.said:
            if line.kind == kind and line.at >= since and re.match(pattern, line.text):
                return line.at
        assert time.monotonic() < deadline, (pattern, stage.said[-10:])
        stage.watch(0.05)


def _late(stage: Stage) -> dict[float, float]:
    """By upper bound, seconds: how often the agent's loop was that late, and no less than the bound before."""
    found = [(float(bound), float(count)) for bound, count in LATE.findall(stage.metrics_page())]
    return {bound: count - less for (bound, count), (_, less) in zip(found, [(0.0, 0.0), *found], strict=False)}


def _echoed(clients: Sequence[socket.socket]) -> int:
    """How many of these are still answered."""
    for client in clients:
        with suppress(OSError):
            client.send(b"?")
    deadline, came = time.monotonic() + 1.0, 0
    for client in clients:
        left = max(0.0, deadline - time.monotonic())
        with suppress(OSError):
            came += _ready(client, select.POLLIN, left) and client.recv(1) == b"?"
    return came
