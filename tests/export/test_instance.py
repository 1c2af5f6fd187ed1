"""The right to be the agent: who can hold it, who cannot, and where it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.export.instance import MARK_PROTOCOL, sole_instance
from failover.lab.namespaces import Namespace
from failover.model import FailoverError
from tests.allowed import or_skip

STRANGER = """
import os, sys
from pathlib import Path
from failover.export.instance import MARK_PROTOCOL, sole_instance
os.setgroups([])
os.setresgid(54321, 54321, 54321)
os.setresuid(54321, 54321, 54321)
try:
    lock = sole_instance(Path(sys.argv[1]))
    lock.__enter__()
    print("held", flush=True)
except Exception as error:
    print(type(error).__name__, flush=True)
sys.stdin.read()
"""
"""An ordinary user who tries to hold it for as long as stdin is open."""


LIMITED = """
import resource, sys
from failover.export.instance import require_descriptors
from failover.model import FailoverError
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
try:
    require_descriptors()
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))
except FailoverError as error:
    print(error, error.hint, sep="; ")
"""


@pytest.fixture
def parked() -> Iterator[Namespace]:
    """A network namespace that no agent serves."""
    with or_skip():
        namespace = Namespace("parked")
    with namespace:
        yield namespace


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_cannot_hold_it(parked: Namespace, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, 54321, 54321)
        argv = [sys.executable, "-c", STRANGER, f"{home}/control.sock"]
        with parked.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "FailoverError\n"
            with parked.entered(), sole_instance(tmp_path / "control.sock"):
                assert child.poll() is None


def test_one_for_each_network_namespace(parked: Namespace, tmp_path: Path) -> None:
    with parked.entered(), sole_instance(tmp_path / "one.sock"):
        with pytest.raises(FailoverError, match=f"another agent runs \\(pid {os.getpid()}\\): it serves this network"):
            sole_instance(tmp_path / "two.sock").__enter__()
        with Namespace("other") as other, other.entered(), sole_instance(tmp_path / "three.sock"):
            assert (tmp_path / "three.sock.lock").exists()
    with parked.entered(), sole_instance(tmp_path / "two.sock"):
        assert (tmp_path / "two.sock.lock").read_text() == f"{os.getpid()}\n"


def test_a_mark_without_a_pid_counts(parked: Namespace, tmp_path: Path) -> None:
    with (
        parked.socket(socket.AF_INET, socket.SOCK_RAW, MARK_PROTOCOL),
        parked.entered(),
        pytest.raises(FailoverError, match="another agent runs: it serves this network namespace"),
    ):
        sole_instance(tmp_path / "control.sock").__enter__()


def test_raw_sockets_of_others_do_not(parked: Namespace, tmp_path: Path) -> None:
    others = [parked.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) for _ in range(100)]
    with parked.entered(), sole_instance(tmp_path / "control.sock"):
        assert len(others) == 100
    for other in others:
        other.close()


FEW = "open files are allowed, and the agent needs 64; set LimitNOFILE=1024 in its systemd unit, or use `ulimit -n`"


@pytest.mark.parametrize(
    ("soft", "hard", "said"),
    [
        (20, 4096, "1024 4096"),
        (20, 200, "200 200"),
        (64, 64, "64 64"),
        (1500, 4096, "1500 4096"),
        (20, 63, f"only 63 {FEW}"),
        (20, 20, f"only 20 {FEW}"),
    ],
)
def test_open_files_are_asked_for_and_too_few_are_said(soft: int, hard: int, said: str) -> None:
    """In a process of its own: what is lowered there stays low."""
    argv = [sys.executable, "-c", LIMITED, str(soft), str(hard)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == said
