"""`failover sms`: from the agent, and from the file that it left; and for whom."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from failover.cli import main
from failover.config.modems import Matter
from failover.export.messages import NAME, Kept, append
from tests.cli.conftest import UNIX, Standin
from tests.cli.test_events import STRANGER

BILL = Kept(
    id="1",
    unix=UNIX,
    trusted=True,
    uplink="au",
    imei="356938035640011",
    iccid="8981200000000000022",
    number="157",
    received_at="2026-10-01T12:00:00+09:00",
    matters=(Matter.SUSPENSION, Matter.PAYMENT),
    text="料金未納のため、ご利用を停止します",
)
CODE = replace(BILL, id="2", trusted=False, uplink="", number="", matters=(), text=None)

Captured = pytest.CaptureFixture[str]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


def test_messages_of_the_agent(standin: Standin, capsys: Captured) -> None:
    standin.messages = [BILL, CODE]
    assert main(["sms", "--limit", "5", "--socket", str(standin.path)]) == 0
    assert standin.asked == [("sms", {"limit": 5})]
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[2] for line in lines] == [
        "au  from 157: suspension, payment",
        "  料金未納のため、ご利用を停止します",
        "modem 356938035640011  from nobody",
        "  (its text is left out)",
    ]
    assert [line.startswith("~") for line in lines] == [False, False, True, False]


def test_messages_for_machines(standin: Standin, capsys: Captured) -> None:
    standin.messages = [BILL, CODE]
    assert main(["sms", "--json", "--socket", str(standin.path)]) == 0
    assert json.loads(capsys.readouterr().out) == [BILL.document(), CODE.document()]


def test_no_messages_are_said_to_be_none(standin: Standin, capsys: Captured) -> None:
    assert main(["sms", "--socket", str(standin.path)]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("failover: no messages (")


def test_without_an_agent_the_file_tells(tmp_path: Path, capsys: Captured) -> None:
    append(tmp_path, [BILL, CODE])
    where = ["--socket", str(tmp_path / "none"), "--state", str(tmp_path)]
    assert main(["sms", "--json", "--limit", "1", *where]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == [CODE.document()]
    assert said.err.startswith("failover: no agent here: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("folder", [".", "none"])
def test_without_an_agent_and_messages_it_is_a_failure(tmp_path: Path, capsys: Captured, folder: str) -> None:
    """As `failover events` has it, whether an agent has been here or not."""
    state = tmp_path / folder
    for more in ((), ("--json",)):
        assert main(["sms", "--socket", str(tmp_path / "none.sock"), "--state", str(state), *more]) == 1
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert said.err.startswith("failover: no agent here: ")
        assert f", and there are no messages in {state} (start it with" in said.err


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / NAME).mkdir()
    assert main(["sms", "--socket", str(tmp_path / "none"), "--state", str(tmp_path)]) == 1
    assert f"{tmp_path / NAME} cannot be read: Not a regular file" in capsys.readouterr().err


@NEEDS_ROOT
def test_who_may_only_read_gets_no_message(standin: Standin, tmp_path: Path) -> None:
    """Neither of the agent, though it answers everything else, nor from the file."""
    standin.messages = [BILL]
    for folder in takewhile(lambda folder: folder != Path(tempfile.gettempdir()), standin.path.parents):
        folder.chmod(0o755)
    standin.path.chmod(0o666)  # as good as a member of group failover
    append(tmp_path, [BILL])
    code = STRANGER.replace("cli.events", "cli.messages, failover.cli.asking, failover.export.messages")

    def stranger(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *words, "--state", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = stranger("sms", "--socket", str(standin.path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "failover: sms: messages may hold one-time codes, not for user 54321"
        " (be root, the agent's user, or a member of group failover-admin)\n"
    )
    done = stranger("sms", "--socket", str(standin.path.parent / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path / NAME} cannot be read: Permission denied (be root)" in done.stderr
