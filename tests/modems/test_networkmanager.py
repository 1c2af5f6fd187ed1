"""Modems that the real NetworkManager dials: what it is asked to do, and to leave off, while something is done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failover.lab.namespaces import Namespace
from failover.modem import Deed, ModemState
from tests.allowed import or_skip
from tests.modems.box import require
from tests.modems.listener import act, acting
from tests.modems.manager import MODEM
from tests.modems.mbim import MbimModem
from tests.modems.modem import Command, Manner
from tests.modems.rig import Rig, rigged


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A van of its own, with one modem."""
    require("NetworkManager")
    with or_skip(), Namespace("dialled") as van, rigged(van, start=False) as made:
        made.mbim()
        made.box.profile("lte", "cdc-wdm0")
        made.start()
        yield made


@pytest.fixture
def dialled(rig: Rig) -> Iterator[MbimModem]:
    """It is connected, by NetworkManager."""
    modem = rig.modems[1]
    assert isinstance(modem, MbimModem)
    rig.box.start_network_manager()
    try:
        until(rig, modem, ModemState.CONNECTED)
        yield modem
    finally:
        modem.answer_seconds = 0.0
        rig.box.kill_network_manager()
        rig.calm(modem)


def until(rig: Rig, modem: MbimModem, wanted: ModemState) -> None:
    rig.manager.becomes(rig.manager.listed(modem.imei), MODEM, "State", lambda state: state == wanted)


def test_it_reconnects_what_it_dials(rig: Rig, dialled: MbimModem) -> None:
    dials = len(dialled.counts.dials)
    dialled.drop_silently()
    assert act(rig, dialled, Deed.RECONNECT) == ""
    assert len(dialled.counts.dials) == dials + 1
    assert dialled.bearer is not None


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3])
def test_a_modem_registers_anew_though_it_would_dial_it_at_once(rig: Rig, dialled: MbimModem, seconds: float) -> None:
    """It asks for a bearer again while a modem that takes its time is still on its way to be disabled."""
    registrations, dialled.answer_seconds = dialled.counts.registrations, seconds
    assert act(rig, dialled, Deed.REGISTER) == ""
    assert dialled.counts.registrations > registrations
    until(rig, dialled, ModemState.CONNECTED)


def test_what_was_left_half_done_when_the_agent_was_killed_is_mended_by_the_next_step(
    rig: Rig, dialled: MbimModem
) -> None:
    """It was to leave the modem alone meanwhile, and does so for ever."""
    dialled.answer_seconds = 0.1
    with acting(rig, dialled, Deed.REGISTER) as child:
        until(rig, dialled, ModemState.DISABLING)
        child.kill()
    until(rig, dialled, ModemState.DISABLED)
    assert act(rig, dialled, Deed.RECONNECT) == ""
    assert dialled.bearer is not None


@pytest.mark.parametrize(
    ("deed", "state", "error"),
    [
        (Deed.RECONNECT, ModemState.CONNECTING, "NetworkManager went meanwhile"),
        (Deed.REGISTER, ModemState.DISABLING, ""),
    ],
)
def test_when_it_goes_meanwhile_it_is_not_waited_for(
    rig: Rig, dialled: MbimModem, deed: Deed, state: ModemState, error: str
) -> None:
    dialled.fail(Command.CONNECT, Manner.IGNORE)
    dialled.answer_seconds = 0.1
    with acting(rig, dialled, deed) as child:
        until(rig, dialled, state)
        rig.box.kill_network_manager()
        assert child.communicate()[0].strip().split("; ")[0] == error
