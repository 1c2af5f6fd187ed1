"""Where the agent is met: control socket, metrics port; each fault made for real."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress

import pytest

from failover.doctor.case import Case
from failover.doctor.finding import Level
from failover.doctor.places import SCRAPE_LIMIT, SCRAPE_SECONDS, page
from tests.agent.running import command, running
from tests.doctor.patient import SERVICE_SOCKET, Patient, fresh_run, listening, speaking

LEFT = """
import os, socket
os.mkdir("/run/failover")
with socket.socket(socket.AF_UNIX) as dead:
    dead.bind("/run/failover/control.sock")
    dead.listen()
"""
"""A control socket that is left behind."""


# --- the control socket ----------------------------------------------------------------------------------------------


def test_the_agents_own_file_is_looked_at_unless_another_is_named(patient: Patient) -> None:
    other = patient.home / "other.yaml"
    other.write_text("gateway: {lan: br-lan}\n")
    answer = {"ok": True, "status": {"agent": {"version": "0"}, "config": {"path": str(other)}}}
    with speaking(patient, json.dumps(answer).encode() + b"\n"):
        assert Case.of(None, patient.socket, patient.state).config.lan == ("br-lan",)
        assert Case.of(patient.config, patient.socket, patient.state).config.lan == ()


def test_no_agent(patient: Patient) -> None:
    found = patient.says("agent", Level.NOTE, "none runs")
    assert "its socket with --socket" in found.mend


@pytest.mark.parametrize(
    ("unit", "named"),
    [
        ("mkdir -p /run/systemd/system; touch /run/systemd/system/failover.service", True),
        (":", False),
        ("mount -t tmpfs none /etc/systemd; mkdir /etc/systemd/system; : >/etc/systemd/system/failover.service", False),
    ],
    ids=["it does", "no unit", "systemd does not run"],
)
@pytest.mark.parametrize("left", [True, False])
def test_no_agent_where_systemd_would_start_it(patient: Patient, unit: str, named: bool, left: bool) -> None:
    """Its unit is the mend then, for the control socket of that unit only."""
    first = fresh_run(unit)
    dead = LEFT if left else ""
    (elsewhere,) = patient.told("agent", first=first)["agent"]
    patient.socket = SERVICE_SOCKET
    (finding,) = patient.told("agent", first=first, before=dead)["agent"]
    assert ("left of one that died" in finding["text"]) is left
    assert finding["mend"].startswith("systemctl start failover; `journalctl -u failover` says why") is named
    assert "systemctl start" not in elsewhere["mend"]


def test_an_agent_that_refused_the_file_goes_by_an_older_one(patient: Patient) -> None:
    with running(patient.van, patient.home, "--config", str(patient.config)) as agent:
        agent.ready()
        patient.socket = agent.socket
        patient.says("agent", Level.OK)
        good = patient.config.read_text()
        patient.config.write_text("uplinks: 7\nmetrics: {listn: 127.0.0.1:9109}\n")
        assert command(patient.van, "reload", "--socket", str(agent.socket))[0] == 1
        answers, older = patient.check("agent")
        assert (answers.level, older.level) == (Level.OK, Level.WARNING)
        assert older.text.startswith(
            f"it goes by an older config, as it refused the file: {patient.config}:1: uplinks: "
        )
        assert older.text.endswith("; and 1 more")
        assert older.mend == "mend the file, then `failover reload`"
        patient.config.write_text(good)
        patient.says("config", Level.OK, "as it is now can be used")
        assert command(patient.van, "reload", "--socket", str(agent.socket))[0] == 0
        patient.says("agent", Level.OK)


def test_the_socket_of_one_that_died(patient: Patient) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(patient.socket))
        dead.listen()
    patient.says("agent", Level.NOTE, "is left of one that died")


def test_a_file_in_its_place(patient: Patient) -> None:
    patient.socket.write_text("")
    patient.says("agent", Level.FAILURE, "is no socket")


def test_something_else_at_the_socket(patient: Patient) -> None:
    with speaking(patient, b"220 mail\r\n"):
        patient.says("agent", Level.FAILURE, "is not JSON")


@pytest.mark.parametrize("status", [b"", b', "status": 7', b', "status": {"agent": 7}'])
def test_something_that_speaks_json_but_is_no_agent(patient: Patient, status: bytes) -> None:
    with speaking(patient, b'{"ok": true' + status + b"}\n"):
        patient.says("agent", Level.FAILURE, "no agent's")


def test_an_agent_that_answers_and_one_elsewhere(patient: Patient) -> None:
    """All that a running agent changes, in one run of it."""
    with running(patient.van, patient.home, "--config", str(patient.config)) as agent:
        agent.ready().all_up()
        patient.says("agent", Level.WARNING, f"an agent (pid {agent.process.pid}) serves this network namespace, but ")
        patient.says("metrics", Level.WARNING, "another agent serves them at 127.0.0.1:9109")
        patient.socket = agent.socket
        patient.says("agent", Level.OK, f"it runs (pid {agent.process.pid}, version ")
        patient.says("metrics", Level.OK, "the agent serves them at 127.0.0.1:9109")
        patient.configure("metrics: {listen: 127.0.0.1:9110}")
        patient.says("metrics", Level.WARNING, "the agent does not serve them at 127.0.0.1:9110")
        patient.says("capabilities", Level.OK)
        patient.says("socket directory", Level.OK, "has the control socket")
        patient.says("sysctls", Level.OK)
        for name in ("our tables and prefs", "rules before ours", "rules after ours", "marks of rules"):
            patient.says(name, Level.OK)
        for name in ("all", "wan0", "wan1"):
            patient.van.sysctl(f"ipv4/conf/{name}/rp_filter", 1)
        assert {finding.level for finding in patient.check("probes")} == {Level.OK}, "its rules let the replies in"


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_a_free_port(patient: Patient) -> None:
    patient.says("metrics", Level.OK, "127.0.0.1:9109 is free")


def test_metrics_that_nobody_wants(patient: Patient) -> None:
    patient.configure("metrics: {listen: none}")
    patient.says("metrics", Level.OK, "not served")


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\n\r\nhello", None], ids=["another server", "a mute one"])
def test_a_port_in_use(patient: Patient, reply: bytes | None) -> None:
    start = time.monotonic()
    with listening(patient, 9109, reply):
        patient.says("metrics", Level.WARNING, "127.0.0.1:9109 is in use by ", f"(pid {os.getpid()})")
    assert time.monotonic() - start < SCRAPE_SECONDS + 10


def test_a_page_without_end_is_left(patient: Patient) -> None:
    server = patient.van.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("127.0.0.1", 9109))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            while True:
                connection.sendall(bytes(1 << 20))

    threading.Thread(target=serve, daemon=True).start()
    with server, patient.van.entered():
        assert SCRAPE_LIMIT // 2 < len(page("127.0.0.1", 9109)) < SCRAPE_LIMIT + 65536


def test_an_address_that_is_not_ours(patient: Patient) -> None:
    patient.configure("metrics: {listen: '198.51.100.1:9109'}")
    patient.says("metrics", Level.WARNING, "198.51.100.1:9109 cannot be had: Cannot assign requested address")
