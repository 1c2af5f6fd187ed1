"""In CI a skipped test is a failed one, but for a replay of recorded drives that are not part of the project."""

from __future__ import annotations

import os
from collections.abc import Generator
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
