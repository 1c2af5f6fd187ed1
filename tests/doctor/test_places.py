"""The agent's places: control socket, directories, metrics port; each fault made for real."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from failover.doctor.finding import Level
from failover.doctor.places import SCRAPE_SECONDS
from tests.agent.running import running
from tests.doctor.patient import Patient

MOUNTED = ("unshare", "--mount", "sh", "-c")
"""A command in a mount namespace of its own; what is mounted there is seen by nobody else."""


@contextmanager
def listening(patient: Patient, port: int, reply: bytes | None = None) -> Iterator[None]:
    """A server in the van that accepts and says that, or nothing at all."""
    server = patient.van.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            if reply is not None:
                connection.sendall(reply)
            else:
                connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.close()


@contextmanager
def speaking(patient: Patient, line: bytes) -> Iterator[None]:
    """Something at the control socket that says this to whoever asks."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(patient.socket))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(line)

    threading.Thread(target=serve, daemon=True).start()
    with server:
        yield


# --- the control socket ----------------------------------------------------------------------------------------------


def test_no_agent(patient: Patient) -> None:
    patient.says("agent", Level.NOTE, "none runs")


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
        patient.says("our tables and prefs", Level.OK)
        for name in ("all", "wan0", "wan1"):
            patient.van.sysctl(f"ipv4/conf/{name}/rp_filter", 1)
        assert {finding.level for finding in patient.check("probes")} == {Level.OK}, "its rules let the replies in"


# --- directories -----------------------------------------------------------------------------------------------------


def test_directories_that_can_be_written_to(patient: Patient) -> None:
    for name in ("state directory", "socket directory"):
        patient.says(name, Level.OK, "can be written to")
    assert os.listdir(patient.state) == [], "the trial leaves nothing behind"


def test_a_state_directory_that_is_not_there_yet(patient: Patient) -> None:
    patient.state = patient.home / "one" / "two"
    patient.says("state directory", Level.NOTE, "the agent makes it")
    assert not (patient.home / "one").exists()


def test_a_file_for_a_directory(patient: Patient) -> None:
    patient.state = patient.socket = patient.home / "file"
    patient.state.write_text("")
    found = patient.says("state directory", Level.WARNING, "Not a directory")
    assert "it is a file: remove it" in found.mend
    patient.socket = patient.state / "control.sock"
    patient.says("socket directory", Level.FAILURE, "the agent cannot start")


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ("mount -t tmpfs -o ro none {0}", "Read-only file system"),
        ("mount -t tmpfs -o size=64k none {0} && head -c 64k /dev/zero > {0}/full", "No space left on device"),
        ("mount -t tmpfs -o size=1m none {0}", "MB are left in"),
    ],
    ids=["read-only", "full", "nearly full"],
)
def test_a_disk_that_takes_nothing(patient: Patient, mount: str, words: str) -> None:
    first = (*MOUNTED, mount.format(patient.state) + ' && exec "$@"', "sh")
    (finding,) = patient.told("state directory", first=first)["state directory"]
    assert finding["level"] == "warning"
    assert words in finding["text"]
    assert str(patient.state) in finding["text"]
    assert finding["mend"]


def test_a_socket_directory_on_a_read_only_disk(patient: Patient) -> None:
    first = (*MOUNTED, f'mount -t tmpfs -o ro none {patient.socket.parent} && exec "$@"', "sh")
    (finding,) = patient.told("socket directory", first=first)["socket directory"]
    assert finding["level"] == "failure"
    assert f"{patient.socket.parent}: Read-only file system; the agent cannot start" in finding["text"]


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
    assert time.monotonic() - start < SCRAPE_SECONDS + 2


def test_an_address_that_is_not_ours(patient: Patient) -> None:
    patient.configure("metrics: {listen: '198.51.100.1:9109'}")
    patient.says("metrics", Level.WARNING, "198.51.100.1:9109 cannot be had: Cannot assign requested address")
