"""What the doctor finds amiss with modems: by ModemManager's answers, polkit's, and the files that there are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dbus_fast import Variant

from failover.config import Config, Uplink
from failover.config.modems import Dialer, Modem, Repair, Roaming, Rung
from failover.doctor import modems, polkit, user
from failover.doctor.case import Case, modems_of
from failover.doctor.finding import Level, Remark
from failover.lab.namespaces import Namespace
from failover.modem import Dial
from failover.modems import deeds, watch
from failover.modems.power import unit
from tests.agent.running import command, running
from tests.enclosure import CHECKOUT, PATIENCE
from tests.modems.box import USERS
from tests.modems.fake import Fake, modem
from tests.modems.manager import MODEM, ROOT, THREE_GPP
from tests.modems.mbim import MbimModem
from tests.modems.rig import Rig

SIM = "org.freedesktop.ModemManager1.Sim"
PATH = f"{ROOT}/Modem/0"
IMEI, ICCID, OTHER = "356938035640011", "8981300000000000022", "8981100000000000011"


def case(*choices: Modem, repair: Repair | None = None, path: Path = Path("/nowhere")) -> Case:
    uplinks = tuple(Uplink(f"u{number}", modem=choice) for number, choice in enumerate(choices))
    config = Config(uplinks=uplinks, repair=repair or Repair())
    run = Path("/run/failover/control.sock")
    return Case(run, Path("/var/lib/failover"), config, "", (), (), False, None, None, path)


def found(rig: Rig, *choices: Modem) -> list[Remark]:
    subject = case(*choices)
    told, fault = modems_of(subject.config, rig.address)
    return list(modems.there(replace(subject, modems=told, modems_fault=fault)))


def only(rig: Rig, choice: Modem) -> Remark:
    (remark,) = found(rig, choice)
    assert remark.mend
    return remark


# --- what is there ---------------------------------------------------------------------------------------------------


def test_without_modems_in_the_config_nobody_is_asked() -> None:
    assert [one.level for one in modems.there(case())] == [Level.OK]
    assert [one.level for one in modems.permissions(case())] == [Level.OK]
    assert list(modems.power(case())) == list(modems.secrets(case())) == []


def test_a_modem_that_is_there_with_its_sim_is_well(rig: Rig, fake: Fake) -> None:
    fake.add(f"{ROOT}/SIM/0", {SIM: {"SimIdentifier": Variant("s", ICCID)}})
    assert found(rig, Modem(IMEI, iccid=ICCID)) == []


def test_a_modem_that_is_not_there(rig: Rig, fake: Fake) -> None:
    remark = only(rig, Modem("359999999999999"))
    assert (remark.level, remark.text) == (Level.FAILURE, "u0: there is no modem with IMEI …9999")


def test_two_modems_that_are_called_alike(rig: Rig, fake: Fake) -> None:
    fake.add(f"{ROOT}/Modem/1", modem())
    remark = only(rig, Modem(IMEI))
    assert (remark.text, remark.level) == ("u0: there are several modems with IMEI …0011", Level.FAILURE)
    assert remark.mend.startswith("name its 'device'")


def test_another_sim_than_the_config_says(rig: Rig, fake: Fake) -> None:
    fake.add(f"{ROOT}/SIM/0", {SIM: {"SimIdentifier": Variant("s", ICCID)}})
    remark = only(rig, Modem(IMEI, iccid=OTHER))
    assert (remark.level, remark.text) == (
        Level.FAILURE,
        "u0: slot 1 holds SIM …0022, and the config says …0011",
    )
    assert remark.mend.startswith("put in the card that is meant, or write this one's ICCID as `iccid:`")


def test_a_sim_that_rests_is_no_trouble_and_an_empty_slot_is(rig: Rig, fake: Fake) -> None:
    slots = [f"{ROOT}/SIM/0", f"{ROOT}/SIM/1", "/"]
    fake.change(PATH, MODEM, SimSlots=Variant("ao", slots), PrimarySimSlot=Variant("u", 1))
    fake.add(f"{ROOT}/SIM/1", {SIM: {"SimIdentifier": Variant("s", ICCID)}})
    assert found(rig, Modem(IMEI, slot=2), Modem(IMEI, slot=2, iccid=ICCID)) == []
    assert only(rig, Modem(IMEI, slot=2, iccid=OTHER)).text.startswith("u0: slot 2 holds SIM …0022")
    for slot, said, mend in (
        (3, "there is no SIM in slot 3", "put one in, or mend `slot`"),
        (4, "its modem has no slot 4", "name one that it has"),
    ):
        remark = only(rig, Modem(IMEI, slot=slot))
        assert (remark.text, remark.mend.startswith(mend)) == (f"u0: {said}", True)


def test_what_keeps_a_modem_from_connecting(rig: Rig, fake: Fake) -> None:
    fake.change(PATH, MODEM, State=Variant("i", 2), UnlockRequired=Variant("u", 2))
    assert only(rig, Modem(IMEI)).text == "u0: its SIM asks for the PIN"
    assert found(rig, Modem(IMEI, pin="1234")) == []
    fake.change(PATH, MODEM, State=Variant("i", 8), UnlockRequired=Variant("u", 1))
    fake.change(PATH, THREE_GPP, RegistrationState=Variant("u", 3))
    assert only(rig, Modem(IMEI)).text == "u0: the network refuses its SIM"


def test_roaming_that_is_denied(rig: Rig, fake: Fake) -> None:
    fake.change(PATH, THREE_GPP, RegistrationState=Variant("u", 5), OperatorName=Variant("s", "Telekom"))
    remark = only(rig, Modem(IMEI, roaming=Roaming.DENY))
    assert remark.text == "u0: it roams in Telekom, and roaming is denied"
    assert "`roaming: last`" in remark.mend
    assert found(rig, Modem(IMEI)) == []


def with_agent(rig: Rig, choice: Modem, *warnings: str) -> list[tuple[str, str]]:
    """What is said beside an agent that has these warnings."""
    subject = replace(case(choice), status={"agent": {}, "uplinks": [], "warnings": [*warnings]})
    told, fault = modems_of(subject.config, rig.address)
    return [(one.text, one.mend) for one in modems.there(replace(subject, modems=told, modems_fault=fault))]


def test_what_the_agent_says_of_a_pin_is_said(rig: Rig, fake: Fake) -> None:
    fake.change(PATH, MODEM, State=Variant("i", 2), UnlockRequired=Variant("u", 2))
    wrong = "u0: the PIN in the config is wrong, and is not tried again: mend it"
    told = with_agent(rig, Modem(IMEI, pin="1234"), wrong, "u1: is another's")
    assert told == [(wrong, "mend it in the config, then `failover reload`")]
    denied = "u0: it roams in Telekom, and roaming is denied"
    fake.change(PATH, MODEM, State=Variant("i", 8), UnlockRequired=Variant("u", 1))
    fake.change(PATH, THREE_GPP, RegistrationState=Variant("u", 5), OperatorName=Variant("s", "Telekom"))
    assert [text for text, _ in with_agent(rig, Modem(IMEI, roaming=Roaming.DENY), denied)] == [denied], "once"


def test_a_modem_that_nobody_connects(rig: Rig, fake: Fake) -> None:
    """Beside an agent; without one, nobody has tried."""
    fake.change(PATH, MODEM, State=Variant("i", 8), Bearers=Variant("ao", []))
    assert found(rig, Modem(IMEI)) == []
    ((text, mend),) = with_agent(rig, Modem(IMEI))
    assert text == "u0: its modem is not connected"
    assert mend.startswith("give this SIM's `apn:` in the config")
    ((_, mend),) = with_agent(rig, Modem(IMEI, connect=Dialer.NONE))
    assert mend.startswith("nobody dials it, with `connect: none`")
    ((_, mend),) = with_agent(rig, Modem(IMEI, dial=Dial(apn="internet")))
    assert mend.startswith("is that the APN of this SIM")


@pytest.mark.parametrize(
    ("choice", "dialler", "level", "said", "mend"),
    [
        (Modem(IMEI), "", Level.NOTE, "the agent dials it once it runs", "most SIMs need `apn: ...`"),
        (Modem(IMEI, dial=Dial("a")), "", Level.NOTE, "the agent dials it once it runs", ""),
        (Modem(IMEI), "NetworkManager", Level.NOTE, "NetworkManager dials it", "NetworkManager dials it: has that a"),
        (Modem(IMEI, connect=Dialer.NONE), "", Level.WARNING, "nobody dials it", "nobody dials it, with "),
    ],
)
def test_a_modem_that_waits_to_be_dialled_for_the_first_time(
    rig: Rig, fake: Fake, choice: Modem, dialler: str, level: Level, said: str, mend: str
) -> None:
    """It is well; and once an agent runs, or something is amiss, that is said instead."""
    connected, _ = modems_of(case(choice).config, rig.address)
    fake.change(PATH, MODEM, State=Variant("i", 8), Bearers=Variant("ao", []))
    told, _ = modems_of(case(choice).config, rig.address)
    told = replace(told, modems=tuple(replace(modem, foreign=dialler) for modem in told.modems))
    subject = replace(case(choice), modems=told)
    remark = modems.awaited(subject, "u0")
    assert remark is not None
    assert (remark.level, remark.text) == (level, said)
    assert remark.mend.startswith(mend)
    assert bool(remark.mend) == bool(mend)
    assert modems.awaited(subject, "u1") is None
    assert modems.awaited(replace(subject, status={"agent": {}}, modems=connected), "u0") is None
    assert modems.awaited(replace(subject, modems=replace(told, modems=())), "u0") is None
    locked = tuple(replace(modem, lock="sim-puk") for modem in told.modems)
    assert modems.awaited(replace(subject, modems=replace(told, modems=locked)), "u0") is None


def test_before_the_first_start_nothing_is_wrong_with_a_modem(rig: Rig, mbim: MbimModem, tmp_path: Path) -> None:
    rig.manager.listed(mbim.imei)
    (config := tmp_path / "failover.yaml").write_text(
        f"dns: none\nuplinks: [{{name: au, modem: {{imei: '{mbim.imei}', connect: self, apn: a}}}}]\n"
    )
    said = told_by(rig, tmp_path / "none.sock", tmp_path, "--config", str(config))
    first, last = said["uplinks"]
    assert (first[0], first[1].partition("; ")[2], first[2]) == ("note", "the agent dials it once it runs", "")
    assert last == ("note", "not one uplink has a way out until au is dialled", "")


def test_without_an_apn_the_mend_is_to_give_it(rig: Rig, mbim: MbimModem, tmp_path: Path) -> None:
    """The agent dials it, and ModemManager refuses."""
    rig.manager.listed(mbim.imei)
    (config := tmp_path / "failover.yaml").write_text(
        f"dns: none\nuplinks: [{{name: au, modem: {{imei: '{mbim.imei}', connect: self}}}}]\n"
    )
    with running(rig.inside, tmp_path, "--config", str(config)) as agent:
        agent.said("au: connect failed")
        said = told_by(rig, agent.socket, tmp_path)
    ((level, text, mend),) = said["modems"]
    assert (level, text.startswith("au: its modem is not connected: Invalid bearer properties")) == ("warning", True)
    assert mend.startswith("give this SIM's `apn:` in the config")
    assert said["uplinks"][0][2] == "that is its modem's: what `modems` says above, and its mend"


def test_whoever_may_not_ask_the_manager_goes_by_the_agents_word(rig: Rig, mbim: MbimModem, tmp_path: Path) -> None:
    """The agent has connected it itself."""
    rig.dress(mbim, rig.manager.connect(rig.manager.listed(mbim.imei)))
    uplinks = "".join(
        f"  - {{name: u{n}, modem: {{imei: '{mbim.imei}', slot: {n}, connect: self, apn: a}}}}\n" for n in (1, 2)
    )
    (config := tmp_path / "failover.yaml").write_text(f"dns: none\nuplinks:\n{uplinks}")
    with running(rig.inside, tmp_path, "--config", str(config)) as agent:
        agent.ready().until(lambda status: status["uplinks"][0]["interface"] and status["active"]["ipv4"] == "u1")
        said = told_by(rig, agent.socket, tmp_path, inside=rig.van)
    assert said["modems"][0][0] == "warning"
    assert said["uplinks"] == [("ok", "u1 has a way out; u2 by another SIM of its modem, one at a time", "")]
    said = told_by(rig, tmp_path / "none.sock", tmp_path, "--config", str(config), inside=rig.van)
    assert said["uplinks"][0][1] == f"u1: there is no modem with IMEI …{mbim.imei[-4:]} yet"


def told_by(
    rig: Rig, socket: Path, state: Path, *options: str, inside: Namespace | None = None
) -> dict[str, list[tuple[str, str, str]]]:
    """Level, text and mend of what doctor says, by check."""
    where = ("--socket", str(socket), "--state", str(state), *options)
    said: dict[str, list[tuple[str, str, str]]] = {}
    for one in json.loads(command(inside or rig.inside, "doctor", "--json", *where)[1])["findings"]:
        said.setdefault(one["check"], []).append((one["level"], one["text"], one["mend"]))
    return said


@pytest.mark.parametrize(("mode", "named"), [(1, True), (2, False), (3, True), (4, False)])
def test_a_voice_centric_modem_is_named_with_its_mend(rig: Rig, fake: Fake, mode: int, named: bool) -> None:
    fake.change(PATH, THREE_GPP, EpsUeModeOperation=Variant("u", mode))
    remarks = found(rig, Modem(IMEI))
    assert ["voice-centric" in one.text and "--3gpp-set-eps-ue-mode-operation" in one.mend for one in remarks] == (
        [True] if named else []
    )


def test_without_a_manager_or_a_bus(rig: Rig) -> None:
    rig.box.kill_modem_manager()
    try:
        remark = only(rig, Modem(IMEI))
    finally:
        rig.start()
    assert (remark.level, remark.text) == (
        Level.FAILURE,
        "ModemManager does not run, and the config names modems",
    )
    told, fault = modems_of(case(Modem(IMEI)).config, "unix:path=/nowhere")
    (remark,) = modems.there(replace(case(Modem(IMEI)), modems=told, modems_fault=fault))
    assert (remark.level, bool(remark.mend)) == (Level.WARNING, True)


def test_a_real_modem(rig: Rig, mbim: MbimModem) -> None:
    rig.manager.listed(mbim.imei)
    assert mbim.sim is not None
    assert found(rig, Modem(mbim.imei, iccid=mbim.sim.iccid), Modem(mbim.imei, slot=2)) == []
    assert only(rig, Modem(mbim.imei, iccid=OTHER)).level is Level.FAILURE


def test_the_way_of_an_uplink_is_its_modems(rig: Rig, mbim: MbimModem, tmp_path: Path) -> None:
    """And a SIM that rests is a standby."""
    path = rig.manager.listed(mbim.imei)
    rig.dress(mbim, rig.manager.connect(path))
    uplinks = "".join(f"  - {{name: u{n}, modem: {{imei: '{mbim.imei}', slot: {n}}}}}\n" for n in (1, 2))
    (config := tmp_path / "failover.yaml").write_text(f"dns: none\nuplinks:\n{uplinks}")
    where = ("--config", str(config), "--socket", str(tmp_path / "none.sock"), "--state", str(tmp_path))
    _, out, err = command(rig.inside, "doctor", "--json", *where)
    said = {one["check"]: (one["level"], one["text"]) for one in json.loads(out)["findings"]}
    assert said["uplinks"] == ("ok", "u1 has a way out; u2 by another SIM of its modem, one at a time"), err
    assert said["modems"] == ("ok", "those that the config names are there, with their SIMs")
    assert not [text for _, text in said.values() if "this check broke" in text]
    mbim.unplug()
    rig.manager.gone(path)
    _, out, _ = command(rig.inside, "doctor", "--json", *where)
    said = {one["check"]: (one["level"], one["text"]) for one in json.loads(out)["findings"]}
    assert said["modems"][0] == "failure"
    assert not [text for _, text in said.values() if "this check broke" in text]
    mbim.replug()


# --- who may ---------------------------------------------------------------------------------------------------------

ACTIONS: dict[str, dict[str, str]] = {
    modems.CONTROL: {},
    modems.MESSAGING: {},
    modems.NETWORK: {},
    modems.UNITS: {"unit": unit("van/au 1"), "verb": "start"},
}
ASKS = """
import asyncio, json, subprocess, sys, time
from failover.doctor.polkit import refused
uid, wanted, actions = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=uid, group=uid, extra_groups=[]) as child:
    deadline = time.monotonic() + 15
    while (found := asyncio.run(refused(child.pid, actions))) != wanted and time.monotonic() < deadline:
        pass
