"""Default routes, to and from rtnetlink (linux/rtnetlink.h, linux/nexthop.h). Packing and unpacking only.

Only plain defaults exist here: no destination, no source prefix, no tos, not cached, of a kind the model knows; and the
host routes that somebody set in main, which are only read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from failover.facts import TABLE_MAIN, Pin, Route, RouteKind
from failover.kernel.wire import (
    FAMILIES_BY_NUMBER,
    FAMILY_NUMBERS,
    address_bytes,
    address_text,
    attribute,
    attributes,
    garbled,
    read_u32,
    u32,
    unpack,
)
from failover.model import Family, KernelError, clean

RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26

RTMSG: Final = struct.Struct("=BBBBBBBBI")
"""family, destination length, source length, tos, table, protocol, scope, type, flags."""
RTNEXTHOP: Final = struct.Struct("=HBBi")
"""length, flags, weight - 1, interface."""
VIA_FAMILY: Final = struct.Struct("=H")
CACHEINFO: Final = struct.Struct("=IIiIIIII")

RTA_DST: Final = 1
RTA_OIF: Final = 4
RTA_GATEWAY: Final = 5
RTA_PRIORITY: Final = 6
RTA_PREFSRC: Final = 7
RTA_METRICS: Final = 8
RTA_MULTIPATH: Final = 9
RTA_CACHEINFO: Final = 12
RTA_TABLE: Final = 15
RTA_VIA: Final = 18
RTA_PREF: Final = 20
RTA_EXPIRES: Final = 23
RTA_NH_ID: Final = 30
RTAX_MTU: Final = 2
RTAX_ADVMSS: Final = 8
RTAX_HOPLIMIT: Final = 10

RTNH_F_DEAD: Final = 1
RTNH_F_ONLINK: Final = 4
RTNH_F_LINKDOWN: Final = 16
RTM_F_CLONED: Final = 0x200
RTPROT_BOOT: Final = 3
RTPROT_STATIC: Final = 4
BITS: Final = {number: family.bits for number, family in FAMILIES_BY_NUMBER.items()}
SET_BY_HAND: Final = (RTPROT_BOOT, RTPROT_STATIC)
"""Who wrote a route: `ip`, programs like it, network managers; no routing daemon, no lease, not the kernel."""
RT_SCOPE_UNIVERSE: Final = 0
RT_SCOPE_LINK: Final = 253
RT_SCOPE_NOWHERE: Final = 255
RT_TABLE_COMPAT: Final = 252
"""What the one-byte field says of a table that does not fit into it."""

KINDS: Final = {kind.value: kind for kind in RouteKind}
RANKS: Final = {1: -1, 0: 0, 3: 1}
"""Router preference (RFC 4191, on the wire 1 high, 0 medium, 3 low) as a sorting key."""
TICKS: Final = os.sysconf("SC_CLK_TCK")
"""Clock ticks per second in what the kernel tells (USER_HZ)."""
SECONDS_MAX: Final = 0xFFFFFFFF

Attributes = Mapping[int, bytes]
Nexthops = Callable[[int], "Sequence[Hop]"]
"""Resolves a nexthop object's id."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One way out of a route."""

    interface: int | None = None
    gateway: str | None = None
    flags: int = 0


REFUSES: Final = (Hop(),)
"""A route that refuses has no way out, whatever device IPv6 hangs it on."""


def asked(family: Family) -> bytes:
    """The body of a dump request, for every table: the kernel could filter by one, not by being a default."""
    return RTMSG.pack(FAMILY_NUMBERS[family], 0, 0, 0, 0, 0, 0, 0, 0)


def is_default(body: bytes) -> bool:
    """A look at the head alone: anything else is skipped before its attributes are read."""
    _, destination, source, tos, _, _, _, kind, flags = unpack(RTMSG, body, "route")
    return not (destination or source or tos or flags & RTM_F_CLONED) and kind in KINDS


def is_pin(body: bytes) -> bool:
    """The same for a host route of main that a person or a VPN client set."""
    if len(body) < RTMSG.size or BITS.get(body[0]) != body[1]:
        return False
    _, _, source, tos, table, protocol, _, kind, flags = RTMSG.unpack_from(body)
    plain = not (source or tos or flags & RTM_F_CLONED) and kind == RouteKind.UNICAST.value
    return plain and table == TABLE_MAIN and protocol in SET_BY_HAND


def pins(body: bytes, nexthops: Nexthops) -> list[Pin]:
    """The host route that `is_pin` has found, once for each device it leads out of."""
    family = FAMILIES_BY_NUMBER[body[0]]
    found = dict(attributes(body, RTMSG.size))
    if RTA_DST not in found:
        return []
    destination = address_text(family, found[RTA_DST])
    hops = _hops(family, 0, found, nexthops)
    return [Pin(family, destination, hop.interface) for hop in hops if hop.interface is not None]


def table_of(body: bytes) -> int | None:
    """The table of a default route, without reading more of it than that."""
    if not is_default(body):
        return None
    return next((read_u32(payload) for kind, payload in attributes(body, RTMSG.size) if kind == RTA_TABLE), body[4])


