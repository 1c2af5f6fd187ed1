"""A van whose uplinks are simulated modems under the real ModemManager, dialled by the real NetworkManager."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from failover.lab.namespaces import Namespace
from failover.lab.places import APP, ECHO_PORT
from failover.model import Family
from tests.agent.running import Agent, awaiting, running
from tests.allowed import or_skip
from tests.modems.box import require
from tests.modems.carriers import Sim
from tests.modems.mbim import MbimModem
from tests.modems.modem import Command
from tests.modems.rig import Rig, imei, rigged


class Van:
    """`modems` MBIM modems with two slots each; `uses` says by which of them a new flow would leave."""

    def __init__(self, rig: Rig, home: Path, modems: int, sims: Sequence[Sim | None] | None = None) -> None:
        """`sims`: of each, if not the usual ones."""
        self.rig, self.home = rig, home
        self.modems = [rig.mbim(number, sims) for number in range(1, modems + 1)]
        for number in range(modems):
            rig.box.profile(f"cdc-wdm{number}", f"cdc-wdm{number}", metric=700 + number)
        rig.start()
        rig.box.start_network_manager()

    def agent(self, config: str, *, apart: bool = False) -> AbstractContextManager[Agent]:
        """An agent with this config. `apart`: it sees the network, and nothing of the managers."""
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

    def uses(self, modem: MbimModem) -> bool:
        """Whether a new flow would leave by it, with its bearer's address."""
        return (line := modem.bearer) is not None and self.source() == line.address[Family.IPV4]

    def until_used(self, modem: MbimModem) -> float:
        """When a new flow would leave by it; monotonic seconds."""
        with awaiting(self.rig.van) as wait:
            wait(lambda: self.uses(modem))
        return time.monotonic()

    def changes(self, agent: Agent) -> float:
        """The SIM of its one modem is lost: seconds from the agent's decision for the other one to a way out."""
        (modem,) = self.modems
        modem.fail(Command.CONNECT)
        modem.drop()
        agent.said("changes from slot 1 to slot 2")
        decided = time.monotonic()
        modem.obey()
        return self.until_used(modem) - decided


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


def by_name(status: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in status["uplinks"]}


def verdict(status: dict[str, Any], name: str) -> str:
    found: str = by_name(status)[name]["families"]["ipv4"]["verdict"]
    return found


def all_up(agent: Agent, *names: str) -> Agent:
    """These uplinks are proven by IPv4."""
    agent.until(lambda status: {verdict(status, name) for name in names} == {"up"})
    return agent


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
