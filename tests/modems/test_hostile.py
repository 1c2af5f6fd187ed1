"""Whoever is on the bus, and whatever ModemManager does: it is bounded, and nothing holds up the agent's loop."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from dbus_fast import BusType, Message, Variant
from dbus_fast.aio import MessageBus

from failover.bus import BusError
from failover.modem import ModemState, Signal
from failover.modems import networkmanager
from failover.modems.line import Line
from failover.modems.reading import BEARERS
from failover.modems.watch import BURST, IN, SLOWER, Watch
from failover.seam import ModemsTold
from tests.enclosure import PATIENCE
from tests.modems.fake import NEVER, Fake, Refusal, Reply, bearer, modem
from tests.modems.lateness import LOOK, Lateness, measured
from tests.modems.listener import Listener, begun, listening
from tests.modems.manager import BEARER, DAEMON, MODEM, MODEM_MANAGER, ROOT, SIGNAL, SIM
from tests.modems.relay import relayed
from tests.modems.rig import Rig
from tests.modems.stranger import stranger
from tests.names.standin import CONFIG

IMEI = "356938035640011"
PATH, BEARER_PATH, SIM_PATH = f"{ROOT}/Modem/0", f"{ROOT}/Bearer/0", f"{ROOT}/SIM/0"
MEANWHILE = 1.5
"""Seconds of trouble."""
QUICKLY = 0.5
TIMES = 3
"""The machine may be busy: what is promised must be kept once in so many."""
PER_SECOND = 4000
MUCH = 8 << 20
"""Bytes."""


def names(rig: Rig) -> set[str]:
    """Of all connections."""
    daemon, path, interface = DAEMON
    return set(rig.manager.call(path, interface, "ListNames", to=daemon))


async def holds_up_nobody(play: Callable[[], Awaitable[object]], turns: float = 0.2 * MEANWHILE / LOOK) -> None:
    """The loop is late no oftener than one that has nothing to do with modems."""
    rounds: list[Lateness] = []
    while len(rounds) < TIMES:
        async with measured() as lateness:
            await play()
        if lateness.turns > turns and lateness.late <= lateness.beside:
            return
        rounds.append(lateness)
    raise AssertionError(rounds)


async def sees(listener: Listener, fake: Fake, model: str) -> None:
    """What is changed now is told."""
    await asyncio.to_thread(fake.change, PATH, MODEM, Model=Variant("s", model))
    await listener.modem(IMEI, lambda modem: modem.model == model)


# --- floods ----------------------------------------------------------------------------------------------------------


def test_a_flood_from_modem_manager_holds_up_nobody_and_ends(rig: Rig, fake: Fake) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            await listener.modem(IMEI)
            await holds_up_nobody(lambda: asyncio.to_thread(fake.flood, PATH, MEANWHILE, PER_SECOND))
            await sees(listener, fake, "after it")
            (said,) = listener.said
            assert "floods the system bus" in said

    asyncio.run(play())


@pytest.mark.parametrize("manner", ["small", "large", "huge"])
def test_a_flood_from_anybody_costs_no_time_and_no_memory(rig: Rig, fake: Fake, manner: str) -> None:
    before = names(rig)

    async def play() -> None:
        async with listening(rig) as listener:
            await listener.modem(IMEI)
            (to,) = names(rig) - before
            used = psutil.Process().memory_info().rss

            async def flood() -> None:
                with stranger(rig.address, to, manner):
                    await listener.until(lambda: listener.said, "a complaint")
                    await asyncio.sleep(MEANWHILE)  # all that while

            await holds_up_nobody(flood)
            assert psutil.Process().memory_info().rss < used + MUCH
            await sees(listener, fake, "after it")
            assert len(listener.said) == 1
            changes = count()
            while listener.room.warnings:  # until all is read, and not just what was changed
                await sees(listener, fake, f"change {next(changes)} after it")

    asyncio.run(play())


def test_who_changes_all_the_time_is_told_now_and_then_and_in_the_end(rig: Rig, fake: Fake) -> None:
    def change() -> None:
        for number in range(500):
            fake.change(PATH, MODEM, Model=Variant("s", f"model {number}"))

    async def play() -> None:
        async with listening(rig) as listener:
            await listener.modem(IMEI)
            began = asyncio.get_running_loop().time()
            await asyncio.to_thread(change)
            await listener.modem(IMEI, lambda modem: modem.model == "model 499")
            assert len(listener.told) < 2 * BURST * (1 + (asyncio.get_running_loop().time() - began) / IN)
            began = asyncio.get_running_loop().time()
            for number in range(2 * BURST):
                await sees(listener, fake, f"then {number}")
            assert asyncio.get_running_loop().time() - began >= IN - SLOWER
            assert listener.said == []

    asyncio.run(play())


def test_only_modem_manager_is_believed(rig: Rig, fake: Fake) -> None:
    before = names(rig)

    async def play() -> None:
        async with listening(rig) as listener:
            await listener.modem(IMEI)
            (to,) = names(rig) - before
            with stranger(rig.address, to, "lie"):
                await listener.until(lambda: listener.said, "a complaint")  # it lies all the time
            await sees(listener, fake, "after it")
            assert {one.state for told in listener.told for one in told.modems} == {ModemState.CONNECTED}

    asyncio.run(play())


# --- silence, errors, garbage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["GetManagedObjects", "GetAll"])
def test_a_manager_that_never_answers_is_none_until_it_does(
    rig: Rig, fake: Fake, member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failover.modems.line.SECONDS", QUICKLY)
    fake.answer(member, NEVER)

    async def play() -> None:
        async with listening(rig) as listener:
            await listener.until(lambda: listener.said, "a complaint")
            assert f"no answer to {member} within {QUICKLY} s" in listener.said[0]
            await listener.until(lambda: listener.now == ModemsTold(managed=False))
            fake.behave()
            await listener.modem(IMEI)

    asyncio.run(play())


def test_a_manager_that_vanishes_and_comes_back(rig: Rig, fake: Fake) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            await listener.modem(IMEI)
            for _ in range(3):
                await asyncio.to_thread(fake.vanish)
                await listener.until(lambda: listener.now == ModemsTold(managed=False))
                await asyncio.to_thread(fake.come_back)
                await listener.modem(IMEI, lambda modem: modem.bearer)
            assert listener.said == []

    asyncio.run(play())


def nonsense(fake: Fake) -> None:
    """Signals that no ModemManager sends."""
    objects, properties = "org.freedesktop.DBus.ObjectManager", "org.freedesktop.DBus.Properties"
    fake.emit(PATH, properties, "PropertiesChanged", "s", "State")
    fake.emit(PATH, properties, "PropertiesChanged", "sa{sv}as", "a.b", {"State": Variant("i", 3)}, ["x"] * 5000)
    fake.emit("/nowhere", properties, "PropertiesChanged", "sa{sv}as", MODEM, {"State": Variant("i", 3)}, [])
    fake.emit(PATH, MODEM, "StateChanged", "sss", "a", "b", "c")
    fake.emit(PATH, MODEM, "StateChanged", "iiu", 11, -77, 0)
    fake.emit(ROOT, objects, "InterfacesAdded", "as", ["/x"])
    fake.emit(ROOT, objects, "InterfacesAdded", "oa{sa{sv}}", "/", {MODEM: {"Bearers": Variant("as", ["no path"])}})
    fake.emit(ROOT, objects, "InterfacesRemoved", "oas", "/unknown", [MODEM] * 1000)
    for number in range(600):
        fake.emit(ROOT, objects, "InterfacesAdded", "oa{sa{sv}}", f"/m/{number}", {SIM: {}, BEARER: {}})
    for name, value in (
        ("State", Variant("s", "connected")),
        ("Bearers", Variant("ao", [f"/b/{number}" for number in range(600)])),
        ("Manufacturer", Variant("s", "M" * 10000)),
        ("Model", Variant("s", "\u202e\x1b]0;x\x07")),
        ("Ports", Variant("a(su)", [["\n", 2]])),
    ):
        fake.change(PATH, MODEM, **{name: value})


def test_garbage_is_read_as_nothing_told(rig: Rig, fake: Fake) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            await listener.modem(IMEI)

            async def talk() -> None:
                await asyncio.to_thread(nonsense, fake)
                await listener.modem(IMEI, lambda modem: modem.state is ModemState.UNKNOWN and modem.model)

            await holds_up_nobody(talk, turns=0)
            found = await listener.modem(IMEI)
            assert (found.bearer, found.maker, found.model) == (None, "", "??]0;x?")
            assert len(found.bearers) <= BEARERS
            assert listener.said == []

    asyncio.run(play())


ANSWERS: list[tuple[str, Refusal | Reply]] = [
    ("GetManagedObjects", Refusal()),
    ("GetManagedObjects", Reply("s", ("none",))),
    ("GetAll", Refusal()),
]


@pytest.mark.parametrize(("member", "outcome"), ANSWERS)
def test_after_an_error_it_goes_on(rig: Rig, fake: Fake, member: str, outcome: Refusal | Reply) -> None:
    fake.answer(member, outcome)

    async def play() -> None:
        async with listening(rig) as listener:
            await listener.until(lambda: listener.now, "anything")
            fake.behave()
            await asyncio.to_thread(fake.vanish)
            await asyncio.to_thread(fake.come_back)
            await listener.modem(IMEI, lambda modem: modem.bearer)

    asyncio.run(play())


def test_a_permission_that_is_missing_is_named_once(rig: Rig, fake: Fake) -> None:
    fake.answer("Setup", Refusal(f"{MODEM_MANAGER}.Error.Core.Unauthorized", "not you"))
    fake.change(PATH, SIGNAL, Rate=Variant("u", 0))
    second = modem(1, "356938035640029")
    second[SIGNAL]["Rate"] = Variant("u", 0)
    fake.add(f"{ROOT}/Modem/1", second)

    async def play() -> None:
        async with listening(rig) as listener:
            await listener.until(lambda: listener.said, "a complaint")
            await listener.modem("356938035640029")
            (said,) = listener.said
            assert said.startswith("the signal is not measured: not you; polkit must allow")
            assert f"{MODEM_MANAGER}.Device.Control" in said
            assert listener.room.warnings == (said,)
            fake.answer("Setup", Reply())
            for state in (ModemState.DISABLED, ModemState.REGISTERED):
                fake.change(PATH, MODEM, State=Variant("i", state))
            model = 0
            while listener.room.warnings:  # until it was asked again
                await sees(listener, fake, f"model {(model := model + 1)}")

    asyncio.run(play())


def test_after_an_error_that_nobody_expected_it_begins_anew(
    rig: Rig, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Watch) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("failover.modems.room.ANEW", QUICKLY)
    monkeypatch.setattr(Watch, "run", broken)

    async def play() -> None:
        async with listening(rig) as listener:
            await listener.until(lambda: listener.said, "a complaint")
            assert listener.room.warnings == (*listener.said,) != ()
            monkeypatch.undo()
            await listener.modem(IMEI)
            assert listener.room.warnings == ()

    asyncio.run(play())


def test_the_signal_of_the_network_that_serves_is_told(rig: Rig, fake: Fake) -> None:
    async def play() -> None:
        async with listening(rig) as listener:
            assert (await listener.modem(IMEI)).signal == Signal(-85.0, -11.0, 12.5, "5gnr")
            lte = {"rsrp": Variant("d", -99.0), "snr": Variant("d", float("-inf"))}
            fake.change(PATH, SIGNAL, Lte=Variant("a{sv}", lte))
            fake.change(PATH, MODEM, AccessTechnologies=Variant("u", 1 << 14))
            await listener.modem(IMEI, lambda modem: modem.signal == Signal(-99.0, technology="lte"))

    asyncio.run(play())


# --- the bus itself --------------------------------------------------------------------------------------------------


@contextmanager
def daemon(folder: Path) -> Iterator[str]:
    """A bus on which anybody may be anybody."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("needs the Debian package dbus")
    config = folder / "bus.conf"
    config.write_text(CONFIG.format(path=folder / "bus"))
    argv = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        try:
            yield f"unix:path={folder / 'bus'}"
        finally:
            child.kill()


