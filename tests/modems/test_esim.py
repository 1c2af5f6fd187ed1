"""Profiles of an eSIM by a fake lpac, beside the real ModemManager, which has the modem back whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from failover.modem import Modem, Sim
from failover.modems.esim import Card, EsimError, card_of, enable, inhibited, profiles, slot_of
from failover.modems.line import Line
from failover.modems.once import read_once
from tests.agent.running import FAILOVER, running
from tests.cli.test_events import STRANGER
from tests.enclosure import PATIENCE
from tests.modems.at import AtModem
from tests.modems.carriers import RAKUTEN, sim_of
from tests.modems.lpac import Lpac
from tests.modems.mbim import MbimModem
from tests.modems.rig import Rig

ONE, OTHER = "8981200000000000018", "8981200000000000026"
CARD = Card(2, "/sys/devices/usb1/1-1", "mbim", "/dev/cdc-wdm0")


@pytest.fixture
def lpac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lpac:
    """In PATH; it has two profiles."""
    found = Lpac(tmp_path)
    found.hold(ONE, OTHER)
    monkeypatch.setenv("PATH", found.environment["PATH"])
    return found


def begin(rig: Rig, lpac: Lpac, *words: str) -> subprocess.Popen[str]:
    """A failover command inside that finds that lpac."""
    pipe = subprocess.PIPE
    child: subprocess.Popen[str] = rig.inside.popen(
        [*FAILOVER, "esim", *words], stdout=pipe, stderr=pipe, text=True, env=lpac.environment
    )
    return child


def run(rig: Rig, lpac: Lpac, *words: str) -> tuple[int, str, str]:
    child = begin(rig, lpac, *words)
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


# --- with the real ModemManager --------------------------------------------------------------------------------------


def test_profiles_are_listed_while_the_manager_lets_go(rig: Rig, mbim: MbimModem, lpac: Lpac) -> None:
    path = rig.manager.listed(mbim.imei)
    status, out, err = run(rig, lpac, "list", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "modem": mbim.imei,
        "slot": 2,
        "profiles": [
            {"iccid": ONE, "enabled": True, "provider": "Carrier 0", "name": "profile 0?", "nickname": ""},
            {"iccid": OTHER, "enabled": False, "provider": "Carrier 1", "name": "profile 1?", "nickname": ""},
        ],
    }
    assert rig.manager.listed(mbim.imei, but=path)
    ((words, environment),) = lpac.asked
    assert words == ["profile", "list"]
    names = {name: value for name, value in environment.items() if name not in ("PATH", "LC_ALL", "LC_CTYPE", "PWD")}
    assert names == {
        "LPAC_APDU": "mbim",
        "LPAC_APDU_MBIM_DEVICE": "/dev/cdc-wdm0",
        "LPAC_APDU_MBIM_UIM_SLOT": "2",
        "LPAC_APDU_MBIM_USE_PROXY": "1",
        "MBIM_DEVICE": "/dev/cdc-wdm0",
        "MBIM_USE_PROXY": "1",
        "UIM_SLOT": "2",
    }


def test_another_profile_is_used_and_the_modem_comes_back_with_it(
    rig: Rig, mbim: MbimModem, lpac: Lpac, tmp_path: Path
) -> None:
    """The slot is the uplink's: not every manager tells which SIM is an eSIM. The config expects the old one."""
    path, old = rig.manager.listed(mbim.imei), mbim.sims[0]
    assert old is not None
    new = sim_of(RAKUTEN, 7)
    lpac.hold(old.iccid, new.iccid)
    lpac.pause()
    config = tmp_path / "failover.yaml"
    config.write_text(f'uplinks: [{{name: au, modem: {{imei: "{mbim.imei}", slot: 1, iccid: "{old.iccid}"}}}}]\n')
    child = begin(rig, lpac, "use", f"{new.iccid}F", "--modem", "au", "--config", str(config))
    assert lpac.switched() == new.iccid
    rig.manager.gone(path)
    mbim.exchange(1, new)
    lpac.go_on()
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert out.splitlines()[0] == f"eSIM in modem {mbim.imei}, slot 1"
    assert next(line for line in out.splitlines() if line.startswith("*")).split()[1] == new.iccid
    expected = f"the config expects {old.iccid} there, and uses no other"
    assert err == f"failover: {expected} (change it, and `failover reload`)\n"
    after = rig.manager.listed(mbim.imei)
    assert after != path
    assert [environment["UIM_SLOT"] for _, environment in lpac.asked] == ["1", "1"]
    rig.manager.inhibit(mbim.device, True)
    mbim.exchange(1, old)
    rig.manager.inhibit(mbim.device, False)
    rig.manager.listed(mbim.imei, but=after)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whoever_is_ended_the_manager_has_the_modem_back(
    rig: Rig, mbim: MbimModem, lpac: Lpac, number: signal.Signals
) -> None:
    path = rig.manager.listed(mbim.imei)
    lpac.behave("hang")
    child = begin(rig, lpac, "list")
    rig.manager.gone(path)
    hanging = lpac.folder / "hanging"
    wait(hanging.exists)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert (out, "Traceback" in err) == ("", False)
    assert rig.manager.listed(mbim.imei, but=path)
    left = [one for one in psutil.process_iter(["cmdline"]) if str(lpac.folder / "lpac") in (one.info["cmdline"] or ())]
    if number is signal.SIGKILL:
        for one in left:
            one.kill()
    else:
        assert left == []


def wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_cannot_be_done_is_said_with_the_mend(rig: Rig, mbim: MbimModem, at: AtModem, lpac: Lpac) -> None:
    for modem in (mbim, at):
        rig.manager.listed(modem.imei)
    mistakes: tuple[tuple[tuple[str, ...], str], ...] = (
        (("use",), "failover: argument ICCID: it is no ICCID (`failover esim list` has them)"),
        (("use", "12"), "failover: argument ICCID: it is no ICCID (write its 18 to 20 digits, as"),
        (("list", ONE), "failover: argument ICCID: not for list (`failover esim use ICCID` switches to it)"),
    )
    for words, said in mistakes:
        status, _, err = run(rig, lpac, *words)
        assert status == 2
        assert err.startswith(said)
    for words, said in (
        (
            ("list", "--modem", at.imei),
            "failover: ModemManager tells of no eSIM in the modem's slots (`failover modems`",
        ),
        (("list", "--modem", "9999"), "failover: modem 9999 is not there (`failover modems` lists what is there)"),
        (
            ("list", "--modem", "au"),
            "failover: no uplink is named au in the config /etc/failover/failover.yaml (uplinks with a modem",
        ),
    ):
        status, out, err = run(rig, lpac, *words)
        assert (status, out) == (1, "")
        assert err.startswith(said)
    assert lpac.asked == []


def test_without_lpac_the_modem_is_left_alone(rig: Rig, mbim: MbimModem, lpac: Lpac) -> None:
    path = rig.manager.listed(mbim.imei)
    (lpac.folder / "lpac").unlink()
    status, out, err = run(rig, lpac, "list")
    assert (status, out) == (1, "")
    assert err.startswith("failover: lpac is not installed (put it in PATH: ")
    assert rig.manager.listed(mbim.imei) == path


def test_an_uplink_is_one_of_the_agents_config(rig: Rig, mbim: MbimModem, lpac: Lpac, tmp_path: Path) -> None:
    rig.manager.listed(mbim.imei)
    uplinks = f'uplinks: [{{name: au, modem: {{imei: "{mbim.imei}"}}}}]\n'
    (config := tmp_path / "van.yaml").write_text(f"{uplinks}dns: none\n")
    with running(rig.inside, tmp_path, "--config", str(config)) as agent:
        where = ("--socket", str(agent.ready().socket))
        status, out, err = run(rig, lpac, "list", "--modem", "au", *where)
        assert (status, out.splitlines()[:1]) == (0, [f"eSIM in modem {mbim.imei}, slot 1"]), err
        status, _, err = run(rig, lpac, "list", "--modem", "kddi", *where)
    assert status == 1
    assert err.startswith(f"failover: no uplink is named kddi in the config {config} (uplinks with a modem there: au;")


def test_a_serial_port_is_a_way_as_well(rig: Rig, at: AtModem) -> None:
    rig.manager.listed(at.imei)

    async def play() -> Card:
        told = await read_once(rig.address, sys=rig.box.sys.root)
        (modem,) = (one for one in told.modems if one.imei == at.imei)
        line = await Line.open(rig.address)
        try:
            return await card_of(line, modem, 1)
        finally:
            await line.close()

    card = asyncio.run(play())
    assert (card.way, card.device, card.slot) == ("at", at.device.path, 1)
    assert card.port.startswith("/dev/ttyUSB")
    assert card.environment["LPAC_APDU_AT_DEVICE"] == card.environment["AT_DEVICE"] == card.port


