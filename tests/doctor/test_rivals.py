"""Others that do what failover does: their processes and what they leave in the kernel."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.doctor.finding import Level
from failover.lab.namespaces import Namespace
from tests.doctor.patient import Patient


@contextlib.contextmanager
def named(name: str, where: Namespace, home: Path) -> Iterator[None]:
    """A process of that name: the kernel takes it from the file that is run."""
    sleep = shutil.which("sleep")
    assert sleep is not None
    (home / name).symlink_to(sleep)
    with where.popen([str(home / name), "60"]) as process:  # it runs under its name once popen returns
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("name", "level"),
    [("keepalived", Level.WARNING), ("mwan3track", Level.FAILURE), ("ifplugd", Level.WARNING)],
)
def test_a_daemon_that_moves_routes(patient: Patient, tmp_path: Path, name: str, level: Level) -> None:
    with named(name, patient.van, tmp_path), patient.van.popen([str(tmp_path / name), "60"]) as second:
        try:
            found = patient.says("other daemons", level, f"process {name}, pid ")  # once for all of them
        finally:
            second.kill()
    assert found.mend
    patient.says("other daemons", Level.OK)


def test_one_in_another_namespace_does_no_harm(patient: Patient, tmp_path: Path) -> None:
    with named("keepalived", patient.box.far, tmp_path):
        patient.says("other daemons", Level.OK)


def test_the_penalty_of_networkmanagers_connectivity_check(patient: Patient) -> None:
    patient.says("other routing", Level.OK)
    patient.box.ip("route add default via 10.10.0.1 metric 20100 table 77")
    patient.box.ip("route add default via 10.10.0.1 metric 50000")
    patient.says("other routing", Level.OK)
    patient.box.ip("route add default via 10.10.0.1 metric 20100")
    found = patient.says("other routing", Level.WARNING, "the ipv4 default of wan0 has metric 20100")
    assert "[connectivity]" in found.mend


def test_the_rules_of_mwan3(patient: Patient) -> None:
    patient.box.ip("route add default via 10.10.0.1 table 1")
    for rule in (
        "pref 1001 iif wan0 lookup 1",
        "pref 2001 fwmark 0x100/0x3f00 lookup 1",
        "pref 2061 fwmark 0x3d00/0x3f00 blackhole",
        "pref 2062 fwmark 0x3e00/0x3f00 unreachable",
    ):
        patient.box.ip(f"rule add {rule}")
    patient.says("other routing", Level.FAILURE, "3 rules of mwan3 (prefs 2001-2062, mask 0x3f00) come before ours")
    patient.says("rules before ours", Level.WARNING, "ipv4 rule 1001 looks up table 1 ")  # the others have been said
