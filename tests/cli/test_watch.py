"""`status --watch` and `events --follow`: on a terminal, into a pipe, and while the agent comes and goes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO

import pytest

from failover.model import Family, Verdict
from tests.cli.conftest import Standin, entry
from tests.export.pictures import family, uplink

PATIENCE = 20.0
"""Seconds for anything to appear."""
UP, DOWN = family(Verdict.UP), family(Verdict.DOWN)
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


class Reader:
    """Reads what a process writes, until something appears in it."""

    def __init__(self, fd: int) -> None:
        self._fd, self.text = fd, ""

    def until(self, word: str) -> str:
        """What came since the last time, up to and with this word."""
        end = time.monotonic() + PATIENCE
        while word not in self.text:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {word!r} in {self.text!r}"
            try:
                chunk = os.read(self._fd, 65536)
            except OSError:  # the other end of the terminal is closed
                chunk = b""
            assert chunk, f"no {word!r} in {self.text!r}"
            self.text += chunk.decode()
        found, _, self.text = self.text.partition(word)
        return found + word

    def picture(self) -> str:
        """What was drawn over the last picture."""
        self.until("\x1b[H")
        return self.until("\x1b[J")

    def rest(self) -> str:
        """Everything until the end."""
        with pytest.raises(AssertionError):
            self.until("\0")
        return self.text


@contextmanager
def failover(*words: str, stdout: int | IO[bytes] = subprocess.PIPE, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own, ended in the end."""
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", **more}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    argv = [sys.executable, "-m", "failover", *words]
    child = subprocess.Popen(argv, stdout=stdout, stderr=subprocess.PIPE, env=environment)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()


def piped(child: subprocess.Popen[bytes]) -> Reader:
    assert child.stdout is not None
    return Reader(child.stdout.fileno())


@contextmanager
def terminal(lines: int = 24, columns: int = 80) -> Iterator[tuple[int, Reader]]:
    """A terminal of that size: the end for a process, and what it shows."""
    outer, inner = pty.openpty()
    resize(inner, lines, columns)
    try:
        yield inner, Reader(outer)
    finally:
        os.close(outer)
        os.close(inner)


