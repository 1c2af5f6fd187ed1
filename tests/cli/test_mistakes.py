"""What goes wrong at the command line: whose fault it is shows in the exit status, and one line names the mend."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from failover.cli import main
from failover.sim.invariants import InvariantError
from tests.cli.conftest import Standin
from tests.cli.test_cli import Captured, usage

FAILOVER = [sys.executable, "-m", "failover"]


def complaint(captured: Captured) -> str:
    """The one line on stderr."""
    said = captured.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("failover: ")
    return said.err.removeprefix("failover: ").rstrip("\n")


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("statsu", "unknown command 'statsu' (did you mean 'status'?)"),
        (
            "healthz",
            "unknown command 'healthz' (the agent serves it: http://127.0.0.1:9109/healthz, unless `metrics` in",
        ),
        (
            "metrics",
            "unknown command 'metrics' (the agent serves it: http://127.0.0.1:9109/metrics, unless `metrics` in",
        ),
        ("xyzzy", "unknown command 'xyzzy' (known: auto, check, "),
        ("st\natus", "unknown command 'st?atus' (did you mean 'status'?)"),
        ("status --jsno", "unknown option '--jsno' of status (did you mean '--json'?)"),
        ("status --hepl", "unknown option '--hepl' of status (did you mean '--help'?)"),
        (
            "status --xyzzy=1",
            "unknown option '--xyzzy' of status (known: --check, --debug, --help, --json, --socket, --watch)",
        ),
        ("simulate --scenaro drive", "unknown option '--scenaro' of simulate (did you mean '--scenario'?)"),
        ("check --xyzzy", "unknown option '--xyzzy' of check (known: --config, --debug, --help, --json)"),
        ("--versoin", "unknown option '--versoin' (did you mean '--version'?)"),
        ("--json status", "option '--json' comes too early (it goes after the command)"),
        ("-x", "unknown option '-x' (known: --help, --version)"),
        ("-x status", "unknown option '-x' (known: --help, --version)"),
        ("drain -x", "unknown option '-x' of drain (known: --debug, --force, --help, --socket)"),
        ("-5", "unknown command '-5' (known: auto, "),
        ("status au docomo", "unrecognized arguments: docomo (see failover status --help)"),
        ("use docomo 2h", "unrecognized arguments: 2h (did you mean '--for 2h'?)"),
        ("use docomo now", "unrecognized arguments: now (see failover use --help)"),
        ("events 2h", "unrecognized arguments: 2h (did you mean '--since 2h'?)"),
        ("drain au docomo", "unrecognized arguments: docomo (see failover drain --help)"),
    ],
)
def test_a_mistyped_word_is_told_from_what_was_meant(capsys: Captured, argv: str, line: str) -> None:
    assert usage(*argv.split(" ")) == 2
    assert complaint(capsys).startswith(line)


def test_what_follows_two_dashes_is_no_option(standin: Standin, capsys: Captured) -> None:
    assert main(["drain", "--socket", str(standin.path), "--", "--jsno"]) == 0
    assert standin.asked == [("drain", {"name": "--jsno", "force": False})]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0s", "argument --for: '0s' is out of range; from 1ms to 87840h"),
        ("0ms", "argument --for: '0ms' is out of range; from 1ms to 87840h"),
        ("99999999h", "argument --for: '99999999h' is out of range; from 1ms to 87840h"),
        ("9" * 29 + "h", f"argument --for: '{'9' * 29}h' is out of range; from 1ms to 87840h"),
        ("-5s", "argument --for: '-5s' is not a duration; write it as 1.5s, 10m or 1h30m, larger units first"),
        ("soon", "argument --for: 'soon' is not a duration; write it as 1.5s, 10m or 1h30m, larger units first"),
        ("", "argument --for: '' is not a duration; write it as 1.5s, 10m or 1h30m, larger units first"),
        ("30", "argument --for: '30' has no unit; write 30s (units: ms, s, m, h, d)"),
        ("999999999", "argument --for: '999999999' has no unit; write 999999999ms"),
        ("9" * 5000, "argument --for: '" + "9" * 59 + "…' is not a duration"),
    ],
)
def test_a_wrong_time_names_its_option_and_the_mend(capsys: Captured, text: str, line: str) -> None:
    assert usage("use", "au", "--for", text) == 2
    assert complaint(capsys).startswith(line)


@pytest.mark.parametrize(
    "argv",
    [
        ("demo", "--only", "blackout", "--all"),
        ("demo", "--list", "--only", "blackout"),
    ],
    ids=" ".join,
)
def test_of_two_words_that_exclude_each_other_none_is_ignored(capsys: Captured, argv: tuple[str, ...]) -> None:
    assert usage(*argv) == 2
    assert "not allowed with argument" in complaint(capsys)


def test_check_takes_one_file(capsys: Captured) -> None:
    for words in (["a.yaml", "--config", "b.yaml"], ["--config", "b.yaml", "a.yaml"], ["--json", "--config=b", "a"]):
        assert main(["check", *words]) == 2
        assert complaint(capsys) == "argument FILE: not allowed with argument --config (name one file)"


@pytest.mark.parametrize("words", [["check", ""], ["check", "--config", ""], ["check", "--config", "b.yaml", ""]])
def test_a_file_without_a_name_is_not_the_default_one(capsys: Captured, words: list[str]) -> None:
    assert main(words) == 2
    complaint(capsys)


def test_a_trace_without_a_name_is_no_scenario(capsys: Captured) -> None:
    assert main(["simulate", "--trace", ""]) == 2
    assert complaint(capsys) == "'': No such file or directory (name a trace, as drive.csv)"


# --- simulate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("--scenario deadzone", "no scenario 'deadzone': neither a file nor a shipped one (did you mean 'dead_zone'?)"),
        ("--scenario /none/x.yaml", "no scenario '/none/x.yaml': neither a file"),
        ("--scenario " + "a" * 300, "no scenario 'aaa"),
        ("--scenario drive --primary verizno", "no uplink 'verizno' to be the primary (did you mean 'verizon'?)"),
        ("--scenario drive --config /none.yaml", "/none.yaml: cannot be read: No such file or directory"),
        ("--trace /none.csv", "/none.csv: No such file or directory (name a trace, as drive.csv)"),
        ("--trace /", "/: Is a directory"),
        ("--trace " + "a" * 300, "aaa"),
        ("--trace /dev/zero", "/dev/zero: line 1: more than 65536 characters (is it CSV? It begins as t_s,"),
        ("--trace /dev/null", "/dev/null: line 1: empty (the first line names the columns"),
    ],
    ids=lambda value: value[:40],
)
def test_what_cannot_be_played_is_wrong_usage(capsys: Captured, argv: str, line: str) -> None:
    assert main(["simulate", *argv.split()]) == 2
    assert complaint(capsys).startswith(line)


def test_a_broken_invariant_is_a_failure(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> int:
        raise InvariantError("two defaults", "a bug")

    monkeypatch.setattr("failover.sim.command.run", broken)
    assert main(["simulate", "--scenario", "drive"]) == 1
    assert complaint(capsys) == "two defaults (a bug)"


# --- the system ------------------------------------------------------------------------------------------------------


def shell(command: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """`command`, in which "$@" is the arguments."""
    return subprocess.run(["sh", "-c", command, "sh", *argv], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_no_bug(standin: Standin, monkeypatch: pytest.MonkeyPatch, unbuffered: str) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    status = ["status", "--socket", str(standin.path)]
    for words in (
        status,
        [*status, "--json"],
        ["check"],
        ["demo", "--list"],
        ["simulate", "--scenario", "dead_zone"],
    ):
        done = shell('"$@" > /dev/full', *FAILOVER, *words)
        assert (done.returncode, done.stderr) == (
            1,
            "failover: standard output: No space left on device (make room)\n",
        ), words


def test_a_help_text_that_cannot_be_written_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    done = shell('"$@" > /dev/full', *FAILOVER, "--help")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("failover: standard output: No space")


def test_a_full_disk_for_complaints_changes_no_exit_status(tmp_path: Path) -> None:
    for words, status in ((["status", "--socket", str(tmp_path / "none")], 1), (["statsu"], 2)):
        assert shell('"$@" 2> /dev/full', *FAILOVER, *words).returncode == status


@pytest.mark.parametrize("command", ["run", "status"])
@pytest.mark.parametrize("path", ["/", ".", "/run/.."])
def test_a_socket_needs_a_name(capsys: Captured, command: str, path: str) -> None:
    assert main([command, "--socket", path]) == 1
    assert complaint(capsys) == f"no control socket at {path}: Is a directory (choose another with --socket)"


def test_too_many_open_files_are_no_bug(standin: Standin) -> None:
    code = """\
