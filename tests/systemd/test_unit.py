"""The unit as systemd reads it, without running it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.systemd.machine import CHECKOUT

UNIT = CHECKOUT / "systemd/failover.service"
pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs the Debian package systemd")


def analyze(text: str, folder: Path, *words: str) -> tuple[int, str]:
    """What systemd-analyze has to say about a unit: exit status and stderr. What it starts need not be installed."""
    unit = folder / "failover.service"
    unit.write_text(text.replace("/opt/failover/bin/failover", "/bin/true"))
    done = subprocess.run(["systemd-analyze", *words, str(unit)], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_systemd_finds_nothing_to_say(tmp_path: Path) -> None:
    assert analyze(UNIT.read_text(), tmp_path, "verify") == (0, "")


def test_systemd_would_tell(tmp_path: Path) -> None:
    _, said = analyze(UNIT.read_text().replace("Restart=", "Restrat="), tmp_path, "verify")
    assert "Unknown key 'Restrat'" in said


EXPOSED = ("security", "--offline=true", "--threshold=20")
"""Fails above an exposure of 2.0."""


def test_the_exposure_is_two_at_most(tmp_path: Path) -> None:
    assert analyze(UNIT.read_text(), tmp_path, *EXPOSED)[0] == 0


def test_more_exposure_would_be_noticed(tmp_path: Path) -> None:
    weaker = UNIT.read_text().replace("ProtectSystem=strict\n", "").replace("RestrictNamespaces=yes\n", "")
    assert analyze(weaker, tmp_path, *EXPOSED)[0] == 1


def settings() -> dict[str, list[str]]:
    """Every value of every key."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_it_never_waits_for_a_network() -> None:
    """systemd-resolved, whom it tells, is there before any network."""
    found = settings()
    assert found["Wants"] == ["network-pre.target"]
    assert found["After"] == ["network-pre.target systemd-resolved.service"]
    assert "Requires" not in found


def test_it_keeps_what_its_work_takes_and_no_more() -> None:
    found = settings()
    assert found["AmbientCapabilities"] == found["CapabilityBoundingSet"] == ["CAP_NET_ADMIN CAP_NET_RAW"]
    assert found["ProtectKernelTunables"] == ["no"]
    assert found["RestrictAddressFamilies"] == ["AF_UNIX AF_NETLINK AF_INET AF_INET6"]


def test_it_is_started_again_for_ever() -> None:
    found = settings()
    assert found["Restart"] == ["always"]
    assert found["StartLimitIntervalSec"] == ["0"]


def test_the_user_is_of_the_files_beside_it() -> None:
    users = CHECKOUT.joinpath("systemd/failover.sysusers.conf").read_text()
    places = CHECKOUT.joinpath("systemd/failover.tmpfiles.conf").read_text()
    assert settings()["User"] == settings()["Group"] == ["failover"]
    assert re.search(r"^u failover ", users, re.MULTILINE)
    assert re.search(r"^g failover-admin ", users, re.MULTILINE)
    for key, folder in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")):
        (name,), (mode,) = settings()[key], settings()[f"{key}Mode"]
        assert re.search(rf"^d {folder}/{name} +{mode} failover failover", places, re.MULTILINE)
