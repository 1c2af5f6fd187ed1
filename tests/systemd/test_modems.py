"""Modems as the service has them: real ModemManager and real polkitd, beside it under systemd, with what is shipped.

Nobody is allowed anything that the shipped files do not allow.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.modems.deeds import CONTROL, MANAGE_UNITS, mend
from tests.agent.modems import verdict
from tests.modems.box import require
from tests.modems.mbim import MbimModem
from tests.modems.rig import Rig, rigged
from tests.systemd.conftest import CONFIG, beside, block, forget
from tests.systemd.machine import Machine
from tests.systemd.modems import Dock

RULE = "etc/polkit-1/rules.d/50-failover.rules"
MODEM = 4
"""Whose interface the lab's van has no other of that name."""
ACTIONS = {
    "org.freedesktop.ModemManager1.Device.Control",
    "org.freedesktop.ModemManager1.Messaging",
    "org.freedesktop.NetworkManager.network-control",
    "org.freedesktop.network1.revert-dns",
    "org.freedesktop.network1.set-default-route",
    "org.freedesktop.network1.set-dns-servers",
    "org.freedesktop.network1.set-domains",
}
"""Those of systemd-resolved, which need not be installed, are tested with it."""
STARTED = "failover-power@my\\x20modem.service"
EXAMPLE = block("Taking a modem's current away").partition("<<'END'\n")[2].partition("END\n")[0]
UNIT = re.sub("^ExecStart=.*", "ExecStart=touch /run/was-%i", EXAMPLE, flags=re.MULTILINE)
"""The README's, with a switch that can be seen."""
POWER = """
import asyncio, json, sys
from dbus_fast import Variant
from failover.bus import DEFAULT_ADDRESS, BusError
from failover.modem import Deed
from failover.modems.deeds import Deeds
from failover.modems.line import Line
from failover.modems.power import MANAGER, PATH, SERVICE
from failover.seam import ActOnModem

UNIT = "failover-power@other.service"
COMMAND = [("Type", Variant("s", "oneshot")), ("ExecStart", Variant("a(sasb)", [["/bin/true", ["true"], False]]))]

async def deed(uplink):
    answer = asyncio.get_running_loop().create_future()
    Deeds(answer.set_result, lambda modem: "", DEFAULT_ADDRESS).begin(ActOnModem(uplink, "", Deed.POWER_CYCLE))
    acted = await answer
    return [acted.error, acted.hint]

async def asked(member, signature, *body):
    line = await Line.open()
    try:
        await line.call(SERVICE, PATH, f"{MANAGER}.{member}", signature, list(body))
        return "done"
    except BusError as error:
        return error.name.rpartition(".")[2]
    finally:
        await line.close()

async def main():
    return {
        "deed": await deed("my modem"),
        "another unit": await asked("StartUnit", "ss", "other@me.service", "replace"),
        "stop": await asked("StopUnit", "ss", UNIT, "replace"),
        "restart": await asked("RestartUnit", "ss", UNIT, "replace"),
        "one made up": await asked("StartTransientUnit", "ssa(sv)a(sa(sv))", UNIT, "fail", COMMAND, []),
    }

print(json.dumps(asyncio.run(main())), file=sys.stderr)
"""
TWO_SIMS = """\
uplinks:
  - {name: rakuten, modem: {serial: MBIM0004, slot: 1, apn: internet, connect: self}}
  - {name: softbank, modem: {serial: MBIM0004, slot: 2, apn: internet, connect: self}}
dns: none
"""


@pytest.fixture(scope="module")
def rig(bare: Machine) -> Iterator[Rig]:
    require("pkcheck")
    with rigged(bare.network, start=False, box=lambda *_: Dock(bare)) as made:
        made.mbim(MODEM)
        made.start()
        yield made


@pytest.fixture
def modem(rig: Rig) -> MbimModem:
    found = rig.modems[MODEM]
    assert isinstance(found, MbimModem)
    return found


@pytest.fixture
def service(machine: Machine, rig: Rig) -> Iterator[Machine]:
    """The service is installed and configured, and not running; what it was told before is forgotten."""
    machine.systemctl("stop", "failover")
    machine.run("failover", "cleanup")
    shutil.rmtree(machine.root / "var/lib/failover", ignore_errors=True)  # there may be nothing
    rig.calm(rig.modems[MODEM])
    (machine.root / CONFIG).write_text(TWO_SIMS)
    yield machine
    machine.systemctl("stop", "failover")
    forget(machine)