def resize(fd: int, lines: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


# --- a terminal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_terminal_is_drawn_over_and_left_clean(standin: Standin, number: signal.Signals, status: int) -> None:
    watch = ("status", "--watch", "--socket", str(standin.path))
    with terminal() as (inner, seen), failover(*watch, stdout=inner) as child:
        first = seen.until("Ctrl-C ends this")
        assert first.startswith(f"{ENTER}\x1b[Honline by docomo")
        assert first.count(ENTER) == 1
        second = seen.until("Ctrl-C ends this")
        assert "\x1b[Honline by docomo" in second
        assert "\x1b[2J" not in first + second  # a cleared screen would flicker
        child.send_signal(number)
        seen.until(LEAVE)
        assert child.wait(PATIENCE) == status
        assert child.stderr is not None
        assert child.stderr.read() == b""


def test_a_terminal_shows_a_change_within_a_second_or_so(standin: Standin) -> None:
    with terminal() as (inner, seen), failover("status", "--watch", "--socket", str(standin.path), stdout=inner):
        seen.until("online by docomo")
        standin.picture = replace(standin.picture, uplinks=(uplink("au", DOWN, DOWN), uplink("docomo", DOWN, DOWN)))
        standin.publish(entry(2, "docomo ipv4 is down"))
        seen.until("\x1b[Hoffline: ")


def test_a_terminal_of_another_size_is_drawn_anew_at_once(standin: Standin) -> None:
    watch = ("status", "--watch", "--socket", str(standin.path))
    sizes: list[tuple[int, int, Callable[[str], bool]]] = [
        (24, 200, lambda drawn: "why" in drawn),
        (24, 60, lambda drawn: "why" not in drawn),
        (3, 200, lambda drawn: drawn.count("\r\n") == 2),
    ]
    with terminal(24, 60) as (inner, seen), failover(*watch, stdout=inner) as child:
        seen.until("Ctrl-C ends this")
        standin.stop()
        seen.until("this was at")  # from now on nothing but the size brings a new picture
        for lines, columns, fits in sizes:
            resize(inner, lines, columns)
            child.send_signal(signal.SIGWINCH)
            begun = time.monotonic()
            while not fits(seen.picture()):
                assert time.monotonic() < begun + PATIENCE
        standin.start()


def test_a_terminal_says_that_the_agent_is_gone_and_goes_on_when_it_is_back(standin: Standin) -> None:
    with terminal() as (inner, seen), failover("status", "--watch", "--socket", str(standin.path), stdout=inner):
        seen.until("online by docomo")
        standin.stop()
        gone = seen.until("this was at")
        assert "hung up" in gone
        assert "trying again" in gone
        seen.until("online by docomo")
        standin.start()
        seen.until("\x1b[Honline by docomo")


# --- a pipe ----------------------------------------------------------------------------------------------------------


def test_a_pipe_gets_a_text_for_each_change_and_none_for_age(standin: Standin) -> None:
    with failover("status", "--watch", "--socket", str(standin.path)) as child:
        seen = piped(child)
        first = seen.until("\n\n")
        assert first.count("\n") == 7
        assert "\x1b" not in first
        assert first[8:].startswith(" online by docomo")
        older = replace(standin.picture.uplinks[1].families[Family.IPV4], since=0.0, rtt_seconds=0.2)
        standin.picture = replace(standin.picture, uplinks=(standin.picture.uplinks[0], uplink("docomo", older, UP)))
        seen.until("\n\n")  # ipv6 has come up
        older = replace(older, since=1.0, last_proven=2.0, loss_ratio=0.5)
        standin.picture = replace(standin.picture, uplinks=(standin.picture.uplinks[0], uplink("docomo", older, UP)))
        while not standin.drawn.empty():
            standin.drawn.get()
        for _ in range(2):
            standin.drawn.get(timeout=PATIENCE)
        standin.picture = replace(standin.picture, uplinks=(uplink("docomo", DOWN, DOWN),))
        assert " offline: " in seen.until("\n\n").splitlines()[0]  # whatever was drawn between was no change


def test_a_pipe_hears_that_the_agent_is_gone_and_back(standin: Standin) -> None:
    with failover("status", "--watch", "--json", "--socket", str(standin.path)) as child:
        seen = piped(child)
        assert json.loads(seen.until("\n"))["active"]["ipv4"] == "docomo"
        standin.stop()
        assert "hung up" in json.loads(seen.until("\n"))["error"]
        standin.start()
        assert json.loads(seen.until("\n"))["active"]["ipv4"] == "docomo"


def test_an_agent_that_stays_away_is_told_of_once(standin: Standin) -> None:
    with failover("status", "--watch", "--json", "--socket", str(standin.path)) as child:
        seen = piped(child)
        seen.until("\n")
        standin.stop()
        assert "hung up" in json.loads(seen.until("\n"))["error"]
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.settimeout(PATIENCE)
            deaf.bind(str(standin.path))
            deaf.listen()
            for _ in range(2):
                deaf.accept()[0].close()
        standin.path.unlink()
        standin.start()
        assert json.loads(seen.until("\n"))["active"]["ipv4"] == "docomo"


def test_watching_one_uplink(standin: Standin) -> None:
    with failover("status", "au", "--watch", "--json", "--socket", str(standin.path)) as child:
        assert [one["name"] for one in json.loads(piped(child).until("\n"))["uplinks"]] == ["au"]


@pytest.mark.parametrize("words", [("status", "--watch"), ("events", "--follow")])
def test_who_is_not_there_at_the_start_is_not_waited_for(standin: Standin, words: tuple[str, ...]) -> None:
    with failover(*words, "--socket", f"{standin.path}.none") as child:
        assert child.wait(PATIENCE) == 1
        assert child.stderr is not None
        assert child.stderr.read().startswith(b"failover: no agent here: ")


def test_a_reader_that_leaves_a_watch_is_no_error(standin: Standin) -> None:
    with failover("status", "--watch", "--socket", str(standin.path)) as child:
        piped(child).until("\n\n")
        assert child.stdout is not None
        child.stdout.close()
        child.stdout = None
        standin.picture = replace(standin.picture, uplinks=(uplink("docomo", DOWN, DOWN),))
        assert child.wait(PATIENCE) == 1
        assert child.stderr is not None
        assert child.stderr.read() == b""


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_are_followed_over_a_restart_and_none_is_told_twice(standin: Standin) -> None:
    with failover("events", "--follow", "--json", "--limit", "7", "--socket", str(standin.path)) as child:
        seen = piped(child)
        assert json.loads(seen.until("\n"))["id"] == "run-1"
        assert ("events", {"limit": 7}) in standin.asked
        standin.entries.append(entry(2, "docomo ipv4 is down"))
        standin.publish(standin.entries[-1])
        assert json.loads(seen.until("\n")) == standin.entries[-1].document()
        standin.stop()
        standin.entries.append(entry(3, "while nobody listened"))
        standin.start()
        assert json.loads(seen.until("\n"))["id"] == "run-3"
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE) == 130
        assert seen.rest() == ""
        assert child.stderr is not None
        assert child.stderr.read().count(b"\n") == 1


def test_followed_events_are_lines_for_people(standin: Standin) -> None:
    with failover("events", "--follow", "--socket", str(standin.path)) as child:
        assert piped(child).until("\n").endswith("  run-1  switch: ipv4 au -> docomo: doubt: au silent\n")
