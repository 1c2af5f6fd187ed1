"""What is done to modems by the real ModemManager and NetworkManager, and what comes of it when it cannot be done."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial

import pytest
from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from failover.model import FAMILIES, Family
from failover.modem import Deed, Dial, ModemState
from failover.modem import Modem as Told
from failover.modems.deeds import BUSY, STOPPED, SWITCHING_OFF
from failover.modems.power import escaped
from failover.seam import ActOnModem, ModemActed
from tests.enclosure import CHECKOUT
from tests.modems.at import AtModem
from tests.modems.carriers import RAKUTEN, SOFTBANK, sim_of
from tests.modems.fake import NEVER, Fake, Refusal, Reply
from tests.modems.listener import act, listening
from tests.modems.manager import DAEMON, MODEM, MODEM_MANAGER, ROOT, THREE_GPP
from tests.modems.mbim import MbimModem
from tests.modems.modem import Command, Manner
from tests.modems.modem import Dial as Dialled
from tests.modems.rig import Rig, imei

PATH, BEARER_PATH = f"{ROOT}/Modem/0", f"{ROOT}/Bearer/0"
DIAL = Dial("au.example", "me", "secret", FAMILIES)
SYSTEMD = "org.freedesktop.systemd1"


def done(answer: ModemActed) -> bool:
    return (answer.error, answer.hint, answer.unknown) == ("", "", False)


# --- real modems -----------------------------------------------------------------------------------------------------


def test_a_modem_is_enabled_connected_and_reconnected(rig: Rig, mbim: MbimModem) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            modem = await listener.modem(mbim.imei)
            assert done(await listener.act(modem, Deed.ENABLE))
            assert done(await listener.act(modem, Deed.CONNECT, dial=DIAL))
            modem = await listener.modem(mbim.imei, lambda modem: modem.bearer)
            assert mbim.counts.dials[-1] == Dialled("au.example", "me", "secret")
            dials = len(mbim.counts.dials)
            mbim.drop_silently()
            assert done(await listener.act(modem, Deed.RECONNECT, dial=DIAL))
            assert len(mbim.counts.dials) == dials + 1
            assert mbim.bearer is not None

    asyncio.run(play())


@pytest.mark.parametrize("number", [1, 2])
def test_a_modem_registers_anew_though_it_believes_to_be_registered(
    rig: Rig, mbim: MbimModem, at: AtModem, number: int
) -> None:
    real = rig.modems[number]

    async def play() -> None:
        async with listening(rig) as listener:
            modem = await listener.modem(real.imei)
            assert done(await listener.act(modem, Deed.ENABLE))
            await listener.modem(real.imei, lambda modem: modem.registration.serves)
            count = len(listener.told)
            assert done(await listener.act(modem, Deed.REGISTER))
            await listener.modem(real.imei, lambda modem: modem.registration.serves)
            states = {one.state for told in listener.told[count:] for one in told.modems if one.imei == real.imei}
            assert states & {ModemState.DISABLING, ModemState.DISABLED, ModemState.ENABLING}

    asyncio.run(play())


def test_what_vanishes_comes_back_with_another_handle(rig: Rig, mbim: MbimModem, at: AtModem) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            modem = await listener.modem(at.imei)
            resets = at.counts.resets
            assert done(await listener.act(modem, Deed.RESET))
            assert (await listener.modem(at.imei, but=modem.handle)).serial == at.device.serial
            assert at.counts.resets == resets + 1
            modem = await listener.modem(mbim.imei)
            for slot in (2, 1):
                assert done(await listener.act(modem, Deed.SELECT_SLOT, slot=slot))
                modem = await listener.modem(mbim.imei, but=modem.handle)
                assert modem.slot == slot

    asyncio.run(play())


def test_a_pin_opens_the_sim_and_a_wrong_one_is_told_with_what_it_costs(rig: Rig) -> None:
    sim = sim_of(SOFTBANK, 5, pin="1234")
    real = rig.mbim(3, [sim, sim_of(RAKUTEN, 6)])

    async def play() -> None:
        async with listening(rig) as listener:
            modem = await listener.modem(imei(3), lambda modem: modem.lock == "sim-pin" and modem.pin_tries == 3)
            wrong = await listener.act(modem, Deed.UNLOCK, pin="9876")
            assert wrong.error
            assert "each wrong try" in wrong.hint
            await listener.modem(imei(3), lambda modem: modem.pin_tries == 2)
            assert done(await listener.act(modem, Deed.UNLOCK, pin="1234"))
            await listener.modem(imei(3), lambda modem: modem.lock == "")
            assert real.counts.pins == ["9876", "1234"]
            assert "9876" not in repr((listener.acted, listener.said))

    asyncio.run(play())
    rig.remove(real)


def test_what_a_modem_cannot_do_and_what_it_refuses(rig: Rig, mbim: MbimModem, at: AtModem) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            one_slot = await listener.modem(at.imei)
            answer = await listener.act(one_slot, Deed.SELECT_SLOT, slot=2)
            assert answer.unknown
            assert answer.error
            modem = await listener.modem(mbim.imei)
            assert done(await listener.act(modem, Deed.ENABLE))
            mbim.fail(Command.CONNECT, cause=33)
            answer = await listener.act(modem, Deed.CONNECT, dial=DIAL)
            assert "service option not subscribed" in answer.error.lower()
            assert not answer.unknown

    asyncio.run(play())


def test_one_deed_at_a_time_and_each_is_answered_when_the_room_is_closed(
    rig: Rig, mbim: MbimModem, at: AtModem
) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            modem, other = await listener.modem(mbim.imei), await listener.modem(at.imei)
            assert done(await listener.act(modem, Deed.ENABLE))
            mbim.fail(Command.CONNECT, Manner.IGNORE)
            hanging = ActOnModem("au", modem.handle, Deed.CONNECT, DIAL)
            listener.room.carry_out(hanging)
            await listener.modem(mbim.imei, lambda modem: modem.state is ModemState.CONNECTING)
            assert (await listener.act(modem, Deed.RESET)).error == BUSY
            assert done(await listener.act(other, Deed.ENABLE))
            await listener.room.close()
            assert listener.acted[-1] == ModemActed(hanging, STOPPED)
            assert (await listener.act(modem, Deed.RESET)).unknown

    asyncio.run(play())


def test_what_a_user_may_not_do_is_told_with_the_mend(rig: Rig, mbim: MbimModem) -> None:
    rig.manager.listed(mbim.imei)
    control = f"{MODEM_MANAGER}.Device.Control"
    assert f"polkit must allow {control}" in act(rig, mbim, Deed.ENABLE, "failover")
    denied = act(rig, mbim, Deed.SELECT_SLOT, "failover")
    assert denied.startswith("the system bus does not let us")
    assert denied.endswith("install systemd/failover-dbus.conf as systemd/README.md says")
    installed = rig.box.root / "etc/dbus-1/system.d/failover.conf"
    shutil.copy(CHECKOUT / "systemd/failover-dbus.conf", installed)
    service, path, interface = DAEMON
    rig.manager.call(path, interface, "ReloadConfig", to=service)
    assert f"polkit must allow {control}" in act(rig, mbim, Deed.SELECT_SLOT, "failover")
    installed.unlink()
    rig.manager.call(path, interface, "ReloadConfig", to=service)


# --- somebody else in ModemManager's place ---------------------------------------------------------------------------


def acted(rig: Rig, deed: Deed, **fields: object) -> ModemActed:
    async def play() -> ModemActed:
        async with listening(rig) as listener:
            return await listener.act(await listener.modem("356938035640011"), deed, **fields)

    return asyncio.run(play())


DIALS: list[tuple[Dial, dict[str, object]]] = [
    (Dial(), {"ip-type": 4, "allow-roaming": True}),
    (Dial("a", families=(Family.IPV6,), roaming=False), {"apn": "a", "ip-type": 2, "allow-roaming": False}),
    (DIAL, {"apn": "au.example", "user": "me", "password": "secret", "ip-type": 4, "allow-roaming": True}),
]


@pytest.mark.parametrize(("dial", "settings"), DIALS)
def test_a_bearer_is_asked_for_as_the_config_says(
    rig: Rig, fake: Fake, dial: Dial, settings: dict[str, object]
) -> None:
    fake.answer("Connect", Reply("o", (BEARER_PATH,)))
    assert done(acted(rig, Deed.CONNECT, dial=dial))
    (call,) = (call for call in fake.calls() if call.member == "Connect")
    assert call.body == [settings]


@pytest.mark.parametrize("deed", [Deed.CONNECT, Deed.REGISTER])
@pytest.mark.parametrize(("mode", "set_to"), [(1, [2]), (2, []), (3, [4]), (4, []), (None, [])])
def test_a_voice_centric_modem_is_set_data_centric_before_it_registers_or_connects(
    rig: Rig, fake: Fake, deed: Deed, mode: int | None, set_to: list[int]
) -> None:
    if mode is not None:
        fake.change(PATH, THREE_GPP, EpsUeModeOperation=Variant("u", mode))
    for member in ("Enable", "SetPowerState", "Register", "SetEpsUeModeOperation"):
        fake.answer(member, Reply())
    fake.answer("Connect", Reply("o", (BEARER_PATH,)))
    fake.calls()
    assert done(acted(rig, deed, dial=DIAL))
    calls = [(call.member, call.body) for call in fake.calls() if call.member not in ("Get", "GetAll")]
    assert [body for member, body in calls if member == "SetEpsUeModeOperation"] == [[one] for one in set_to]
    deeds = [member for member, _ in calls if member in ("Connect", "Enable", "SetEpsUeModeOperation")]
    assert not set_to or deeds[0] == "SetEpsUeModeOperation"


@pytest.mark.parametrize("outcome", [Refusal(f"{MODEM_MANAGER}.Error.Core.Unsupported"), NEVER])
def test_a_modem_that_stays_voice_centric_is_connected_all_the_same(
    rig: Rig, fake: Fake, outcome: Refusal | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failover.modems.deeds.CENTRING", 0.2)
    fake.change(PATH, THREE_GPP, EpsUeModeOperation=Variant("u", 3))
    fake.answer("SetEpsUeModeOperation", outcome)
    fake.answer("Connect", Reply("o", (BEARER_PATH,)))
    assert done(acted(rig, Deed.CONNECT, dial=DIAL))


CORE = f"{MODEM_MANAGER}.Error.Core"
ERRORS: list[tuple[Refusal | Reply, str, str, bool]] = [
    (Refusal(f"{CORE}.Unsupported", "no \x1b[1mreset"), "no ?[1mreset", "", True),
    (Refusal("org.freedesktop.DBus.Error.UnknownMethod", "what?"), "what?", "", True),
    (Refusal(f"{CORE}.WrongState", "not now"), "not now", "", False),
    (Refusal(f"{CORE}.Unauthorized", "who?"), "not allowed: who?", f"{MODEM_MANAGER}.Device.Control", False),
    (Refusal("a.b.C", "x" * 5000), "x" * 299 + "…", "", False),
    (Reply("s", ("fine",)), "Reset was answered with 's', not ''", "", False),
]


@pytest.mark.parametrize(("outcome", "error", "hint", "unknown"), ERRORS)
def test_an_error_is_told_in_clean_words_with_the_mend(
    rig: Rig, fake: Fake, outcome: Refusal | Reply, error: str, hint: str, unknown: bool
) -> None:
    fake.answer("Reset", outcome)
    answer = acted(rig, Deed.RESET)
    assert (answer.error, answer.unknown) == (error, unknown)
    assert hint in answer.hint


@pytest.mark.parametrize("deed", [Deed.RESET, Deed.SELECT_SLOT, Deed.REGISTER])
def test_a_modem_that_is_gone_or_whose_manager_is_was_not_unable(rig: Rig, fake: Fake, deed: Deed) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            modem = await listener.modem("356938035640011")
            for end in (partial(fake.remove, PATH), fake.vanish):
                await asyncio.to_thread(end)
                answer = await listener.act(modem, deed)
                assert answer.error
                assert not answer.unknown

    asyncio.run(play())


def test_no_secret_is_told_whatever_the_manager_says(rig: Rig, fake: Fake) -> None:
    fake.answer("SendPin", Refusal(f"{CORE}.Failed", "SendPin(1234) failed"))
    fake.answer("Connect", Refusal(f"{CORE}.Failed", "password 'secret' is bad"))
    assert "1234" not in repr(acted(rig, Deed.UNLOCK, pin="1234"))
    assert "secret" not in repr(acted(rig, Deed.CONNECT, dial=DIAL))


def test_what_is_never_answered_ends_in_its_time(rig: Rig, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.modems.deeds.SECONDS", dict.fromkeys(Deed, 0.3))
    fake.answer("Reset", NEVER)
    answer = acted(rig, Deed.RESET)
    assert answer.error == "not done after 0.3 s"
    assert not answer.unknown


@pytest.mark.parametrize(("member", "between"), [("Enable", []), ("SetPowerState", [("SetPowerState", [2])])])
def test_a_modem_that_was_switched_off_is_switched_on_again_though_the_time_is_over(
    rig: Rig, fake: Fake, member: str, between: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failover.modems.deeds.SECONDS", dict.fromkeys(Deed, 1.0))
    monkeypatch.setattr("failover.modems.deeds.POWERING_UP", 1.0)
    fake.answer("Enable", Reply())
    fake.answer(member, NEVER)
    assert acted(rig, Deed.REGISTER).error == "not done after 1 s"
    calls = [(call.member, call.body) for call in fake.calls() if call.interface == MODEM]
    assert calls == [("Enable", [False]), *between, ("Enable", [True])]


def test_a_modem_that_somebody_enables_and_connects_meanwhile_registers_anew_all_the_same(rig: Rig, fake: Fake) -> None:
    wrong = Refusal(f"{CORE}.WrongState", "not in disabled or failed state; or it is connected")
    fake.answer("Enable", Reply())
    for member in ("SetPowerState", "Register"):
        fake.answer(member, wrong)
    assert done(acted(rig, Deed.REGISTER))
    calls = [(call.member, call.body) for call in fake.calls() if call.interface == MODEM]
    assert calls == [("Enable", [False]), ("SetPowerState", [2])] * SWITCHING_OFF + [("Enable", [True])]


def test_with_a_handle_that_is_none_nothing_is_done(rig: Rig) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            await listener.until(lambda: listener.now)
            for handle in ("", "nonsense", "/nothing"):
                assert (await listener.act(Told(handle), Deed.RESET)).error

    asyncio.run(play())


# --- the operator's unit ---------------------------------------------------------------------------------------------

NAMES = [
    ("au", "au"),
    ("a u", "a\\x20u"),
    ("a-b/c", "a\\x2db-c"),
    (".x", "\\x2ex"),
    ("x.y:z_1", "x.y:z_1"),
    ("é", "\\xc3\\xa9"),
]


@pytest.mark.parametrize(("name", "wanted"), NAMES)
def test_names_are_escaped_as_systemd_does(name: str, wanted: str) -> None:
    assert escaped(name) == wanted


class Systemd:
    """In systemd's place: has the units that it is given, with the results of their jobs."""

    def __init__(self, bus: MessageBus, units: dict[str, str]) -> None:
        self._bus, self._units = bus, units
        self.started: list[str] = []
        bus.add_message_handler(self._hear)

    def _hear(self, asked: Message) -> Message | None:
        if asked.message_type is not MessageType.METHOD_CALL:
            return None
        name = str(asked.body[0]) if asked.body else ""
        match asked.member:
            case "LoadUnit":
                return Message.new_method_return(asked, "o", ["/known" if name in self._units else "/unknown"])
            case "Get":
                state = "loaded" if asked.path == "/known" else "not-found"
                return Message.new_method_return(asked, "v", [Variant("s", state)])
            case "Subscribe":
                return Message.new_method_return(asked)
            case "StartUnit":
                self.started.append(name)
                self._bus.send(Message.new_method_return(asked, "o", ["/job/7"]))
                self._end("/job/6", name, "failed")
                self._end("/job/7", name, self._units[name])
                return None
        return Message.new_error(asked, "org.freedesktop.DBus.Error.UnknownMethod", "no")

    def _end(self, job: str, unit: str, result: str) -> None:
        path, manager = "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager"
        self._bus.send(Message.new_signal(path, manager, "JobRemoved", "uoss", [7, job, unit, result]))


POWER: list[tuple[dict[str, str], str, bool]] = [
    ({"failover-power@au.service": "done"}, "", False),
    ({"failover-power@au.service": "failed"}, "failover-power@au.service ended as failed", False),
    ({}, "there is no failover-power@au.service", True),
]


@pytest.mark.parametrize(("units", "error", "unknown"), POWER)
def test_the_operators_unit_is_started_and_awaited(rig: Rig, units: dict[str, str], error: str, unknown: bool) -> None:
    async def play() -> None:
        bus = await MessageBus(rig.address, BusType.SYSTEM).connect()
        systemd = Systemd(bus, units)
        await bus.request_name(SYSTEMD)
        async with listening(rig) as listener:
            answer = await listener.act(Told(""), Deed.POWER_CYCLE)
            assert (answer.error, answer.unknown) == (error, unknown)
        assert systemd.started == list(units)
        bus.disconnect()
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    asyncio.run(play())


def test_without_systemd_there_is_nobody_who_could(rig: Rig) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            assert (await listener.act(Told(""), Deed.POWER_CYCLE)).unknown

    asyncio.run(play())
