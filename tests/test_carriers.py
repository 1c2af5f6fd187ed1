"""Two brands are not two carriers: which ones are on the same network, by code and by name."""

from __future__ import annotations

import pytest

from failover.carriers import network_of, plain

SAME: dict[str, tuple[str, ...]] = {
    "docomo": ("44010", "docomo", "NTT Docomo", "ドコモ", "ahamo", "irumo", "eximo"),
    "au": ("44050", "44051", "44052", "44053", "au", "KDDI", "povo", "Povo 2.0", "UQ-mobile", "Okinawa Cellular"),
    "SoftBank": ("44020", "44021", "44000", "44101", "Softbank", "Y!mobile", "ymobile", "LINEMO", "ワイモバイル"),
    "Rakuten Mobile": ("44011", "rakuten", "楽天モバイル"),
    "AT&T": ("310410", "313100", "AT&T", "Cricket Wireless", "FirstNet"),
    "Verizon": ("311480", "verizon wireless", "visible"),
    "T-Mobile US": ("310260", "312530", "Metro by T-Mobile", "mint mobile"),
    "Rogers": ("302720", "302370", "Fido", "chatr"),
    "Bell": ("302610", "Virgin Plus"),
    "Telus": ("302220", "Koodo", "Public Mobile"),
    "EE": ("23430", "23433", "BT Mobile", "ee"),
    "O2 UK": ("23410", "giffgaff", "Tesco Mobile"),
    "Vodafone UK": ("23415", "VOXI"),
    "Three UK": ("23420", "SMARTY", "iD Mobile"),
    "Telekom DE": ("26201", "congstar", "Telekom Deutschland"),
    "Vodafone DE": ("26202", "otelo"),
    "O2 DE": ("26203", "ALDI TALK"),
    "Orange FR": ("20801", "Sosh"),
    "SFR": ("20810", "RED by SFR"),
    "Bouygues Telecom": ("20820", "B&You"),
    "Free Mobile": ("20815", "free mobile"),
    "Telstra": ("50501", "Belong"),
    "Optus": ("50502", "amaysim"),
}
ROWS = [(name, network) for network, names in SAME.items() for name in names]


@pytest.mark.parametrize(("name", "network"), ROWS)
def test_who_is_on_the_same_network(name: str, network: str) -> None:
    plmn, label = (name, "") if name.isdigit() else ("", name)
    assert network_of(plmn, label, {}) == network


@pytest.mark.parametrize(
    "label", ["", "mineo", "IIJmio", "Vodafone", "O2", "Orange", "T-Mobile", "Lebara", "Wi-Fi", "1&1"]
)
def test_of_what_is_not_certain_nothing_is_said(label: str) -> None:
    assert network_of("", label, {}) == ""


@pytest.mark.parametrize(
    ("plmn", "label", "network"),
    [
        ("44053", "Rakuten", "au"),
        ("440-10", "mineo", "docomo"),
        ("44020", "au", "SoftBank"),
        ("22201", "au", "22201"),
        ("302880", "Bell", "302880"),
        ("00101", "", "00101"),
        ("4401", "au", "au"),
        ("", "au", "au"),
    ],
)
def test_the_network_that_serves_is_more_certain_than_the_label(plmn: str, label: str, network: str) -> None:
    assert network_of(plmn, label, {}) == network


EXTRA = {"My MVNO": "povo", "44010": "Harbour 5G", "00101": "kddi", "y-mobile": "own"}


@pytest.mark.parametrize(
    ("plmn", "label", "network"),
    [
        ("", "my-mvno", "au"),
        ("", "Y!mobile", "own"),
        ("44010", "", "Harbour 5G"),
        ("00101", "docomo", "au"),
        ("44020", "My MVNO", "SoftBank"),
        ("", "docomo", "docomo"),
    ],
)
def test_the_operator_knows_better(plmn: str, label: str, network: str) -> None:
    assert network_of(plmn, label, EXTRA) == network


def test_how_a_name_is_written_makes_no_difference() -> None:
    assert {plain(label) for label in ("Y!mobile", "y mobile", "Y-MOBILE", "y.mobile")} == {"ymobile"}
