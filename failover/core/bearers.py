"""What a network gave a modem's bearer -> the addresses and defaults that this agent puts on its interface.

Pure. Only of bearers with static settings that this agent dials, and whole each time, as `plan`: what of it the kernel
holds is known by our protocol number, and compared in `diff`. All else goes by these defaults of main, as by anybody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from failover.core.uplinks import Uplink
from failover.facts import PROTOCOL, TABLE_MAIN, TABLE_UPLINK, Address, Facts, Link, Route
from failover.model import FAMILIES, Family
from failover.modem import IpMethod, IpSettings

METRIC: Final = TABLE_UPLINK
"""Of slot 0's default in main; the others follow. Whoever asks main alone (the box before the agent has its rules, and
after a cleanup) takes the defaults of others first: DHCP's 0, NetworkManager's 50-850, the 1024 of router
advertisements and of systemd-networkd; but not those that NetworkManager has penalised by 20000. And nobody else is
likely to have this number."""
LEAST_MTU: Final = {Family.IPV4: 576, Family.IPV6: 1280}
"""Bytes that every host must take (RFC 791, section 3.1; RFC 8200, section 5): less is no MTU but a mistake."""
LEAST_PREFIX: Final = {Family.IPV4: 8, Family.IPV6: 16}
"""Bits; a network that is larger is not believed, and the address stands alone."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the kernel should hold for our bearers, and nothing more of ours."""

    links: tuple[Link, ...] = ()
    """To be up."""
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    """Defaults of table main."""


def served(uplinks: Sequence[Uplink], facts: Facts) -> Served:
    """For these uplinks. What is there stays where nobody can tell whether it should."""
    links, kept = {link.index: link for link in facts.links}, _kept(uplinks, facts)
    given = [
        (uplink, links[uplink.index], settings)
        for uplink in uplinks
        if uplink.index in links
        for settings in _usable(uplink.settings or ())
    ]
    return Served(
        links=tuple({link.index: replace(link, up=True) for _, link, _ in given}.values()),
        addresses=(
            *(held for held in facts.addresses if held.index in kept and held.protocol == PROTOCOL),
            *(_address(link, settings) for _, link, settings in given),
        ),
        routes=(
            *(held for held in facts.routes if held.interface in kept and held.table == TABLE_MAIN and held.ours),
            *(_route(uplink, link, settings) for uplink, link, settings in given),
        ),
    )


def _kept(uplinks: Iterable[Uplink], facts: Facts) -> set[int]:
    """The interfaces of modems of which nobody tells; if such a one may have any, all that are no other uplink's."""
    untold = [uplink for uplink in uplinks if uplink.settings is None]
    known = {uplink.index for uplink in uplinks if uplink.settings is not None}
    if any(uplink.index is None for uplink in untold):
        return {link.index for link in facts.links if link.index not in known}
    return {uplink.index for uplink in untold if uplink.index is not None}


def _usable(settings: Iterable[IpSettings]) -> Iterator[IpSettings]:
    """The first static ones of each family that an interface can have."""
    static = {one.family: one for one in reversed([*settings]) if one.method is IpMethod.STATIC and _sane(one)}
    return (static[family] for family in FAMILIES if family in static)


def _sane(settings: IpSettings) -> bool:
    """A network may tell anything; what it tells was read as an address before."""
    if not settings.address or settings.address == settings.gateway:
        return False
    told = ip_address(settings.address)
    odd = told.is_loopback or told.is_multicast or told.is_unspecified or told.is_link_local or told.is_reserved
    return not odd and getattr(told, "ipv4_mapped", None) is None


def _address(link: Link, settings: IpSettings) -> Address:
    family, told = settings.family, settings.prefix_length
    length = told if LEAST_PREFIX[family] <= told else family.bits
    return Address(link.index, family, str(ip_address(settings.address)), length, protocol=PROTOCOL)


def _route(uplink: Uplink, link: Link, settings: IpSettings) -> Route:
    """By the gateway, wherever that is in the network's own view. The MTU goes with the route, and not to the link,
    which would keep it."""
    gateway = str(ip_address(settings.gateway)) if settings.gateway else None
    return Route(
        settings.family,
        TABLE_MAIN,
        METRIC + uplink.slot,
        interface=link.index,
        gateway=gateway,
        onlink=gateway is not None,
        mtu=settings.mtu if LEAST_MTU[settings.family] <= settings.mtu < link.mtu else None,
    )
