"""With how little the agent runs, what it says when that is not there, and how it ends when something breaks."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.export.client import call
from failover.export.instance import CAPABILITIES, missing_capabilities
from failover.lab.namespaces import Namespace
from failover.model import ControlError
from tests.agent.running import FAILOVER, facts, ours, running

BECOME = """
import ctypes, importlib, os, pkgutil, struct, sys
import failover
uid, capabilities = int(sys.argv[1]), int(sys.argv[2])
# The interpreter may lie where only root can read.
for found in pkgutil.walk_packages(failover.__path__, "failover."):
    if not found.name.startswith(("failover.sim", "failover.lab", "failover.__main__")):
        importlib.import_module(found.name)
import concurrent.futures.thread, dbus_fast.aio, encodings.ascii, encodings.idna, encodings.utf_8_sig
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(8, 1, 0, 0, 0) == 0  # PR_SET_KEEPCAPS
if uid:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
assert libc.capset(header, struct.pack("=6I", capabilities, capabilities, capabilities, 0, 0, 0)) == 0
for number in range(32):
    if capabilities >> number & 1:  # nft, which the agent starts, needs them too
        assert libc.prctl(47, 2, number, 0, 0) == 0  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE
from failover.cli import main
sys.exit(main(sys.argv[3:]))
"""
"""Becomes somebody with these capabilities only, ambient as systemd gives them, then the failover command."""

BROKEN = """
import sys
from failover.core.engine import Engine
whole = Engine.handle
def broken(self, now, event):
    effects = whole(self, now, event)
    return effects if type(event).__name__ != "Asked" else [effects[0], 1 / 0]
Engine.handle = broken
from failover.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""An agent whose engine fails at the first command."""

ORDINARY = 54321


def become(uid: int, *capabilities: str) -> tuple[str, ...]:
    bits = sum(1 << CAPABILITIES[name] for name in capabilities)
    return (sys.executable, "-c", BECOME, str(uid), str(bits))


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that an ordinary user owns and can get to."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, ORDINARY, ORDINARY)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_with_two_capabilities(van: Namespace, home: Path) -> None:
    with running(van, home, command=become(ORDINARY, *CAPABILITIES)) as agent:
        agent.ready().all_up()
        assert os.stat(f"/proc/{agent.process.pid}").st_uid == ORDINARY
        assert os.stat(agent.socket).st_uid == ORDINARY
        noted = {one.path: one.value for one in facts(van).sysctls}
        assert noted["net/ipv6/conf/wwan1/ignore_routes_with_linkdown"] == "1"
        assert not [line for line in agent.lines if "warning" in line or "cannot" in line]
        assert agent.stop()[0] == 0


@pytest.mark.parametrize("given", [(), ("CAP_NET_ADMIN",), ("CAP_NET_RAW",)], ids=["none", "admin", "raw"])
def test_a_missing_capability_is_named_in_one_line(van: Namespace, tmp_path: Path, given: tuple[str, ...]) -> None:
    before = ours(van)
    with running(van, tmp_path, command=become(0, *given)) as agent:
        exit_status, lines = agent.end()
    missing = " and ".join(name for name in CAPABILITIES if name not in given)
    assert exit_status == 1
    assert lines == [
        f"failover: no permission to change routes and to probe: {missing} missing "
        "(run as root, or under systemd with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW)"
    ]
    assert ours(van) == before


def test_nothing_is_missing_here(van: Namespace) -> None:
    assert missing_capabilities() == []


def test_an_error_nobody_expected_ends_it_loudly_and_routing_stays(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path, command=(sys.executable, "-c", BROKEN)) as agent:
        agent.ready().all_up()
        made = ours(van)
        with pytest.raises(ControlError, match="hung up without an answer"):
            call(agent.socket, "auto", {})
        exit_status, lines = agent.end()
    assert exit_status == 1
    assert "failover: error: ZeroDivisionError: division by zero" in lines
    assert "failover: error: the agent ends; routing stays as it is" in lines
    assert ours(van) == made


def test_root_of_a_user_namespace_without_a_say_over_the_network(van: Namespace, tmp_path: Path) -> None:
    command = ("unshare", "--user", "--map-root-user", *FAILOVER)
    with running(van, tmp_path, command=command) as agent:
        exit_status, lines = agent.end()
    assert exit_status == 1
    assert lines == [
        "failover: no raw socket in this network namespace: Operation not permitted "
        "(run as root of the machine, or in a network namespace of its own)"
    ]