print(json.dumps(found))
"""
"""Asks polkit about a process of that user until it says so: rules are read a moment after they have changed."""


def refusals(rig: Rig, wanted: list[str], actions: dict[str, dict[str, str]]) -> list[str] | None:
    argv = [sys.executable, "-c", ASKS, str(USERS["failover"]), json.dumps(wanted), json.dumps(actions)]
    with rig.inside.popen(argv, stdout=subprocess.PIPE, cwd=CHECKOUT, text=True) as child:
        answer: list[str] | None = json.loads(child.communicate(timeout=PATIENCE)[0])
        return answer


@pytest.fixture
def shipped(rig: Rig) -> Iterator[None]:
    """The rules are installed as systemd/README.md says."""
    rule = rig.box.root / "etc/polkit-1/rules.d/50-failover.rules"
    (power := rig.box.root / "etc/systemd/system/failover-power@.service").parent.mkdir(parents=True, exist_ok=True)
    power.touch()
    shutil.copy(CHECKOUT / "systemd/failover.rules", rule)
    yield
    rule.unlink()
    power.unlink()


def test_polkit_refuses_without_our_rules(rig: Rig) -> None:
    assert refusals(rig, [*ACTIONS], ACTIONS) == [*ACTIONS]


def test_polkit_allows_with_our_rules_what_is_needed_and_no_other_unit(rig: Rig, shipped: None) -> None:
    assert refusals(rig, [], ACTIONS) == []
    for about in (
        {"unit": "ssh.service", "verb": "start"},
        {"unit": unit("au"), "verb": "stop"},
        {"unit": "failover-power@a.service/../ssh.service", "verb": "start"},
        {"verb": "start"},
    ):
        assert refusals(rig, [modems.UNITS], {modems.UNITS: about}) == [modems.UNITS]


EXAMINES = """
import json, subprocess, sys
from pathlib import Path
from failover.config import Config, Uplink
from failover.config.modems import Modem
from failover.doctor import modems
from failover.doctor.case import Case
uid, empty = int(sys.argv[1]), Path(sys.argv[2])
with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=uid, group=uid, extra_groups=[]) as child:
    status = {"agent": {"pid": child.pid}}
    config = Config(uplinks=(Uplink("au", modem=Modem("356938035640011")),))
    case = Case(empty, empty, config, "", (), (), False, status, None)
    print(json.dumps([remark.text for remark in modems.permissions(case, empty)]))
