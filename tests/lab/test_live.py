"""The demo on a terminal of its own: frames that name the act, and an end that leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from failover.lab.live import is_watchable

COLUMNS, ROWS = 100, 30
PATIENCE = 60.0
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


class Watched:
    """`failover demo` as the foreground of a terminal."""

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self.fd, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "failover", "demo", *arguments],
            stdin=end,
            stdout=end,
            stderr=end,
            env={**plain, **environment},
            preexec_fn=_take_terminal,  # noqa: PLW1509  # no other thread is about
        )
        os.close(end)
        self.seen = b""

    def until(self, text: str) -> None:
        """Read until that was shown; AssertionError when the demo ends, TimeoutError when it takes too long."""
        deadline = time.monotonic() + PATIENCE
        while text not in words(self.seen):
            assert self._read(deadline), f"never shown: {text}"

    def end(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(5.0)

    def _read(self, deadline: float) -> bool:
        if not select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError(self.seen[-2000:])
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody holds the other end any more
            data = b""
        self.seen += data
        return bool(data)


def _take_terminal() -> None:
    """A session of its own, whose terminal Ctrl-C comes from, even where the tests run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def watched(*arguments: str, **environment: str) -> Iterator[Watched]:
    demo = Watched(*arguments, environment={"TERM": "xterm-256color", **environment})
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()
        os.close(demo.fd)


def nobody_is_left(session: int) -> bool:
    """Whether no process of the session lives; namespaces end with the processes and descriptors that hold them."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, _, _, of = file.read().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of) == session and state != "Z":
            return False
    return True


def words(seen: bytes) -> str:
    """What was shown, without the colours and moves of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode(errors="replace"))


def test_an_act_can_be_watched_and_ends_clean() -> None:
    with watched("--only", "link-down") as demo:
        assert demo.end() == 0
        shown = words(demo.seen)
        assert nobody_is_left(demo.process.pid)
    assert shown.count(" act 1 of 1  ◐ link-down: its link goes down") > 10
    assert re.search(r"➤  au +wwan0  up \* +up \* +[·▁-█]+ +\d+ ms", shown)
    assert re.search(r"➤  docomo +wwan1  up \*", shown)
    assert re.search(r"new flows ipv4 +█{10}", shown)
    assert re.search(r"MPTCP stream .*█{10}", shown)
    assert all(f"\x1b[{colour}m█".encode() in demo.seen for colour in (36, 35)), "flows by au, then by docomo"
    assert demo.seen.count(HIDE) == demo.seen.count(SHOW) == 1
    story, _, after = demo.seen.partition(SHOW)
    assert " act 1 of 1" not in words(after)
    assert "agent  switch ipv4 au -> docomo: link-down" in words(story)
    assert "1 of 1 acts came out as promised" in words(after)


def test_ctrl_c_gives_the_terminal_back_and_leaves_no_process() -> None:
    with watched("--only", "link-down") as demo:
        demo.until("◐ link-down")
        demo.until("ready 3 uplinks")
        os.write(demo.fd, b"\x03")
        assert demo.end() == 130
        assert nobody_is_left(demo.process.pid)
    assert demo.seen.rindex(SHOW) > demo.seen.rindex(HIDE)
    assert "Traceback" not in words(demo.seen)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLUMNS": "60"}], ids=str)
def test_who_wants_it_plain_gets_lines(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    master, end = pty.openpty()
    with os.fdopen(master), os.fdopen(end, "w") as terminal:
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", "100")
        assert is_watchable(terminal)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert not is_watchable(terminal)


def test_plain_lines_are_for_whoever_asks_for_them() -> None:
    with watched("--only", "link-down", "--plain") as demo:
        demo.until("play   --- link-down: its link goes down")
        os.write(demo.fd, b"\x03")
        assert demo.end() == 130
        assert nobody_is_left(demo.process.pid)
    assert HIDE not in demo.seen
    assert "◐" not in words(demo.seen)
