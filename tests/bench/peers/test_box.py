"""A daemon in a box leaves the host alone and ends with it; the van of the peers is what they were told."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from failover.lab.namespaces import Namespace, gain_privileges
from failover.lab.reach import udp_echo
from failover.lab.rtnl import Route
from failover.model import Family
from tests.bench.peers.box import Box, program
from tests.bench.peers.van import UPLINKS, Departure, end_of, until, van

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="other people's daemons need root")
SLEEPERS = ("sleep 600", "sleep 601")
MARK = "failover-peers-were-here"


def test_its_folders_are_its_own(tmp_path: Path) -> None:
    gain_privileges()
    with Namespace("box") as namespace, Box(namespace, tmp_path, ["/mnt"]) as box:
        box.ask("sh", "-c", f"echo a >/run/{MARK}; echo b >/mnt/{MARK}")
        assert box.ask("cat", f"/run/{MARK}", f"/mnt/{MARK}") == "a\nb\n"
        assert box.inside(f"/run/{MARK}").read_text() == "a\n"
        assert not Path("/run", MARK).exists()
        assert not Path("/mnt", MARK).exists()
        assert [row.split(":")[0] for row in box.ask("cat", "/proc/net/dev").splitlines()[2:]] == ["    lo"]


def test_a_daemon_ends_with_the_box(tmp_path: Path) -> None:
    """Also one that left its parent and became another user, as FRR's do; the kernel forgets whose child it was."""
    gain_privileges()
    away = f"setpriv --reuid 65534 --clear-groups setsid sleep 600 & touch /run/{MARK}; exec sleep 601"
    with Namespace("box") as namespace, Box(namespace, tmp_path) as box:
        box.start("sh", "-c", away)
        until(box.inside(f"/run/{MARK}").exists, 10.0, "the daemon")
        until(lambda: len(sleepers()) == 2, 10.0, "both processes")
        both = sleepers()
    assert not any(process.is_running() for process in both)


def sleepers() -> list[psutil.Process]:
    """Those of that test, below this process."""
    return [child for child in psutil.Process().children(recursive=True) if _command(child) in SLEEPERS]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_a_command_that_fails_says_nothing(tmp_path: Path) -> None:
    gain_privileges()
    with Namespace("box") as namespace, Box(namespace, tmp_path) as box:
        assert box.ask("sh", "-c", "echo half; exit 3") == ""
        assert program("no-such-program") is None


def test_what_does_not_come_is_named() -> None:
    with pytest.raises(AssertionError, match="the cows: not within 0 s"):
        until(lambda: False, 0.0, "the cows")


def test_the_van_of_the_peers() -> None:
    """Two uplinks, IPv4 only; where a new flow would go is asked without sending."""
    with van(1, 0.002) as world, Departure(world.van) as departure:
        assert udp_echo(world.van, Family.IPV6, UPLINKS[0].interface, 0.1) is None
        assert departure.by() == "au"
        assert departure.wait("docomo", 0.0) is None
        for carrier, after in zip(UPLINKS, ("docomo", ""), strict=True):
            route = Route("default", end_of(world.ground, carrier).index, carrier.gateway, carrier.metric, protocol=0)
            world.van.rtnl.remove_route(route)
            assert departure.wait(after, 1.0) is not None
        with world.van.entered():
            assert "wlan0" not in Path("/proc/thread-self/net/dev").read_text()