import os, resource, sys
from failover.cli import main
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
sys.exit(main(sys.argv[1:]))
"""
    for words in (["status", "--socket", str(standin.path)], ["check"], ["simulate", "--scenario", "drive"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "Too many open files" in done.stderr
        assert "bug" not in done.stderr


def test_an_error_of_the_system_names_its_file(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> int:
        os.listdir("/none")
        return 0

    monkeypatch.setattr("failover.sim.command.run", refused)
    with pytest.raises(FileNotFoundError):
        main(["simulate", "--scenario", "drive", "--debug"])
    assert main(["simulate", "--scenario", "drive"]) == 1
    assert complaint(capsys) == "/none: No such file or directory (--debug shows where)"


# --- the recorder ----------------------------------------------------------------------------------------------------

RECORD = [sys.executable, "-m", "failover.sim.record"]


def test_a_reader_that_leaves_the_recorder_is_no_error() -> None:
    child = subprocess.Popen([*RECORD, "drive"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().startswith("t_s,")
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == ""
    child.stderr.close()
    assert child.wait(10) == 1


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        ('"$@" deadzone', 2, "no scenario 'deadzone': neither a file nor a shipped one (did you mean 'dead_zone'?)"),
        ('"$@" dead_zone > /dev/full', 1, "standard output: No space left on device"),
    ],
)
def test_the_recorder_complains_in_one_line(command: str, status: int, line: str) -> None:
    done = shell(command, *RECORD)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"failover: {line}\n")
