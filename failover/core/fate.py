"""Which uplinks share a fate, by what, and for how long the trouble of one speaks against the other.

Pure. Two brands are not two carriers: told are the facts that uplinks hang on together, and only where it is certain
that it is one and the same. What is merely alike makes no claim: two LANs may both have a router 192.168.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import chain, combinations
from math import inf
from typing import Final

from failover.carriers import network_of
from failover.config import Config
from failover.core.uplinks import BARE, Path, Tie, Uplink
from failover.model import Verdict
from failover.picture import Shared, Sharing

OUTLIVED: Final = 60.0
"""Seconds by which an uplink must outlive another one's trouble, until that says nothing of it any more: whatever they
share would have brought it down too. As long as what dies together is looked for (`deaths.py`)."""
AILING: Final = (Verdict.DOUBTFUL, Verdict.DOWN)
"""What speaks against others. An uplink that is absent, cold or behind a portal has its own reasons."""
_PORT: Final = re.compile(r"\d+-\d+(?:\.\d+)*")
"""A USB device by its port, below `usbN`, which is the root hub (Linux, drivers/usb/core/usb.c: usb_alloc_dev)."""


@dataclass(frozen=True, slots=True)
class Footing:
    """What an uplink hangs on; empty: not known."""

    network: str = ""
    modem: str = ""
    device: str = ""
    """The modem's physical device, as in `Modem.device`."""
    hubs: tuple[str, ...] = ()
    """Between that and the root hub, by their ports; the nearest last."""
    hops: frozenset[tuple[str, str]] = frozenset()
    """Its routers, each with what is in one place of the world only: its own address, or its network's prefix."""


def networks(config: Config, ties: Mapping[str, Tie]) -> dict[str, str]:
    """The network of each uplink that the config names, as far as it is known: by the code that its modem or its SIM
    tells, else by its carrier's label."""
    told = ((uplink, ties.get(uplink.name, BARE)) for uplink in config.uplinks)
    return {u.name: network_of(tie.plmn, u.carrier or tie.carrier, config.networks) for u, tie in told}


def bound(
    uplinks: Sequence[Uplink], config: Config, ties: Mapping[str, Tie], observed: Iterable[tuple[str, str, str]] = ()
) -> tuple[Uplink, ...]:
    """The same uplinks, each with what it shares with others. `observed`: as `Deaths.observed` says."""
    rides = networks(config, ties)
    modems = {uplink.name: uplink.modem.key for uplink in config.uplinks if uplink.modem}
    footings = {
        u.name: _footing(u, rides.get(u.name, ""), modems.get(u.name, ""), ties.get(u.name, BARE)) for u in uplinks
    }
    shared: dict[str, list[Shared]] = {uplink.name: [] for uplink in uplinks}
    known = ((*pair, *found) for pair in combinations(footings, 2) for found in alike(*(footings[n] for n in pair)))
    seen = ((one, other, Sharing.OUTAGES, what) for one, other, what in observed)
    for one, other, why, what in chain(known, seen):
        if one in shared and other in shared:
            shared[one].append(Shared(other, why, what))
            shared[other].append(Shared(one, why, what))
    return tuple(replace(uplink, fate=tuple(shared[uplink.name])) for uplink in uplinks)


def alike(one: Footing, other: Footing) -> Iterator[tuple[Sharing, str]]:
    """What both hang on, in words that follow `they share`."""
    if one.network and one.network == other.network:
        yield Sharing.NETWORK, f"the network {one.network}"
    apart = one.device and other.device and one.device != other.device  # an IMEI may be a copy
    if one.modem and one.modem == other.modem and not apart:
        yield Sharing.MODEM, "a modem"
    elif hubs := [hub for hub in one.hubs if hub in other.hubs]:
        yield Sharing.HUB, f"the USB hub {hubs[-1]}"
    if hops := sorted(one.hops & other.hops):
        yield Sharing.NEXT_HOP, f"the next hop {hops[0][0]}"


def _footing(uplink: Uplink, network: str, modem: str, tie: Tie) -> Footing:
    hops = frozenset(_hops(uplink.paths.values()))
    return Footing(network, tie.modem or modem, tie.device, _hubs(tie.device), hops)


def _hops(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """A public address is nobody else's. A link-local one may be, as `fe80::1`, but not in one public /64; a private
    one says nothing."""
    for path in paths:
        gateway = path.route.gateway if path.route else None
        if gateway is None:
            continue
        at = ip_address(gateway)
        if at.is_global:
            yield gateway, gateway
        elif isinstance(at, IPv6Address) and at.is_link_local:
            yield from ((gateway, network) for network in _prefixes(path.addresses))


def _prefixes(addresses: Collection[str]) -> set[str]:
    """The public /64s (RFC 4291, 2.5.4) of these."""
    public = (a for a in addresses if ":" in a and ip_address(a).is_global)
    return {str(ip_network(f"{address}/64", strict=False)) for address in public}


def _hubs(device: str) -> tuple[str, ...]:
    """As in Footing."""
    return tuple(part for part in device.split("/") if _PORT.fullmatch(part))[:-1]


def shadow(verdict: Verdict, ailed: float, due: float) -> float:
    """Monotonic time until which its trouble speaks against those that share its fate: while it is in doubt, for
    OUTLIVED after a conviction or after either is over, and no longer than its hold-down. `ailed`: when it got into
    such trouble last, or out of it; `due`: when its hold-down ends, inf while it is not healthy."""
    if verdict is Verdict.DOUBTFUL:
        return inf
    return min(ailed + OUTLIVED, due)
