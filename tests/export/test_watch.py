"""`watch` against real clients: what they are sent and when, and that none of them is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from failover.export import stream
from failover.export.commands import Spec
from failover.export.control import CLIENTS_MAX, Control
from failover.model import ControlError
from tests.export.served import PATIENCE, STATUS, WATCH, asking, exchange, heard, serving, silent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


class Counting:
    """Answers with how often it was asked; `moments` are when. Fails from the question number `fails` on."""

    def __init__(self, fails: int = 1_000_000) -> None:
        self.moments: list[float] = []
        self.fails = fails

    async def answer(self, spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
        self.moments.append(asyncio.get_running_loop().time())
        if len(self.moments) >= self.fails:
            raise ControlError("out of order", "try later")
        return {"status": len(self.moments)}


@contextlib.asynccontextmanager
async def counted(path: Path, fails: int = 1_000_000) -> AsyncIterator[tuple[Control, Counting]]:
    counting = Counting(fails)
    server = Control(path, counting.answer, silent)
    await server.start()
    try:
        yield server, counting
    finally:
        await server.stop()


async def gone(reader: asyncio.StreamReader) -> None:
    """Until the server has hung up."""
    with contextlib.suppress(ConnectionError):
        while await asyncio.wait_for(reader.read(65536), PATIENCE):
            pass


def test_first_how_things_are_then_what_happens_and_how_they_are_then(path: Path) -> None:
    async def play() -> None:
        async with counted(path) as (server, _):
            reader, writer = await asking(path, WATCH)
            assert await heard(reader) == {"status": 1}
            server.publish({"id": "a-1"})
            server.publish({"id": "a-2"})
            assert await heard(reader) == {"event": {"id": "a-1"}}
            assert await heard(reader) == {"event": {"id": "a-2"}}
            assert await heard(reader) == {"status": 2}
            writer.close()

    asyncio.run(play())


def test_an_entry_without_watchers_is_gone(path: Path) -> None:
    async def play() -> None:
        async with counted(path) as (server, _):
            server.publish({"id": "a-1"})
            reader, writer = await asking(path, WATCH)
            assert await heard(reader) == {"status": 1}
            assert await heard(reader) == {"status": 2}
            writer.close()

    asyncio.run(play())


def test_at_most_four_times_a_second_and_at_least_once(path: Path) -> None:
    async def play() -> list[float]:
        async with counted(path) as (server, counting):
            reader, writer = await asking(path, WATCH)
            while len(counting.moments) < 4:
                server.publish({"id": f"a-{len(counting.moments)}"})
                await heard(reader)
            while len(counting.moments) < 6:  # the fifth may still be for an entry after the fourth
                await heard(reader)
            writer.close()
            return counting.moments

    moments = asyncio.run(play())
    gaps = [after - before for before, after in pairwise(moments)]
    assert stream.PAUSE * 0.95 < min(gaps[:3]) < stream.PERIOD * 0.95, gaps
    assert stream.PERIOD * 0.95 < gaps[4] < stream.PERIOD * 5, gaps


def test_drawn_once_for_all_of_them(path: Path) -> None:
    async def play() -> None:
        async with counted(path) as (server, counting):
            watchers = [await asking(path, WATCH) for _ in range(CLIENTS_MAX)]
            firsts = [await heard(reader) for reader, _ in watchers]
            assert firsts == [{"status": number + 1} for number in range(CLIENTS_MAX)]
            before = len(counting.moments)
            server.publish({"id": "a-1"})
            for reader, writer in watchers:
                assert await heard(reader) == {"event": {"id": "a-1"}}
                assert await heard(reader) == {"status": before + 1}
                writer.close()

    asyncio.run(play())


def test_who_does_not_read_is_dropped_and_who_does_misses_nothing(path: Path) -> None:
    story = "x" * 8000

    async def play() -> None:
        async with counted(path) as (server, _):
            reader, writer = await asking(path, WATCH)
            with socket.socket(socket.AF_UNIX) as deaf:
                deaf.connect(str(path))
                deaf.sendall(WATCH)
                hangup = select.poll()
                hangup.register(deaf, select.POLLRDHUP)
                published, numbers = 0, list[int]()
                while not hangup.poll(0):
                    server.publish({"id": published, "text": story})
                    published += 1
                    assert published < 200, "the kernel holds some 200 KiB for it, and we 256"
                    while (line := await heard(reader)).get("event") is None:
                        pass
                    numbers.append(line["event"]["id"])
                assert published * len(story) > stream.BACKLOG
                assert numbers == list(range(published))
            writer.close()

    asyncio.run(play())


def test_who_leaves_is_forgotten_and_nothing_more_is_drawn(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PAUSE", 0.01)
    monkeypatch.setattr(stream, "PERIOD", 0.02)

    async def play() -> None:
        async with counted(path) as (_, counting):
            before = asyncio.all_tasks()
            for _ in range(2):
                reader, writer = await asking(path, WATCH)
                await heard(reader)
                writer.close()
                await asyncio.wait_for(asyncio.wait(asyncio.all_tasks() - before), PATIENCE)
            assert len(counting.moments) <= 6

    asyncio.run(play())


def test_who_has_no_more_to_ask_may_still_watch(path: Path) -> None:
    async def play() -> None:
        async with counted(path) as (server, _):
            reader, writer = await asking(path, WATCH)
            writer.write_eof()
            assert await heard(reader) == {"status": 1}
            server.publish({"id": "a-1"})
            assert await heard(reader) == {"event": {"id": "a-1"}}
            writer.close()

    asyncio.run(play())


@pytest.mark.parametrize("more", [STATUS, b" ", b"\xff" * 200_000], ids=["request", "byte", "flood"])
def test_who_says_something_more_is_refused(path: Path, more: bytes) -> None:
    async def play() -> None:
        async with counted(path):
            reader, writer = await asking(path, WATCH)
            assert await heard(reader) == {"status": 1}
            writer.write(more)
            assert await heard(reader) == {
                "ok": False,
                "error": "a watcher has no more to ask",
                "hint": "use another connection",
            }
            await gone(reader)
            writer.close()

    asyncio.run(play())


def test_requests_before_it_are_answered_first(path: Path) -> None:
    async def play() -> list[dict[str, Any]]:
        async with counted(path):
            return await exchange(path, STATUS, WATCH, STATUS)

    *answers, refusal = asyncio.run(play())
    assert answers == [{"ok": True, "status": 1}, {"ok": True}, {"status": 2}]
    assert refusal["error"] == "a watcher has no more to ask"


def test_a_stop_does_not_wait_for_watchers(path: Path) -> None:
    async def play() -> None:
        async with serving(path) as server:
            reader, writer = await asking(path, WATCH)
            with socket.socket(socket.AF_UNIX) as deaf:
                deaf.connect(str(path))
                deaf.sendall(WATCH)
                for number in range(100):
                    server.publish({"id": number, "text": "x" * 8000})
                await asyncio.wait_for(server.stop(), 1.0)
            await gone(reader)
            writer.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(play())


def test_without_an_answer_there_is_nothing_to_watch(path: Path) -> None:
    async def play() -> None:
        async with counted(path, fails=1):
            reader, writer = await asking(path, WATCH)
            assert await heard(reader) == {"ok": False, "error": "out of order", "hint": "try later"}
            writer.close()

    asyncio.run(play())


def test_an_error_in_the_midst_is_said_and_ends_it_for_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PAUSE", 0.01)
    monkeypatch.setattr(stream, "PERIOD", 0.02)

    async def play() -> None:
        said = list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["exception"]))
        async with counted(path, fails=3):
            watchers = [await asking(path, WATCH) for _ in range(2)]
            for reader, writer in watchers:
                await gone(reader)
                writer.close()
            assert [str(error) for error in said] == ["out of order"]

    asyncio.run(play())


def test_what_is_sent_is_one_document_a_line(path: Path) -> None:
    """Whatever an entry says; JSON escapes every line end."""

    async def play() -> bytes:
        async with counted(path) as (server, _):
            reader, writer = await asking(path, WATCH)
            await heard(reader)
            server.publish({"text": "a\nb\r\u2028\u0085\x1b[31m"})
            line = await asyncio.wait_for(reader.readline(), PATIENCE)
            writer.close()
            return line

    line = asyncio.run(play())
    assert line.isascii()
    assert json.loads(line) == {"event": {"text": "a\nb\r\u2028\u0085\x1b[31m"}}
