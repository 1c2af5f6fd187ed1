"""Wherever the agent is killed, what it changed is known to be ours, and put back."""

from __future__ import annotations

import asyncio
import copy
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from dbus_fast import Message

from failover.bus import Bus
from failover.lab.namespaces import Namespace
from failover.model import FAMILIES
from failover.names.backend import NamesError
from failover.names.record import RECORD, Domain, Note, Record, Server, State
from failover.names.resolved import Resolved
from failover.notes import BOOT_ID
from failover.resolvers import Resolvers
from tests.names.standin import Late, Link, Settings, in_its_place

UP1, UP2 = 11, 12
"""Their indexes."""
ONE, TWO = (2, bytes((10, 1, 0, 53)), 0, ""), (2, bytes((10, 2, 0, 53)), 853, "dot.example")
EVERY_NAME = (".", True)
BEFORE = {
    "nothing": {UP1: Link(), UP2: Link()},
    "told": {UP1: Link((ONE,)), UP2: Link((TWO,), (("two.example", False),))},
    "every name on one": {UP1: Link((ONE,), (EVERY_NAME,), True), UP2: Link((TWO,), (), False)},
}
FIRST = (Resolvers("up1", (), FAMILIES), Resolvers("up2", ("192.0.2.9",)))
WISHES = {
    "a lost uplink": (Resolvers("up1", lost=True), Resolvers("up2", (), FAMILIES)),
    "a switch": (Resolvers("up1", ()), Resolvers("up2", (), FAMILIES)),
    "other servers": (Resolvers("up1", ("192.0.2.7", "2001:db8::7"), FAMILIES), Resolvers("up2", ())),
    "one uplink less": (Resolvers("up2", ("192.0.2.9",), FAMILIES),),
}


async def followed(address: str, folder: Path, wanted: tuple[Resolvers, ...]) -> None:
    backend = Resolved(folder / RECORD, Bus(address))
    try:
        await backend.follow(wanted)
    finally:
        await backend.close()


@pytest.mark.usefixtures("all_carriers")
@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("before", BEFORE)
def test_all_is_put_back_wherever_it_was_killed(
    van: Namespace, address: str, tmp_path: Path, before: str, wish: str
) -> None:
    async def play(number: int, done: bool) -> bool:
        """Whether there was a change of that number."""
        settings = Settings(copy.deepcopy(BEFORE[before]))
        began = settings.told()
        async with in_its_place(address, settings.answers):
            await followed(address, tmp_path, FIRST)
            killed = await cut_short(number, done, settings)
            backend = Resolved(tmp_path / RECORD, Bus(address))
            await backend.restore()
            await backend.close()
        assert settings.told() == began, (number, done)
        assert not (tmp_path / RECORD).exists()
        return killed

    async def cut_short(number: int, done: bool, settings: Settings) -> bool:
        changes = count()
        killed = False

        def until_killed(asked: Message) -> Message | None:
            nonlocal killed
            if next(changes) < number:
                return settings.set(asked)
            killed = True
            if done:
                settings.set(asked)
            agent.cancel()
            return None

        usual = dict(settings.answers)
        settings.answers |= dict.fromkeys(set(usual) - {"GetLink", "GetAll"}, until_killed)
        agent = asyncio.create_task(followed(address, tmp_path, WISHES[wish]))
        with suppress(asyncio.CancelledError):
            await agent
        settings.answers |= usual
        return killed

    with van.entered():
        for done in (False, True):
            assert next(number for number in count() if not asyncio.run(play(number, done))) > 0


@pytest.mark.usefixtures("all_carriers")
def test_a_new_way_is_opened_before_the_old_one_is_closed(van: Namespace, address: str, tmp_path: Path) -> None:
    async def play() -> list[tuple[str, int]]:
        settings = Settings(copy.deepcopy(BEFORE["told"]))
        async with in_its_place(address, settings.answers):
            await followed(address, tmp_path, (Resolvers("up1", (), FAMILIES), Resolvers("up2", ())))
            await followed(address, tmp_path, (Resolvers("up1", lost=True), Resolvers("up2", ("192.0.2.9",), FAMILIES)))
        return settings.log

    with van.entered():
        assert asyncio.run(play()) == [
            ("SetLinkDefaultRoute", UP2),
            ("SetLinkDNSEx", UP2),
            ("SetLinkDefaultRoute", UP2),
            ("SetLinkDefaultRoute", UP1),
            ("SetLinkDNSEx", UP1),  # to none, which ends the questions under way
            ("SetLinkDNSEx", UP1),
        ]


