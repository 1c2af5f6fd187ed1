"""The other end of the bus as no real one is: silent, garbled, gone, or not what it says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message, Variant

from failover.bus import Bus
from failover.model import FAMILIES
from failover.names.backend import NamesError
from failover.names.resolved import Resolved
from failover.resolvers import Resolvers
from tests.names.standin import Answers, in_its_place, nothing, value

SECONDS = 0.3
OK = b"OK 0123456789abcdef0123456789abcdef\r\n"
WANTED = (Resolvers("lo", ("192.0.2.1",), FAMILIES),)
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HUGE = struct.pack("<BBBBIII", ord("l"), 2, 0, 1, 0x7FFFFFF0, 1, 0)
"""The header of an answer of 2 GB."""


def says(*parts: bytes) -> Peer:
    """Each part after something came in; then it waits for the other side to go."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            await reader.read(4096)
            writer.write(part)
        while await reader.read(4096):
            pass
        writer.close()

    return peer


async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


async def told(address: str, path: Path) -> NamesError:
    """What comes of a wish."""
    backend = Resolved(path / "names.json", Bus(address, SECONDS))
    try:
        with pytest.raises(NamesError) as raised:
            await backend.follow(WANTED)
        return raised.value
    finally:
        await backend.close()


PEERS = {
    "silent": (says(), "did not answer within 0.3 s"),
    "silent once it knows us": (says(OK, b""), "did not answer within 0.3 s"),
    "gone": (leaves, "the system bus is lost"),
    "garbage for a greeting": (says(b"\0\xff\r\n" * 9), "the system bus is lost"),
    "a greeting without an end": (says(b"OK " * 30000), "the system bus is lost"),
    "refusal": (says(b"REJECTED EXTERNAL\r\n"), "the system bus is lost"),
    "garbage for an answer": (says(OK, b"\xff" * 64), "the system bus is lost"),
    "an answer without an end": (says(OK, HUGE), "the system bus is lost"),
}


@pytest.mark.parametrize("name", PEERS)
def test_a_strange_bus_costs_a_moment_and_a_clear_word(name: str, tmp_path: Path) -> None:
    peer, words = PEERS[name]

    async def play() -> NamesError:
        path = tmp_path / "bus"
        async with await asyncio.start_unix_server(peer, path):
            async with asyncio.timeout(5):
                return await told(f"unix:path={path}", tmp_path)

    error = asyncio.run(play())
    assert words in str(error)
    assert not (tmp_path / "names.json").exists()


def test_without_a_bus_the_mend_is_said(tmp_path: Path) -> None:
    error = asyncio.run(told(f"unix:path={tmp_path}/nothing", tmp_path))
    assert str(error) == f"the system bus cannot be reached at {tmp_path}/nothing: No such file or directory"
    assert error.hint == "does dbus run? where it is missing, install it: `apt install dbus`"


def test_a_bus_where_nobody_listens_any_more_is_said_to_be_none(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "bus"))
    error = asyncio.run(told(f"unix:path={tmp_path}/bus", tmp_path))
    assert str(error) == f"the system bus cannot be reached at {tmp_path}/bus: Connection refused"


# --- a real bus, and somebody else in systemd-resolved's place -------------------------------------------------------


def error(name: str, words: str) -> Callable[[Message], Message]:
    return lambda asked: Message.new_error(asked, name, words)


def properties(**changed: Variant) -> Callable[[Message], Message]:
    good = {"DNSEx": Variant("a(iayqs)", []), "Domains": Variant("a(sb)", []), "DefaultRoute": Variant("b", False)}
    return value("a{sv}", good | changed)


def server(family: int, address: bytes) -> Variant:
    return Variant("a(iayqs)", [(family, address, 0, "")])


GOOD: Answers = {
    "GetLink": value("o", "/link"),
    "GetAll": properties(),
    "SetLinkDNSEx": value(""),
    "SetLinkDefaultRoute": value(""),
}


