"""What the agent writes, and as whom: its directories and the files in them; each fault made for real."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from failover.doctor.finding import Level
from tests.agent.running import running
from tests.doctor.patient import MOUNTED, ORDINARY, SERVICE_SOCKET, Patient, fresh_run, listening, speaking

AGENT = 54321
"""The user that runs it."""
GROUP = 54320
"""Its own."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")

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


@as_root
def test_a_directory_that_even_root_may_not_write_to(patient: Patient) -> None:
    """Of a container: then nobody else can be asked to try."""
    give(patient.state, AGENT, 0o700)
    contained = ("unshare", "--user", "--map-root-user")
    (finding,) = patient.told("state directory", first=contained)["state directory"]
    assert finding["level"] == "warning"
    assert "Permission denied; what the agent remembers is lost" in finding["text"]


@as_root
def test_a_directory_that_an_ordinary_user_may_not_look_into(patient: Patient) -> None:
    """Of what is in it nothing is said."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        Path(home).chmod(0o755)
        patient.state = Path(home) / "state"
        patient.state.mkdir(0o700)
        (patient.state / "memory.json").write_text("{")
        (finding,) = patient.told("state directory", before=ORDINARY)["state directory"]
    assert finding["level"] == "note"
    assert "this user may not write to" in finding["text"]


# --- what is in them -------------------------------------------------------------------------------------------------


def test_a_memory_that_cannot_be_used(patient: Patient) -> None:
    (patient.state / "memory.json").write_text("{")
    found = patient.says("state directory", Level.WARNING, f"{patient.state}/memory.json is not used", "it is corrupt")
    assert "has to be given again" in found.mend


@pytest.mark.parametrize("name", ["journal.jsonl", "journal.old.jsonl"])
def test_a_journal_that_is_no_file(patient: Patient, name: str) -> None:
    os.mkfifo(patient.state / name)
    found = patient.says(
        "state directory", Level.WARNING, f"the journal in {patient.state} cannot be read: Not a regul"
    )
    assert "journal.old.jsonl" in found.mend


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_messages_that_cannot_be_kept(patient: Patient, make: Callable[[Path], None]) -> None:
    make(patient.state / "messages.jsonl")
    found = patient.says("state directory", Level.WARNING, f"{patient.state}/messages.jsonl: ", "messages are not kept")
    assert "remove what stands there" in found.mend


def test_a_journal_that_the_agent_cannot_write(patient: Patient) -> None:
    """Its own metrics say so; who serves none cannot be asked."""
    (patient.home / "journal.jsonl").mkdir()
    with running(patient.van, patient.home, "--config", str(patient.config)) as agent:
        agent.said("what happens is kept in memory meanwhile")
        patient.socket, patient.state = agent.socket, patient.home
        unread, failed = patient.check("state directory")
        assert "cannot be read: " in unread.text
        assert failed.level is Level.WARNING
        assert failed.text.startswith("the agent's last write there failed")
        patient.configure("metrics: {listen: none}")
        assert patient.only("state directory").text == unread.text


def test_the_metrics_of_another_are_not_the_agents(patient: Patient) -> None:
    with listening(patient, 9109, b"HTTP/1.1 200 OK\r\n\r\nfailover_build_info 1\nfailover_journal_ok 0.0\n"):
        patient.says("state directory", Level.OK)


# --- whose they are --------------------------------------------------------------------------------------------------


@contextmanager
def run_by(patient: Patient, uid: int, *groups: int) -> Iterator[None]:
    """A process of that user at the control socket."""
    argv = ["cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, user=uid, group=GROUP, extra_groups=groups) as process:
        answer = {"ok": True, "status": {"agent": {"pid": process.pid, "version": "0"}}}
        with speaking(patient, json.dumps(answer).encode() + b"\n"):
            yield


def give(path: Path, uid: int, mode: int, gid: int = GROUP) -> None:
    os.chown(path, uid, gid)
    path.chmod(mode)


@as_root
def test_what_the_user_that_runs_the_agent_may_not_use(patient: Patient) -> None:
    state, journal = patient.state, patient.state / "journal.jsonl"
    ledger = patient.socket.with_name("sysctls.json")
    for path in (journal, ledger):
        path.write_text("")
    with run_by(patient, AGENT):
        give(state, 0, 0o755)
        found = patient.says(
            "state directory", Level.WARNING, f"{state} is shut to user {AGENT}", "root owns it, mode 0755"
        )
        assert found.mend == f"chown {AGENT}: {state}; chmod u+rwX {state}"
        give(state, AGENT, 0o750)
        give(journal, 0, 0o640)
        patient.says(
            "state directory", Level.WARNING, f"{journal} is shut to user {AGENT}, as whom the agent runs: root "
        )
        give(journal, AGENT, 0o640)
        patient.says("state directory", Level.OK)
        give(patient.socket.parent, AGENT, 0o750)
        give(ledger, 0, 0o600)
        fine, shut = patient.check("socket directory")
        assert (fine.level, shut.level) == (Level.OK, Level.WARNING)
        assert shut.text.startswith(f"{ledger} is shut to user {AGENT}")
        assert shut.text.endswith("; it sets no sysctl")
        give(ledger, AGENT, 0o600)
        patient.says("socket directory", Level.OK)


@as_root
@pytest.mark.parametrize(
    ("owner", "group", "mode", "open_to_it"),
    [
        (AGENT, 0, 0o700, True),
        (AGENT, GROUP, 0o077, False),
        (AGENT, GROUP, 0o600, False),
        (0, GROUP, 0o770, True),
        (0, GROUP, 0o707, False),
        (0, 54322, 0o770, True),
        (0, 54323, 0o770, False),
        (0, 54323, 0o707, True),
    ],
)
def test_the_first_class_of_users_that_it_is_in_counts(
    patient: Patient, owner: int, group: int, mode: int, open_to_it: bool
) -> None:
    """As the kernel has it."""
    give(patient.state, owner, mode, group)
    with run_by(patient, AGENT, 54322):
        patient.says("state directory", Level.OK if open_to_it else Level.WARNING)
    reach = ["sh", "-c", "test -r . && test -w . && test -x ."]
    done = subprocess.run(reach, cwd=patient.state, user=AGENT, group=GROUP, extra_groups=[54322], check=False)
    assert (done.returncode == 0) is open_to_it


@as_root
def test_root_may_use_them_all(patient: Patient) -> None:
    give(patient.state, AGENT, 0o000)
    with run_by(patient, 0):
        patient.says("state directory", Level.OK)


USER = (
    "cp /etc/passwd /etc/group /run && echo failover:x:54321:54321::/:/bin/false >>/run/passwd"
    " && echo failover:x:54321: >>/run/group"
    " && mount --bind /run/passwd /etc/passwd && mount --bind /run/group /etc/group"
    " && mkdir /run/failover && : >/run/failover/control.sock.lock"
)
UNIT = " && mkdir -p /run/systemd/system && : >/run/systemd/system/failover.service"


@as_root
def test_the_user_of_the_service_while_no_agent_runs(patient: Patient) -> None:
    """Of its own control socket only: who names another may be another."""
    names = ("state directory", "socket directory")
    elsewhere = patient.told(*names, first=fresh_run(USER))
    assert {found[0]["level"] for found in elsewhere.values()} == {"ok"}
    patient.socket = SERVICE_SOCKET
    found = patient.told(*names, first=fresh_run(USER))
    assert [found[name][0]["level"] for name in names] == ["warning", "failure"]
    assert len(found["socket directory"]) == 1, "what is in it is no matter then"
    assert found["socket directory"][0]["text"].startswith("/run/failover is shut to user failover, as whom")
    assert found["socket directory"][0]["text"].endswith("; it cannot start")
    nobody = patient.told(*names, first=fresh_run(":"))
    assert {found[0]["level"] for found in nobody.values()} == {"ok"}


@as_root
def test_systemd_gives_a_folder_to_its_user_but_no_file_in_a_folder_that_is(patient: Patient) -> None:
    names = ("state directory", "socket directory")
    patient.socket = SERVICE_SOCKET
    found = patient.told(*names, first=fresh_run(USER + UNIT))
    assert {found[name][0]["level"] for name in names} == {"ok"}
    (patient.state / "memory.json").write_text("{")
    give(patient.state, AGENT, 0o750)
    os.chmod(patient.state / "memory.json", 0o640)
    (patient.state / "messages.jsonl").touch(0o600)
    found = patient.told(*names, first=fresh_run(USER + UNIT + " && chown 54321 /run/failover"))
    texts = [one["text"] for one in found["state directory"]]
    assert f"{patient.state}/memory.json is shut to user failover" in texts[0]
    assert f"{patient.state}/messages.jsonl is shut to user failover" in texts[1]
    assert [one["level"] for one in found["socket directory"]] == ["failure"]
    assert "control.sock.lock is shut to user failover" in found["socket directory"][0]["text"]


ANSWERING = f"""
import json, os, socket, subprocess, threading
process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, user={AGENT}, group={AGENT})
answer = {{"ok": True, "status": {{"agent": {{"pid": process.pid, "version": "0"}}}}}}
server = socket.socket(socket.AF_UNIX)
server.bind("/run/failover/control.sock")
os.chmod("/run/failover/control.sock", 0o777)
server.listen()
def serve():
    while True:
        connection, _ = server.accept()
        connection.recv(4096)
        connection.sendall(json.dumps(answer).encode() + bytes([10]))
threading.Thread(target=serve, daemon=True).start()
"""
"""A process of that user answers there."""


@as_root
def test_an_agent_that_runs_is_shown_what_systemd_would_mend_at_a_start(patient: Patient) -> None:
    patient.socket = SERVICE_SOCKET
    found = patient.told("state directory", first=fresh_run(USER + UNIT), before=ANSWERING)["state directory"]
    assert [one["level"] for one in found] == ["warning"]
    assert f"{patient.state} is shut to user failover" in found[0]["text"]


@as_root
def test_an_agent_that_runs_has_shown_what_it_may(patient: Patient) -> None:
    """Whoever looks at it."""
    patient.socket = SERVICE_SOCKET
    found = patient.told("capabilities", "socket directory", first=fresh_run(USER), before=ANSWERING + ORDINARY)
    assert found["capabilities"][0]["level"] == found["socket directory"][0]["level"] == "ok"
    assert found["socket directory"][0]["text"] == "/run/failover has the control socket"
