"""In CI a skipped test is a failed one, but for a replay of recorded drives that are not part of the project.

What takes real time runs in one process, one test after the other; what only computes runs beside it, and gives way.
What is shared by the tests of several rooms stands here too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest

COMPUTING = ("tests/core/", "tests/sim/", "tests/test_house.py", "tests/test_forecast.py")
LATER = 10
"""The niceness of what gives way."""
MAY_SKIP = "the recorded drives are not there"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _computes(item: pytest.Item) -> bool:
    """Whether it needs nothing but the processor."""
    return item.nodeid.startswith(COMPUTING)


@pytest.hookimpl(tryfirst=True)  # before the names of the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The second process takes a file at a time, as its tests share what they have played."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.location[0] if _computes(item) else "real time"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not (_computes(item) and os.environ.get("PYTEST_XDIST_WORKER") and os.geteuid() == 0):
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
