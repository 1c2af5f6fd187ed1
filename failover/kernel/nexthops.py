"""Nexthop objects (linux/nexthop.h): what a route of `nhid N` means where the kernel does not spell it out
(net.ipv4.nexthop_compat_mode=0). Unpacking only."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from failover.kernel.routes import Hop
from failover.kernel.wire import FAMILIES_BY_NUMBER, address_text, attributes, read_u32, unpack

RTM_GETNEXTHOP: Final = 106
NHMSG: Final = struct.Struct("=BBBBI")
"""family, scope, protocol, reserved, flags."""
NHA_ID: Final = 1
NHA_GROUP: Final = 2
NHA_OIF: Final = 5
NHA_GATEWAY: Final = 6
GROUP_ENTRY: Final = struct.Struct("=IBBH")
ASKED: Final = NHMSG.pack(0, 0, 0, 0, 0)


class Nexthops:
    """All nexthop objects of one moment."""

    def __init__(self, bodies: Iterable[bytes]) -> None:
        self._hops: dict[int, Hop] = {}
        self._groups: dict[int, tuple[int, ...]] = {}
        for body in bodies:
            self._learn(body)

    def __call__(self, number: int) -> list[Hop]:
        """The ways out of an object or of the members of a group; none when it is gone or a blackhole."""
        members = self._groups.get(number, (number,))
        return [self._hops[member] for member in members if member in self._hops]

    def _learn(self, body: bytes) -> None:
        family_number, _, _, _, flags = unpack(NHMSG, body, "next hop object")
        found = dict(attributes(body, NHMSG.size))
        number = read_u32(found.get(NHA_ID, b""))
        if NHA_GROUP in found:
            self._groups[number] = tuple(_members(found[NHA_GROUP]))
        elif NHA_OIF in found:
            family = FAMILIES_BY_NUMBER.get(family_number)
            gateway = address_text(family, found[NHA_GATEWAY]) if family and NHA_GATEWAY in found else None
            self._hops[number] = Hop(read_u32(found[NHA_OIF]), gateway, flags)


def _members(payload: bytes) -> Iterator[int]:
    for offset in range(0, len(payload) - GROUP_ENTRY.size + 1, GROUP_ENTRY.size):
        yield GROUP_ENTRY.unpack_from(payload, offset)[0]
