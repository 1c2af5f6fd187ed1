"""Flows that others hand to a flowtable. Few kernels here have any, so it is told by an nft that only lists."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from failover.doctor.finding import Level
from failover.facts import Tap
from failover.kernel import nft
from failover.seam import CountFlows
from tests.doctor.patient import Patient

NAME = "flow offload"
THEIRS = {"family": "inet", "table": "fw"}


def listing(monkeypatch: pytest.MonkeyPatch, home: Path, *objects: object) -> None:
    """What nft lists from now on (libnftables-json(5))."""
    (home / "listing").write_text(json.dumps({"nftables": [{"metainfo": {"json_schema_version": 1}}, *objects]}))
    fake = home / "nft"
    fake.write_text(f"#!/bin/sh\nexec cat {home}/listing\n")
    fake.chmod(0o755)
    monkeypatch.setattr(nft, "PATH", f"{home}:/usr/bin:/bin")


def flowtable(*devices: str) -> object:
    table = {**THEIRS, "name": "fast", "handle": 3, "hook": "ingress", "prio": 0}
    return {"flowtable": {**table, "dev": devices[0] if len(devices) == 1 else list(devices)}}


def rule(*statements: object) -> object:
    return {"rule": {**THEIRS, "chain": "forward", "handle": 5, "expr": list(statements)}}


ADD = {"flow": {"op": "add", "flowtable": "@fast"}}


@pytest.mark.parametrize(
    ("devices", "among"), [(("wan0", "lan0"), " (wan0, lan0)"), (("wan0",), " (wan0)"), ((), "")], ids=str
)
def test_flows_on_a_flowtable(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], among: str
) -> None:
    tables = [flowtable(*devices)] if devices else []
    listing(monkeypatch, tmp_path, *tables, rule({"match": {}}, ADD))
    found = patient.says(
        NAME, Level.WARNING, f"nft chain inet fw forward hands flows to flowtable fast{among}, past the"
    )
    assert found.mend.startswith("leave the uplinks out of it")


def test_a_flowtable_that_nobody_uses_does_no_harm(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing(monkeypatch, tmp_path, flowtable("wan0"), rule({"accept": None}))
    patient.says(NAME, Level.OK)


def test_that_of_iptables(patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing(monkeypatch, tmp_path, rule({"xt": {"type": "target", "name": "FLOWOFFLOAD"}}), rule({"xt": None}))
    patient.says(NAME, Level.WARNING, "nft chain inet fw forward offloads flows past the hooks")


def test_a_listing_that_makes_no_sense(patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing(monkeypatch, tmp_path, 1, {"rule": 2}, {"rule": {"expr": [3, {"flow": 4}]}}, {"flowtable": {"dev": 5}})
    patient.says(NAME, Level.WARNING, "nft chain ? ? ? hands flows to flowtable ?, past")


def test_what_we_load_ourselves_is_nobody_elses(patient: Patient) -> None:
    """The real nft; our table sets our bits in the marks of connections."""
    with patient.van.entered():
        nft.load(CountFlows((Tap("wan0"),), patient.case().config.fwmark_mask))
        listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert "ct mark set ct mark | 0x3f000000" in listed
    for name in (NAME, "marks of the firewall"):
        patient.says(name, Level.OK)