"""
"""The check, of an agent that runs as that user on a box without any rule in its files."""


def test_root_asks_polkit_about_the_agent_that_runs(rig: Rig, shipped: None, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert refusals(rig, [], ACTIONS) == []
    for name, said in (("failover", 0), ("messagebus", 1), ("root", 1)):
        argv = [sys.executable, "-c", EXAMINES, str(USERS[name]), str(tmp_path)]
        with rig.inside.popen(argv, stdout=subprocess.PIPE, cwd=CHECKOUT, text=True) as child:
            remarks = json.loads(child.communicate(timeout=PATIENCE)[0])
        assert len(remarks) == said
        assert name != "messagebus" or f"polkit does not let user messagebus {modems.CONTROL}" in remarks[0]


def test_the_actions_are_those_of_the_deeds() -> None:
    assert (modems.CONTROL, modems.MESSAGING) == (deeds.CONTROL, watch.MESSAGING)
    assert (modems.NETWORK, modems.UNITS) == (deeds.NM_CONTROL, deeds.MANAGE_UNITS)


ORDINARY = user.User("failover", 905, frozenset((905,)), may_all=False)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box on which nothing is installed; its agent would be user failover."""
    monkeypatch.setattr(user, "of_agent", lambda _: ORDINARY)
    for folder in (*polkit.RULES, *modems.POLICIES, *modems.PLACES):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_rules_and_policies_that_are_missing(root: Path) -> None:
    choices = Modem(IMEI), Modem(IMEI, slot=2)
    one, two = modems.permissions(case(*choices), root)
    assert {one.level, two.level} == {Level.WARNING}
    assert all(action in one.text for action in (modems.CONTROL, modems.MESSAGING, modems.NETWORK))
    assert modems.UNITS not in one.text
    assert "systemd/failover-dbus.conf" in two.mend
    shutil.copy(CHECKOUT / "systemd/failover.rules", root / "etc/polkit-1/rules.d/50-failover.rules")
    shutil.copy(CHECKOUT / "systemd/failover-dbus.conf", root / "etc/dbus-1/system.d/failover.conf")
    assert list(modems.permissions(case(*choices), root)) == []