def test_a_bus_that_goes_and_comes_back(tmp_path: Path) -> None:
    async def play() -> None:
        with ExitStack() as first:
            address = first.enter_context(daemon(tmp_path))
            first.enter_context(Fake(address, {PATH: modem(Bearers=Variant("ao", []), Sim=Variant("o", "/"))}))
            async with begun(address, tmp_path) as listener:
                await listener.modem(IMEI)
                await asyncio.to_thread(first.close)
                await listener.until(lambda: listener.now == ModemsTold(managed=False))
                await listener.until(lambda: listener.said, "a complaint")
                with daemon(tmp_path), Fake(address, {PATH: modem(Bearers=Variant("ao", []), Sim=Variant("o", "/"))}):
                    await listener.modem(IMEI)

    asyncio.run(play())


async def in_network_managers_place(address: str) -> tuple[MessageBus, asyncio.Event]:
    """It connects for ever; the event: it was asked to."""
    bus, asked = await MessageBus(address, BusType.SYSTEM).connect(), asyncio.Event()

    def handle(call: Message) -> Message | None:
        match call.member:
            case "Get":
                return Message.new_method_return(call, "v", [Variant("o", "/")])
            case "ActivateConnection":
                asked.set()
                return Message.new_method_return(call, "o", ["/active"])
        return None

    bus.add_message_handler(handle)
    await bus.request_name(networkmanager.SERVICE)
    return bus, asked


