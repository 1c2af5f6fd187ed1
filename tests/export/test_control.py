"""The control socket against real clients: what it answers, what a client cannot do to it, and the socket's file."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from failover.export import control
from failover.export.commands import COMMANDS, Spec
from failover.export.control import CLIENTS_MAX, LINE_LIMIT, Control
from failover.export.log import Say
from failover.model import ControlError
from tests.export.served import echo, exchange, run, serving, silent
from tests.export.shortage import complaints


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
