"""What the agent tells whoever supervises it, heard on a real notify socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from failover.facts import PREFS_OWNED
from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.world import World
from tests.agent.running import FAILOVER, PATIENCE, facts, running
from tests.agent.test_timing import TRIES


class Ear:
    """The supervisor's end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.heard: list[str] = []

    def until(self, words: str) -> str:
        """The next message with these words."""
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            message = self._socket.recv(4096).decode()
            self.heard.append(message)
            if words in message:
                return message
        raise AssertionError(f"never heard {words!r}: {self.heard}")

    def silent_within(self, messages: int) -> bool:
        """Whether nothing comes for a second, after so many at most."""
        self._socket.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            for _ in range(messages + 1):
                self._socket.recv(4096)
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(tmp_path / "notify")
    yield ear
    ear.close()


def told(ear: Ear, **more: str) -> tuple[str, ...]:
    """The command of an agent that reports there."""
    words = [f"{name}={value}" for name, value in {"NOTIFY_SOCKET": str(ear.path), **more}.items()]
    return ("env", *words, *FAILOVER)


def test_ready_when_the_kernel_is_adopted_then_how_things_are(
    world: World, van: Namespace, tmp_path: Path, ear: Ear
) -> None:
    with running(van, tmp_path, command=told(ear)) as agent:
        first = ear.until("READY=1")
        assert "STATUS=" in first
        assert {rule.priority for rule in facts(van).rules} & set(PREFS_OWNED)
        assert ear.heard == [first]
        agent.ready().all_up()
        online = "STATUS=online"
        assert "wwan0" in (first if online in first else ear.until(online))  # an answer may be quicker than the kernel
        with faults.blackout(world, "au"):
            assert "wwan1" in ear.until("by wwan1")
        agent.process.terminate()
        ear.until("STOPPING=1")


def test_a_reload_is_told_from_its_beginning_to_its_end(van: Namespace, tmp_path: Path, ear: Ear) -> None:
    with running(van, tmp_path, command=told(ear)) as agent:
        ear.until("READY=1")
        agent.process.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in ear.until("RELOADING=1")
        ear.until("READY=1")


def longest_hunger(ear: Ear) -> float:
    """Seconds between two of the next feedings of the watchdog."""
    times = [(ear.until("WATCHDOG=1"), time.monotonic())[1] for _ in range(4)]
    return max(after - before for before, after in pairwise(times))


def test_the_watchdog_is_fed_as_long_as_the_agent_turns(van: Namespace, tmp_path: Path, ear: Ear) -> None:
    with running(van, tmp_path, command=told(ear, WATCHDOG_USEC="400000")) as agent:
        ear.until("READY=1")
        assert any(longest_hunger(ear) < 0.4 for _ in range(TRIES))
        os.kill(agent.process.pid, signal.SIGSTOP)
        assert ear.silent_within(3)
