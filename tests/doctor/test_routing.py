"""The uplinks and what they share: each fault made in the kernel of a namespace."""

from __future__ import annotations

import pytest

from failover.doctor.finding import Level
from tests.doctor.patient import TARGETS, Patient
from tests.kernel.box import WAN1

BOTH = "uplinks:\n  - {name: au, interface: wan0}\n  - {name: docomo, interface: wan1}"


def test_two_with_a_way_out(patient: Patient) -> None:
    patient.says("uplinks", Level.OK, "wan0, wan1 have a way out")


def test_one_family_is_a_way_out(patient: Patient) -> None:
    patient.box.ip("-6 route del default dev wan1")
    patient.says("uplinks", Level.OK, "wan0, wan1 have a way out")


def test_no_uplink_at_all(patient: Patient) -> None:
    patient.box.ip("route flush table main")
    patient.box.ip("-6 route flush table main")
    patient.says("uplinks", Level.FAILURE, "no uplink: table main has no default route")


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("link set wan1 down", "wan1 (wan1): interface is down"),
        ("addr flush dev wan1 scope global", "wan1 (wan1): no address"),
        ("link set wan1 name wan9", "docomo (wan1): no interface"),
    ],
)
def test_one_that_has_no_way_out(patient: Patient, command: str, fault: str) -> None:
    patient.configure(BOTH)
    patient.box.ip(command)
    lost, left = patient.check("uplinks")
    assert (lost.level, left.level) == (Level.WARNING, Level.WARNING)
    assert fault.replace("wan1 (", "docomo (") in lost.text
    assert lost.mend
    assert "only au has a way out" in left.text


def test_a_lost_carrier(patient: Patient) -> None:
    patient.configure(BOTH)
    patient.box.ends(WAN1)[1].down()
    with patient.van.entered():
        from failover.kernel import Kernel

        kernel = Kernel()
        patient.box.until(kernel, lambda facts: any(link.name == "wan1" and not link.carrier for link in facts.links))
        kernel.close()
    assert "no carrier" in patient.check("uplinks")[0].text


def test_none_has_a_way_out(patient: Patient) -> None:
    patient.configure(BOTH)
    for name in ("wan0", "wan1"):
        patient.box.ip(f"link set {name} down")
    assert [finding.level for finding in patient.check("uplinks")] == [Level.WARNING, Level.WARNING, Level.FAILURE]


def test_a_family_without_targets(patient: Patient) -> None:
    patient.says("targets", Level.OK)
    patient.configure(targets=TARGETS[:2])
    found = patient.check("targets")
    assert [finding.text.split(":")[0] for finding in found] == [
        f"{name} has an ipv6 default route and no ipv6 target" for name in ("wan0", "wan1")
    ]
    for name in ("wan0", "wan1"):
        patient.box.ip(f"-6 route del default dev {name}")
    patient.says("targets", Level.OK)


def test_two_uplinks_with_one_address(patient: Patient) -> None:
    patient.says("addresses", Level.OK)
    patient.box.ip("addr add 10.10.0.2/24 dev wan1")
    patient.says("addresses", Level.WARNING, "wan0 and wan1 hold the same address 10.10.0.2")
    patient.says("subnets", Level.OK)


def test_two_uplinks_in_one_subnet(patient: Patient) -> None:
    patient.says("subnets", Level.OK)
    patient.box.ip("addr add 10.10.0.77/24 dev wan1")
    patient.says("subnets", Level.WARNING, "10.10.0.0/24 of wan0 (uplink wan0) and 10.10.0.0/24 of wan1 (uplink wan1)")


@pytest.mark.parametrize(
    ("lan", "wide"),
    [("10.0.0.1/8", "10.0.0.0/8 of lan0"), ("fd10::9999/32", "fd10::/32 of lan0")],
    ids=["ipv4", "ipv6"],
)
def test_an_uplink_in_the_subnet_of_the_lan(patient: Patient, lan: str, wide: str) -> None:
    patient.box.ip("link add lan0 type veth peer name lan1")
    patient.box.ip(f"addr add {lan} dev lan0")
    found = patient.check("subnets")
    assert found
    assert all(finding.level is Level.WARNING and wide in finding.text for finding in found)
    assert "(uplink wan0)" in found[0].text


def test_an_address_out_of_the_lans_prefix_is_no_overlap(patient: Patient) -> None:
    """RFC 7278: a modem hands its /64 on to the LAN and keeps one address of it."""
    patient.box.ip("-6 addr add 2001:db8:77::1/128 dev wan0")
    patient.box.ip("link add lan0 type veth peer name lan1")
    patient.box.ip("-6 addr add 2001:db8:77::2/64 dev lan0")
    patient.says("subnets", Level.OK)


def test_subnets_that_no_uplink_is_in_are_not_ours_to_judge(patient: Patient) -> None:
    for name in ("lan0", "lan2"):
        patient.box.ip(f"link add {name} type veth peer name x{name}")
        patient.box.ip(f"addr add 192.168.1.{name[-1]}/24 dev {name}")
    patient.says("subnets", Level.OK)


def test_ipv6_switched_off(patient: Patient) -> None:
    patient.says("ipv6", Level.OK)
    patient.van.sysctl("ipv6/conf/wan1/disable_ipv6", 1)
    finding = patient.says("ipv6", Level.NOTE, "switched off on wan1")
    assert "net.ipv6.conf.wan1.disable_ipv6=0" in finding.mend


def test_a_router_that_takes_no_advertised_default(patient: Patient) -> None:
    patient.van.sysctl("ipv6/conf/wan1/forwarding", 1)
    patient.van.sysctl("ipv6/conf/wan1/accept_ra", 1)
    patient.says("ipv6", Level.OK)
    patient.box.ip("-6 route del default dev wan1")
    finding = patient.says("ipv6", Level.WARNING, "wan1 forwards")
    assert finding.mend == "sysctl -w net.ipv6.conf.wan1.accept_ra=2"
    patient.van.sysctl("ipv6/conf/wan1/accept_ra", 2)
    patient.says("ipv6", Level.OK)
