"""The agent whose ear for the kernel's events fails, and cleanup by a state file that is no good."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from failover.core.steering import PREF_ACTIVE
from failover.facts import Operation, Verb
from failover.kernel.kernel import Kernel
from failover.lab.namespaces import Namespace
from tests.agent.running import command, facts, ours, running, watching
from tests.agent.test_trouble import linkdown

HARD_OF_HEARING = """
import errno, runpy, socket, sys
most = int(sys.argv.pop(1))
receive, ill = socket.socket.recvfrom_into, []
def fail(listener, *arguments):
    if listener.getsockname()[1] and listener not in ill and len(ill) < most:
        ill.append(listener)
    if listener in ill:
        raise OSError(errno.EIO, "")
    return receive(listener, *arguments)
socket.socket.recvfrom_into = fail
runpy.run_module("failover", run_name="__main__", alter_sys=True)
"""
"""The failover command where the first so many sockets for the kernel's events fail for good when they are read."""


def test_deaf_to_the_kernel_it_listens_anew(van: Namespace, tmp_path: Path) -> None:
    """It neither spins on a socket that stays readable nor waits for the next regular read."""
    with running(van, tmp_path, command=(sys.executable, "-c", HARD_OF_HEARING, "1")) as agent:
        agent.ready().all_up()
        agent.said("no events from the kernel: Input/output error; listening anew")
        before = processor_seconds(agent.process.pid)
        assert agent.hear(1.0)
        assert processor_seconds(agent.process.pid) - before < 0.5
        rule = next(rule for rule in facts(van).rules if rule.priority == PREF_ACTIVE)
        start = len(agent.lines)
        with van.entered(), closing(Kernel()) as kernel, watching(van) as wait:
            assert kernel.apply([Operation(Verb.DELETE, rule)])[0].error is None
            wait(lambda found: rule in found.rules)
        assert [line for line in agent.lines[start:] if "no events" in line] == []


def test_deaf_for_good_it_ends_and_leaves_routing_as_it_is(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path, command=(sys.executable, "-c", HARD_OF_HEARING, "99")) as agent:
        exit_status, lines = agent.end()
    assert exit_status == 1
    assert "failover: error: the agent ends; routing stays as it is" in lines
    assert any("no events from the kernel: Input/output error" in line for line in lines)


@pytest.mark.parametrize("first", [False, True], ids=["the last", "the first"])
def test_cleanup_goes_by_every_state_file_whatever_is_wrong_with_one(
    van: Namespace, tmp_path: Path, first: bool
) -> None:
    state = tmp_path / "state"
    places = (state, tmp_path) if first else (tmp_path, state)
    where = ("--socket", str(places[0] / "control.sock"), "--state", str(places[1]))
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        assert linkdown(van) == {"1"}
        assert agent.stop()[0] == 0
    state.mkdir()
    (state / "sysctls.json").write_text("{")
    exit_status, out, err = command(van, "cleanup", *where)
    assert linkdown(van) == {"0"}
    assert not (tmp_path / "sysctls.json").exists()
    assert ours(van)[0] == frozenset()
    assert exit_status == 1
    assert out.endswith(" removed or put back, 1 not\n")
    assert err == (
        f"failover: the state file {state}/sysctls.json is corrupt"
        " (delete it; the sysctls that it told of stay as they are)\n"
    )


def processor_seconds(pid: int) -> float:
    """What the process has used so far, of its own and in the kernel (proc_pid_stat(5))."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
