"""Who may write to the control socket, and who keeps a place there when all are taken."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from failover.export import control
from failover.export.client import call
from failover.export.clients import Clients
from failover.export.control import CLIENTS_MAX, Peer, may_write
from failover.model import ControlError
from tests.export.served import NEEDS_ROOT, PATIENCE, STATUS, WATCH, asking, exchange, heard, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_who_may_write() -> None:
    assert may_write(Peer(1, 0, frozenset()), 500, None)
    assert may_write(Peer(1, 500, frozenset()), 500, None)
    assert may_write(Peer(1, 1000, frozenset((1000, 77))), 500, 77)
    assert not may_write(Peer(1, 1000, frozenset((1000,))), 500, 77)
    assert not may_write(Peer(1, 1000, frozenset((0,))), 500, None)


def test_two_that_come_at_once_take_two_places() -> None:
    """Not the same one, whose task has had no time to end."""

    async def play() -> tuple[list[bool], list[bool]]:
        clients, never = Clients(2), asyncio.Event()

        async def stay() -> bool:
            got = clients.admit()
            await never.wait()
            return got

        async def come() -> bool:
            return clients.admit(yields=False)

        there = [asyncio.create_task(stay()) for _ in range(2)]
        await asyncio.wait(there, timeout=0.0)
        got = await asyncio.gather(come(), come())
        await asyncio.wait(there, timeout=1.0)
        return list(got), [task.cancelled() for task in there]

    assert asyncio.run(play()) == ([True, True], [True, True])


CLIENT = """
import json, os, sys
from pathlib import Path
from failover.export.client import call
from failover.model import ControlError
uid, *groups = json.loads(sys.argv[4])
if uid:
    os.setgroups(groups)
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
try:
    print(call(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))["text"])
except ControlError as error:
    print(f"{error} ({error.hint})")
"""


@NEEDS_ROOT
def test_a_stranger_reads_and_a_member_of_the_writers_group_writes() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        ask_as_others(Path(folder) / "control.sock")


def ask_as_others(path: Path) -> None:
    async def ask(command: str, arguments: dict[str, object], uid: int, *groups: int) -> str:
        argv = [sys.executable, "-c", CLIENT, str(path), command, json.dumps(arguments), json.dumps([uid, *groups])]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    async def scene() -> None:
        assert "no permission" in await ask("status", {}, 54321)
        os.chown(path, -1, 54322)
        assert await ask("status", {}, 54321, 54322) == "did status"
        refusal = await ask("drain", {"name": "au"}, 54321, 54322)
        assert refusal.startswith("drain: user 54321 may only read (be root,")
        assert await ask("drain", {"name": "au"}, 54321, 54322, 54323) == "did drain"
        assert await ask("drain", {"name": "au"}, 0) == "did drain"
        refusal = await ask("sms", {}, 54321, 54322)
        assert refusal.startswith("sms: messages may hold one-time codes, not for user 54321 (be root,")
        assert await ask("sms", {}, 54321, 54322, 54323) == "did sms"

    run(path, scene, writers=54323)


SITTERS = """
import contextlib, json, os, socket, sys
os.setgroups([54322])
os.setresgid(54321, 54321, 54321)
os.setresuid(54321, 54321, 54321)
held = []
for _ in range(int(sys.argv[2])):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(sys.argv[1])
    with contextlib.suppress(BrokenPipeError):  # refused before it asked
        held[-1].sendall(b'{"command":"status"}\\n')
    answer = json.loads(held[-1].recv(4096))
print(answer.get("error", "seated"), flush=True)
for place in sys.stdin:
    print(repr(held[int(place)].recv(4096)), flush=True)
"""
"""Somebody who may only read takes places and says what the last was told; then, for each number, what comes there."""


async def sit(path: Path, places: int) -> tuple[asyncio.subprocess.Process, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SITTERS, str(path), str(places), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    return child, (await child.stdout.readline()).decode().strip()


@NEEDS_ROOT
def test_who_may_only_read_gives_way_to_who_may_write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "control.sock"

        async def scene() -> None:
            os.chown(path, -1, 54322)
            sitters, told = await sit(path, CLIENTS_MAX)
            assert told == "seated"
            late, told = await sit(path, 1)
            assert told == f"{CLIENTS_MAX} clients are connected", "among readers, who came first stays"
            assert (await exchange(path, b'{"command":"drain","name":"au"}\n'))[0]["ok"]
            assert sitters.stdin is not None
            assert sitters.stdout is not None
            sitters.stdin.write(b"0\n")
            assert await asyncio.wait_for(sitters.stdout.readline(), 5) == b"b''\n", "the oldest gave way"
            for child in (sitters, late):
                assert child.stdin is not None
                child.stdin.close()
                await child.wait()

        run(path, scene)


def test_the_seventeenth_client_is_told_so_and_a_place_comes_free(path: Path) -> None:
    async def scene() -> None:
        held = [await asyncio.open_unix_connection(str(path)) for _ in range(CLIENTS_MAX)]
        for reader, writer in held:  # answered: so all of them have their place
            writer.write(b'{"command":"status"}\n')
            assert json.loads(await reader.readline())["ok"]
        (refused,) = await exchange(path, b'{"command":"status"}\n')
        assert refused == {"ok": False, "error": f"{CLIENTS_MAX} clients are connected", "hint": "try again"}
        with pytest.raises(ControlError, match="clients are connected"):
            await asyncio.to_thread(call, path, "status", {})
        held[0][1].close()
        while True:
            (reply,) = await exchange(path, b'{"command":"status"}\n')
            if reply["ok"]:
                break
        for _, writer in held:
            writer.close()

    run(path, scene)


def test_who_has_asked_nothing_in_time_gives_way_to_anybody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "IDLE", 0.05)

    async def scene() -> None:
        talker = await asking(path, STATUS)
        idle = [await asyncio.open_unix_connection(str(path)) for _ in range(CLIENTS_MAX - 1)]
        idle[0][1].write(b'{"command":')

        async def until_served() -> None:
            while not (await exchange(path, STATUS))[0]["ok"]:
                pass

        await asyncio.wait_for(until_served(), control.PATIENCE / 2)
        assert await idle[0][0].read() == b"", "the oldest of them, for half a request is none"
        talker[1].write(STATUS)
        assert (await heard(talker[0]))["ok"], "who has asked stays"
        for _, writer in (talker, *idle):
            writer.close()

    run(path, scene)


def test_until_then_nobody_gives_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "IDLE", 60.0)

    async def scene() -> None:
        idle = [await asyncio.open_unix_connection(str(path)) for _ in range(CLIENTS_MAX)]
        (refused,) = await exchange(path, STATUS)
        assert refused["error"] == f"{CLIENTS_MAX} clients are connected"
        for _, writer in idle:
            writer.write(STATUS)
        for reader, writer in idle:
            assert (await heard(reader))["ok"]
            writer.close()

    run(path, scene)


def test_who_watches_gives_way_to_who_may_write(path: Path) -> None:
    async def scene() -> None:
        watchers = [await asking(path, WATCH) for _ in range(CLIENTS_MAX)]
        assert (await exchange(path, STATUS))[0]["ok"]
        assert await asyncio.wait_for(watchers[0][0].read(), PATIENCE), "what it was sent before,"
        assert watchers[0][0].at_eof(), "and the end: it was the oldest"
        for reader, writer in watchers[1:]:
            assert (await heard(reader))["text"] == "did status"
            writer.close()
        watchers[0][1].close()

    run(path, scene)
