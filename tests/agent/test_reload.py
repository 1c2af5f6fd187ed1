"""What `reload` says of a config file that is there, and of one that is not."""

from __future__ import annotations

import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from failover.export.client import call
from failover.lab.namespaces import Namespace
from failover.model import ControlError
from tests.agent.running import PATIENCE, running, scrape

MAIN = (
    "import sys, failover.config as c; c.CONFIG_PATH = sys.argv.pop(1); from failover.cli import main; sys.exit(main())"
)


def test_reload_says_what_is_in_force(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    command = (sys.executable, "-c", MAIN, str(path))
    with Namespace("parked") as parked, running(parked, tmp_path, command=command) as agent:
        agent.ready()
        told = f"there is no {path}, so the defaults hold: nothing has changed"
        assert call(agent.socket, "reload", {})["text"] == told
        agent.said("failover: config: there is no ")
        path.write_text("uplinks: [{name: au, interface: wwan0}]\n")
        told = f"{path} is in force: uplinks: as listed; open flows of what is no uplink any more end"
        assert call(agent.socket, "reload", {})["text"] == told
        agent.said(f"failover: config: {path} is in force")
        assert sum("uplinks: as listed; " in line for line in agent.lines) == 1
        assert call(agent.socket, "reload", {})["text"] == f"{path} is in force: nothing has changed"
        assert agent.status()["config"] == {"path": str(path), "ok": True, "problems": []}
        path.write_text("uplink: 1\nprobes: []\n")
        with pytest.raises(ControlError, match="unknown key"):
            call(agent.socket, "reload", {})
        refused = agent.status()["config"]
        assert not refused["ok"]
        assert [problem.split(":")[1] for problem in refused["problems"]] == ["1", "2"]


def test_of_many_changes_ten_are_answered_and_all_are_logged(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text("uplinks: [{name: up0, interface: wwan0}]\n")
    with Namespace("parked") as parked, running(parked, tmp_path, "--config", str(path)) as agent:
        agent.ready()
        named = ", ".join(f"{{name: up{number}, interface: wwan{number}}}" for number in range(12))
        path.write_text(f"uplinks: [{named}]\n")
        told = call(agent.socket, "reload", {})["text"]
        assert told.count(" is new") == 10
        assert told.endswith("; uplinks: up10 on wwan10 is new; and 1 more")
        agent.said("failover: config: uplinks: up11 on wwan11 is new")


def test_a_reload_that_comes_before_the_agent_listens_does_not_end_it(tmp_path: Path) -> None:
    with Namespace("parked") as parked, running(parked, tmp_path) as agent:
        status = Path(f"/proc/{agent.process.pid}/status")
        deadline = time.monotonic() + PATIENCE
        while not int(re.findall(r"SigIgn:\s*(\w+)", status.read_text())[0], 16) & 1:
            assert time.monotonic() < deadline
        agent.process.send_signal(signal.SIGHUP)
        agent.ready()


def test_a_metrics_address_that_cannot_be_had_is_said_and_the_one_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text("metrics: {listen: 127.0.0.1:9109}\n")
    with Namespace("parked") as parked, running(parked, tmp_path, "--config", str(path)) as agent:
        agent.ready()
        path.write_text("metrics: {listen: 192.0.2.1:9109}\n")
        told = call(agent.socket, "reload", {})["text"]
        assert told.endswith("; but no metrics at 192.0.2.1:9109: Cannot assign requested address")
        assert "failover_build_info" in scrape(parked)
        path.write_text("metrics: {listen: 127.0.0.2:9109}\n")
        assert "but" not in call(agent.socket, "reload", {})["text"]
        with pytest.raises(ConnectionRefusedError):
            scrape(parked)


def test_a_reload_that_leaves_the_metrics_where_they_are_hangs_up_on_nobody(tmp_path: Path) -> None:
    with Namespace("parked") as parked, running(parked, tmp_path) as agent:
        agent.ready()
        with parked.entered():
            client = socket.create_connection(("127.0.0.1", 9109), timeout=PATIENCE)
        with client, client.makefile("rb") as page:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
            call(agent.socket, "reload", {})
            client.sendall(b"\r\n")
            assert page.readline() == b"HTTP/1.1 200 OK\r\n"


def test_healthz_says_that_the_agent_lives(tmp_path: Path) -> None:
    with Namespace("parked") as parked, running(parked, tmp_path) as agent:
        agent.ready()
        assert scrape(parked, path="/healthz").startswith("HTTP/1.1 200 OK")


def test_the_page_tells_how_late_the_agent_was(tmp_path: Path) -> None:
    with Namespace("parked") as parked, running(parked, tmp_path) as agent:
        agent.ready().status()  # its timer is set
        agent.hold(1.5)  # it looks at its clocks once a second
        late = re.compile(r"^failover_loop_late_seconds_sum (\S+)", re.M)
        agent.until(lambda _: float(late.findall(scrape(parked))[0]) > 0.4)
