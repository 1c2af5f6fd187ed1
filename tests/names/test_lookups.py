"""Programs of the box that read resolv.conf themselves: those that run follow as well, by the way of its carrier."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from failover.lab.namespaces import Namespace
from failover.model import FAMILIES
from failover.names.file import File
from failover.resolvers import Resolvers, Way
from tests.names.box import Box, require
from tests.names.carriers import Carriers
from tests.names.conftest import Asker

OWN = "run/failover/resolv.conf"
Wanted = tuple[tuple[str, list[str], bool], ...]
Mover = Callable[[Wanted], object]


@pytest.fixture
def carriers(all_carriers: Carriers) -> Carriers:
    all_carriers.forget()
    return all_carriers


@pytest.fixture
def box(van: Namespace, carriers: Carriers) -> Iterator[Box]:
    """Of which openresolv writes /etc/resolv.conf."""
    with tempfile.TemporaryDirectory() as folder, Box(van, Path(folder), require("openresolv")) as made:
        yield made


def wish(wanted: Wanted) -> list[Resolvers]:
    return [Resolvers(name, tuple(servers), FAMILIES if on else ()) for name, servers, on in wanted]


@contextmanager
def mover(box: Box, way: Way) -> Iterator[Mover]:
    """Gives what makes it so."""
    if way is Way.FILE:
        (box.root / "etc/resolv.conf").symlink_to(f"/{OWN}")
        file = File(box.root / OWN)
        yield lambda wanted: asyncio.run(
            file.follow([Resolvers(name, tuple(of), FAMILIES if on else ()) for name, of, on in wanted])
        )
    else:
        with Asker(box, "root", way) as asker:
            yield lambda wanted: asker.follow(*wanted)


@pytest.mark.parametrize("way", [Way.FILE, Way.RESOLVCONF])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_program_that_runs_asks_the_new_uplinks_server(box: Box, carriers: Carriers, way: Way, family: str) -> None:
    servers = [[one.own if family == "ipv4" else one.own6] for one in carriers.all]
    with mover(box, way) as move, box.program() as program:
        move((("up1", servers[0], True), ("up2", servers[1], False)))
        assert program.look_up("before.example") == "192.0.2.1"
        carriers[1].silent = True
        began = time.monotonic()
        move((("up1", servers[0], False), ("up2", servers[1], True)))
        assert program.look_up("after.example") == "192.0.2.2"
        assert time.monotonic() - began < 1.0
    assert (carriers[1].asked, carriers[2].asked) == (["before.example"], ["after.example"])
