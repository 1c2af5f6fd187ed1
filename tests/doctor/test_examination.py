"""The doctor as a whole: every check in turn, none able to spoil another, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from failover import doctor
from failover.doctor.examination import OF_THE_CASE, OF_THE_GROUND, REMARKS_MAX, Check, made
from failover.doctor.finding import TEXT_LIMIT, Finding, Level, Remarks, document, lines, note, warning
from failover.model import KernelError
from tests.doctor.patient import EVERYTHING, RUN, Patient

NAMES = [*(check.name for check in OF_THE_CASE), *(check.name for check in OF_THE_GROUND)]
README = Path(doctor.__file__).with_name("README.md")


def test_a_healthy_van(patient: Patient) -> None:
    found = patient.examine()
    assert list(dict.fromkeys(finding.check for finding in found)) == NAMES, "each check says something"
    wrong = [finding for finding in found if finding.level in (Level.WARNING, Level.FAILURE)]
    assert [finding.check for finding in wrong if finding.check != "clock"] == [], wrong  # the clock is the machine's


def test_in_words(patient: Patient) -> None:
    patient.box.ip("rule add pref 15550 lookup 77")
    done = patient.run()
    assert done.returncode == 1, done
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\nfailure  our tables and prefs: a foreign ipv4 rule 15550" in done.stdout
    assert "\n           mend: move it out of 15500-15599" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 failure")
    assert done.stdout.endswith("; something here would break failover\n")


def test_as_json(patient: Patient) -> None:
    done = patient.run("--json")
    assert done.returncode == 0, done
    told = json.loads(done.stdout)
    assert set(told) == {"ok", "counts", "findings"}
    assert told["ok"] is True
    assert told["counts"]["failure"] == 0
    assert sum(told["counts"].values()) == len(told["findings"])
    for finding in told["findings"]:
        assert set(finding) == {"check", "level", "text", "mend"}
        assert finding["level"] in list(Level)
        assert finding["text"]


def test_names_from_outside_reach_no_screen(patient: Patient) -> None:
    """An interface may be called anything."""
    patient.box.ip("link set wan1 down")
    patient.box.ip("link set wan1 name \x1b[31m\x07;x")
    patient.box.ip("link set \x1b[31m\x07;x up")
    patient.box.ip("route add default via 10.20.0.1 metric 20000")
    found = patient.examine()
    assert any("?[31m?;x has metric 20000" in finding.text for finding in found), found
    assert all((finding.text + finding.mend).isprintable() for finding in found)
    assert "\x1b" not in "\n".join(lines(found)) + json.dumps(document(found), ensure_ascii=False)


def test_a_check_that_breaks_says_so() -> None:
    def broken(_: int) -> Remarks:
        yield note("said before")
        raise ZeroDivisionError("1 / 0")

    def refused(_: int) -> Remarks:
        raise KernelError("not now", "later")
        yield

    first, second = made(Check("broken", broken), 7)
    assert first == Finding("broken", Level.NOTE, "said before")
    assert second.level is Level.WARNING
    assert second.text == "this check broke: ZeroDivisionError: 1 / 0"
    assert [*made(Check("refused", refused), 7)] == [
        Finding("refused", Level.WARNING, "could not be made: not now", "later")
    ]


def test_when_nothing_can_be_opened_that_is_said_and_nothing_raised(patient: Patient) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
    done = patient.run("--json", code=EVERYTHING + limit + RUN)
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)["findings"]
    assert found[-1]["check"] == "kernel"
    assert found[-1]["level"] == "failure"
    assert "Too many open files; nothing more can be checked" in found[-1]["text"]
    assert list(dict.fromkeys(finding["check"] for finding in found)) == [*NAMES[: len(OF_THE_CASE)], "kernel"]


def test_what_a_check_says_is_bounded() -> None:
    made_so_far = 0

    def chatty(count: int) -> Remarks:
        nonlocal made_so_far
        for number in range(count):
            made_so_far = number + 1
            yield note(f"remark {number} " + "x" * 2000)

    found = list(made(Check("chatty", chatty), 10_000))
    assert len(found) == made_so_far == REMARKS_MAX + 1
    assert f"more than {REMARKS_MAX}" in found[-1].text
    assert max(len(finding.text) for finding in found) <= 500
    assert len(list(made(Check("chatty", chatty), REMARKS_MAX))) == REMARKS_MAX


@pytest.mark.parametrize(
    ("levels", "end"),
    [
        ([], "nothing to mend; nothing here would break failover"),
        ([Level.OK, Level.OK], "nothing to mend; nothing here would break failover"),
        ([Level.NOTE, Level.WARNING, Level.WARNING], "2 warnings, 1 note; nothing here would break failover"),
        ([Level.FAILURE], "1 failure; something here would break failover"),
    ],
)
def test_the_last_line(levels: list[Level], end: str) -> None:
    found = [Finding("one", level, "text", "mend") for level in levels]
    assert list(lines(found))[-1] == end
    assert document(found)["ok"] is (Level.FAILURE not in levels)


def test_the_readme_names_each_check_and_level() -> None:
    text = README.read_text()
    assert [name for name in NAMES if f"| {name} |" not in text] == []
    assert [level for level in Level if f"`{level}`" not in text] == []


def test_what_is_shown_is_made_safe() -> None:
    """Names of processes, interfaces and files may be anything."""
    shown = Finding.of("one", warning("red \x1b[31m", "run \x1b]0;it\x07"))
    assert not any(letter in shown.text + shown.mend for letter in "\x1b\x07")
    assert len(Finding.of("one", warning("x" * 9000, "y" * 9000)).mend) <= TEXT_LIMIT
