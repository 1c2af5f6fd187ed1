"""The house's own rules as tests: linters, types, layers, sizes. `pytest` green is the only green."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted((ROOT / "failover").rglob("*.py"))


def run(*argv: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *argv], cwd=cwd, capture_output=True, text=True, check=False)


def lint_imports(cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as run; run()"
    argv = [sys.executable, "-c", code, "--no-cache"]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)


def test_ruff() -> None:
    done = run("ruff", "check", "failover", "tests")
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(300)
def test_mypy() -> None:
    done = run("mypy")
    assert done.returncode == 0, done.stdout


def test_layers() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("contract", "place", "line"),
    [
        ("floors", "failover/core/policy.py", "import failover.agent"),
        ("adapters know the words", "failover/probes/runner.py", "import failover.core.health"),
        ("the core is pure", "failover/core/policy.py", "import time"),
        ("only kernel and lab speak netlink", "failover/agent.py", "import pyroute2"),
        ("a van that runs", "failover/agent.py", "import failover.lab.world"),
    ],
)
def test_a_planted_import_breaks_its_contract(tmp_path: Path, contract: str, place: str, line: str) -> None:
    shutil.copytree(ROOT / "failover", tmp_path / "failover", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / place
    planted.write_text(planted.read_text() + f"\n{line}  # planted\n")
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    broken = [row for row in done.stdout.splitlines() if "BROKEN" in row]
    assert any(contract in row for row in broken), done.stdout + done.stderr


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, node.name


def test_the_engine_is_composition_only() -> None:
    assert (ROOT / "failover/core/engine.py").read_text().count("\n") <= 200
