"""The agent when the files it lives by change: a config that hangs or is no file, a control socket that is gone."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from failover.lab.namespaces import Namespace
from tests.agent.running import running

HANGING = """
import os, sys
config, *argv = sys.argv[1:]
real, opened, never = os.open, [], os.pipe()
def hang(path, *rest, **more):
    if path == config:
        opened.append(path)
        if len(opened) > 1:
            os.write(2, b"it hangs\\n")
            os.read(never[0], 1)
    return real(path, *rest, **more)
os.open = hang
from failover.cli import main
sys.exit(main(argv))
"""
"""An agent whose config lies on a file system that hangs from the second time on."""


def test_a_config_that_hangs_keeps_nothing_from_going_on_nor_from_ending(van: Namespace, tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text("uplinks: [{name: au, interface: wwan0}]\n")
    command = (sys.executable, "-c", HANGING, str(config))
    with running(van, tmp_path, "--config", str(config), command=command) as agent:
        agent.ready()
        agent.process.send_signal(signal.SIGHUP)
        agent.said("it hangs")
        assert [one["name"] for one in agent.status()["uplinks"]] == ["au"]
        exit_status, lines = agent.stop()
    assert exit_status == 0
    assert "failover: stopped: told to stop; routing stays as it is" in lines


def test_a_config_that_became_a_pipe_is_refused(van: Namespace, tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text("uplinks: [{name: au, interface: wwan0}]\n")
    with running(van, tmp_path, "--config", str(config)) as agent:
        agent.ready()
        config.unlink()
        os.mkfifo(config)
        agent.process.send_signal(signal.SIGHUP)
        assert agent.said("is no regular file").startswith(f"failover: config: {config}: ")
        agent.said("is refused; the config before stays in force")
        assert agent.stop()[0] == 0


OFTEN = """
import sys
import failover.agent
failover.agent.MINUTE = 0.2
from failover.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""An agent that looks at the wall clock five times a second."""


@pytest.mark.parametrize("told", [False, True], ids=["by-itself", "told"])
def test_a_control_socket_that_is_gone_comes_back(van: Namespace, tmp_path: Path, told: bool) -> None:
    more = {} if told else {"command": (sys.executable, "-c", OFTEN)}
    with running(van, tmp_path, **more) as agent:
        agent.ready().all_up()
        agent.socket.unlink()
        if told:
            agent.process.send_signal(signal.SIGHUP)
        agent.said(f"failover: warning: {agent.socket} was gone; made anew")
        assert agent.status()["agent"]["pid"] == agent.process.pid
        assert agent.stop()[0] == 0
        assert not agent.socket.exists()
