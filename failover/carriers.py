"""Which network a carrier rides on: two brands are not two carriers.

Pure. The tables say what is certain and nothing else: a network is there by the codes that it serves under, a brand if
all of its customers are on one network. A brand that uses several (mineo, IIJmio, Google Fi, klarmobil, 1&1) is not
there, nor is one that is called alike in several countries: its modem's PLMN tells, or the operator's config.

Sources: the codes are assigned by ITU-T E.212 (annex to the ITU Operational Bulletin); whose they are and that they
are in use is from Wikipedia's "Mobile network codes in ITU region 2xx", "3xx", "4xx" and "5xx". The brands are those
that the networks own, or that ride on one alone as operators, press and comparisons of tariffs agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_IGNORED: Final = re.compile(r"[\s\-_.!'’·・]+")
_PLMN: Final = re.compile(r"[0-9]{5,6}")

_CODES: Final[Mapping[str, str]] = {
    # Japan. KDDI's codes serve Okinawa Cellular's customers and Rakuten's where they roam; UQ Communications' WiMAX 2+
    # (440-01) and Wireless City Planning (440-05, 441-00) are the TD-LTE of KDDI and of SoftBank.
    "docomo": "44010",
    "au": "44001 44050 44051 44052 44053",
    "SoftBank": "44000 44005 44020 44021 44100 44101",
    "Rakuten Mobile": "44011",
    # United States. FirstNet is AT&T's, and what was Sprint's is T-Mobile's. (In Puerto Rico, 310-410 is Liberty's.)
    "AT&T": "310030 310070 310080 310090 310150 310170 310410 310680 310950 311070 311090 312670 313100",
    "Verizon": "310004 310006 310012 311480 311800 311810",
    "T-Mobile US": "310120 310160 310260 310490 311490 311660 311882 312250 312530",
    # Canada. 302-880 is shared by Bell, Telus and SaskTel, and so is a network of its own here.
    "Rogers": "302320 302370 302720",
    "Bell": "302610 302660 302690",
    "Telus": "302220",
    "Videotron": "302500 302510",
    "Freedom Mobile": "302490",
    # United Kingdom
    "EE": "23430 23433 23434",
    "O2 UK": "23402 23410 23411",
    "Vodafone UK": "23415",
    "Three UK": "23420",
    # Germany
    "Telekom DE": "26201",
    "Vodafone DE": "26202",
    "O2 DE": "26203",
    # France: with the codes of the areas that one of them serves for all.
    "Orange FR": "20801 20802",
    "SFR": "20809 20810 20811 20813",
    "Free Mobile": "20815 20816 20835 20836",
    "Bouygues Telecom": "20820 20888",
    # Australia
    "Telstra": "50501 50571 50572",
    "Optus": "50502 50517 50590",
    "Vodafone AU": "50503",
}
"""Network -> MCC and MNC that it serves under."""

_BRANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "docomo": ("NTT docomo", "ドコモ", "NTTドコモ", "ahamo", "irumo", "eximo"),
    "au": (
        *("KDDI", "au by KDDI", "au KDDI", "povo", "povo1.0", "povo2.0", "UQ", "UQ mobile", "UQモバイル"),
        *("Okinawa Cellular", "沖縄セルラー"),
    ),
    "SoftBank": ("ソフトバンク", "SoftBank Mobile", "Y!mobile", "ワイモバイル", "LINEMO"),
    "Rakuten Mobile": ("Rakuten", "楽天モバイル", "楽天"),
    "AT&T": ("AT&T Mobility", "Cricket", "Cricket Wireless", "FirstNet"),
    "Verizon": ("Verizon Wireless", "Visible"),
    "T-Mobile US": ("Metro by T-Mobile", "MetroPCS", "Mint Mobile"),
    "Rogers": ("Rogers Wireless", "Fido", "chatr"),
    "Bell": ("Bell Mobility", "Bell Canada", "Virgin Plus"),
    "Telus": ("Telus Mobility", "Koodo", "Koodo Mobile", "Public Mobile"),
    "Videotron": ("Vidéotron",),
    "Freedom Mobile": (),
    "EE": ("BT Mobile",),
    "O2 UK": ("giffgaff", "Tesco Mobile"),
    "Vodafone UK": ("VOXI",),
    "Three UK": ("SMARTY", "iD Mobile"),
    "Telekom DE": ("Telekom Deutschland", "Deutsche Telekom", "congstar", "ja! mobil", "Penny Mobil"),
    "Vodafone DE": ("otelo",),
    "O2 DE": ("Telefónica Germany", "Aldi Talk"),
    "Orange FR": ("Sosh",),
    "SFR": ("RED by SFR",),
    "Free Mobile": (),
    "Bouygues Telecom": ("Bouygues", "B&You"),
    "Telstra": ("Belong",),
    "Optus": ("amaysim",),
    "Vodafone AU": (),
}
"""Network -> what it is called besides, and the brands that ride on it alone."""


def plain(label: str) -> str:
    """A label or a PLMN without what people write in different ways: capitals, blanks, hyphens, dots and the like."""
    return _IGNORED.sub("", label.casefold())


_BY_CODE: Final = {code: network for network, codes in _CODES.items() for code in codes.split()}
_BY_LABEL: Final = {plain(label): network for network, brands in _BRANDS.items() for label in (network, *brands)}


def network_of(plmn: str, label: str, extra: Mapping[str, str]) -> str:
    """The network that carries an uplink; empty: unknown.

    `plmn` is the one that serves its modem, if that is known: it decides, and one that the tables do not know is a
    network by itself. Else the carrier's label does. `extra` says what is known besides: label or PLMN -> network, or
    another label.
    """
    own = {plain(key): network for key, network in extra.items()}
    code, key = plain(plmn), plain(label)
    if _PLMN.fullmatch(code):
        return _named(own[code]) if code in own else _BY_CODE.get(code, code)
    return _named(own[key]) if key in own else _BY_LABEL.get(key, "")


def _named(network: str) -> str:
    """As the tables call it, if they do."""
    return _BY_LABEL.get(plain(network), network)
