"""A van whose uplinks are simulated modems under the real ModemManager, dialled by the real NetworkManager."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from failover.lab.namespaces import Namespace
from failover.lab.places import APP, ECHO_PORT
from failover.model import Family
from tests.agent.running import PATIENCE, Agent, running
from tests.allowed import or_skip
from tests.modems.box import require
from tests.modems.carriers import Sim
from tests.modems.mbim import MbimModem
from tests.modems.rig import Rig, imei, rigged

STEP = 0.0005
"""Seconds between two looks at where a new flow would go."""

Seen = dict[str, Any]
"""`uplinks` of a status, by name."""


class Van:
    """`modems` MBIM modems with two slots each. `start` an agent; `way` says by which modem a new flow would leave."""

    def __init__(self, rig: Rig, home: Path, modems: int, sims: Sequence[Sim | None] | None = None) -> None:
        """`sims`: of each, if not the usual ones."""
        self.rig, self.home = rig, home
        self.modems = [rig.mbim(number, sims) for number in range(1, modems + 1)]
        for number in range(modems):
            rig.box.profile(f"cdc-wdm{number}", f"cdc-wdm{number}", metric=700 + number)
        rig.start()
        rig.box.start_network_manager()

    def agent(self, config: str, *, apart: bool = False) -> Any:
        """An agent with this config, as a context. `apart`: it sees the network, and nothing of the managers."""
        (path := self.home / "failover.yaml").write_text(config + "dns: none\n")
        return running(self.rig.van if apart else self.rig.inside, self.home, "--config", str(path))

    def source(self) -> str:
        """The address that a new flow would have; empty: it could not leave."""
        with self.rig.van.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((APP[Family.IPV4], 9))
            except OSError:
                return ""
            return str(probe.getsockname()[0])

    def answered(self) -> bool:
        """Whether a new flow gets an answer within a second."""
        with self.rig.van.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
            flow.settimeout(1.0)
            try:
                flow.connect((APP[Family.IPV4], ECHO_PORT))
                flow.send(b"echo")
                return bool(flow.recv(64))
            except OSError:
                return False

    def until(self, condition: Callable[[str], bool]) -> float:
        """When a new flow would have such an address; monotonic seconds."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.source()):
            assert time.monotonic() < deadline, self.source()
            time.sleep(STEP)
        return time.monotonic()

    def uses(self, modem: MbimModem) -> bool:
        """Whether a new flow would leave by it, with its bearer's address."""
        return modem.bearer is not None and self.source() == modem.bearer.address[Family.IPV4]


@contextmanager
def van_of(modems: int, home: Path, sims: Sequence[Sim | None] | None = None) -> Iterator[Van]:
    require("NetworkManager")
    home.chmod(0o755)
    with Namespace("van") as network, rigged(network, start=False) as rig:
        yield Van(rig, home, modems, sims)


def uplink(name: str, number: int, slot: int = 1, **more: str) -> str:
    """One of a config's uplinks."""
    keys = "".join(f", {key}: {value}" for key, value in more.items())
    return f"  - {{name: {name}, modem: {{imei: '{imei(number)}', slot: {slot}{keys}}}}}\n"


def seen(agent: Agent) -> Seen:
    return by_name(agent.status())


def by_name(status: dict[str, Any]) -> Seen:
    return {one["name"]: one for one in status["uplinks"]}


def verdict(status: dict[str, Any], name: str) -> str:
    found: str = by_name(status)[name]["families"]["ipv4"]["verdict"]
    return found


def all_up(agent: Agent, *names: str) -> Agent:
    """These uplinks are proven by IPv4."""
    agent.until(lambda status: {verdict(status, name) for name in names} == {"up"})
    return agent


def wait_for(agent: Agent, words: Sequence[str], seconds: float = 180.0) -> None:
    """All of it is said, in whatever order."""
    deadline = time.monotonic() + seconds
    while not all(any(one in line for line in agent.lines) for one in words):
        assert time.monotonic() < deadline, agent.lines
        assert agent.hear(0.5)


TWO = "uplinks:\n" + uplink("au", 1) + uplink("softbank", 2) + "policy: {failback_after: 1s}\n"
DUAL = "uplinks:\n" + uplink("au", 1) + uplink("docomo", 1, 2)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Van]:
    """Two modems."""
    with or_skip(), van_of(2, tmp_path) as made:
        yield made


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Van]:
    """One modem with two SIMs, and nothing else."""
    with or_skip(), van_of(1, tmp_path) as made:
        yield made
