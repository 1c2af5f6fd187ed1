"""The probes that the doctor sends, in a namespace whose firewall or far end keeps the answers away."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from failover.doctor.finding import Finding, Level
from failover.doctor.probing import PATIENCE
from tests.doctor.patient import TARGETS, Patient
from tests.kernel.box import GATEWAYS, INTERNET, V4, V6, WAN0, WAN1

NOWHERE = "icmp://198.51.100.9"
FOR_EVER = 30.0


def firewall(patient: Patient, hook: str, rule: str) -> None:
    """One nft rule in the van."""
    if shutil.which("nft") is None:
        pytest.skip("needs the Debian package nftables")
    text = f"table inet theirs {{\nchain it {{\ntype filter hook {hook} priority 0\n{rule}\n}}\n}}\n"
    with patient.van.entered():
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def levels(found: list[Finding]) -> list[Level]:
    return [finding.level for finding in found]


def test_answers_over_every_uplink(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.doctor.probing.PATIENCE", FOR_EVER)
    start = time.monotonic()
    found = patient.check("probes")
    assert time.monotonic() - start < FOR_EVER, "when all have answered, nothing is waited for"
    assert levels(found) == [Level.OK] * 4
    assert [finding.text.split(":")[0] for finding in found] == ["wan0 ipv4", "wan0 ipv6", "wan1 ipv4", "wan1 ipv6"]
    assert f"{TARGETS[0]}, {TARGETS[1]} answer" in found[0].text


def test_a_firewall_that_forbids_what_we_send(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.doctor.probing.PATIENCE", FOR_EVER)
    firewall(patient, "output", "meta l4proto icmp drop")
    start = time.monotonic()
    found = patient.check("probes")
    assert time.monotonic() - start < FOR_EVER, "what is forbidden comes back at once"
    assert levels(found) == [Level.FAILURE, Level.OK] * 2
    assert f"a firewall of this box forbids {TARGETS[0]}, {TARGETS[1]} over wan0 ipv4" in found[0].text
    assert "meta mark & 0x3f000000 != 0 accept" in found[0].mend


def test_one_that_forbids_a_part(patient: Patient) -> None:
    firewall(patient, "output", f"ip daddr {INTERNET[V4]} drop")
    found = patient.check("probes")
    assert levels(found) == [Level.WARNING, Level.OK] * 2
    assert f"forbids {TARGETS[0]} over wan0 ipv4" in found[0].text


def test_a_firewall_that_drops_the_answers(patient: Patient) -> None:
    firewall(patient, "input", "drop")
    start = time.monotonic()
    found = patient.check("probes")
    assert time.monotonic() - start < 2 * PATIENCE, "for all at once"
    assert levels(found) == [Level.WARNING] * 4 + [Level.FAILURE]
    assert "forbids" not in found[0].text
    assert f"{TARGETS[0]} is silent" in found[0].text
    assert f"its gateway {GATEWAYS[WAN0][V4]} is silent too" in found[0].text
    assert "no target answers over any uplink" in found[-1].text
    assert "input" in found[-1].mend


def test_an_uplink_whose_upstream_is_dead(patient: Patient) -> None:
    end = patient.box.ends(WAN1)[1].name
    text = f"table netdev it {{\nchain i {{\ntype filter hook ingress device {end} priority 0\n{{rule}}\n}}\n}}\n"
    with patient.box.far.entered():
        rule = f"ip daddr {{ {INTERNET[V4]}, 203.0.113.2 }} drop"
        subprocess.run(["nft", "-f", "-"], input=text.replace("{rule}", rule), text=True, check=True)
    found = patient.check("probes")
    assert levels(found) == [Level.OK, Level.OK, Level.WARNING, Level.OK]
    assert f"its gateway {GATEWAYS[WAN1][V4]} does answer: it is upstream" in found[2].text


def test_a_target_that_never_answers(patient: Patient) -> None:
    patient.configure(targets=[*TARGETS, NOWHERE])
    found = patient.check("probes")
    assert levels(found) == [Level.NOTE, Level.OK] * 2
    assert f"{TARGETS[0]}, {TARGETS[1]} answer, and {NOWHERE}" in found[0].text


def test_strict_rp_filter_without_an_agent_is_not_taken_for_a_dead_uplink(patient: Patient) -> None:
    for name in ("all", "wan0", "wan1"):
        patient.van.sysctl(f"ipv4/conf/{name}/rp_filter", 1)
    found = {finding.text.split(":")[0]: finding for finding in patient.check("probes")}
    assert found["wan1 ipv4"].level is Level.NOTE
    assert "strict rp_filter drops its replies while no agent runs" in found["wan1 ipv4"].text
    assert {found[name].level for name in ("wan0 ipv4", "wan0 ipv6", "wan1 ipv6")} == {Level.OK}


def test_no_way_out_and_no_probe(patient: Patient) -> None:
    for family in (V4, V6):
        patient.box.ip(f"-{family[-1]} route flush table main")
    patient.says("probes", Level.NOTE, "none was sent")