STRANGE: dict[str, tuple[Answers, str]] = {
    "hangs": ({"GetLink": nothing}, "did not answer within 0.3 s"),
    "hangs midway": ({"SetLinkDNSEx": nothing}, "did not answer within 0.3 s"),
    "another signature": ({"GetLink": value("i", 7)}, "answers GetLink with 'i', not 'o'"),
    "no properties": ({"GetAll": value("a{sv}", {})}, "what is not in its interface"),
    "another type": ({"GetAll": properties(DefaultRoute=Variant("s", "yes"))}, "what is not in its interface"),
    "half an address": (
        {"GetAll": properties(DNSEx=server(2, b"\x01"))},
        "not in its interface",
    ),
    "unknown family": (
        {"GetAll": properties(DNSEx=server(7, b"\x01"))},
        "not in its interface",
    ),
    "refuses": ({"SetLinkDNSEx": error("org.freedesktop.DBus.Error.AccessDenied", "no")}, "does not let the agent"),
    "an error of its own": ({"SetLinkDNSEx": error("a.b.C", "bad \x1b[1mluck")}, "bad ?[1mluck"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_systemd_resolved_costs_a_moment_and_a_clear_word(name: str, address: str, tmp_path: Path) -> None:
    answers, words = STRANGE[name]

    async def play() -> NamesError:
        async with in_its_place(address, GOOD | answers), asyncio.timeout(5):
            return await told(address, tmp_path)

    assert words in str(asyncio.run(play()))


def test_a_link_that_goes_meanwhile_is_no_error(address: str, tmp_path: Path) -> None:
    gone = error("org.freedesktop.resolve1.NoSuchLink", "Link 1 not known")

    async def play(member: str) -> tuple[str, ...]:
        backend = Resolved(tmp_path / "names.json", Bus(address, SECONDS))
        async with in_its_place(address, GOOD | {member: gone}):
            done = await backend.follow(WANTED)
            await backend.close()
            return done

    assert asyncio.run(play("GetLink")) == ()
    asyncio.run(play("SetLinkDNSEx"))


def test_after_a_silence_all_is_tried_anew(address: str, tmp_path: Path) -> None:
    async def play() -> list[str]:
        backend = Resolved(tmp_path / "names.json", Bus(address, SECONDS))
        async with in_its_place(address, GOOD | {"GetLink": nothing}):
            with pytest.raises(NamesError):
                await backend.follow(WANTED)
        async with in_its_place(address, GOOD) as called:
            await backend.follow(WANTED)
            await backend.close()
            return called

    assert asyncio.run(play()) == ["GetLink", "GetAll", "SetLinkDNSEx", "SetLinkDefaultRoute"]


def test_who_did_not_answer_has_lost_the_connection(address: str, tmp_path: Path) -> None:
    senders = []

    def hang(asked: Message) -> None:
        senders.append(asked.sender)

    async def play() -> None:
        backend = Resolved(tmp_path / "names.json", Bus(address, SECONDS))
        async with in_its_place(address, GOOD | {"GetLink": hang}):
            for _ in range(2):
                with pytest.raises(NamesError):
                    await backend.follow(WANTED)
            await backend.close()

    asyncio.run(play())
    assert len(set(senders)) == 2


def test_what_is_so_is_only_read(address: str, tmp_path: Path) -> None:
    so = {"DNSEx": server(2, bytes((192, 0, 2, 1))), "DefaultRoute": Variant("b", True)}

    async def play() -> list[str]:
        backend = Resolved(tmp_path / "names.json", Bus(address, SECONDS))
        async with in_its_place(address, GOOD | {"GetAll": properties(**so)}) as called:
            assert await backend.follow(WANTED) == ()
            await backend.close()
            return called

    assert asyncio.run(play()) == ["GetLink", "GetAll"]


def test_what_is_to_be_done_is_noted_before_it_is_done(address: str, tmp_path: Path) -> None:
    record = tmp_path / "names.json"
    noted: list[str] = []

    def look(asked: Message) -> Message:
        noted.append(record.read_text())
        return value("")(asked)

    async def play() -> Any:
        backend = Resolved(record, Bus(address, SECONDS))
        async with in_its_place(address, GOOD | {"SetLinkDNSEx": look}):
            await backend.follow(WANTED)
            await backend.close()

    asyncio.run(play())
    assert '"192.0.2.1"' in noted[0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "boot": "", "links": {"1": {}}}'])
def test_a_corrupt_record_stops_it_with_the_mend(text: str, tmp_path: Path) -> None:
    record = tmp_path / "names.json"
    record.write_text(text)

    async def play() -> None:
        await Resolved(record).follow(WANTED)

    with pytest.raises(NamesError, match="is corrupt") as raised:
        asyncio.run(play())
    assert raised.value.hint.startswith("delete it")
    assert record.read_text() == text
