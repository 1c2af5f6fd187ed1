"""What a gateway needs, and a table of connections that is about to be full: each fault made in a namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from failover.doctor import gateway
from failover.doctor.finding import Level
from failover.facts import Gateway, Tap
from failover.kernel import nft
from failover.seam import CountFlows
from tests.doctor.patient import Patient

BEHIND = "gateway: {lan: lan0}"


def with_lan(patient: Patient) -> None:
    patient.configure(BEHIND)
    patient.box.ip("link add lan0 type bridge")
    patient.box.ip("address add 192.168.50.1/24 dev lan0")


def test_no_lan_is_named(patient: Patient) -> None:
    patient.says("gateway", Level.OK, "the config names no LAN")


def test_the_lan_is_there(patient: Patient) -> None:
    with_lan(patient)
    patient.says("gateway", Level.OK, "its LAN is there")


def test_an_interface_that_is_not_there_or_has_no_address(patient: Patient) -> None:
    patient.configure("gateway: {lan: [lan0, lan1]}")
    patient.box.ip("link add lan1 type bridge")
    absent, bare = patient.check("gateway")
    assert (absent.level, absent.text) == (Level.NOTE, "there is no interface lan0 now")
    assert (bare.level, bare.text) == (Level.WARNING, "lan1 has no address: clients have no way to this box")
    assert bare.mend.endswith("dev lan1")


def test_connection_tracking_that_is_strict(patient: Patient) -> None:
    with_lan(patient)
    with patient.van.entered():
        nft.load(CountFlows((Tap("wan0", mark=1 << 24),), 0x3F000000, Gateway(("lan0",))))
    patient.van.sysctl("netfilter/nf_conntrack_tcp_loose", 0)
    found = patient.says("gateway", Level.WARNING, "nf_conntrack_tcp_loose is 0: clients are not told")
    assert found.mend == "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1"
    patient.configure("gateway: {lan: lan0, masquerade: false}")
    patient.says("gateway", Level.OK)


def test_what_the_agent_will_set_is_no_fault_before_it_runs(patient: Patient) -> None:
    with_lan(patient)
    patient.says("sysctls", Level.OK)


@pytest.mark.parametrize(("count", "level"), [(79, Level.OK), (80, Level.WARNING)])
def test_a_table_of_connections_that_is_nearly_full(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, level: Level
) -> None:
    """Only the machine's owner may say how large it is: the numbers are written down here."""
    for name, number in (("count", count), ("max", 100)):
        (tmp_path / f"nf_conntrack_{name}").write_text(f"{number}\n")
    monkeypatch.setattr(gateway, "TRACKING", tmp_path)
    found = patient.says("connection tracking", level)
    if level is Level.WARNING:
        assert found.text.startswith("80 of at most 100 connections are tracked")
        assert found.mend == "sysctl -w net.netfilter.nf_conntrack_max=400"
