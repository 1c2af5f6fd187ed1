"""The control socket against real clients: what it answers, who may write, and what a client cannot do to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from failover.export import control
from failover.export.client import call, socket_path
from failover.export.commands import COMMANDS, Spec
from failover.export.control import CLIENTS_MAX, LINE_LIMIT, Control, Peer, may_write
from failover.export.log import Say
from failover.model import ControlError
from tests.export.shortage import complaints

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")


async def echo(spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
    if arguments.get("name") == "nowhere":
        raise ControlError("no uplink 'nowhere'", "known: au")
    return {"text": f"did {spec.name}", "fields": dict(arguments)}


def silent(kind: str, text: str) -> None:
    raise AssertionError(f"{kind}: {text}")


@contextlib.asynccontextmanager
async def serving(path: Path, writers: int | None = None) -> AsyncIterator[Control]:
    server = Control(path, echo, silent, writers)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def run(path: Path, scene: Callable[[], Awaitable[None]], writers: int | None = None) -> None:
    async def play() -> None:
        async with serving(path, writers):
            await scene()

    asyncio.run(play())


async def exchange(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """Sends every line, ends the sending side, returns every reply until the server closes."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
    with contextlib.suppress(ConnectionError):
        writer.write(b"".join(lines))
        writer.write_eof()
        await writer.drain()
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            data += chunk
    writer.close()
    return [json.loads(line) for line in data.splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_answers_every_line_of_a_connection(path: Path) -> None:
    async def scene() -> None:
        replies = await exchange(path, b'{"command":"status"}\n', b'{"command":"use","name":"au","seconds":60}\n')
        assert replies == [
            {"ok": True, "text": "did status", "fields": {}},
            {"ok": True, "text": "did use", "fields": {"name": "au", "seconds": 60.0}},
        ]

    run(path, scene)


def test_a_client_that_asks_without_end_lets_others_in_between(path: Path) -> None:
    turns, seen = 0, []

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def answer(spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
        seen.append(turns)
        return {}

    async def play() -> None:
        server = Control(path, answer, silent)
        await server.start()
        counting = asyncio.create_task(count())
        assert len(await exchange(path, b'{"command":"status"}\n' * 100)) == 100
        counting.cancel()
        await server.stop()

    asyncio.run(play())
    assert len(set(seen)) == 100


REFUSED = [
    (b"\n", "the request is not a line of JSON", 'as {"command": "status"}'),
    (b"[" * 20000 + b"\n", "the request is not a line of JSON", 'as {"command": "status"}'),
    (b"\xff\xfe\n", "the request is not a line of JSON", 'as {"command": "status"}'),
    (b"[]\n", "a request is a JSON object", 'as {"command": "status"}'),
    (b"{}\n", "the request names no command", f"known: {', '.join(sorted(COMMANDS))}"),
    (b'{"command":7}\n', "the request names no command", f"known: {', '.join(sorted(COMMANDS))}"),
    (b'{"command":"drian"}\n', "unknown command 'drian'", "did you mean 'drain'?"),
    (b'{"command":"a\\u202eb"}\n', "unknown command 'a?b'", f"known: {', '.join(sorted(COMMANDS))}"),
    (b'{"command":"status","all":1}\n', "status: unknown argument 'all'", "it takes none"),
    (b'{"command":"use","nam":"au"}\n', "use: unknown argument 'nam'", "did you mean 'name'?"),
    (b'{"command":"use"}\n', "use: argument 'name' is missing", "it is the name of the uplink"),
    (b'{"command":"use","name":""}\n', "use: argument 'name' must be a name", "name of the uplink"),
    (b'{"command":"use","name":["au"]}\n', "use: argument 'name' must be a name", "name of the uplink"),
    (b'{"command":"drain","name":"nowhere"}\n', "no uplink 'nowhere'", "known: au"),
]


@pytest.mark.parametrize(("line", "error", "hint"), REFUSED, ids=range(len(REFUSED)))
def test_refuses_with_a_hint_and_goes_on(path: Path, line: bytes, error: str, hint: str) -> None:
    async def scene() -> None:
        refused, answered = await exchange(path, line, b'{"command":"status"}\n')
        assert refused == {"ok": False, "error": error, "hint": hint}
        assert answered["ok"]

    run(path, scene)


@pytest.mark.parametrize("seconds", ["0", "-1", "true", '"60"', "1e999", "NaN", "1e12", "null"])
def test_a_span_is_a_sane_number(path: Path, seconds: str) -> None:
    async def scene() -> None:
        (reply,) = await exchange(path, b'{"command":"use","name":"au","seconds":%s}\n' % seconds.encode())
        assert reply["error"] == "use: argument 'seconds' must be a number of seconds above 0"

    run(path, scene)


def test_a_request_longer_than_the_limit_is_refused_and_ends_the_connection(path: Path) -> None:
    async def scene() -> None:
        long = b'{"command":"' + b"x" * LINE_LIMIT + b'"}\n'
        assert await exchange(path, long, b'{"command":"status"}\n') == [
            {"ok": False, "error": f"the request is longer than {LINE_LIMIT} bytes", "hint": ""}
        ]

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


def test_without_descriptors_a_complaint_for_each_place_and_then_an_answer(path: Path) -> None:
    async def scene() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            times, answer = await complaints(client, str(path), b'{"command":"status"}\n')
        assert times <= CLIENTS_MAX
        assert json.loads(answer)["ok"]

    run(path, scene)


def test_a_stop_ends_every_connection(path: Path) -> None:
    async def scene() -> None:
        async with serving(path) as server:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b'{"command":"status"}\n')
            assert json.loads(await reader.readline())["ok"]
            await asyncio.wait_for(server.stop(), control.PATIENCE / 2)
            assert await reader.read() == b""
            writer.close()

    asyncio.run(scene())


def test_half_a_request_is_cut_off_after_its_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.05)

    async def scene() -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"command":')
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()

    run(path, scene)


