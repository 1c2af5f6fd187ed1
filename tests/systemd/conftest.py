"""One machine for all: booted in the lab's van, the service installed as the README says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import pytest

from failover.facts import METRIC_CHOSEN, TABLE_ACTIVE, TABLE_SETTLED, Route, Rule
from failover.lab.user import User
from failover.lab.world import World
from tests.agent.running import ours, proven
from tests.allowed import or_skip
from tests.systemd.machine import CHECKOUT, Machine

CONFIG = "etc/failover/failover.yaml"
SETTINGS = "etc/systemd/system/failover.service.d/override.conf"
NEEDED = ("/usr/lib/systemd/systemd", "/usr/bin/systemctl", "/usr/bin/python3")


def block(title: str, language: str = "sh") -> str:
    """The first block of a language under a heading of systemd/README.md."""
    text = (CHECKOUT / "systemd/README.md").read_text()
    found = re.search(rf"^## {title}\n.*?^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def missing() -> str:
    """Why no machine can be booted here."""
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]:
        return "needs root, and not of a user namespace"
    for path in NEEDED:
        if shutil.which(path) is None:
            return f"needs {path}"
    version = "import sys; print(sys.version_info[:2])"
    if subprocess.check_output(["/usr/bin/python3", "-c", version], text=True).strip() != str(sys.version_info[:2]):
        return "needs /usr/bin/python3 of the version that the tests run with, whose libraries it borrows"
    return ""


@pytest.fixture(scope="package")
def world() -> Iterator[World]:
    with or_skip(), World(seed=5) as built:
        yield built


@pytest.fixture(scope="package")
def bare(world: World) -> Iterator[Machine]:
    """Booted, and nothing of ours installed."""
    if reason := missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(world.van, Path(folder))
        try:
            yield machine
        finally:
            machine.close()


@pytest.fixture
def machine(bare: Machine) -> Machine:
    """The service is installed, and enabled."""
    if not (bare.root / "opt/failover").exists():
        *commands, last = block("Install").splitlines()
        bare.type("\n".join(commands))
        borrow(bare)
        bare.type(last)
    return bare


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """The service runs without a config, as shipped, with wwan0 active and every uplink proven; what a test adds is
    taken away."""
    machine.systemctl("start", "failover")
    with machine.following() as until:
        until(lambda: proven(machine.status()))
        machine.run("failover", "use", "wwan0")
        machine.run("failover", "auto")
        until(lambda: machine.status()["active"] == {"ipv4": "wwan0", "ipv6": "wwan0"})
    yield machine
    if forget(machine):
        machine.systemctl("restart", "failover")


def forget(machine: Machine) -> bool:
    """Take config and settings away; whether there were any."""
    config, settings = machine.root / CONFIG, machine.root / SETTINGS
    if not config.exists() and not settings.parent.exists():
        return False
    config.unlink(missing_ok=True)
    shutil.rmtree(settings.parent, ignore_errors=True)
    machine.systemctl("daemon-reload")
    return True


def borrow(machine: Machine) -> None:
    """Let the installed agent import the libraries that pip found outside its environment."""
    (site,) = machine.root.glob("opt/failover/lib/python3*/site-packages")
    (site / "borrowed.pth").write_text("/libraries\n")


def routing(world: World) -> tuple[frozenset[Route | Rule], frozenset[Route | Rule]]:
    """What is ours in the van's kernel, and what is not; without the order of the fallbacks, which follows verdicts."""
    own, foreign = ours(world.van)
    return frozenset(replace(one, metric=0) if _is_fallback(one) else one for one in own), foreign


def _is_fallback(one: Route | Rule) -> TypeGuard[Route]:
    return isinstance(one, Route) and one.table in (TABLE_ACTIVE, TABLE_SETTLED) and one.metric != METRIC_CHOSEN


def edit(machine: Machine, settings: str) -> None:
    """As `systemctl edit failover`, from the next start on; once more for more settings."""
    place = machine.root / SETTINGS
    place.parent.mkdir(exist_ok=True)
    with place.open("a") as file:
        file.write(f"[Service]\n{settings}\n")
    machine.systemctl("daemon-reload")


def beside(machine: Machine, script: str) -> dict[str, Any]:
    """What a script comes to that is started in the service's place, beside the agent, and prints JSON to stderr."""
    (machine.root / "opt/failover/inside.py").write_text(script)
    edit(machine, "ExecStartPost=\nExecStartPost=/opt/failover/bin/python3 /opt/failover/inside.py")
    machine.systemctl("restart", "failover")
    said = [line["MESSAGE"] for line in machine.journal("--priority=err")]
    found: dict[str, Any] = json.loads(said[-1])
    return found


LEAST = 0.25
"""Seconds in which every flow of the user sends a few packets; some blocks are over sooner."""


@contextlib.contextmanager
def undisturbed(world: World) -> Iterator[None]:
    """Every packet that the van's user sends during the block is answered, and no connection breaks."""
    with User(world.van) as user:
        assert user.wait()
        began = time.monotonic()
        yield
        ended = max(time.monotonic(), began + LEAST)
        assert user.wait(ended)
        seen = user.seen(began, ended)
    assert len(seen) == 6
    for flow in seen.values():
        assert flow.sent > 0
        assert (flow.answered, flow.reconnects) == (flow.sent, 0), flow
