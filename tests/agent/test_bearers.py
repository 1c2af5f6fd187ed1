"""`connect: self` with the real ModemManager: the agent dials a modem, gives its interface what the bearer was given,
dials anew, and takes away what it put there and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from failover.lab.namespaces import Namespace
from failover.model import FAMILIES, Family
from tests.agent.inventory import OUR_PROTOCOL, inventory
from tests.agent.modems import uplink, verdict
from tests.agent.running import Agent, command, facts, proven, running, watching
from tests.allowed import or_skip
from tests.modems.box import require
from tests.modems.mbim import MbimModem
from tests.modems.modem import Command
from tests.modems.rig import Rig, rigged

V4 = Family.IPV4


@dataclass(frozen=True)
class Scene:
    """A modem that nobody has connected, and what the agent is told of it."""

    rig: Rig
    modem: MbimModem
    van: Namespace
    home: Path
    stack: ExitStack

    def configure(self, *uplinks: str) -> Path:
        config = self.home / "failover.yaml"
        config.write_text("uplinks:\n" + "".join(uplinks) + "dns: none\n")
        return config

    def agent(self, *uplinks: str) -> Agent:
        """One with these uplinks; with the modem, if none are named."""
        config = self.configure(*(uplinks or (of_ours("docomo", 1),)))
        return self.stack.enter_context(running(self.rig.inside, self.home, "--config", str(config)))

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


@contextmanager
def scene_in(home: Path) -> Iterator[Scene]:
    require()
    with or_skip(), Namespace("van") as van, rigged(van, start=False) as rig, ExitStack() as stack:
        modem = rig.mbim(1)
        rig.start()
        rig.manager.listed(modem.imei)
        yield Scene(rig, modem, van, home, stack)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


def of_ours(name: str, number: int, slot: int = 1, apn: str = "internet") -> str:
    """An uplink of a config, dialled by the agent."""
    return uplink(name, number, slot, apn=apn, connect="self")


def test_a_modem_is_dialled_served_and_dialled_anew_and_cleanup_leaves_nothing(scene: Scene) -> None:
    before = facts(scene.van)
    agent = scene.agent().ready().all_up()
    assert scene.held == scene.given
    for family in FAMILIES:
        assert scene.rig.passes(scene.modem, family=family)
    asked = scene.dials

    scene.modem.drop()
    agent.said("bearer disconnected")
    agent.until(lambda status: scene.dials > asked and proven(status))
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


def test_a_slot_is_changed_and_the_other_sim_served(tmp_path: Path) -> None:
    """With nobody else to dial it, and no other link."""
    took: list[float] = []
    while min(took, default=9.0) > 4.0 and len(took) < 2:  # the machine may be busy
        (home := tmp_path / str(len(took))).mkdir()
        with scene_in(home) as scene:
            took.append(slot_change(scene))
    assert min(took) <= 4.0, took
    print("slot switch, seconds from the decision until there is an address:", took)


def slot_change(scene: Scene) -> float:
    """Seconds from the decision until there is an address."""
    agent = scene.agent(of_ours("au", 1), of_ours("docomo", 1, 2)).ready()
    agent.until(lambda status: verdict(status, "au") == "up")
    scene.modem.fail(Command.CONNECT)
    scene.modem.drop()
    agent.said("changes from slot 1 to slot 2")
    scene.modem.obey()
    other = scene.modem.radio.lines[1].address
    with watching(scene.van) as wait:
        took = wait(lambda now: other[V4] in {address.address for address in now.addresses})
    assert scene.rig.passes(scene.modem)
    agent.until(lambda status: verdict(status, "docomo") == "up")
    assert scene.held == set(other.values())
    return took


def test_another_apn_is_dialled_where_no_traffic_goes_and_elsewhere_when_it_goes_no_more(scene: Scene) -> None:
    spare = scene.rig.mbim(2)
    scene.rig.manager.listed(spare.imei)
    agent = scene.agent(of_ours("docomo", 1), of_ours("au", 2)).ready()
    agent.until(lambda status: {verdict(status, "docomo"), verdict(status, "au")} == {"up"})
    asked = scene.dials
    scene.configure(of_ours("docomo", 1, apn="new"), of_ours("au", 2, apn="new"))
    assert command(scene.rig.inside, "reload", "--socket", str(agent.socket))[0] == 0
    agent.said("docomo: it carries traffic, and uplinks.docomo.modem.apn counts from its next connection: `failover")
    agent.said("au ipv4 is up", agent.lines.index(agent.said("au: dialled anew")))
    assert (spare.counts.dials[-1].apn, scene.dials, scene.rig.passes(scene.modem)) == ("new", asked, True)
    assert command(scene.rig.inside, "use", "au", "--for", "1m", "--socket", str(agent.socket))[0] == 0
    agent.said("docomo ipv4 is up", agent.lines.index(agent.said("docomo: dialled anew")))
    assert (scene.modem.counts.dials[-1].apn, scene.dials, scene.rig.passes(scene.modem)) == ("new", asked + 1, True)
    assert not [text for text in agent.status()["warnings"] if "apn" in text]


def test_modem_manager_is_killed_and_comes_back(scene: Scene) -> None:
    agent = scene.agent().ready().all_up()
    scene.rig.box.kill_modem_manager()
    assert agent.hear(1.0)
    assert scene.held == scene.given
    assert scene.rig.passes(scene.modem)
    asked = scene.dials
    scene.rig.start()
    agent.until(lambda status: scene.dials > asked and proven(status))
    assert scene.held == scene.given
    assert scene.rig.passes(scene.modem)


def test_without_an_apn_the_mend_is_said(scene: Scene) -> None:
    agent = scene.agent(uplink("docomo", 1, connect="self"))
    assert "give this SIM's `apn:` in the config" in agent.said("connect failed")


def test_a_modem_that_wants_dhcp_is_left_to_networkmanager(scene: Scene) -> None:
    other = scene.rig.at(2)
    scene.rig.manager.listed(other.imei)
    before = facts(scene.van).addresses
    agent = scene.agent(of_ours("docomo", 2)).ready()
    (warning,) = agent.until(lambda status: [text for text in status["warnings"] if text.startswith("docomo: ")])
    assert "dhcp" in warning
    assert "connect: networkmanager" in warning
    assert facts(scene.van).addresses == before
