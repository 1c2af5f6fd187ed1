"""What was meant by a mistyped word, and what the kernel's objects are called."""

from __future__ import annotations

import pytest

from failover.facts import Route, RouteKind, Rule, Sysctl
from failover.model import Family
from failover.wording import describe, suggest


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("drian", ("drain", "undrain"), "did you mean 'drain'?"),
        ("DRIAN", ("drain",), "did you mean 'drain'?"),
        ("verizno", ("Verizon", "AT.T"), "did you mean 'Verizon'?"),
        ("wlan0", ("au", "docomo"), ""),
        ("", ("au",), ""),
        ("au", (), ""),
        ("drain" + "n" * 10**6, ("drain", "d" + "n" * 63), "did you mean 'd" + "n" * 63 + "'?"),
    ],
    ids=["a slip", "in capitals", "known in capitals", "a stranger", "nothing", "nothing known", "endless"],
)
def test_suggest(word: str, known: tuple[str, ...], hint: str) -> None:
    assert suggest(word, known) == hint


def test_describe() -> None:
    floor = Route(Family.IPV6, 15501, 7, RouteKind.UNREACHABLE)
    assert describe(floor) == "ipv6 unreachable default route, metric 7, table 15501"
    assert describe(Route(Family.IPV4, 15500, 1)) == "ipv4 default route, metric 1, table 15500"
    assert describe(Rule(Family.IPV4, 15580)) == "ipv4 rule 15580"
    assert describe(Sysctl("net/ipv4/conf/wwan0/rp_filter", "2")) == "sysctl net/ipv4/conf/wwan0/rp_filter = 2"