def test_a_client_that_does_not_read_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.2)

    async def scene() -> None:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.setblocking(False)
            deaf.connect(str(path))
            request = json.dumps({"command": "use", "name": "x" * 128}).encode() + b"\n"
            loop = asyncio.get_running_loop()

            async def flood() -> None:
                while True:
                    await loop.sock_sendall(deaf, request * 100)

            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await asyncio.wait_for(flood(), 10)
        assert (await exchange(path, b'{"command":"status"}\n'))[0]["ok"]

    run(path, scene)


def test_stays_whole_under_random_bytes(path: Path) -> None:
    dice = random.Random(155)
    seeds = [b'{"command":"use","name":"au","seconds":60}', b'{"command":"status"}', b"[[[[", b'"\\u0000"', b"{" * 99]

    def mangle() -> bytes:
        line = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(6)):
            at = dice.randrange(len(line))
            line[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(4))
        return bytes(line) + dice.choice([b"\n", b"\n", b"\n\n", b""])

    async def scene() -> None:
        for _ in range(300):
            for reply in await exchange(path, *(mangle() for _ in range(dice.randrange(1, 5)))):
                assert reply["ok"] is True or reply["error"]
        assert (await exchange(path, b'{"command":"status"}\n'))[0]["ok"]

    run(path, scene)


def test_the_socket_is_for_owner_and_group_only_and_goes_with_the_server(path: Path) -> None:
    async def scene() -> None:
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660

    run(path, scene)
    assert not path.exists()


