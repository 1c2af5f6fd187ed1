"""Rules and routes of others around ours, each put into the kernel with iproute2."""

from __future__ import annotations

import pytest

from failover.doctor.finding import Level
from tests.doctor.patient import Patient

BEFORE = "rules before ours"


@pytest.mark.parametrize(
    ("rule", "level", "words"),
    [
        ("pref 100 lookup main", Level.FAILURE, "rule 100 looks up table main for every packet"),
        ("pref 100 iif lo lookup main", Level.FAILURE, "for every packet"),
        ("pref 100 fwmark 0x1/0 lookup main", Level.FAILURE, "for every packet"),
        ("pref 100 lookup 77", Level.FAILURE, "rule 100 looks up table 77 for every packet"),
        ("pref 15499 fwmark 0x80000/0xff0000 lookup main", Level.WARNING, "stays on main's first default"),
        ("pref 100 from 10.10.0.0/24 lookup 77", Level.WARNING, "does not fail over"),
        ("pref 100 uidrange 1000-1000 lookup 77", Level.WARNING, "does not fail over"),
        ("pref 15498 not fwmark 0xca6c lookup 77", Level.NOTE, "as a full tunnel does"),
        ("pref 100 unreachable", Level.FAILURE, "refuses every packet"),
        ("pref 100 goto 32766", Level.FAILURE, "jumps over ours to 32766"),
        ("pref 100 from 10.10.0.0/24 goto 32766", Level.WARNING, "jumps over ours to 32766"),
    ],
)
def test_a_rule_that_keeps_traffic_from_ours(patient: Patient, rule: str, level: Level, words: str) -> None:
    patient.says(BEFORE, Level.OK)
    patient.van.sysctl("ipv4/conf/all/rp_filter", 0)
    for name in ("wan0", "wan1"):
        patient.van.sysctl(f"ipv4/conf/{name}/rp_filter", 0)
    patient.box.ip("route add default via 10.20.0.1 table 77")
    patient.box.ip(f"rule add {rule}")
    patient.says(BEFORE, level, words)


@pytest.mark.parametrize(
    "rule",
    [
        "pref 100 lookup local",
        "pref 100 lookup main suppress_prefixlength 0",
        "pref 100 lookup 78",
        "pref 100 goto 15000",
        "pref 100 lookup default",
        "pref 100 from 10.10.0.0/24 prohibit",
        "pref 20000 lookup 77",
        "pref 32000 lookup main",
    ],
)
def test_a_rule_that_does_not(patient: Patient, rule: str) -> None:
    """Special destinations only, another's kill switch, or behind ours, where a copy gives it its say."""
    patient.box.ip("route add default via 10.20.0.1 table 77")
    patient.box.ip("route add 198.51.100.0/24 via 10.20.0.1 table 78")
    patient.box.ip(f"rule add {rule}")
    patient.says(BEFORE, Level.OK)


def test_ipv6_rules_are_looked_at_too(patient: Patient) -> None:
    patient.box.ip("-6 rule add pref 100 lookup main")
    patient.says(BEFORE, Level.FAILURE, "ipv6 rule 100 looks up table main")


def test_a_family_without_a_default_route_has_nothing_to_lose(patient: Patient) -> None:
    patient.box.ip("-6 rule add pref 100 prohibit")
    patient.says(BEFORE, Level.FAILURE, "ipv6 rule 100 refuses")
    patient.box.ip("-6 route flush table main")
    patient.says(BEFORE, Level.OK)


def test_a_refusal_that_deafens_the_probes(patient: Patient) -> None:
    patient.box.ip("rule add pref 100 not fwmark 0xca6c prohibit")
    finding = patient.says(BEFORE, Level.FAILURE, "ipv4 rule 100 is before ours and refuses: with rp_filter on")
    assert "15600" in finding.mend


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("rule add pref 15550 lookup 77", "a foreign ipv4 rule 15550"),
        ("-6 rule add pref 15500 lookup 77", "a foreign ipv6 rule 15500"),
        ("route add default via 10.20.0.1 table 15500", "a foreign ipv4 default route, metric 0, table 15500"),
        ("-6 route add default via fd20::1 table 15599", "table 15599"),
    ],
)
def test_others_in_our_tables_and_prefs(patient: Patient, command: str, words: str) -> None:
    patient.says("our tables and prefs", Level.OK)
    patient.box.ip(command)
    patient.says("our tables and prefs", Level.FAILURE, words)


def test_what_is_ours_is_no_intruder(patient: Patient) -> None:
    patient.box.ip("rule add pref 15550 lookup 15501 protocol 155")
    patient.says("our tables and prefs", Level.OK)


def test_more_rules_after_ours_than_there_are_places(patient: Patient) -> None:
    patient.says("rules after ours", Level.OK)
    for number in range(50):
        patient.box.ip(f"rule add pref {16000 + number} from 198.51.100.{number} lookup 77")
    patient.says("rules after ours", Level.WARNING, "50 ipv4 foreign rules between ours and main")


@pytest.mark.parametrize("rule", ["fwmark 0x1000000/0xff000000", "fwmark 0x20000001", "not fwmark 0x3000000"])
def test_a_rule_that_uses_bits_of_our_mask(patient: Patient, rule: str) -> None:
    patient.says("marks of rules", Level.OK)
    patient.box.ip(f"rule add pref 20000 {rule} lookup 77")
    patient.says("marks of rules", Level.FAILURE, "ipv4 rule 20000 of others uses bits", "0x3f000000")


@pytest.mark.parametrize(
    "rule", ["fwmark 0xca6c", "fwmark 0x1000001/0xff", "fwmark 0x80000/0xff0000", "fwmark 0x40000000/0xc0000000"]
)
def test_marks_beside_our_mask(patient: Patient, rule: str) -> None:
    patient.box.ip(f"rule add pref 20000 {rule} lookup 77")
    patient.says("marks of rules", Level.OK)


def test_another_mask(patient: Patient) -> None:
    patient.box.ip("rule add pref 20000 fwmark 0x1000000 lookup 77")
    patient.configure("kernel: {fwmark_mask: 0x003f0000}")
    patient.says("marks of rules", Level.OK)
    patient.box.ip("rule add pref 20001 fwmark 0x10000 lookup 77")
    patient.says("marks of rules", Level.FAILURE, "0x10000 of our mask 0x3f0000")
