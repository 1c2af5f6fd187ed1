"""`failover events`: from the agent, and from the journal that it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from failover.cli import main
from failover.export.entries import encode
from failover.export.journal import append
from failover.model import ControlError
from tests.cli.conftest import SWITCH, Standin, entry

STRANGER = """
import os, sys
import failover.cli.events
from failover.cli import main
from failover.cli.grammar import build_parser
build_parser()  # afterwards, this user may read no module any more
os.setgroups([])
os.setuid(54321)
sys.exit(main(sys.argv[1:]))
"""

Captured = pytest.CaptureFixture[str]


def test_events_of_the_agent(standin: Standin, capsys: Captured) -> None:
    standin.entries = [SWITCH, entry(2, "docomo ipv4 is down: silent for 1.5 s")]
    assert main(["events", "--limit", "5", "--since", "1h30m", "--socket", str(standin.path)]) == 0
    assert standin.asked == [("events", {"limit": 5, "since": 5400.0})]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1:] for line in lines] == [
        ["run-1", "switch: ipv4 au -> docomo: doubt: au silent"],
        ["run-2", "verdict: docomo ipv4 is down: silent for 1.5 s"],
    ]


def test_events_for_machines(standin: Standin, capsys: Captured) -> None:
    assert main(["events", "--json", "--socket", str(standin.path)]) == 0
    assert json.loads(capsys.readouterr().out) == [SWITCH.document()]


def test_no_events_are_said_to_be_none(standin: Standin, capsys: Captured) -> None:
    standin.entries = []
    assert main(["events", "--socket", str(standin.path)]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "failover: no events (--since goes further back, if it was given)\n")


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many", "1.5", "9" * 5000])
def test_a_limit_is_a_number_within_bounds(capsys: Captured, limit: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["events", "--limit", limit])
    said = capsys.readouterr().err
    assert said.startswith("failover: argument --limit: '")
    assert said.count("\n") == 1


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """What an agent left: three events of an hour ago, one of now."""
    old = [replace(entry(number, f"event {number}"), unix=time.time() - 3600) for number in (1, 2, 3)]
    append(tmp_path, b"".join(map(encode, [*old, replace(entry(4, "event 4"), unix=time.time())])))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ((), ["run-1", "run-2", "run-3", "run-4"]),
        (("--limit", "2"), ["run-3", "run-4"]),
        (("--since", "10m"), ["run-4"]),
        (("--since", "2h", "--limit", "3"), ["run-2", "run-3", "run-4"]),
    ],
)
def test_without_an_agent_the_journal_tells(
    journal: Path, capsys: Captured, words: tuple[str, ...], ids: list[str]
) -> None:
    where = ["--socket", str(journal / "none"), "--state", str(journal)]
    assert main(["events", "--json", *words, *where]) == 0
    said = capsys.readouterr()
    assert [event["id"] for event in json.loads(said.out)] == ids
    assert said.err.startswith(
        f"failover: no agent here: there is no {journal}/none; this is from the journal in {journal}"
    )
    assert said.err.count("\n") == 1
    assert main(["events", *words, *where]) == 0
    assert [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()] == ids


def test_without_an_agent_and_a_journal_it_is_a_failure(tmp_path: Path, capsys: Captured) -> None:
    assert main(["events", "--socket", str(tmp_path / "none"), "--state", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert f"and the journal in {tmp_path} has nothing to tell (start it with" in said.err


def test_a_refusal_of_the_agent_is_not_taken_for_its_absence(standin: Standin, journal: Path, capsys: Captured) -> None:
    standin.refusal = ControlError("events: no", "ask later")
    assert main(["events", "--socket", str(standin.path), "--state", str(journal)]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "failover: events: no (ask later)\n")


def test_a_journal_that_cannot_be_read_is_named(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    assert main(["events", "--socket", str(tmp_path / "none"), "--state", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert f"the journal in {tmp_path} cannot be read: Not a regular file" in said.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_socket_that_may_not_be_asked_is_no_missing_agent(tmp_path: Path) -> None:
    """Neither is the journal told in its place: it would be old, and nobody would know."""
    tmp_path.chmod(0o700)
    where = ["--socket", str(tmp_path / "control.sock"), "--state", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, "events", *where], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"failover: no permission for {tmp_path}/control.sock (run as root or as a member of group failover)\n"
    )
