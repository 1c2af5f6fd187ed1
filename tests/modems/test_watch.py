"""What the real ModemManager tells, as the agent is told it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path

import pytest
from dbus_fast import Variant

from failover.bus import BusError
from failover.model import FAMILIES
from failover.modem import IpMethod, IpSettings, ModemState, Signal, Sim
from failover.modem import Registration as Registered
from failover.modems.once import read_once
from failover.modems.reading import BEARERS, LOOKED_AT
from failover.modems.room import Modems
from failover.seam import ModemsTold
from tests.modems.at import AtModem
from tests.modems.box import require
from tests.modems.carriers import AU, DOCOMO
from tests.modems.listener import Listener, listening
from tests.modems.manager import MODEM
from tests.modems.mbim import MbimModem
from tests.modems.modem import Registration, Strength, Technology
from tests.modems.rig import Rig

AT_ONCE = 0.1
"""Seconds in which a certain fact is told, on a machine that is busy; it takes 10 ms, ModemManager's part included."""
SOON = 1.0
TIMES = 5
"""The machine may be busy: what is promised must be kept once in so many."""


def test_a_modem_is_told_with_all_that_identifies_it(rig: Rig, mbim: MbimModem, at: AtModem) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            first, second = await listener.modem(mbim.imei), await listener.modem(at.imei)
            assert (first.device, first.serial) == (mbim.device.path, mbim.device.serial)
            assert (second.device, second.serial) == (at.device.path, at.device.serial)
            sim = mbim.sim
            assert sim is not None
            assert first.sim == first.slots[first.slot - 1]
            assert first.sim is not None
            assert first.sim.iccid == sim.iccid
            assert first.slots[1] is not None
            assert first.slots[1].esim
            assert first.interfaces == (mbim.interface,)
            assert second.slots == ()

    asyncio.run(play())


def test_registration_signal_and_bearer_are_told(rig: Rig, mbim: MbimModem) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            mbim.measure(Strength(-101.0, -12.0, 7.0))
            await asyncio.to_thread(rig.manager.connect, (await listener.modem(mbim.imei)).handle)
            modem = await listener.modem(mbim.imei, lambda modem: modem.bearer)
            assert modem.bearer is not None
            assert modem.bearer.interface == mbim.interface
            assert mbim.sim is not None
            line = mbim.sim.line
            for family, settings in zip(FAMILIES, modem.bearer.settings, strict=False):
                addresses = (line.address[family], line.prefix[family], line.gateway[family])
                assert settings == IpSettings(family, IpMethod.STATIC, *addresses, line.resolvers[family], line.mtu)
            assert modem.bearer.settings
            assert modem.state is ModemState.CONNECTED
            assert (modem.registration, modem.operator_code) == (Registered.HOME, AU.plmn)
            assert modem.attached
            assert modem.technologies == ("lte",)
            await listener.modem(mbim.imei, lambda modem: modem.signal == Signal(-101.0, -12.0, 7.0, "lte"))
            mbim.register(Registration.ROAMING, Technology.UMTS)
            modem = await listener.modem(mbim.imei, lambda modem: modem.registration is Registered.ROAMING)
            await listener.modem(mbim.imei, lambda modem: modem.technologies == ("umts",))

    asyncio.run(play())


def test_a_dropped_bearer_and_a_modem_that_goes_are_told_at_once(rig: Rig, mbim: MbimModem) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            dropped, gone = list[float](), list[float]()
            while (min(dropped, default=1.0) > AT_ONCE or min(gone) > SOON) and len(dropped) < TIMES:
                path = (await listener.modem(mbim.imei)).handle
                await asyncio.to_thread(rig.manager.connect, path)
                await listener.modem(mbim.imei, lambda modem: modem.bearer)
                began = time.monotonic()
                await asyncio.to_thread(mbim.drop)
                await listener.modem(mbim.imei, lambda modem: modem.bearer is None)
                dropped.append(listener.at - began)
                began = time.monotonic()
                unplugging = asyncio.create_task(asyncio.to_thread(mbim.unplug))
                await listener.until(lambda: listener.now and all(one.imei != mbim.imei for one in listener.now.modems))
                gone.append(listener.at - began)
                await unplugging
                await asyncio.to_thread(mbim.replug)
                modem = await listener.modem(mbim.imei, but=path)
                assert modem.serial == mbim.device.serial
            assert min(dropped) <= AT_ONCE, dropped
            assert min(gone) <= SOON, gone

    asyncio.run(play())


def test_a_bearer_stays_connected_however_many_others_are_made(rig: Rig, mbim: MbimModem) -> None:
    """Those that were made last are listed first."""

    async def play() -> None:
        async with listening(rig) as listener:
            path = (await listener.modem(mbim.imei)).handle
            dialled = await asyncio.to_thread(rig.manager.connect, path)
            await listener.modem(mbim.imei, lambda modem: modem.bearer)
            before = len(listener.told)
            for number in range(LOOKED_AT + 8):
                wanted = {"apn": Variant("s", f"other{number}")}
                await asyncio.to_thread(rig.manager.call, path, MODEM, "CreateBearer", "a{sv}", wanted)
            await listener.modem(mbim.imei, lambda modem: len(modem.bearers) == BEARERS)
            newest = (await asyncio.to_thread(rig.manager.get, path, MODEM, "Bearers"))[0]
            await listener.modem(mbim.imei, lambda modem: modem.bearers[1].handle == newest)
            told = [one.bearer for every in listener.told[before:] for one in every.modems if one.imei == mbim.imei]
            assert [one for one in told if not one or one.handle != dialled or not one.settings] == []
            (found,) = [one for one in (await read_once(rig.address)).modems if one.imei == mbim.imei]
            assert found.bearer == told[-1]
            await asyncio.to_thread(mbim.drop)
            await listener.modem(mbim.imei, lambda modem: modem.bearer is None)
            for bearer in await asyncio.to_thread(rig.manager.get, path, MODEM, "Bearers"):
                await asyncio.to_thread(rig.manager.call, path, MODEM, "DeleteBearer", "o", bearer)
            await listener.modem(mbim.imei, lambda modem: not modem.bearers)

    asyncio.run(play())


