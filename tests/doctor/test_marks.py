"""A firewall that writes into our bits of the mark, by nft and by iptables."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from failover.doctor.finding import Level
from tests.doctor.patient import Patient

NAME = "marks of the firewall"
CHAIN = "table inet theirs {{ chain out {{ type route hook output priority mangle\n{rule}\n}}\n}}\n"


@pytest.fixture(autouse=True)
def _tools() -> None:
    for tool, package in (("nft", "nftables"), ("iptables", "iptables")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs the Debian package {package}")


def load(patient: Patient, rule: str) -> None:
    """One nft rule in an output chain."""
    with patient.van.entered():
        subprocess.run(["nft", "-f", "-"], input=CHAIN.format(rule=rule), text=True, check=True)


@pytest.mark.parametrize(
    ("rule", "level", "bits"),
    [
        ("meta mark set 0x1000000", Level.FAILURE, "0x1000000"),
        ("ip daddr 198.51.100.1 meta mark set meta mark and 0xff or 0x2000000", Level.FAILURE, "0x2000000"),
        ("meta mark set mark xor 0x3000000", Level.FAILURE, "0x3000000"),
        ("ct mark set 0x20000000", Level.WARNING, "0x20000000"),
    ],
)
def test_nft_sets_bits_of_our_mask(patient: Patient, rule: str, level: Level, bits: str) -> None:
    patient.says(NAME, Level.OK)
    load(patient, rule)
    patient.says(NAME, level, f"nft chain inet theirs out sets bits {bits} of our mask 0x3f000000")


@pytest.mark.parametrize(
    "rule", ["meta mark set 0xca6c", "meta mark and 0x3f000000 == 0x1000000 accept", "meta mark set ct mark", "accept"]
)
def test_nft_leaves_our_bits_alone(patient: Patient, rule: str) -> None:
    load(patient, rule)
    patient.says(NAME, Level.OK)


@pytest.mark.parametrize("target", ["MARK --set-mark 0x1000000", "CONNMARK --save-mark"])
def test_what_iptables_marks_cannot_be_read(patient: Patient, target: str) -> None:
    with patient.van.entered():
        subprocess.run(["iptables-nft", "-t", "mangle", "-A", "OUTPUT", "-j", *target.split()], check=True)
    patient.says(NAME, Level.NOTE, "1 rules of iptables cannot be read", "ip mangle OUTPUT")


def test_other_targets_of_iptables_are_no_marks(patient: Patient) -> None:
    with patient.van.entered():
        subprocess.run(["iptables-nft", "-t", "mangle", "-A", "OUTPUT", "-j", "TTL", "--ttl-set", "64"], check=True)
    patient.says(NAME, Level.OK)
