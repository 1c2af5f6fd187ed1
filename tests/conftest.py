"""In CI a skipped test is a failed one, but for a replay of recorded drives that are not part of the project.

What measures time runs in one process, one test after the other; what is patient and what only computes runs beside
it, and gives way.
What is shared by the tests of several rooms stands here too.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("busy", deadline=None)
settings.load_profile("busy")  # how long one example takes says how busy the machine is

COMPUTING = ("tests/core/", "tests/sim/", "tests/test_house.py", "tests/test_forecast.py")
"""Tests that need nothing but the processor."""
PATIENT = tuple(
    f"tests/{room}/"
    for room in ("cli", "config", "doctor", "export", "kernel", "modems", "names", "prometheus", "systemd")
)
"""Tests that wait for real things, and bear company: what they hold to a time, they hold to seconds."""
LATER = 10
"""The niceness of what gives way."""
MAY_SKIP = "the recorded drives are not there"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


class InTurn(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """One process takes all that measures time, the others a room at a time of the patient, and a file at a time of
    what computes, as its tests share what they have built or played."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(PATIENT):
            return nodeid.rpartition("/")[0]
        return nodeid.partition("::")[0] if nodeid.startswith(COMPUTING) else "real time"


def pytest_configure(config: pytest.Config) -> None:
    """Ctrl-C ends what tests start even where they run in a shell's background, which has its children ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> InTurn:
    return InTurn(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    among_others = os.environ.get("PYTEST_XDIST_WORKER") and os.geteuid() == 0
    if not (among_others and item.nodeid.startswith((*COMPUTING, *PATIENT))):
        return (yield)
    os.setpriority(os.PRIO_PROCESS, 0, LATER)
    try:
        return (yield)
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _held_to((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself, as for a library that is not there, would take all its tests along."""
    return _held_to((yield))


def _held_to(report: Report) -> Report:
    expected = hasattr(report, "wasxfail") or MAY_SKIP in report.longreprtext
    if os.environ.get("CI") and report.skipped and not expected:
        report.outcome = "failed"
    return report


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's clock shows UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