def test_the_other_slot_is_the_same_modem_with_another_sim(rig: Rig, mbim: MbimModem) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            modem = await listener.modem(mbim.imei)
            for slot, carrier in ((2, DOCOMO), (1, AU)):
                await asyncio.to_thread(rig.manager.call, modem.handle, MODEM, "SetPrimarySimSlot", "u", slot)
                modem = await listener.modem(mbim.imei, but=modem.handle)
                assert modem.slot == slot
                assert modem.sim is not None
                assert modem.sim.operator_code == carrier.plmn
                assert modem.slots[2 - slot] in (None, Sim(), Sim(esim=True))

    asyncio.run(play())


def test_modem_manager_goes_and_comes(rig: Rig, mbim: MbimModem, at: AtModem) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            await listener.modem(at.imei)
            await listener.modem(mbim.imei)
            listener.told.clear()
            rig.box.kill_modem_manager()
            await listener.until(lambda: listener.now == ModemsTold(managed=False))
            assert not any(told.managed and not told.modems for told in listener.told)  # no modem is gone for that
            rig.start()  # no other thread: what a thread has started ends with it
            await listener.until(lambda: listener.now == ModemsTold())
            await listener.modem(at.imei)
            await listener.modem(mbim.imei)
            assert listener.said == []

    asyncio.run(play())


def test_network_manager_is_seen_where_it_dials(rig: Rig, mbim: MbimModem, at: AtModem) -> None:
    require("NetworkManager")
    rig.box.profile("lte", "cdc-wdm0")

    async def play() -> None:
        async with listening(rig) as listener:
            assert (await listener.modem(mbim.imei)).foreign == ""
            rig.box.start_network_manager()
            await listener.modem(mbim.imei, lambda modem: modem.foreign == "NetworkManager" and modem.bearer)
            async with listening(rig) as late:
                assert (await late.modem(mbim.imei)).foreign == "NetworkManager"
            rig.box.kill_network_manager()
            await listener.modem(mbim.imei, lambda modem: modem.foreign == "")

    try:
        asyncio.run(play())
    finally:
        rig.box.kill_network_manager()


# --- begun, ended, asked once ----------------------------------------------------------------------------------------


def test_it_can_be_ended_and_begun_again(rig: Rig, mbim: MbimModem) -> None:
    async def play() -> None:
        before = threading.active_count()
        async with listening(rig) as listener:
            await listener.modem(mbim.imei)
            for _ in range(2):
                await listener.room.close()
                await listener.room.close()
                assert "modems" not in [thread.name for thread in threading.enumerate()]
                listener.told.clear()
                listener.room.begin()
                await listener.modem(mbim.imei)
        assert threading.active_count() <= before + 1  # the one of asyncio.to_thread

    asyncio.run(play())


def test_one_look_needs_no_watch_and_asks_nothing_of_a_modem(rig: Rig, mbim: MbimModem) -> None:
    path = rig.manager.listed(mbim.imei)
    told = asyncio.run(read_once(rig.address, sys=rig.box.sys.root))
    (modem,) = (one for one in told.modems if one.imei == mbim.imei)
    assert (modem.handle, modem.serial) == (path, mbim.device.serial)
    assert modem.sim is not None


def test_one_look_without_a_manager(rig: Rig) -> None:
    rig.box.kill_modem_manager()
    assert asyncio.run(read_once(rig.address)) == ModemsTold(managed=False)
    rig.start()


def test_without_a_bus_the_mend_is_said_once(tmp_path: Path) -> None:
    address = f"unix:path={tmp_path}/nothing"

    async def play() -> None:
        listener = Listener(address, tmp_path)
        listener.room.begin()
        await listener.until(lambda: listener.now == ModemsTold(managed=False))
        await listener.until(lambda: listener.said)
        assert listener.room.warnings == tuple(listener.said)
        await listener.room.close()
        assert listener.said == [
            f"modems are not seen: the system bus cannot be reached at {tmp_path}/nothing: No such file or directory; "
            "does dbus run? where it is missing, install it: `apt install dbus modemmanager`"
        ]
        with pytest.raises(BusError, match=f"cannot be reached at {tmp_path}/nothing"):
            await read_once(address)

    asyncio.run(play())


def test_nothing_is_done_before_it_is_begun(tmp_path: Path) -> None:
    async def play() -> None:
        room = Modems(lambda _: None, lambda _: None, lambda *_: None)
        room.forget("/SMS/1")
        await room.close()

    run: Coroutine[None, None, None] = play()
    asyncio.run(run)
