"""The command line: what it prints, where, and its exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from failover import __version__
from failover.cli import main
from failover.cli.grammar import GROUPS, WORDS, build_parser
from failover.model import Verdict
from tests.cli.conftest import Standin
from tests.export.pictures import family, uplink

Captured = pytest.CaptureFixture[str]
UP, DOWN = family(Verdict.UP), family(Verdict.DOWN)


def usage(*argv: str) -> int:
    """Exit status of a command line that argparse refuses, or answers itself."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_status_for_people(standin: Standin, capsys: Captured) -> None:
    assert main(["status", "--socket", str(standin.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"online by docomo \(ipv4 only\) since [0-9:]{8}; forwarded traffic by au; told to use docomo until [0-9: -]+",
        lines[0],
    )
    assert lines[1].split()[:3] == ["uplink", "interface", "family"]
    assert [line.split()[:2] for line in lines if line.startswith("*")] == [["*", "docomo"]]


def test_status_for_machines(standin: Standin, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVER_SOCKET", str(standin.path))
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == standin.document()


def test_status_check_tells_by_its_exit_status(standin: Standin, capsys: Captured) -> None:
    assert main(["status", "--check", "--socket", str(standin.path)]) == 0
    standin.picture = replace(standin.picture, uplinks=(uplink("au", DOWN, DOWN),))
    assert main(["status", "--socket", str(standin.path)]) == 0
    assert main(["status", "--check", "--socket", str(standin.path)]) == 1
    assert capsys.readouterr().out.count("\n") > 3


ASKED = [
    (["use", "au"], ("use", {"name": "au", "strict": False})),
    (["use", "au", "--for", "90m", "--strict"], ("use", {"name": "au", "strict": True, "seconds": 5400.0})),
    (["auto"], ("auto", {})),
    (["drain", "au", "--force"], ("drain", {"name": "au", "force": True})),
    (["undrain", "au"], ("undrain", {"name": "au"})),
    (["reload"], ("reload", {})),
]


@pytest.mark.parametrize(("argv", "asked"), ASKED, ids=[" ".join(argv) for argv, _ in ASKED])
def test_commands_reach_the_agent(
    standin: Standin, capsys: Captured, argv: list[str], asked: tuple[str, dict[str, object]]
) -> None:
    assert main([*argv, "--socket", str(standin.path)]) == 0
    assert standin.asked == [asked]
    assert capsys.readouterr().out == f"did {argv[0]}\n"


def test_a_refusal_is_one_line_with_its_hint(standin: Standin, capsys: Captured) -> None:
    assert main(["drain", "nowhere", "--socket", str(standin.path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "failover: no uplink is named nowhere (there is au)\n"


def test_no_agent(tmp_path: Path, capsys: Captured) -> None:
    assert main(["status", "--socket", str(tmp_path / "none")]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"failover: no agent here: there is no {tmp_path}/none (start it with")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["stauts"], "unknown command 'stauts'"),
        (["use"], "required: NAME"),
        (["use", "au", "--for", "1x"], "argument --for: '1x' has an unknown unit; units: ms, s, m, h, d"),
        (["status", "--jso"], "unknown option '--jso' of status"),
        (["simulate"], "one of the arguments --trace --scenario is required"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(capsys: Captured, argv: list[str], words: str) -> None:
    assert usage(*argv) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_version_and_help(capsys: Captured) -> None:
    assert usage("--version") == 0
    assert capsys.readouterr().out == f"failover {__version__}\n"
    assert usage("--help") == 0
    help_text = capsys.readouterr().out
    for name in build_parser().commands:
        assert f"\n  {name} " in help_text


def test_help_is_what_people_ask_for(capsys: Captured) -> None:
    assert main(["help"]) == 0
    whole = capsys.readouterr().out
    assert usage() == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", whole)
    assert main(["help", "use"]) == 0
    assert capsys.readouterr().out.startswith("usage: failover use ")
    assert usage("help", "us") == 2
    assert capsys.readouterr().err == "failover: unknown command 'us' (did you mean 'use'?)\n"


@pytest.mark.parametrize("columns", ["40", "80", "200", "none"])
def test_help_is_no_wider_than_80_columns(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    parser = build_parser()
    for command in (parser, *parser.commands.values()):
        assert max(map(len, command.format_help().splitlines())) <= 80


def test_every_command_is_there(capsys: Captured) -> None:
    parser = build_parser()
    assert {name for names in GROUPS.values() for name in names} == parser.commands.keys() - {"help"}
    for word in WORDS:
        file, _, function = word.run.partition(":")
        assert callable(getattr(import_module(f"failover.cli.{file}"), function))


def test_status_of_one_uplink(standin: Standin, capsys: Captured) -> None:
    socket = ["--socket", str(standin.path)]
    assert main(["status", "docomo", *socket]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "docomo (ipv4) is up, in use; docomo (ipv6) is not proven yet for 1 min; online by docomo"
    )
    assert [line[3:9] for line in lines[2:]] == ["docomo", "docomo"]
    assert main(["status", "docmo", *socket]) == 1
    assert capsys.readouterr().err == "failover: no uplink is named docmo (did you mean 'docomo'?)\n"
    assert main(["status", "wwan-au", *socket]) == 1
    assert capsys.readouterr().err == "failover: no uplink is named wwan-au (that is the interface of au)\n"
    standin.picture = replace(standin.picture, uplinks=(uplink("au", DOWN, DOWN), uplink("docomo", UP, DOWN)))
    for words, status in (
        (["status", "au", "--check"], 1),
        (["status", "docomo", "--check"], 0),
        (["status", "au"], 0),
    ):
        assert main([*words, *socket]) == status


# --- check -----------------------------------------------------------------------------------------------------------

GOOD = """\
uplinks:
  - {name: au, interface: wwan0, carrier: KDDI, metered: true}
  - {name: docomo, interface: wwan1, targets: [icmp://10.1.1.1]}
metrics: {listen: none}
"""


def test_check_says_what_it_understood(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text(GOOD)
    assert main(["check", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: fine"
    assert [line for line in lines if line.startswith("warning: ")]
    assert "uplink 1: au on wwan0, KDDI, metered" in lines
    assert "uplink 2: docomo on wwan1" in lines
    assert "  ipv4 targets of its own: icmp://10.1.1.1" in lines
    assert "  ipv6 targets of its own: none" in lines
    assert any(line.startswith("ipv4 targets: icmp://1.1.1.1, icmp://8.8.8.8") for line in lines)
    assert lines[-1] == "metrics: not served"


def test_check_reads_standard_input(capsys: Captured) -> None:
    argv = [sys.executable, "-m", "failover", "check", "-"]
    done = subprocess.run(argv, input=GOOD, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("/dev/stdin: fine\n")


def test_check_prints_every_problem(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text("uplinks:\n  - {name: au, interfase: wwan0}\ndetection: quick\n")
    assert main(["check", "--config", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"failover: {path}:") for line in lines)
    assert main(["check", "--json", str(path)]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert len(found["problems"]) == 3


def test_check_json(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text(GOOD)
    assert main(["check", "--json", str(path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert [one["name"] for one in found["uplinks"]] == ["au", "docomo"]
    assert found["uplinks"][1]["targets"] == {"ipv4": ["icmp://10.1.1.1"], "ipv6": []}


def test_a_named_file_has_to_be_there_and_the_default_one_has_not(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr("failover.config.CONFIG_PATH", str(tmp_path / "none.yaml"))
    assert main(["check"]) == 0
    assert "uplinks: discovered from the default routes" in capsys.readouterr().out


HIDDEN = """
import os, sys
import failover.cli.local, failover.config.source, failover.forecast
from failover.cli import main
from failover.cli.grammar import build_parser
build_parser()  # afterwards, this user may read no module any more
failover.config.CONFIG_PATH = sys.argv[1]
os.setuid(54321)
sys.exit(main(["check"]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_default_file_that_may_not_be_looked_at_is_not_called_missing(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text(GOOD)
    tmp_path.chmod(0o700)
    done = subprocess.run([sys.executable, "-c", HIDDEN, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"failover: {path}: cannot be read: Permission denied; name a file that this user may read\n"


# --- as a process ----------------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_is_no_error(standin: Standin) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "failover", "status", "--socket", str(standin.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(10) == 1


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["words", "json"])
def test_status_loads_nothing_heavy(standin: Standin, form: tuple[str, ...]) -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "failover", "status", *form, "--socket", str(standin.path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "failover.cli" in loaded or "failover.export.client" in loaded
    heavy = {"asyncio", "yaml", "attr", "cattrs", "rich", "pyroute2", "prometheus_client", "dns", "ssl", "psutil"}
    assert not loaded & {*heavy, "dbus_fast", "failover.picture"}


def test_demo_lists_its_acts_and_knows_no_other(capsys: Captured) -> None:
    assert main(["demo", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 4
    assert main(["demo", "--only", "earthquake"]) == 2
    assert capsys.readouterr().err.startswith("failover: no act is called earthquake (there are ")


def test_output_that_cannot_be_shown_or_taken_is_no_failure(tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text("uplinks: [{name: a, interface: wwan0, carrier: ドコモ}]\n")
    check = [sys.executable, "-m", "failover", "check", str(config)]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for more, carrier in (((), r"\u30c9\u30b3\u30e2"), (("--json",), r'"carrier": "\u30c9\u30b3\u30e2"')):
        done = subprocess.run([*check, *more], env=ascii_only, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert carrier in done.stdout
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *check], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    absent = [*check[:-2], "status", "--socket", str(tmp_path / "a.sock")]
    done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *absent], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_complaint_is_one_clean_line(tmp_path: Path, capsys: Captured) -> None:
    assert main(["status", "--socket", str(tmp_path / "\x1b[31m\nx\u202e")]) == 1
    assert capsys.readouterr().err.startswith(f"failover: no agent here: there is no {tmp_path}/?[31m?x? (")
