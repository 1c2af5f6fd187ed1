"""In CI a skipped test is a failed one, but for a replay of recorded drives that are not part of the project."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

MAY_SKIP = "the recorded drives are not there"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    expected = hasattr(report, "wasxfail") or MAY_SKIP in report.longreprtext
    if os.environ.get("CI") and report.skipped and not expected:
        report.outcome = "failed"
    return report
