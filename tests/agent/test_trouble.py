"""The agent where the machine is against it: stopped, unheard, no room to write, no right to write."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import sys
from pathlib import Path

import pytest

from failover.export.client import call
from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.places import CARRIERS
from failover.lab.world import World
from tests.agent.running import facts, ours, proven, running, watching
from tests.agent.test_life import active

F_SETPIPE_SZ = 1031
PAGE = 4096
ON_SMALL_DISK = """
import ctypes, os, sys
folder, options, flags, room, *argv = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    if function(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
call(libc.unshare, 0x20000)  # CLONE_NEWNS
call(libc.mount, None, b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
call(libc.mount, b"tmpfs", folder.encode(), b"tmpfs", 0, options.encode())
with open(folder + "/filler", "wb", buffering=0) as filler:
    filler.write(bytes(int(room)))
call(libc.mount, b"tmpfs", folder.encode(), b"tmpfs", 0x20 | int(flags), options.encode())  # MS_REMOUNT
os.execv(sys.executable, [sys.executable, "-m", "failover", *argv])
"""
"""The failover command where a folder is a small tmpfs of its own, with a file in it that takes the room."""
MS_RDONLY = 1
SIZE = 4 * PAGE


def on_small_disk(folder: Path, options: str = f"size={SIZE}", flags: int = 0, room: int = SIZE) -> tuple[str, ...]:
    folder.mkdir(exist_ok=True)
    return (sys.executable, "-c", ON_SMALL_DISK, str(folder), options, str(flags), str(room))


def test_stopped_for_three_seconds_it_convicts_nobody(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as agent:
        made = ours(agent.ready().all_up().namespace)
        start = len(agent.lines)
        agent.process.send_signal(signal.SIGSTOP)
        assert agent.hear(3.0)
        assert ours(van) == made
        agent.process.send_signal(signal.SIGCONT)
        assert agent.hear(2.0)
        assert [line for line in agent.lines[start:] if "switch:" in line or "is down" in line] == []
        agent.all_up()
        assert ours(van) == made


@pytest.mark.parametrize("seconds", [0.5, 1.2, 3.0])
def test_answers_that_lay_unread_while_it_was_stopped_count(
    world: World, van: Namespace, tmp_path: Path, seconds: float
) -> None:
    """A round trip of 100 ms keeps every probe out until it is stopped."""
    with running(van, tmp_path) as agent, contextlib.ExitStack() as slow:
        for carrier in CARRIERS:
            slow.enter_context(faults.brown(world, carrier.name, 0.05))
        agent.ready().until(lambda _: sum("is up: answers" in line for line in agent.lines) == 2 * len(CARRIERS))
        start = len(agent.lines)
        for carrier in 2 * CARRIERS:
            call(agent.socket, "probe", {"name": carrier.interface})
        agent.hold(seconds)
        call(agent.socket, "probe", {"name": CARRIERS[0].interface})  # answered after what was heard
        views = [view for one in agent.status()["uplinks"] for view in one["families"].values()]
        assert {(view["verdict"], view["loss_ratio"]) for view in views} == {("up", 0.0)}
        assert agent.lines[start:] == []


def test_what_went_wrong_while_it_was_stopped_is_found_afterwards(world: World, van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as agent, watching(van) as wait:
        agent.ready().all_up()
        agent.process.send_signal(signal.SIGSTOP)
        with faults.blackout(world, "au"):
            assert agent.hear(3.0)
            assert active(facts(van)) == "wwan0"
            agent.process.send_signal(signal.SIGCONT)
            wait(lambda found: active(found) not in (None, "wwan0"))  # whichever of the others answers first
            agent.said("switch: ipv4 forwarded traffic wwan0 -> ")


def test_a_full_pipe_that_nobody_reads_stops_nothing(world: World, van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as agent, watching(van) as wait:
        assert agent.process.stderr is not None
        pipe = agent.process.stderr.fileno()
        size = fcntl.fcntl(pipe, F_SETPIPE_SZ, PAGE)
        other_end = os.open(f"/proc/{agent.process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        assert os.write(other_end, b"x" * size) == size
        os.close(other_end)
        wait(lambda found: active(found) == "wwan0")
        wait(lambda _: proven(agent.status()))
        with faults.blackout(world, "au"):
            wait(lambda found: active(found) == "wwan1")
            wait(lambda _: agent.status()["settled"] == {"ipv4": "wwan1", "ipv6": "wwan1"})
        assert os.read(pipe, 2 * size) == b"x" * size
        assert "log lines were dropped because nobody read them" in agent.said("failover: warning: ")


@pytest.mark.parametrize(
    ("options", "flags", "said"),
    [
        ("", MS_RDONLY, "no lock file {}/control.sock.lock: Read-only file system"),
        ("nr_inodes=2", 0, "no lock file {}/control.sock.lock: No space left on device"),
        ("nr_inodes=3", 0, "no control socket at {}/control.sock: No space left on device"),
    ],
    ids=["read-only", "no-lock", "no-socket"],
)
def test_no_room_for_the_socket_is_said_in_one_line(
    van: Namespace, tmp_path: Path, options: str, flags: int, said: str
) -> None:
    before = ours(van)
    with running(van, tmp_path, command=on_small_disk(tmp_path, options, flags)) as agent:
        exit_status, lines = agent.end()
    assert exit_status == 1
    assert len(lines) == 1
    assert lines[0].startswith("failover: " + said.format(tmp_path))
    assert "--socket" in lines[0]
    assert ours(van) == before


def test_a_full_disk_does_not_keep_it_from_running_and_what_had_no_room_comes_later(
    van: Namespace, tmp_path: Path
) -> None:
    """No byte can be written where lock, socket and state file are: no sysctl can be noted, so none is set."""
    home = tmp_path / "full"
    with running(van, home, command=on_small_disk(home)) as agent:
        agent.ready()
        inside = tmp_path / "inside"
        inside.symlink_to(f"/proc/{agent.process.pid}/root{home}")
        agent.socket = inside / "control.sock"
        agent.all_up()
        assert os.strerror(errno.ENOSPC) in agent.said("the state file")
        assert (inside / "control.sock.lock").read_text() == ""
        assert linkdown(van) == {"0"}
        assert active(facts(van)) == "wwan0"
        (inside / "filler").unlink()
        with watching(van) as wait:
            wait(lambda _: linkdown(van) == {"1"})
        assert (inside / "sysctls.json").exists()


def linkdown(van: Namespace) -> set[str]:
    """The values of all sysctls that the agent sets."""
    return {one.value for one in facts(van).sysctls if one.path.endswith("/ignore_routes_with_linkdown")}
