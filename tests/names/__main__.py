"""How long the box's resolver takes to be told, and a program to have an answer over the new uplink.

    python -m tests.names [SWITCHES]

As root, in namespaces of its own: real resolvers, and a program that looks names up by the C library.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from failover.lab.namespaces import Namespace
from failover.resolvers import Way
from tests.names.box import Box, Program, require
from tests.names.carriers import Carriers
from tests.names.conftest import Asker, started
from tests.names.test_lookups import Mover, Wanted, mover

SWITCHES = 30
STUB = "nameserver 127.0.0.53\n"


def measure(name: str, move: Mover, program: Program, carriers: Carriers, switches: int) -> None:
    """One row: seconds to tell, to tell what is so, and to tell and have an answer."""
    told, idle, answered = [], [], []
    servers = [[one.own] for one in carriers.all]
    wishes: list[Wanted] = [(("up1", servers[0], on), ("up2", servers[1], not on)) for on in (True, False)]
    move(wishes[1])
    for number in range(switches):
        began = time.monotonic()
        move(wishes[number % 2])
        told.append(time.monotonic() - began)
        found = program.look_up(f"{name}{number}.example")
        answered.append(time.monotonic() - began)
        assert found == f"192.0.2.{number % 2 + 1}", found
        began = time.monotonic()
        move(wishes[number % 2])
        idle.append(time.monotonic() - began)
    row = (f"{median(times) * 1e3:7.1f} {max(times) * 1e3:7.1f}" for times in (told, idle, answered))
    print(f"{name:11}", *row, sep="  ")


@contextmanager
def resolved(home: Namespace) -> Iterator[tuple[Mover, Program]]:
    with started(home) as box, Asker(box) as asker, box.program() as program:
        (box.root / "etc/resolv.conf").write_text(STUB)
        yield lambda wanted: asker.follow(*wanted), program


@contextmanager
def flat(home: Namespace, way: Way) -> Iterator[tuple[Mover, Program]]:
    package = require("openresolv")
    with (
        tempfile.TemporaryDirectory() as folder,
        Box(home, Path(folder), package) as box,
        mover(box, way) as move,
        box.program() as program,
    ):
        yield move, program


def main(switches: int) -> None:
    print("median and maximum, ms: told, told what is so, told and answered")
    with Namespace("home") as home:
        carriers = Carriers(home, (1, 2))
        with resolved(home) as (move, program):
            measure("resolved", move, program, carriers, switches)
        for way in (Way.RESOLVCONF, Way.FILE):
            with flat(home, way) as (move, program):
                measure(way, move, program, carriers, switches)
        carriers.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SWITCHES)
