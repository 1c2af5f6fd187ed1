"""In CI a skipped test is a failed one, but for a replay of recorded drives that are not part of the project.

What is shared by the tests of several rooms stands here too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest

MAY_SKIP = "the recorded drives are not there"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


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
