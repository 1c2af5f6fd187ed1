"""`connect: self` with the real ModemManager: the agent dials a modem, gives its interface what the bearer was given,
dials anew, and takes away what it put there and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from failover.lab.namespaces import Namespace
from failover.model import FAMILIES
from tests.agent.inventory import inventory
from tests.agent.running import Agent, command, facts, running
from tests.allowed import or_skip
from tests.modems.box import require
from tests.modems.mbim import MbimModem
from tests.modems.rig import Rig, rigged

OUR_PROTOCOL = 155
CONFIG_FILE = "failover.yaml"
CONFIG = """\
uplinks:
  - name: docomo
    modem: {{imei: "{imei}", apn: internet, connect: self}}
dns: none
"""


@dataclass(frozen=True)
class Scene:
    """A modem that nobody has connected, and what the agent is told of it."""

    rig: Rig
    modem: MbimModem
    van: Namespace
    home: Path
    stack: ExitStack

    def agent(self) -> Agent:
        return self.stack.enter_context(running(self.rig.inside, self.home, "--config", str(self.home / CONFIG_FILE)))

    @property
    def dials(self) -> int:
        return len(self.modem.counts.dials)

    @property
    def held(self) -> set[str]:
        """The addresses on the modem's interface that are marked as ours."""
        return {a.address for a in facts(self.van).addresses if a.protocol == OUR_PROTOCOL}

    @property
    def given(self) -> set[str]:
        """What the modem's line has."""
        return {self.modem.radio.lines[0].address[family] for family in FAMILIES}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    require()
    with or_skip(), Namespace("van") as van, rigged(van, start=False) as rig, ExitStack() as stack:
        modem = rig.mbim(1)
        rig.start()
        rig.manager.listed(modem.imei)
        (tmp_path / CONFIG_FILE).write_text(CONFIG.format(imei=modem.imei))
        yield Scene(rig, modem, van, tmp_path, stack)


def verdicts(status: dict[str, Any]) -> set[str]:
    (uplink,) = status["uplinks"]
    return {view["verdict"] for view in uplink["families"].values()}


def test_a_modem_is_dialled_served_and_dialled_anew_and_cleanup_leaves_nothing(scene: Scene) -> None:
    before = facts(scene.van)
    agent = scene.agent().ready().all_up()
    assert scene.held == scene.given
    for family in FAMILIES:
        assert scene.rig.passes(scene.modem, family=family)
    asked = scene.dials

    scene.modem.drop()
    agent.said("bearer disconnected")
    agent.until(lambda status: scene.dials > asked and verdicts(status) == {"up"})
    assert scene.held == scene.given
    assert scene.rig.passes(scene.modem)

    agent.kill()
    made = inventory(scene.van).ours
    assert scene.rig.passes(scene.modem), "without an agent traffic flows on"
    asked = scene.dials
    agent = scene.agent().ready().all_up()
    assert (inventory(scene.van).ours, scene.dials) == (made, asked), "another one changes nothing"

    agent.stop()
    code, _, err = command(scene.rig.inside, "cleanup", "--socket", str(agent.socket), "--state", str(scene.home))
    assert code == 0, err
    assert not inventory(scene.van).ours
    after = facts(scene.van)
    assert (after.addresses, after.routes, after.rules) == (before.addresses, before.routes, before.rules)