def test_nothing_is_waited_for_on_a_bus_that_is_gone(tmp_path: Path) -> None:
    async def play() -> None:
        with ExitStack() as first:
            address = first.enter_context(daemon(tmp_path))
            bus, asked = await in_network_managers_place(address)
            line = await Line.open(address)
            connecting = asyncio.create_task(networkmanager.reactivate(line, "/device"))
            await asked.wait()
            await bus.call(Message(*DAEMON, "GetId"))  # the bus has the answer,
            await line.owner(networkmanager.SERVICE)  # and so has who waits for it
            await asyncio.to_thread(first.close)
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(BusError, match="the system bus is lost"):
                    await connecting
                await line.close()
                with suppress(Exception):
                    await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    asyncio.run(play())


LATER: list[tuple[str, Callable[[Fake], None], Callable[[ModemsTold], object]]] = [
    ("GetNameOwner", Fake.vanish, lambda told: not told.managed),
    ("GetManagedObjects", lambda fake: fake.remove(PATH), lambda told: told == ModemsTold()),
    ("GetManagedObjects", lambda fake: fake.add(f"{ROOT}/Modem/1", modem(1)), lambda told: len(told.modems) == 2),
    (
        "GetManagedObjects",
        lambda fake: fake.change(PATH, MODEM, Model=Variant("s", "later")),
        lambda told: told.modems[0].model == "later",
    ),
    (
        BEARER_PATH,
        lambda fake: fake.change(BEARER_PATH, BEARER, Connected=Variant("b", False)),
        lambda told: told.modems[0].bearers and not told.modems[0].bearer,
    ),
]


