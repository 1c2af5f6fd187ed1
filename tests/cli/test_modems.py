"""What `failover modems` prints: a config, with the rest in comments. Of real modems: tests/modems/test_listing.py."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from failover.cli.modems import UNDIALLED, document, lines, named
from failover.cli.screen import Screen
from failover.config.reading import load_with_warnings
from failover.modem import Modem, ModemState, Registration, Sim
from tests.cli.test_events import STRANGER

AU = Sim("8981200000000000018", "44051", "au")
DOCOMO = Sim("8981100000000000026", "44010", "NTT DOCOMO", esim=True)
MODEM = Modem(
    "/Modem/0",
    imei="356938035640011",
    device="/sys/devices/pci0000:00/usb1/1-1",
    serial="MBIM0001",
    maker="Acme",
    model="LTE modem",
    state=ModemState.CONNECTED,
    interfaces=("wwan0",),
    slots=(Sim("8981200000000000018"), None),
    sim=AU,
    registration=Registration.HOME,
    operator_code="44051",
    operator_name="KDDI",
    technologies=("lte",),
)


def shown(*modems: Modem, whole: bool = True) -> list[str]:
    return list(lines(named([document(modem, whole=whole) for modem in modems]), Screen(None)))


def test_a_modem_with_one_sim_and_an_empty_slot() -> None:
    assert shown(MODEM) == [
        "uplinks:",
        "  # Acme LTE modem, pci0000:00/usb1/1-1, wwan0, connected, KDDI (lte)",
        '  - name: "au"',
        "    metered: true",
        '    modem: {imei: "356938035640011", slot: 1, iccid: "8981200000000000018"}',
        "  # slot 2 is empty",
    ]


def test_a_second_sim_and_an_esim_that_is_not_told_of() -> None:
    second = replace(MODEM, slots=(AU, DOCOMO, Sim()), foreign="NetworkManager", state=ModemState.REGISTERED)
    assert shown(second)[1:] == [
        "  # Acme LTE modem, pci0000:00/usb1/1-1, wwan0, registered, KDDI (lte), dialled by NetworkManager",
        '  - name: "au"',
        "    metered: true",
        '    modem: {imei: "356938035640011", slot: 1, iccid: "8981200000000000018"}',
        "  # slot 2: not in use now, an eSIM",
        '  - name: "docomo"',
        "    metered: true",
        '    modem: {imei: "356938035640011", slot: 2, iccid: "8981100000000000026"}',
        "  # slot 3: not in use now, its ICCID is told when it is in use",
        '  - name: "modem1-slot3"',
        "    metered: true",
        '    modem: {imei: "356938035640011", slot: 3}',
    ]


def test_names_are_all_different_and_names_of_uplinks() -> None:
    odd = Sim("8981200000000000026", "99999", "Ünï\u202e tele/com & sons of a very long name")
    modems = [MODEM, replace(MODEM, imei="2"), replace(MODEM, sim=odd), replace(MODEM, sim=replace(odd, iccid="1"))]
    names = [line.split('"')[1] for line in shown(*modems) if "- name:" in line]
    assert names == ["au", "au-2", "n-tele-com-sons-of-a-ver", "n-tele-com-sons-of-a-ver-2"]


def test_names_that_yaml_takes_for_something_else_are_names_all_the_same(tmp_path: Path) -> None:
    sims = Sim("8981200000000000018", "99999", "3"), Sim("8981200000000000026", "99999", "Yes")
    (path := tmp_path / "failover.yaml").write_text("\n".join(shown(replace(MODEM, slots=sims, sim=sims[0]))))
    assert [uplink.name for uplink in load_with_warnings(str(path))[0].uplinks] == ["3", "yes"]


def test_a_network_abroad_is_not_the_sims_name() -> None:
    abroad = replace(MODEM, sim=Sim("8981200000000000018"), registration=Registration.ROAMING, operator_code="26201")
    assert '  - name: "modem1-slot1"' in shown(abroad)


def test_numbers_are_for_the_admin() -> None:
    text = "\n".join(shown(MODEM, whole=False))
    assert 'modem: {imei: "…0011", slot: 1, iccid: "…0018"}' in text
    assert MODEM.imei not in text


def test_what_is_wrong_is_said_with_its_mend() -> None:
    locked = replace(MODEM, state=ModemState.LOCKED, lock="sim-pin", sim=Sim(), slots=())
    assert "  # its SIM asks for the PIN (write it in the config, as `pin: '0123'` in `modem`)" in shown(locked)
    empty = replace(MODEM, state=ModemState.FAILED, failure="sim-missing", sim=None, slots=(), imei="", serial="S")
    assert shown(empty)[2:] == [
        "  # there is no SIM in the slot in use (put one in, or name the other slot)",
        f"  # {UNDIALLED}",
        "  # slot 1 is empty",
    ]
    denied = replace(MODEM, registration=Registration.DENIED)
    assert "  # the network refuses its SIM (ask the carrier whether the line is suspended)" in shown(denied)


def test_whoever_pays_abroad_is_told() -> None:
    assert "KDDI (lte, roaming)" in shown(replace(MODEM, registration=Registration.ROAMING))[1]


def test_a_modem_that_nobody_dials_wants_an_apn() -> None:
    idle = replace(MODEM, state=ModemState.REGISTERED)
    assert f"  # {UNDIALLED}" in shown(idle)
    assert "apn: ..." in UNDIALLED
    for other in (MODEM, replace(idle, foreign="NetworkManager")):
        assert f"  # {UNDIALLED}" not in shown(other)


def test_sims_in_use_come_before_those_that_rest() -> None:
    """The first is preferred, and one that rests costs an outage."""
    two = [replace(MODEM, slots=(AU, Sim())), replace(MODEM, slots=(Sim(), DOCOMO), slot=2, sim=DOCOMO)]
    names = [line.split('"')[1] for line in shown(*two) if "- name:" in line]
    assert names == ["au", "docomo", "modem1-slot2", "modem2-slot1"]


def test_a_modem_without_an_imei_is_known_by_its_place() -> None:
    assert '    modem: {device: "/sys/devices/pci0000:00/usb1/1-1", slot: 1, iccid: "8981200000000000018"}' in shown(
        replace(MODEM, imei="")
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_stranger_may_not_see_whole_numbers() -> None:
    code = "from failover.cli.modems import may_see_whole\nprint(may_see_whole(), end='')\n"
    become = STRANGER.replace("import failover.cli.events", "import failover.cli.modems").partition("sys.exit")[0]
    for before, expected in (("", "True"), (become, "False")):
        done = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=True)
        assert done.stdout == expected
