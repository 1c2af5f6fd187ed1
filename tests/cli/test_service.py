"""The systemd unit, as systemd reads it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "failover.service"
NEEDS_SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs the Debian package systemd")


def verify(text: str, folder: Path) -> str:
    """What systemd has to say against a unit."""
    unit = folder / "failover.service"
    unit.write_text(text.replace("/opt/failover/bin/failover", sys.executable))
    argv = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stderr + (f"exit {done.returncode}" if done.returncode else "")


@NEEDS_SYSTEMD
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    assert verify(UNIT.read_text(), tmp_path) == ""


@NEEDS_SYSTEMD
def test_systemd_would_tell(tmp_path: Path) -> None:
    assert "Restrat" in verify(UNIT.read_text().replace("Restart=", "Restrat="), tmp_path)


def test_only_the_two_capabilities_and_no_waiting_for_a_network() -> None:
    lines = UNIT.read_text().splitlines()
    assert "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW" in lines
    assert "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW" in lines
    assert not [line for line in lines if "network-online" in line and not line.startswith("#")]
