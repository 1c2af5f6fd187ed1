"""Facts + config -> the uplinks there are: name, slot, and the way out in each family.

Pure. Identity is the name (config) or the interface name (discovered); the slot, which numbers the table and the mark,
is kept as long as the uplink is known and is found again in the kernel after a restart. No judgement here.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Final, assert_never

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
from failover.modem import IpSettings
from failover.picture import Shared

SLOT_LIMIT: Final = min(SLOTS_MAX, TABLE_SETTLED - TABLE_UPLINK)


class Bar(enum.Enum):
    """What a modem makes of its uplink's way out, whatever the kernel has of it."""

    NONE = enum.auto()
    DEAD = enum.auto()
    """Certainly no packet leaves."""
    CLOSED = enum.auto()
    """No packet is to leave."""
    COLD = enum.auto()
    """The modem uses another SIM."""


@dataclass(frozen=True, slots=True)
class Tie:
    """What a modem is to its uplink now."""

    interface: str = ""
    """Empty: none, or nobody knows which."""
    bar: Bar = Bar.NONE
    fault: str = ""
    """Why, for people. Without a bar: why it has no way out, if it has none."""
    carrier: str = ""
    """As the modem calls its network."""
    plmn: str = ""
    """Of the network that serves it, else of its SIM's, as far as told."""
    modem: str = ""
    """What the modem is known by."""
    device: str = ""
    """Its physical device, as in `Modem.device`."""
    foreign: bool = False
    """The network is a foreign one, and counts as metered and last."""
    warming: bool = False
    """It is cold until its way out is there."""
    settings: tuple[IpSettings, ...] | None = ()
    """Of its bearer, for us to put on the interface; None: what is ours there stays as it is."""


BARE: Final = Tie()
"""No modem is anything to it."""


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
    """A certain conviction: the link is there and its carrier is not, or its modem says as much; any other fault is
    absence."""
    cold: bool = False
    """The fault is that the modem uses another SIM."""

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
    modem: bool = False
    """Its interface is whatever its modem's is."""
    settings: tuple[IpSettings, ...] | None = ()
    """Of its modem's `Tie`."""
    foreign: bool = False
    """Its network is a foreign one: it comes last."""
    fate: tuple[Shared, ...] = ()
    """What would bring it down together with others."""

    @property
    def place(self) -> str:
        """Its interface; without one, something that is no other's."""
        return self.interface or f" {self.name}"  # no interface's name has a space


def resolve(
    facts: Facts,
    config: will.Config,
    known: Mapping[str, int],
    besides: Mapping[str, tuple[Target, ...]] = MappingProxyType({}),
    ties: Mapping[str, Tie] = MappingProxyType({}),
) -> tuple[Uplink, ...]:
    """The uplinks in order of preference, those in a foreign network last.

    `known` is name -> slot of the uplinks so far: they keep their slot, and discovered ones stay listed (last) while
    their default route is away, so that their history is not lost. `besides`: targets by interface, after the config's.
    `ties`: what their modems are to them, by name.
    """
    links = {link.name: link for link in facts.links}
    defaults = _main_defaults(facts)
    limit = min(SLOT_LIMIT, mask_room(config.fwmark_mask))
    lan = config.lan
    chosen = _tied(config.uplinks, ties) or _discovered(defaults, known, links, lan)[:limit]
    slots = _slots([(u.name, u.interface) for u in chosen], known, facts, links, limit)
    return tuple(
        Uplink(
            name=u.name,
            interface=u.interface,
            slot=slots[u.name],
            index=links[u.interface].index if u.interface in links else None,
            carrier=u.carrier or tie.carrier,
            metered=u.metered is not None or tie.foreign,
            targets=tuple(dict.fromkeys((*config.targets_of(u), *besides.get(u.interface, ())))),
            paths={
                family: _barred(_path(facts, defaults, links.get(u.interface), family), tie)
                for family in FAMILIES
            },
            delegated=u.delegated,
            modem=u.modem is not None,
            settings=tie.settings,
            foreign=tie.foreign,
        )
        for u, tie in ((u, ties.get(u.name, BARE)) for u in chosen if u.name in slots)
    )


def _tied(uplinks: tuple[will.Uplink, ...], ties: Mapping[str, Tie]) -> tuple[will.Uplink, ...]:
    """As the config has them, each with the interface of its modem."""
    tied = [replace(u, interface=ties[u.name].interface) if u.name in ties else u for u in uplinks]
    return tuple(sorted(tied, key=lambda u: ties.get(u.name, BARE).foreign))


def _barred(path: Path, tie: Tie) -> Path:
    """The way out, as far as the modem lets anything through."""
    match tie.bar:
        case Bar.NONE:
            path = replace(path, fault=tie.fault) if tie.fault and path.fault else path
            return replace(path, cold=True, certain=False) if tie.warming and path.fault else path
        case Bar.DEAD:
            return replace(path, fault=tie.fault, certain=True) if path.route else replace(path, fault=tie.fault)
        case Bar.CLOSED:
            return Path(None, path.addresses, tie.fault)
        case Bar.COLD:
            return Path(fault=tie.fault, cold=True)
        case _:
            assert_never(tie.bar)


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