def decode(body: bytes, nexthops: Nexthops) -> list[tuple[int, Route]]:
    """(rank, route) of each next hop of a default route; the better its router preference, the lower the rank."""
    if not is_default(body):
        return []
    number, _, _, _, small, protocol, _, kind, flags = RTMSG.unpack_from(body)
    family = FAMILIES_BY_NUMBER.get(number)
    if family is None:
        return []
    found = dict(attributes(body, RTMSG.size))
    metrics = dict(attributes(found[RTA_METRICS])) if RTA_METRICS in found else {}
    rank = RANKS.get(found[RTA_PREF][0], 0) if found.get(RTA_PREF) else 0
    hops = _hops(family, flags, found, nexthops) if KINDS[kind] is RouteKind.UNICAST else REFUSES
    return [
        (
            rank,
            Route(
                family,
                read_u32(found[RTA_TABLE]) if RTA_TABLE in found else small,
                _number(found, RTA_PRIORITY) or 0,
                KINDS[kind],
                interface=hop.interface,
                gateway=hop.gateway,
                source=address_text(family, found[RTA_PREFSRC]) if RTA_PREFSRC in found else None,
                onlink=bool(hop.flags & RTNH_F_ONLINK),
                mtu=_number(metrics, RTAX_MTU),
                advmss=_number(metrics, RTAX_ADVMSS),
                hoplimit=_number(metrics, RTAX_HOPLIMIT),
                expires=_expires(found),
                protocol=protocol,
                dead=bool(hop.flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)),
            ),
        )
        for hop in hops
    ]


def _hops(family: Family, flags: int, found: Attributes, nexthops: Nexthops) -> Sequence[Hop]:
    if RTA_MULTIPATH in found:
        return list(_multipath(family, found[RTA_MULTIPATH]))
    if RTA_OIF in found:
        return [Hop(read_u32(found[RTA_OIF]), _gateway(family, found), flags)]
    if RTA_NH_ID in found:
        return nexthops(read_u32(found[RTA_NH_ID]))
    return []


def _multipath(family: Family, payload: bytes) -> Iterator[Hop]:
    offset = 0
    while offset < len(payload):
        length, flags, _, interface = unpack(RTNEXTHOP, payload[offset:], "next hop")
        if not RTNEXTHOP.size <= length <= len(payload) - offset:
            raise garbled("next hop length")
        found = dict(attributes(payload[offset : offset + length], RTNEXTHOP.size))
        yield Hop(interface, _gateway(family, found), flags)
        offset += (length + 3) & ~3


def _gateway(family: Family, found: Attributes) -> str | None:
    if RTA_GATEWAY in found:
        return address_text(family, found[RTA_GATEWAY])
    if RTA_VIA not in found:
        return None
    via = found[RTA_VIA]
    other = FAMILIES_BY_NUMBER.get(unpack(VIA_FAMILY, via, "via")[0])
    return address_text(other, via[VIA_FAMILY.size :]) if other else None


def _number(found: Attributes, kind: int) -> int | None:
    return read_u32(found[kind]) if kind in found else None


def _expires(found: Attributes) -> float | None:
    """Seconds left; the kernel writes 0 for a route that stays."""
    if RTA_CACHEINFO not in found:
        return None
    ticks = unpack(CACHEINFO, found[RTA_CACHEINFO], "cache info")[2]
    return max(0, ticks) / TICKS if ticks else None


def encode(route: Route) -> bytes:
    """The body of RTM_NEWROUTE; KernelError when an address is none."""
    body = _head(route, _scope(route)) + _key(route)
    if route.source is not None:
        body += attribute(RTA_PREFSRC, address_bytes(route.family, route.source))
    metrics = ((RTAX_MTU, route.mtu), (RTAX_ADVMSS, route.advmss), (RTAX_HOPLIMIT, route.hoplimit))
    inner = b"".join(attribute(kind, u32(value)) for kind, value in metrics if value is not None)
    if inner:
        body += attribute(RTA_METRICS, inner)
    if route.expires is not None and route.family is Family.IPV6:
        body += attribute(RTA_EXPIRES, u32(min(max(1, round(route.expires)), SECONDS_MAX)))
    return body


def encode_deletion(route: Route) -> bytes:
    """The body of RTM_DELROUTE: table, metric, kind, protocol and next hop, so that no other route can be meant."""
    return _head(route, RT_SCOPE_NOWHERE) + _key(route)


def _head(route: Route, scope: int) -> bytes:
    flags = RTNH_F_ONLINK if route.onlink else 0
    number = FAMILY_NUMBERS[route.family]
    return RTMSG.pack(number, 0, 0, 0, _small(route.table), route.protocol, scope, route.kind.value, flags)


def _scope(route: Route) -> int:
    """IPv4 wants to know whether there is a router in between; refusing routes and IPv6 have no scope."""
    direct = route.family is Family.IPV4 and route.kind is RouteKind.UNICAST and route.gateway is None
    return RT_SCOPE_LINK if direct else RT_SCOPE_UNIVERSE


def _key(route: Route) -> bytes:
    body = attribute(RTA_TABLE, u32(route.table)) + attribute(RTA_PRIORITY, u32(route.metric))
    if route.interface is not None:
        body += attribute(RTA_OIF, u32(route.interface))
    if route.gateway is not None:
        body += _via(route.family, route.gateway)
    return body


def _via(family: Family, gateway: str) -> bytes:
    """A next hop of the other family goes into RTA_VIA, behind its own family."""
    own = Family.of(gateway)
    packed = address_bytes(own, gateway)
    if own is family:
        return attribute(RTA_GATEWAY, packed)
    if family is Family.IPV6:
        raise KernelError(f"an IPv6 route cannot have the IPv4 gateway {clean(gateway)}")
    return attribute(RTA_VIA, VIA_FAMILY.pack(FAMILY_NUMBERS[own]) + packed)


def _small(table: int) -> int:
    return table if table < RT_TABLE_COMPAT or table in (253, 254, 255) else RT_TABLE_COMPAT
