"""Messages to a supervisor, read at the other end of real datagram sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.export.supervisor import STATUS_LIMIT, Supervisor


class Clock:
    """Seconds, as the test has them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """The supervisor's end of a NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address.replace("@", "\0", 1))

    def heard(self) -> list[str]:
        """Every message that has come since."""
        messages = []
        try:
            while True:
                messages.append(self.socket.recv(8192).decode())
        except BlockingIOError:
            return messages


@pytest.fixture(params=["path", "abstract"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with tempfile.TemporaryDirectory() as folder:
        one = Peer(f"{folder}/notify" if request.param == "path" else f"@failover-test-{os.getpid()}")
        with one.socket:
            yield one


def test_a_whole_life(peer: Peer) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": peer.address}, Clock())
    supervisor.ready("online by au")
    supervisor.status("online by docomo: au silent for 3 s")
    supervisor.reloading()
    supervisor.reloaded()
    supervisor.stopping()
    assert peer.heard() == [
        "READY=1\nSTATUS=online by au",
        "STATUS=online by docomo: au silent for 3 s",
        "RELOADING=1\nMONOTONIC_USEC=1000000000",
        "READY=1",
        "STOPPING=1",
    ]


def test_a_status_is_said_once_cleaned_and_bounded(peer: Peer) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": peer.address})
    for _ in range(3):
        supervisor.status("online by a\nMAINPID=1\x1b[2J \u202e \udcff")
    supervisor.status("x" * 9999)
    hostile, long = peer.heard()
    assert hostile == "STATUS=online by a?MAINPID=1?[2J ? ?"
    assert len(long) == len("STATUS=") + STATUS_LIMIT


def test_the_watchdog_is_fed_four_times_a_period(peer: Peer) -> None:
    clock = Clock()
    supervisor = Supervisor({"NOTIFY_SOCKET": peer.address, "WATCHDOG_USEC": "20000000"}, clock)
    assert supervisor.interval == 5.0
    fed = []
    for _ in range(40 * 10):  # for 40 s, ten times a second
        supervisor.alive()
        if peer.heard() == ["WATCHDOG=1"]:
            fed.append(clock.now - 1000)
        clock.now += 0.125
    assert fed == [5.0 * count for count in range(10)]


def test_what_was_missed_is_not_fed_afterwards(peer: Peer) -> None:
    clock = Clock()
    supervisor = Supervisor({"NOTIFY_SOCKET": peer.address, "WATCHDOG_USEC": "20000000"}, clock)
    clock.now += 50.0
    for _ in range(10):
        supervisor.alive()
    assert peer.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "period",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "me"},
    ],
)
def test_no_watchdog_of_ours_is_not_fed(peer: Peer, period: dict[str, str]) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": peer.address, **period})
    supervisor.alive()
    assert supervisor.interval is None
    assert peer.heard() == []


def test_a_watchdog_for_our_pid_is_fed(peer: Peer) -> None:
    environment = {"NOTIFY_SOCKET": peer.address, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
    Supervisor(environment).alive()
    assert peer.heard() == ["WATCHDOG=1"]


def test_a_full_socket_is_not_waited_for_and_nothing_but_feeds_is_lost(peer: Peer) -> None:
    clock = Clock()
    supervisor = Supervisor({"NOTIFY_SOCKET": peer.address, "WATCHDOG_USEC": "4000000"}, clock)
    for count in range(2000):  # more than the queue of a datagram socket holds; a send that blocks would hang here
        supervisor.status(f"number {count}")
    supervisor.ready("online by au")
    supervisor.status("online by docomo")
    supervisor.alive()
    kept = peer.heard()
    assert len(kept) < 2000
    assert "READY=1" not in "".join(kept)
    supervisor.alive()
    assert peer.heard() == ["STATUS=online by docomo\nREADY=1\nWATCHDOG=1"]
    supervisor.alive()
    assert peer.heard() == []


def test_what_is_owed_does_not_wait_for_the_next_feed(peer: Peer) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": peer.address, "WATCHDOG_USEC": "4000000"}, Clock())
    supervisor.alive()
    for count in range(2000):
        supervisor.status(f"number {count}")
    peer.heard()
    supervisor.alive()
    assert peer.heard() == ["STATUS=number 1999"]


def test_a_supervisor_that_is_gone_and_comes_back(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor({"NOTIFY_SOCKET": f"{folder}/notify"})
        supervisor.ready("online by au")
        peer = Peer(f"{folder}/notify")
        with peer.socket:
            supervisor.alive()
            assert peer.heard() == ["READY=1\nSTATUS=online by au"]


@pytest.mark.parametrize(
    "address", ["", "relative", "vsock:2:1234", "/nowhere/notify", "@", "/" + "x" * 200, "/a\0b", "@nobody-is-there"]
)
def test_an_address_that_leads_nowhere_hurts_nobody(address: str) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000"})
    supervisor.ready("online by au")
    supervisor.alive()
    supervisor.stopping()
    assert (supervisor.interval is None) == (not address.startswith(("/", "@")))


LONELY = """
import sys
from failover.export.supervisor import Supervisor
opened = []
sys.addaudithook(lambda event, arguments: opened.append(event) if event.startswith("socket.") else None)
supervisor = Supervisor({"WATCHDOG_USEC": "4000000", **dict(word.split("=") for word in sys.argv[1:])})
supervisor.ready("online by au")
supervisor.alive()
print(len(opened))
"""


def test_without_a_supervisor_no_socket_is_touched() -> None:
    def touched(*environment: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", LONELY, *environment]))

    assert touched() == 0
    assert touched("NOTIFY_SOCKET=/nowhere/notify") > 0
