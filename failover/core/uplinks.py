"""Facts + config -> the uplinks there are: name, slot, and the way out in each family.

Pure. Identity is the name (config) or the interface name (discovered); the slot, which numbers the table and the mark,
is kept as long as the uplink is known and is found again in the kernel after a restart. No judgement here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Final

from failover import config as will
from failover.config.values import mask_room
from failover.facts import (
    PROTOCOL,
    SLOTS_MAX,
    TABLE_MAIN,
    TABLE_SETTLED,
    TABLE_UPLINK,
    Address,
    Facts,
    Link,
    Route,
    RouteKind,
)
from failover.model import FAMILIES, Family, Target

SLOT_LIMIT: Final = min(SLOTS_MAX, TABLE_SETTLED - TABLE_UPLINK)


@dataclass(frozen=True, slots=True)
class Path:
    """One uplink's way out in one family, as the kernel has it now."""

    route: Route | None = None
    """The default of table main through this interface with the lowest metric."""
    addresses: tuple[str, ...] = ()
    """All global addresses, deprecated ones too: open flows use them."""
    fault: str = "no interface"
    """Why no packet can leave, or empty."""
    certain: bool = False
    """The link is there and its carrier is not: a certain conviction; any other fault is absence."""

    def leads_like(self, other: Path) -> bool:
        """Whether it is the same way out, so that what was proven of one holds for the other."""
        here, there = self.route, other.route
        if here is None or there is None:
            return here is there
        same = (here.interface, here.gateway) == (there.interface, there.gateway)
        return same and bool(set(self.addresses) & set(other.addresses))


@dataclass(frozen=True, slots=True)
class Uplink:
    """One uplink: what the config says of it, and what the kernel has of it now."""

    name: str
    interface: str
    slot: int
    """0-based; table TABLE_UPLINK + slot, mark value slot + 1."""
    index: int | None
    """Interface index, None while there is no such interface."""
    carrier: str
    metered: bool
    targets: tuple[Target, ...]
    paths: Mapping[Family, Path]
    delegated: tuple[str, ...] = ()
    """Prefixes that it gives the LAN."""


def resolve(
    facts: Facts,
    config: will.Config,
    known: Mapping[str, int],
    besides: Mapping[str, tuple[Target, ...]] = MappingProxyType({}),
) -> tuple[Uplink, ...]:
    """The uplinks in order of preference.

    `known` is name -> slot of the uplinks so far: they keep their slot, and discovered ones stay listed (last) while
    their default route is away, so that their history is not lost. `besides`: targets by interface, after the config's.
    """
    links = {link.name: link for link in facts.links}
    defaults = _main_defaults(facts)
    limit = min(SLOT_LIMIT, mask_room(config.fwmark_mask))
    lan = config.lan
    chosen = config.uplinks or _discovered(defaults, known, links, lan)[:limit]
    slots = _slots([(u.name, u.interface) for u in chosen], known, facts, links, limit)
    return tuple(
        Uplink(
            name=u.name,
            interface=u.interface,
            slot=slots[u.name],
            index=links[u.interface].index if u.interface in links else None,
            carrier=u.carrier,
            metered=u.metered is not None,
            targets=tuple(dict.fromkeys((*config.targets_of(u), *besides.get(u.interface, ())))),
            paths={family: _path(facts, defaults, links.get(u.interface), family) for family in FAMILIES},
            delegated=u.delegated,
        )
        for u in chosen
        if u.name in slots
    )


def _main_defaults(facts: Facts) -> list[Route]:
    """Those in force: the kernel's collector leaves an expired route listed for up to 30 s."""
    listed = (r for r in facts.routes if r.table == TABLE_MAIN and r.kind is RouteKind.UNICAST and r.interface)
    return [r for r in listed if r.expires is None or r.expires > 0]


def _discovered(
    defaults: Iterable[Route], known: Mapping[str, int], links: Mapping[str, Link], lan: Sequence[str]
) -> tuple[will.Uplink, ...]:
    best: dict[int, int] = {}
    for route in defaults:
        assert route.interface is not None
        best[route.interface] = min(route.metric, best.get(route.interface, route.metric))
    present = sorted((best[link.index], name) for name, link in links.items() if link.index in best and name not in lan)
    names = [name for _, name in present]
    names += [name for name in sorted(known, key=lambda n: known[n]) if name not in set(names)]
    return tuple(will.Uplink(name=name, interface=name) for name in names if name not in lan)


def _slots(
    chosen: list[tuple[str, str]], known: Mapping[str, int], facts: Facts, links: Mapping[str, Link], limit: int
) -> dict[str, int]:
    """Kept slots first, then those found in the kernel, then the lowest free ones; all below the limit."""
    slots = {name: known[name] for name, _ in chosen if known.get(name, limit) < limit}
    in_kernel = {
        r.interface: r.table - TABLE_UPLINK
        for r in facts.routes
        if r.protocol == PROTOCOL and r.interface and TABLE_UPLINK <= r.table < TABLE_UPLINK + limit
    }
    for name, interface in chosen:
        slot = in_kernel.get(links[interface].index) if interface in links else None
        if name not in slots and slot is not None and slot not in slots.values():
            slots[name] = slot
    free = iter(sorted(set(range(limit)) - set(slots.values())))
    for name, _ in chosen:
        if name not in slots and (slot := next(free, None)) is not None:
            slots[name] = slot
    return slots


def _path(facts: Facts, defaults: Iterable[Route], link: Link | None, family: Family) -> Path:
    if link is None:
        return Path()
    own = [r for r in defaults if r.interface == link.index and r.family is family]
    route = min(own, key=lambda r: r.metric, default=None)
    held = [a for a in facts.addresses if a.index == link.index and a.family is family]
    if not link.up:
        fault = "interface is down"
    elif not any(a.usable for a in held):
        fault = "no address"
    elif route is None:
        fault = "no default route"
    else:
        fault = "" if link.carrier else "no carrier"
    return Path(route, tuple(a.address for a in held), fault, certain=fault == "no carrier")


def own_networks(uplink: Uplink, facts: Facts) -> tuple[str, ...]:
    """The networks that lie between an uplink and its routers, as `192.168.8.0/24`. Without a router on it, a network
    may be the carrier's whole one."""
    networks = {
        network
        for address in facts.addresses
        if address.index == uplink.index
        for network in [_network(address)]
        if _has_router(network, uplink.paths[address.family])
    }
    return tuple(sorted(networks))


def lan_networks(uplinks: Sequence[Uplink], facts: Facts) -> tuple[str, ...]:
    """The networks of what is no uplink."""
    indexes = {uplink.index for uplink in uplinks}
    return tuple(sorted({_network(address) for address in facts.addresses if address.index not in indexes}))


def networks_behind(interfaces: Collection[str], facts: Facts) -> tuple[str, ...]:
    """The networks of these."""
    indexes = {link.index for link in facts.links if link.name in interfaces}
    return tuple(sorted({_network(address) for address in facts.addresses if address.index in indexes}))


def _network(address: Address) -> str:
    return str(ip_network(f"{address.address}/{address.prefix_length}", strict=False))


def _has_router(network: str, path: Path) -> bool:
    gateway = path.route.gateway if path.route else None
    if gateway is None:
        return False
    linklocal = Family.of(gateway) is Family.IPV6 and ip_address(gateway).is_link_local
    return (linklocal and ":" in network) or ip_address(gateway) in ip_network(network)