def test_only_what_is_needed_is_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (remark,) = modems.permissions(case(Modem(IMEI, connect=Dialer.SELF)), root)
    assert modems.NETWORK not in remark.text
    (root / "etc/systemd/system/failover-power@.service").touch()
    (remark,) = modems.permissions(case(Modem(IMEI)), root)
    assert modems.UNITS in remark.text
    monkeypatch.setattr(user, "of_agent", lambda _: replace(ORDINARY, name="root", uid=0))
    assert list(modems.permissions(case(Modem(IMEI)), root)) == [Remark(Level.OK, "root may all")]
    monkeypatch.setattr(user, "of_agent", lambda _: None)
    (remark,) = modems.permissions(case(Modem(IMEI)), root)
    assert (remark.level, "systemd/README.md" in remark.mend) == (Level.NOTE, True)


def test_rules_that_nobody_may_see_are_not_missed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / polkit.RULES[0])
    (root / polkit.RULES[0]).touch()  # root may see all, but a file has no names in it for anybody
    (remark,) = modems.permissions(case(Modem(IMEI)), root)
    assert (remark.level, "may not see" in remark.text) == (Level.NOTE, True)


# --- power, secrets --------------------------------------------------------------------------------------------------


def test_the_unit_for_the_power(root: Path) -> None:
    asked = case(Modem(IMEI), repair=Repair(steps=(Rung.RESET, Rung.POWER)))
    for subject, levels in (
        (case(Modem(IMEI)), [Level.NOTE]),
        (asked, [Level.WARNING]),
        (case(Modem(IMEI), repair=Repair(steps=(Rung.RESET,))), []),
    ):
        assert [one.level for one in modems.power(subject, root)] == levels
    (root / "usr/lib/systemd/system/failover-power@.service").touch()
    assert list(modems.power(asked, root)) == []


@pytest.mark.parametrize("secret", [Modem(IMEI, pin="1234"), Modem(IMEI, dial=Dial(password="hunter2"))])
def test_a_config_that_everybody_may_read(tmp_path: Path, secret: Modem) -> None:
    path = tmp_path / "failover.yaml"
    path.touch()
    for mode, secrets, said in ((0o644, secret, 1), (0o640, secret, 0), (0o644, Modem(IMEI), 0)):
        path.chmod(mode)
        remarks = list(modems.secrets(case(secrets, path=path)))
        assert len(remarks) == said
        for remark in remarks:
            assert remark.mend == f"chgrp failover {path} && chmod 640 {path}"
            assert "1234" not in remark.text
