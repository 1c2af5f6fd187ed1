"""Every file in bad/ gives exactly the lines of its .txt; and what is wrong with a file as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from failover.config import ConfigError, Problem
from failover.config.reading import load, parse
from failover.config.yaml_tree import BYTES_MAX, decode

BAD = Path(__file__).parent / "bad"
FILES = sorted(BAD.glob("*.yaml"))


def problems(content: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(content, "f.yaml")
    return caught.value.problems


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bad_file(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(decode(path.read_bytes(), path.name), path.name)
    assert f"{caught.value}\n" == path.with_suffix(".txt").read_text()
    last = len(path.read_bytes().splitlines())
    for problem in caught.value.problems:
        assert 1 <= problem.line <= last
        assert problem.mend, "each problem names its mend"


def test_the_corpus_is_whole() -> None:
    assert len(FILES) >= 60
    assert {path.stem for path in BAD.glob("*.txt")} == {path.stem for path in FILES}


def test_a_problem_is_one_line() -> None:
    problem = Problem("failover.yaml", 7, 5, "uplinks[1].metred", "unknown key", "did you mean 'metered'?")
    assert str(problem) == "failover.yaml:7: uplinks[1].metred: unknown key; did you mean 'metered'?"


def test_places_are_those_of_the_fault() -> None:
    found = problems("policy:\n  failback_after: 60\n  failback: 1s\n")
    assert [(p.line, p.column, p.path) for p in found] == [
        (2, 19, "policy.failback_after"),
        (3, 3, "policy.failback"),
    ]


def test_the_error_holds_every_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("detection: slow\nweather: rain\n", "f.yaml")
    assert str(caught.value).split("\n") == [str(problem) for problem in caught.value.problems]
    assert len(caught.value.problems) == 2


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    with pytest.raises(ConfigError) as caught:
        load(path)
    mend = "name a file that this user may read"
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory; {mend}"


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory; name a file in it"):
        load(tmp_path)


def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.symlink_to(path)
    with pytest.raises(ConfigError, match="cannot be read: Too many levels of symbolic links"):
        load(path)


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(ConfigError, match=r"a\?b\.yaml: cannot be read: embedded null byte"):
        load("a\0b.yaml")


def test_endless_file() -> None:
    with pytest.raises(ConfigError, match=r"^/dev/zero: too large; at most 1048576 bytes are read$"):
        load("/dev/zero")


def test_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    path.write_bytes(b"#" * BYTES_MAX)
    assert load(path).uplinks == ()
    path.write_bytes(b"#" * (BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="too large"):
        load(path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('\n\npolicy: "\\UFFFFFFFF"\n', 3),
        ("%YAML " + "1" * 5000 + "\n---\n", 1),
        ("metrics:\n  listen: !<%ff> none\n", 2),
    ],
)
def test_numbers_that_choke_the_parser(content: str, line: int) -> None:
    (problem,) = problems(content)
    assert problem.line == line
    assert problem.message.startswith("not YAML: ")


def test_the_end_of_the_file_is_in_its_last_line() -> None:
    (problem,) = problems("metrics:\n  listen: [\n")
    assert problem.line == 2


def test_a_wide_alias_is_counted_whenever_it_is_used() -> None:
    wide = "a: &a [" + "x," * 3000 + "]\n"
    assert "too many values" in problems(wide + "b: [*a, *a, *a]\n")[0].message
    assert "unknown key" in problems(wide + "b: [*a, *a]\n")[0].message