@pytest.mark.usefixtures("all_carriers")
def test_servers_with_a_port_or_a_name_come_back_as_they_were(van: Namespace, address: str, tmp_path: Path) -> None:
    async def play() -> tuple[object, ...]:
        settings = Settings(copy.deepcopy(BEFORE["told"]))
        async with in_its_place(address, settings.answers):
            await followed(address, tmp_path, (Resolvers("up2", ("10.2.0.53",), FAMILIES),))
            assert settings.links[UP2].servers == (TWO,)  # the same address: left as it is
            await followed(address, tmp_path, (Resolvers("up2", ("192.0.2.9",), FAMILIES),))
            assert settings.links[UP2].servers != (TWO,)
            await followed(address, tmp_path, (Resolvers("up2", ()),))
        return settings.links[UP2].servers

    with van.entered():
        assert asyncio.run(play()) == (TWO,)


@pytest.mark.usefixtures("all_carriers")
def test_what_cannot_be_read_back_is_not_said_again(van: Namespace, address: str, tmp_path: Path) -> None:
    async def play() -> list[tuple[str, int]]:
        settings = Settings(copy.deepcopy(BEFORE["nothing"]))
        async with in_its_place(address, settings.answers):
            for _ in range(2):
                await followed(address, tmp_path, (Resolvers("up1", ()),))
        return settings.log

    with van.entered():
        assert asyncio.run(play()) == [("SetLinkDefaultRoute", UP1)]


@pytest.mark.usefixtures("all_carriers")
def test_what_one_link_is_refused_keeps_no_other_from_it(van: Namespace, address: str, tmp_path: Path) -> None:
    settings = Settings(copy.deepcopy(BEFORE["nothing"]))

    def refuse(asked: Message) -> Message | None:
        if asked.body[0] == UP1:
            return Message.new_error(asked, "a.b.C", "not there")
        return settings.set(asked)

    async def play() -> None:
        settings.answers["SetLinkDNSEx"] = refuse
        async with in_its_place(address, settings.answers):
            await followed(
                address, tmp_path, (Resolvers("up1", ("192.0.2.1",), FAMILIES), Resolvers("up2", ("192.0.2.2",)))
            )

    with van.entered(), pytest.raises(NamesError, match="not there"):
        asyncio.run(play())
    assert (settings.links[UP1].servers, len(settings.links[UP2].servers)) == ((), 1)


@pytest.mark.usefixtures("all_carriers")
def test_what_systemd_networkd_passes_on_later_is_not_taken_for_somebody_elses(
    van: Namespace, address: str, tmp_path: Path
) -> None:
    for index in (UP1, UP2):
        (tmp_path / str(index)).write_text("ADMIN_STATE=configured\n")

    async def play() -> Late:
        settings = Late(copy.deepcopy(BEFORE["told"]))
        backend = Resolved(tmp_path / RECORD, Bus(address), tmp_path)
        async with in_its_place(address, settings.answers):
            for servers in (("192.0.2.9",), (), ("192.0.2.8",)):
                await backend.follow((Resolvers("up1", servers), Resolvers("up2", servers, FAMILIES)))
            assert settings.links[UP1].servers != (ONE,)
            await backend.restore()
            await backend.close()
        return settings

    with van.entered():
        assert asyncio.run(play()).links == BEFORE["told"]


def test_a_record_counts_for_one_boot(tmp_path: Path) -> None:
    record = Record(tmp_path / RECORD)
    notes = {7: Note(State(), (State((Server("192.0.2.1", 53, "a.example"),), (Domain(".", True),), False),))}
    record.write(notes)
    assert record.read() == notes
    assert record.path.stat().st_mode & 0o777 == 0o600
    text = record.path.read_text()
    record.path.write_text(text.replace(BOOT_ID.read_text().strip(), "00000000-0000-0000-0000-000000000000"))
    assert record.path.read_text() != text
    assert record.read() == {}
    record.write({})
    assert not record.path.exists()
