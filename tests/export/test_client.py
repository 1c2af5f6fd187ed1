"""The client's side of the control socket: what it says when something is wrong."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from failover.export import client
from failover.export.client import call, socket_path, stream
from failover.model import ControlError
from tests.export.served import PATIENCE, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def answering(path: Path, *sent: bytes) -> threading.Thread:
    """An agent that sends this to one client, whatever it asks, and ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            for part in sent:
                connection.sendall(part)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def ask(path: Path) -> object:
    return call(path, "status", {}, PATIENCE)


def follow(path: Path) -> object:
    return next(stream(path, "watch", {}, PATIENCE))


WRONG = [
    (b"", "hung up"),
    (b"what?\n", "is not JSON"),
    (b'{"ok": true', "is not JSON"),
    (b"[]\n", "gave no reason"),
    (b'{"status": {}}\n', "gave no reason"),
    (b'{"ok": false, "error": "no such uplink"}\n', "no such uplink"),
]


@pytest.mark.parametrize("way", [ask, follow])
@pytest.mark.parametrize(("sent", "error"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_answer_is_an_error(path: Path, way: Callable[[Path], object], sent: bytes, error: str) -> None:
    thread = answering(path, sent)
    with pytest.raises(ControlError, match=error):
        way(path)
    thread.join(PATIENCE)


def test_an_answer_without_end_is_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REPLY_LIMIT", 1000)
    thread = answering(path, b'{"ok": true, "text": "' + b"x" * 2000)
    with pytest.raises(ControlError, match="is not JSON"):
        ask(path)
    thread.join(PATIENCE)


def test_what_follows_the_answer_is_handed_on_until_the_agent_ends(path: Path) -> None:
    thread = answering(path, b'{"ok": true}\n{"status"', b': {}}\n{"event": {"id": "a-1"}}\n')
    lines = stream(path, "watch", {}, PATIENCE)
    assert next(lines) == {"status": {}}
    assert next(lines) == {"event": {"id": "a-1"}}
    with pytest.raises(ControlError, match="hung up") as caught:
        next(lines)
    assert caught.value.hint == "it stopped, or dropped a slow reader; see its log"
    thread.join(PATIENCE)


def test_a_refusal_in_mid_stream_is_an_error(path: Path) -> None:
    thread = answering(path, b'{"ok": true}\n{"ok": false, "error": "enough", "hint": "go home"}\n')
    with pytest.raises(ControlError, match="enough") as caught:
        follow(path)
    assert caught.value.hint == "go home"
    thread.join(PATIENCE)


def test_who_is_refused_unread_hears_why(path: Path) -> None:
    """The request is too long for the kernel to hold, so the agent hangs up in the midst of it."""
    heard = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def refuse() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(b'{"ok": false, "error": "too many clients", "hint": "try again"}\n')
                connection.shutdown(socket.SHUT_RDWR)
                heard.wait(PATIENCE)

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(ControlError, match="too many clients"):
            call(path, "status", {"name": "x" * (8 << 20)}, PATIENCE)
        heard.set()
        thread.join(PATIENCE)


def test_a_stream_that_is_closed_lets_go_of_the_agent(path: Path) -> None:
    async def scene() -> None:
        lines = stream(path, "watch", {}, PATIENCE)
        first = await asyncio.to_thread(next, lines)
        assert first["text"] == "did status"
        lines.close()
        assert (await asyncio.to_thread(call, path, "status", {}))["ok"]

    run(path, scene)


def test_the_client_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    with pytest.raises(ControlError, match="no agent here: there is no"):
        call(path, "status", {})
    with pytest.raises(ControlError, match="no agent here: there is no"):
        next(stream(path, "watch", {}))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        with pytest.raises(ControlError, match="nobody listens"):
            call(path, "status", {})
        dead.listen()
        with pytest.raises(ControlError, match="does not answer"):
            call(path, "status", {}, timeout=0.01)
        with pytest.raises(ControlError, match="does not answer"):
            next(stream(path, "watch", {}, timeout=0.01))
        dead.listen(0)
        with pytest.raises(ControlError, match="too many wait for the agent"):
            call(path, "status", {})


def test_whoever_has_the_service_is_sent_to_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = tmp_path / "failover.service"
    monkeypatch.setattr(client, "UNITS", (str(tmp_path / "elsewhere.service"), str(unit)))
    with pytest.raises(ControlError) as alone:
        call(tmp_path / "none.sock", "status", {})
    assert alone.value.hint == "start it with `failover run`, or name its socket with --socket"
    unit.touch()
    with pytest.raises(ControlError) as served:
        call(tmp_path / "none.sock", "status", {})
    assert served.value.hint == (
        "`systemctl status failover` and `journalctl -u failover` say why, or name its socket with --socket"
    )


def test_the_socket_is_named_by_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVER_SOCKET", "/x/y.sock")
    assert socket_path() == Path("/x/y.sock")
    assert socket_path("/z.sock") == Path("/z.sock")