def test_a_manager_that_does_not_let_go_is_no_bug(rig: Rig, mbim: MbimModem) -> None:
    path = rig.manager.listed(mbim.imei)

    async def play() -> None:
        line = await Line.open(rig.address)
        try:
            with pytest.raises(EsimError, match="ModemManager does not let go of the modem: "):
                async with inhibited(line, "/sys/devices/nothing"):
                    raise AssertionError
        finally:
            await line.close()

    asyncio.run(play())
    assert rig.manager.listed(mbim.imei) == path


# --- lpac alone ------------------------------------------------------------------------------------------------------


def refused(work: Callable[[], Awaitable[object]]) -> EsimError:
    async def play() -> Any:
        return await work()

    with pytest.raises(EsimError) as caught:
        asyncio.run(play())
    return caught.value


def test_a_profile_that_is_not_there_or_in_use_is_not_asked_for(lpac: Lpac) -> None:
    error = refused(lambda: enable(CARD, "8981200000000000099"))
    assert str(error) == "the eSIM has no profile 8981200000000000099"
    assert error.hint == f"it has {ONE}, {OTHER}"
    assert str(refused(lambda: enable(CARD, ONE))) == f"profile {ONE} is in use already"
    assert [words for words, _ in lpac.asked] == [["profile", "list"]] * 2


@pytest.mark.parametrize(
    ("manner", "said", "mend"),
    [
        ("hang", "lpac was not done after 0.5 s", "does the modem answer? `mmcli -L`"),
        ("flood", "lpac says more than 1048576 bytes", "is it lpac?"),
        ("garbage", "lpac gave no answer: it ?[31mbroke", "`lpac profile list` should"),
        ("refuse", "lpac: euicc_init", "there may be no eSIM in that slot"),
    ],
)
def test_a_lpac_that_fails_is_told_of_and_gone(lpac: Lpac, manner: str, said: str, mend: str) -> None:
    lpac.behave(manner)
    error = refused(lambda: profiles(CARD, seconds=0.5 if manner == "hang" else 20.0))
    assert (str(error), error.hint) == (said, mend)
    program = str(lpac.folder / "lpac")
    wait(lambda: not [one for one in psutil.process_iter(["cmdline"]) if program in (one.info["cmdline"] or ())])


def test_without_lpac_the_mend_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refused(lambda: profiles(CARD))
    assert (str(error), error.hint) == (
        "lpac is not installed",
        "put it in PATH: https://github.com/estkme-group/lpac",
    )


@pytest.mark.parametrize(
    ("slots", "wanted", "slot"),
    [
        ((Sim(), Sim(esim=True)), None, 2),
        ((Sim(esim=True), Sim(esim=True)), None, 1),
        ((Sim(esim=True), None), 1, 1),
        ((Sim(), Sim()), 2, 2),
        ((), 1, 1),
    ],
)
def test_the_slot_of_the_esim(slots: tuple[Sim | None, ...], wanted: int | None, slot: int) -> None:
    assert slot_of(Modem("/Modem/0", slots=slots), wanted) == slot


def test_a_slot_that_is_not_there() -> None:
    with pytest.raises(EsimError, match="no slot 3"):
        slot_of(Modem("/Modem/0", slots=(Sim(), Sim())), 3)
    with pytest.raises(EsimError, match="ModemManager tells of no eSIM"):
        slot_of(Modem("/Modem/0", slots=(Sim(), None)), None)
    with pytest.raises(EsimError, match="ModemManager tells of no eSIM"):
        slot_of(Modem("/Modem/0"), None)


def test_the_one_in_use_is_the_first_choice() -> None:
    both = (Sim(esim=True), Sim(esim=True))
    assert slot_of(Modem("/Modem/0", slots=both, slot=2, sim=Sim(esim=True)), None) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_it_is_for_root_alone() -> None:
    code = STRANGER.replace("failover.cli.events", "failover.cli.esim, failover.config")
    done = subprocess.run([sys.executable, "-c", code, "esim", "list"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "failover: an eSIM is for root alone (run as root)\n")
