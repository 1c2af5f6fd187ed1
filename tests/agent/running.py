"""An agent as a process in a namespace, its log lines, and what the kernel holds there."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil

from failover.export.client import call
from failover.facts import PREFS_OWNED, TABLES_OWNED, Facts, Route, Rule
from failover.kernel.kernel import Kernel
from failover.kernel.watch import Watch
from failover.lab.namespaces import Namespace

FAILOVER = (sys.executable, "-m", "failover")
ENTRY = re.compile(rb" \[([0-9a-f]+-[0-9]+)\]$")
"""The id at the end of a log line."""
PATIENCE = 30.0
"""Seconds that a test waits for anything; the machine may be busy."""

T = TypeVar("T")


class Agent:
    """`failover run` in a namespace. `lines` are the log lines read so far, without the ids at their ends: `ids`."""

    def __init__(self, namespace: Namespace, home: Path, *options: str, command: tuple[str, ...] = FAILOVER) -> None:
        self.namespace, self.home = namespace, home
        self.socket = home / "control.sock"
        argv = [*command, "run", "--socket", str(self.socket), "--state", str(home), *options]
        self.process = namespace.popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self.process.stderr is not None
        self._fd = self.process.stderr.fileno()
        os.set_blocking(self._fd, False)
        self._rest = b""
        self.lines: list[str] = []
        self.ids: list[str] = []

    def _take(self, timeout: float) -> bool:
        """Read what it said; False at the end of its stderr."""
        if not select.select([self._fd], [], [], timeout)[0]:
            return True
        data = os.read(self._fd, 65536)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            found = ENTRY.search(line)
            self.lines.append(line[: found.start() if found else None].decode())
            self.ids.append(found[1].decode() if found else "")
        return bool(data)

    def hear(self, seconds: float) -> bool:
        """Take in what it says for so long; False at once when it ends."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not self._take(left):
                return False
        return True

    def said(self, words: str, start: int = 0, seconds: float = PATIENCE) -> str:
        """The first line from `start` on that has these words; waits for it."""
        deadline = time.monotonic() + seconds
        while True:
            found = [line for line in self.lines[start:] if words in line]
            if found:
                return found[0]
            assert self._take(deadline - time.monotonic()), f"ended without {words!r}: {self.lines}"
            assert time.monotonic() < deadline, f"never said {words!r}: {self.lines}"

    def hold(self, seconds: float) -> None:
        """Stop its process for so long; it goes on afterwards."""
        deadline = time.monotonic() + seconds
        self.process.send_signal(signal.SIGSTOP)
        while (left := deadline - time.monotonic()) > 0:
            self._take(left)
        self.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Its process stands still meanwhile, and what it had begun in children is over."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        for child in psutil.Process(self.process.pid).children():
            ended = os.pidfd_open(child.pid)
            assert select.select([ended], [], [], PATIENCE)[0]
            os.close(ended)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def ready(self) -> Agent:
        self.said("failover: ready: ")
        return self

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = call(self.socket, "status", {})["status"]
        return found

    def until(self, condition: Callable[[dict[str, Any]], T], seconds: float = PATIENCE) -> T:
        """What `condition` makes of the status, once that is true; looks again whenever a line is logged."""
        deadline = time.monotonic() + seconds
        while True:
            found = condition(self.status())
            if found:
                return found
            assert time.monotonic() < deadline, self.lines
            self._take(0.1)

    def all_up(self) -> Agent:
        """Every uplink is proven in both families."""
        self.until(proven)
        return self

    def end(self) -> tuple[int, list[str]]:
        """Wait for its end: exit status and every line."""
        assert not self.hear(PATIENCE), f"it has not ended: {self.lines}"
        return self.process.wait(PATIENCE), self.lines

    def stop(self) -> tuple[int, list[str]]:
        self.process.terminate()
        return self.end()

    def kill(self) -> None:
        self.process.kill()
        self.end()


def proven(status: dict[str, Any]) -> bool:
    """Whether all uplinks are up."""
    verdicts = [view["verdict"] for one in status["uplinks"] for view in one["families"].values()]
    return len(verdicts) > 0 and set(verdicts) == {"up"}


@contextlib.contextmanager
def running(namespace: Namespace, home: Path, *options: str, **more: Any) -> Iterator[Agent]:
    """An agent that does not outlive the block."""
    agent = Agent(namespace, home, *options, **more)
    try:
        yield agent
    finally:
        agent.process.kill()
        agent.process.wait(PATIENCE)
        assert agent.process.stderr is not None
        agent.process.stderr.close()


def command(namespace: Namespace, *argv: str) -> tuple[int, str, str]:
    """A failover command inside: exit status, stdout, stderr."""
    child = namespace.popen([*FAILOVER, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


def facts(namespace: Namespace) -> Facts:
    with namespace.entered(), contextlib.closing(Kernel()) as kernel:
        return kernel.read()


def ours(namespace: Namespace) -> tuple[frozenset[Route | Rule], frozenset[Route | Rule]]:
    """Routes and rules: those in our tables and prefs, and all others. Without lifetimes, which run."""
    from dataclasses import replace

    found = facts(namespace)
    routes = [replace(route, expires=None) for route in found.routes]
    mine = {route for route in routes if route.table in TABLES_OWNED}
    mine_too = {rule for rule in found.rules if rule.priority in PREFS_OWNED}
    everything: frozenset[Route | Rule] = frozenset((*routes, *found.rules))
    own: frozenset[Route | Rule] = frozenset(mine | mine_too)
    return own, everything - own


@contextlib.contextmanager
def watching(namespace: Namespace) -> Iterator[Callable[[Callable[[Facts], bool]], float]]:
    """Gives a function that waits until the kernel's facts meet a condition and returns the seconds it took."""
    with awaiting(namespace) as wait:
        yield lambda condition: wait(lambda: condition(facts(namespace)))


@contextlib.contextmanager
def awaiting(namespace: Namespace) -> Iterator[Callable[[Callable[[], bool]], float]]:
    """The same for what can be told without all facts: it is looked at again on each of the kernel's events."""
    with namespace.entered(), contextlib.closing(Watch(0)) as watch:

        def wait(condition: Callable[[], bool]) -> float:
            start = time.monotonic()
            while not condition():
                left = start + PATIENCE - time.monotonic()
                assert left > 0, facts(namespace)
                select.select([watch.fileno()], [], [], left)
                watch.drain()
            return time.monotonic() - start

        yield wait


def scrape(namespace: Namespace, port: int = 9109, path: str = "/metrics") -> str:
    """A page of the agent, fetched inside."""
    with namespace.entered():
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    with connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
    return data.decode()
