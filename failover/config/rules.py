"""What the operator says of certain traffic: `rules:`, as the core reads it.

Immutable values only. Reading them from YAML is `rule_reading.py`; what becomes of them in the kernel is
`core/steering.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from failover.model import FAMILIES, Family

METERED: Final = "metered"
"""In `never`: every metered uplink."""
RULES_MAX: Final = 12
"""Each takes one pref."""
AIMS_MAX: Final = 6
"""Different ones among all rules; each takes three prefs."""
SELECTORS_MAX: Final = 64
"""Kernel rules that one rule may come to in one family."""
PROTOCOLS: Final = {
    "tcp": {Family.IPV4: 6, Family.IPV6: 6},
    "udp": {Family.IPV4: 17, Family.IPV6: 17},
    "icmp": {Family.IPV4: 1, Family.IPV6: 58},
    "sctp": {Family.IPV4: 132, Family.IPV6: 132},
    "gre": {Family.IPV4: 47, Family.IPV6: 47},
    "esp": {Family.IPV4: 50, Family.IPV6: 50},
    "ah": {Family.IPV4: 51, Family.IPV6: 51},
}
"""IANA's numbers; `icmp` is ICMPv6 in IPv6."""
WITH_PORTS: Final = ("tcp", "udp", "sctp")

Range = tuple[int, int]
"""First and last."""


@dataclass(frozen=True, slots=True)
class Aim:
    """By which uplinks certain traffic may go. Rules with the same one share its place in the kernel."""

    only: frozenset[str] = frozenset()
    """Empty: all."""
    prefer: frozenset[str] = frozenset()
    """These come before all others."""
    never: frozenset[str] = frozenset()
    """Names, or METERED."""
    hold: bool = False
    """When nothing allowed is up: stay on the last one that was. False: refuse at once."""

    @property
    def restricts(self) -> bool:
        """Whether some uplinks may be out of bounds."""
        return bool(self.only or self.never)

    def allows(self, name: str, *, metered: bool) -> bool:
        """Whether the traffic may go by this uplink."""
        forbidden = name in self.never or (metered and METERED in self.never)
        return not forbidden and (not self.only or name in self.only)


@dataclass(frozen=True, slots=True)
class Match:
    """Which traffic is meant: all that has every trait named. Empty: the trait does not matter."""

    to: tuple[str, ...] = ()
    """Networks, as `198.51.100.0/24`."""
    ports: tuple[Range, ...] = ()
    """At the destination."""
    protocols: tuple[str, ...] = ()
    """Keys of PROTOCOLS."""
    dscp: int | None = None
    uids: tuple[Range, ...] = ()
    """Of the sockets' owners: traffic of this box alone."""
    sources: tuple[str, ...] = ()
    """Networks."""
    lan: tuple[str, ...] = ()
    """Interfaces that it comes in by."""

    @property
    def families(self) -> tuple[Family, ...]:
        """Those in which anything can match."""
        named = [{Family.of(network) for network in networks} for networks in (self.to, self.sources) if networks]
        return tuple(family for family in FAMILIES if all(family in there for there in named))

    def weight(self, family: Family) -> int:
        """How many kernel rules it takes."""
        if family not in self.families:
            return 0
        of = [sum(Family.of(network) is family for network in networks) for networks in (self.to, self.sources)]
        product = 1
        for count in (*of, len(self.ports), len(self.protocols), len(self.uids), len(self.lan)):
            product *= max(1, count)
        return product


@dataclass(frozen=True, slots=True)
class TrafficRule:
    """One item of `rules`: the first that matches decides."""

    name: str
    match: Match = field(default_factory=Match)
    aim: Aim = field(default_factory=Aim)


def describe_match(match: Match) -> str:
    """For people, as `to 198.51.100.0/24, tcp, port 443`."""
    ports, uids = ((f"{a}" if a == b else f"{a}-{b}" for a, b in ranges) for ranges in (match.ports, match.uids))
    traits = (
        ("to", match.to),
        ("from", match.sources),
        ("in by", match.lan),
        ("protocol", match.protocols),
        ("port", ports),
        ("uid", uids),
        ("DSCP", () if match.dscp is None else (str(match.dscp),)),
    )
    said = [f"{word} {' or '.join(values)}" for word, found in traits if (values := tuple(found))]
    return ", ".join(said) or "everything"


def describe_aim(aim: Aim) -> str:
    """For people, as `only depot, else refused`."""
    named = (("only", aim.only), ("never", aim.never), ("prefers", aim.prefer))
    said = [f"{word} {' or '.join(sorted(names))}" for word, names in named if names]
    return ", ".join([*said, *(["else held" if aim.hold else "else refused"] if aim.restricts else [])])


def aims(rules: Collection[TrafficRule]) -> tuple[Aim, ...]:
    """The different aims, in the order in which they are first named."""
    return tuple(dict.fromkeys(rule.aim for rule in rules))
