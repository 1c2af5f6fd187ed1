"""The rule of tests/conftest.py, held to by a pytest of its own: what is skipped in CI has not been tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import MAY_SKIP

SUITE = {
    "test_skips.py": """
import pytest
@pytest.fixture
def missing():
    pytest.skip("no such program")
def test_by_a_fixture(missing): ...
def test_by_itself():
    pytest.skip("no such kernel module")
@pytest.mark.skipif(True, reason="not root")
def test_by_a_mark(): ...
@pytest.mark.parametrize("nothing", [])
def test_by_want_of_cases(nothing): ...
""",
    "test_module.py": """
import pytest
pytest.importorskip("a_library_that_is_not_there")
def test_never_seen(): ...
""",
    "test_fine.py": f"""
import pytest
def test_passes(): ...
@pytest.mark.xfail(strict=True, reason="known")
def test_expected(): assert False
def test_replay():
    pytest.skip("{MAY_SKIP}")
""",
}
"""Four skipped tests, a skipped module, and three tests that may be as they are."""


def outcome(home: Path, ci: str) -> tuple[int, dict[str, int]]:
    """Exit status and counts of that suite under our conftest."""
    shutil.copy(Path(__file__).with_name("conftest.py"), home)
    for name, text in SUITE.items():
        (home / name).write_text(text)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "."]
    environment = {**os.environ, "CI": ci, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, cwd=home, env=environment, capture_output=True, text=True, check=False)
    counts = re.findall(r"(\d+) (passed|failed|skipped|xfailed|error)", done.stdout.splitlines()[-1])
    return done.returncode, {word: int(count) for count, word in counts}


def test_in_ci_every_skip_is_a_failure_but_for_the_recorded_drives(tmp_path: Path) -> None:
    expected = {"failed": 1, "error": 4, "passed": 1, "xfailed": 1, "skipped": 1}
    assert outcome(tmp_path, ci="true") == (1, expected)


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    assert outcome(tmp_path, ci="") == (0, {"passed": 1, "xfailed": 1, "skipped": 6})
