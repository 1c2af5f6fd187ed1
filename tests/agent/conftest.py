"""One lab for all: a van with three uplinks. Each test runs agents of its own and leaves the van clean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.lab.namespaces import Namespace
from failover.lab.world import World
from tests.agent.modems import pair as pair
from tests.agent.running import command, facts, ours
from tests.allowed import or_skip


@pytest.fixture(scope="package")
def world() -> Iterator[World]:
    with or_skip(), World(seed=3) as built:
        yield built


@pytest.fixture
def van(world: World, tmp_path: Path) -> Iterator[Namespace]:
    """The van without anything of ours, before and after, wherever its sysctls were noted."""
    before, sysctls = ours(world.van), facts(world.van).sysctls
    assert not before[0]
    yield world.van
    command(world.van, "cleanup", "--force", "--socket", str(tmp_path / "control.sock"), "--state", str(tmp_path))
    assert ours(world.van) == before
    for sysctl in sysctls:
        world.van.sysctl(sysctl.path.removeprefix("net/"), int(sysctl.value))