def test_a_stale_socket_gives_way(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def scene() -> None:
        assert (await exchange(path, b'{"command":"status"}\n'))[0]["ok"]

    run(path, scene)


def test_a_live_socket_does_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        with pytest.raises(ControlError, match="another agent answers"):
            asyncio.run(Control(path, echo, silent).start())
        assert path.is_socket()


def test_another_file_does_not(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(ControlError, match="is no socket"):
        asyncio.run(Control(path, echo, silent).start())
    assert path.read_text() == "mine"


def test_a_socket_that_replaced_ours_is_not_taken_away(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:

        async def scene() -> None:
            path.unlink()
            other.bind(str(path))

        run(path, scene)
        assert path.is_socket()


def said_by(server: Callable[[Say], Control]) -> tuple[Control, list[str]]:
    """A server and what it says."""
    lines: list[str] = []
    return server(lambda kind, text: lines.append(f"{kind}: {text}")), lines


def test_a_socket_that_is_gone_is_made_anew(path: Path) -> None:
    async def play() -> None:
        server, lines = said_by(lambda say: Control(path, echo, say))
        await server.start()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"command":"status"}\n')
        assert json.loads(await reader.readline())["ok"]
        for _ in range(2):
            path.unlink()
            server.keep()
            server.keep()
            while not path.is_socket():
                await asyncio.sleep(0)
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert (await exchange(path, b'{"command":"status"}\n'))[0]["ok"]
        server.keep()
        writer.write(b'{"command":"status"}\n')
        assert json.loads(await reader.readline())["ok"], "who was connected stays so"
        writer.close()
        await server.stop()
        assert lines == [f"warning: {path} was gone; made anew"] * 2
        assert not path.exists()
        server.keep()
        await asyncio.sleep(0)
        assert not path.exists(), "nor does it come back"

    asyncio.run(play())


def test_the_end_waits_for_a_socket_in_the_making_and_takes_it_away(path: Path) -> None:
    async def play() -> None:
        server, lines = said_by(lambda say: Control(path, echo, say))
        await server.start()
        path.unlink()
        server.keep()
        await server.stop()
        assert lines == [f"warning: {path} was gone; made anew"]

    asyncio.run(play())
    assert not path.exists()


@pytest.mark.parametrize("alive", [False, True], ids=["stale", "alive"])
def test_what_somebody_else_put_there_stays_and_is_said_once(path: Path, alive: bool) -> None:
    async def play() -> None:
        server, lines = said_by(lambda say: Control(path, echo, say))
        await server.start()
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            if alive:
                other.listen()
            before = path.stat()
            for _ in range(3):
                server.keep()
                await asyncio.sleep(0)
            assert os.path.samestat(path.stat(), before)
        said = f"warning: {path} is not our control socket any more; remove it"
        assert lines == [said]
        path.unlink()
        server.keep()
        await server.stop()
        assert lines == [said, f"warning: {path} was gone; made anew"]

    asyncio.run(play())


def test_a_socket_that_cannot_be_made_anew_is_said_once_and_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    async def play() -> None:
        server, lines = said_by(lambda say: Control(folder / "control.sock", echo, say))
        await server.start()
        shutil.rmtree(folder)
        folder.write_text("a file in its way")
        for _ in range(3):
            server.keep()
            await asyncio.sleep(0)
        assert len(lines) == 1
        folder.unlink()
        server.keep()
        await server.stop()
        assert lines[1:] == [f"warning: {folder}/control.sock was gone; made anew"]

    asyncio.run(play())


def test_a_path_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="longer than 107 bytes"):
        asyncio.run(Control(tmp_path / ("x" * 200), echo, silent).start())


def test_who_may_write() -> None:
    assert may_write(Peer(1, 0, frozenset()), 500, None)
    assert may_write(Peer(1, 500, frozenset()), 500, None)
    assert may_write(Peer(1, 1000, frozenset((1000, 77))), 500, 77)
    assert not may_write(Peer(1, 1000, frozenset((1000,))), 500, 77)
    assert not may_write(Peer(1, 1000, frozenset((0,))), 500, None)


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


def test_the_client_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "none.sock"
    with pytest.raises(ControlError, match="no agent here: there is no"):
        call(path, "status", {})
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        with pytest.raises(ControlError, match="nobody listens"):
            call(path, "status", {})
        dead.listen()
        with pytest.raises(ControlError, match="does not answer"):
            call(path, "status", {}, timeout=0.01)
        dead.listen(0)
        with pytest.raises(ControlError, match="too many wait for the agent"):
            call(path, "status", {})
    monkeypatch.setenv("FAILOVER_SOCKET", "/x/y.sock")
    assert socket_path() == Path("/x/y.sock")
    assert socket_path("/z.sock") == Path("/z.sock")
