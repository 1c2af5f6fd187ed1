"""The manual page: as the tables have it, and as groff reads it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from failover.cli.grammar import WORDS, build_parser
from failover.cli.manual import page

PAGE = Path(__file__).resolve().parents[2] / "failover" / "cli" / "failover.1"


def groff(text: str) -> subprocess.CompletedProcess[str]:
    argv = ["groff", "-man", "-ww", "-Tascii", "-P-cbou"]
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=False)


def test_the_page_is_that_of_the_tables() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m failover.cli.manual > failover/cli/failover.1"


def test_groff_has_nothing_to_say_against_it() -> None:
    done = groff(PAGE.read_text())
    assert (done.returncode, done.stderr) == (0, "")


def test_groff_would_tell() -> None:
    assert "bogus" in groff(PAGE.read_text() + ".bogus\n").stderr


def test_the_page_is_readable_and_tells_of_every_command_and_option() -> None:
    lines = groff(PAGE.read_text()).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for word in WORDS:
        assert f" {word.name} " in text
        for example in word.examples:
            assert example in text
    for command in build_parser().commands.values():
        for option in command.options():
            assert f" {option} " in text


def test_the_page_tells_what_each_van_is() -> None:
    (told,) = re.findall(r"^\\fB\\-\\-van\\fR\n(.*)", page(), re.MULTILINE)
    assert {"links", "modems", "sims"} <= set(re.findall(r"\w+", told))


@pytest.mark.parametrize("place", ["[tool.setuptools.data-files]", '"share/man/man1" = ["failover/cli/failover.1"]'])
def test_the_page_is_installed(place: str) -> None:
    assert place in (PAGE.parents[2] / "pyproject.toml").read_text()
