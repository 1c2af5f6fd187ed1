"""The map of the lab: who has which name and address. Constants and arithmetic on them only.

All addresses live in the lab's own namespaces. The internet's are the real ones of the product's default targets, so
that the defaults work unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from failover.model import Family

ECHO_PORT: Final = 7777
DNS_PORT: Final = 53
MULTIPATH_PORT: Final = 7778
"""MPTCP echo, where the kernel has that."""
DISCARD_PORT: Final = 9
"""UDP and TCP: takes everything, says nothing (RFC 863)."""
SOURCE_PORT: Final = 19
"""TCP: sends without end (RFC 864), once it is told how fast and by which congestion control."""
TARGETS: Final = {
    Family.IPV4: ("1.1.1.1", "8.8.8.8", "9.9.9.9"),
    Family.IPV6: ("2606:4700:4700::1111", "2001:4860:4860::8888", "2620:fe::fe"),
}
APP: Final = {Family.IPV4: "203.0.113.10", Family.IPV6: "2001:db8:ffff::10"}
"""The server that the van's user talks to; no target of the agent."""
DEAD_SERVER: Final = {Family.IPV4: "203.0.113.66", Family.IPV6: "2001:db8:ffff::66"}
"""Nobody's, beside it."""
NEW_FLOW: Final = b"new flow"
"""What the user says in each of its new flows, before its own address, and hears back."""
NAMES: Final = {
    "connectivitycheck.gstatic.com": {Family.IPV4: "142.250.4.94", Family.IPV6: "2404:6800:4003:c00::5e"},
    "example.com": {Family.IPV4: "93.184.215.14", Family.IPV6: "2606:2800:21f:cb07:6820:80da:af6b:8b2c"},
}
"""What the internet's DNS knows."""


Pairs = tuple[tuple[str, str], tuple[str, str]]
"""Per family (IPv4, IPv6) two addresses of one wire."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """One uplink of the van and the router behind it. The number makes its addresses."""

    number: int
    name: str
    interface: str
    metric: int
    advertised: bool = False
    """IPv6 address and default come from router advertisements, and broadcasts never stop, as on Wi-Fi."""

    @property
    def gateway(self) -> str:
        """The router's IPv4 address on the van's wire; its IPv6 gateway address is fe80::1."""
        return f"10.{self.number}.1.1"

    @property
    def address(self) -> dict[Family, str]:
        """The van's static addresses (an advertised IPv6 address is SLAAC's)."""
        return {Family.IPV4: f"10.{self.number}.1.2", Family.IPV6: f"2001:db8:{self.number}::2"}

    @property
    def networks(self) -> tuple[str, str]:
        """The prefixes of the van's wire, IPv4 and IPv6."""
        return f"10.{self.number}.1.0/24", f"2001:db8:{self.number}::/64"

    @property
    def core(self) -> Pairs:
        """Addresses on the wire to the internet, per family: the router's, the internet's."""
        number = self.number
        return (f"100.64.{number}.1", f"100.64.{number}.2"), (f"fd00:{number}::1", f"fd00:{number}::2")

    @property
    def garden(self) -> Pairs:
        """The same on the wire to the walled garden."""
        number = self.number
        return (f"100.65.{number}.1", f"100.65.{number}.2"), (f"fd01:{number}::1", f"fd01:{number}::2")


CARRIERS: Final = (
    Carrier(1, "au", "wwan0", 100),
    Carrier(2, "docomo", "wwan1", 200),
    Carrier(3, "depot", "wlan0", 300, advertised=True),
)
GATEWAY6: Final = "fe80::1"

LAN: Final = "br-lan"
"""The van's bridge, where there are clients behind it."""
LAN_NETWORK: Final = {Family.IPV4: "192.168.50.0/24", Family.IPV6: "fd50::/64"}
LAN_GATEWAY: Final = {Family.IPV4: "192.168.50.1", Family.IPV6: "fd50::1"}
"""The van's addresses on it."""


def client_address(number: int) -> dict[Family, str]:
    """Of the client of that number, from 1 on."""
    return {Family.IPV4: f"192.168.50.{10 + number}", Family.IPV6: f"fd50::{10 + number}"}


def internet_addresses() -> list[str]:
    """Every address of the internet's servers."""
    groups = [*TARGETS.values(), APP.values(), *(known.values() for known in NAMES.values())]
    return [address for group in groups for address in group]
