"""What makes a gateway of the box besides its rules: the switches of forwarding, and whether its LAN is there.

Pure. Its rules are in plan.py, its flows in eviction.py, and its table of nftables is the kernel room's.
"""

from __future__ import annotations

from collections.abc import Iterable

from failover.core.uplinks import Uplink
from failover.facts import FORWARDING_IPV6, Facts, Sysctl


def forwarding(uplinks: Iterable[Uplink], facts: Facts, lan: Iterable[str]) -> list[Sysctl]:
    """What makes a gateway of the box, and lets a strict reverse path filter heed the mark.

    IPv6 knows one switch for all devices. When it is turned on, every advertised default of a device that does not
    take them as a router (accept_ra=2) is gone, and no other one comes, on uplinks or not; so it is turned only once
    all do but the LAN's, and those that come later will.
    """
    names = [uplink.interface for uplink in uplinks if uplink.interface]
    values = {sysctl.path: sysctl.value for sysctl in facts.sysctls}
    behind = {f"net/ipv6/conf/{name}/accept_ra" for name in lan}
    advertised = (path for path in values if path.endswith("/accept_ra") and path not in behind)
    hosts = [path for path in advertised if values[path] == "1"]
    return [
        *(
            Sysctl(f"net/ipv4/conf/{name}/{key}", "1")
            for name in (*names, *lan)
            for key in ("src_valid_mark", "forwarding")
        ),
        *(Sysctl(path, "2") for path in hosts),
        *([] if hosts else [Sysctl(FORWARDING_IPV6, "1")]),
    ]


def unserved(lan: Iterable[str], facts: Facts) -> list[str]:
    """Of each interface of a gateway's LAN that is not there."""
    present = {link.name for link in facts.links}
    return [
        f"there is no interface {name} of gateway.lan: its clients are not served"
        for name in lan
        if name not in present
    ]