@pytest.mark.parametrize(("asked", "change", "wanted"), LATER, ids=("gone", "removed", "added", "changed", "dropped"))
def test_what_comes_after_an_answer_is_newer_though_both_are_read_at_once(
    asked: str, change: Callable[[Fake], None], wanted: Callable[[ModemsTold], object], tmp_path: Path
) -> None:
    async def play() -> None:
        with daemon(tmp_path) as address, Fake(address, {PATH: modem(), BEARER_PATH: bearer()}) as fake:
            async with (
                relayed(tmp_path / "bus", asked, tmp_path / "relay") as relay,
                begun(f"unix:path={tmp_path / 'relay'}", tmp_path) as listener,
            ):
                await relay.answered.wait()
                await asyncio.to_thread(change, fake)
                await listener.until(lambda: listener.now is not None and wanted(listener.now))
                assert listener.said == []

    asyncio.run(play())


GREETING = b"OK 0123456789abcdef0123456789abcdef\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


@pytest.mark.parametrize("said", [(b"\0\xff\r\n" * 9,), (GREETING, b"\xff" * 64), (GREETING, b"l\x04\0\x01" * 9000)])
def test_a_bus_that_is_none(said: tuple[bytes, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.modems.line.SECONDS", QUICKLY)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in said:
            await reader.read(4096)
            writer.write(part)
        while await reader.read(4096):
            pass
        writer.close()

    async def play() -> None:
        async with (
            await asyncio.start_unix_server(serve, tmp_path / "bus"),
            begun(f"unix:path={tmp_path / 'bus'}", tmp_path) as listener,
        ):
            await listener.until(lambda: listener.now == ModemsTold(managed=False))
            assert "the system bus" in listener.said[0]

    asyncio.run(play())