@pytest.fixture
def template(service: Machine) -> Iterator[Path]:
    """Where the operator writes the unit; nothing is written yet."""
    path = service.root / "etc/systemd/system/failover-power@.service"
    yield path
    path.unlink(missing_ok=True)
    service.systemctl("daemon-reload")


def allowed(machine: Machine, user: str, actions: str = "$(pkaction)") -> set[str]:
    """What of these polkit lets that user do; of all that anybody might ask it about, if none are named."""
    uid, gid = (machine.run("id", option, user).stdout.strip() for option in ("--user", "--group"))
    become = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    ask = f"for action in {actions}; do pkcheck --process $$ --action-id $action && echo $action; done"
    return set(machine.run(*become, "sh", "-c", f"{ask} || true").stdout.split())


def test_the_rule_allows_what_is_needed_and_nothing_else(service: Machine) -> None:
    more = allowed(service, "failover") - allowed(service, "nobody")
    assert {action for action in more if not action.startswith("org.freedesktop.resolve1.")} == ACTIONS


def test_a_modem_is_connected_and_its_other_sim_chosen(service: Machine, rig: Rig, modem: MbimModem) -> None:
    service.systemctl("start", "failover")
    with service.following() as until:
        until(lambda: verdict(service.status(), "rakuten") == "up")
        assert rig.passes(modem)
        assert verdict(service.status(), "softbank") == "cold"
        service.run("failover", "use", "softbank")
        until(lambda: verdict(service.status(), "softbank") == "up")
    assert modem.slot == 2
    assert rig.passes(modem)


def test_its_unit_is_started_and_no_other(service: Machine, template: Path) -> None:
    assert beside(service, POWER)["deed"] == [f"there is no {STARTED}", "see systemd/README.md"]
    template.write_text(UNIT)
    template.with_name("other@.service").write_text(UNIT)
    found = beside(service, POWER)
    assert found.pop("deed") == ["", ""]
    assert set(found.values()) == {"InteractiveAuthorizationRequired"}
    assert (
        service.systemctl("show", "--value", "--property=Description", STARTED)
        == "Power cycle of the modem of my modem"
    )
    assert [path.name for path in (service.root / "run").glob("was-*")] == ["was-my\\x20modem"]


DETAILS = [
    ("failover-power@au.service", "start", True),
    (STARTED, "start", True),
    ("failover-power@au.service", "stop", False),
    ("failover-power@au.service", "restart", False),
    ("failover-power@au.service", "", False),
    ("failover-power@.service", "start", False),
    ("failover-power@au.socket", "start", False),
    ("xfailover-power@au.service", "start", False),
    ("failover-power@au.service.service/", "start", False),
    ("ssh.service", "start", False),
    ("", "start", False),
]


def test_a_unit_of_that_name_is_not_to_be_made_up(service: Machine, template: Path) -> None:
    """As systemd asks from version 257 on: of a transient unit it tells the name, too."""
    service.systemctl("start", "failover")

    def may(unit: str, verb: str) -> bool:
        details = [("unit", unit), ("verb", verb)]
        words = [word for key, value in details if value for word in ("--detail", key, value)]
        who = ("--process", service.shown("MainPID"), "--action-id", MANAGE_UNITS)
        return service.run("pkcheck", *who, *words, check=False).returncode == 0

    assert not any(may(unit, verb) for unit, verb, _ in DETAILS)
    template.write_text(UNIT)
    assert [(unit, verb, may(unit, verb)) for unit, verb, _ in DETAILS] == DETAILS


@pytest.fixture
def unruled(service: Machine, template: Path) -> Iterator[Machine]:
    """Without the rule, and with all else; polkit has noticed."""
    rule, away = service.root / RULE, service.root / "away"
    template.write_text(UNIT)
    with service.following() as until:
        rule.rename(away)
        until(lambda: not allowed(service, "failover", CONTROL))
        yield service
        away.rename(rule)
        until(lambda: allowed(service, "failover", CONTROL))


def test_what_is_not_allowed_is_not_done_and_said_with_the_mend(unruled: Machine, modem: MbimModem) -> None:
    refused, hint = beside(unruled, POWER)["deed"]
    assert (refused.startswith("not allowed: "), hint) == (True, mend(MANAGE_UNITS))
    with unruled.following() as until:
        own = f"_PID={unruled.shown('MainPID')}"
        until(lambda: any(mend(CONTROL) in line["MESSAGE"] for line in unruled.journal(own)))
    assert modem.bearer is None
