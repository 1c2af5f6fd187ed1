"""Links and addresses, to and from rtnetlink (linux/if_link.h, linux/if_addr.h). Packing and unpacking only."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from failover.facts import Address, Link
from failover.kernel.wire import (
    FAMILIES_BY_NUMBER,
    FAMILY_NUMBERS,
    address_bytes,
    address_text,
    attribute,
    attributes,
    name_text,
    read_u32,
    u32,
    unpack,
)
from failover.model import Family

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22

IFINFO: Final = struct.Struct("=BBHiII")
"""family, padding, device type, index, flags, changed flags."""
IFADDR: Final = struct.Struct("=BBBBI")
"""family, prefix length, flags, scope, index."""
IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_OPERSTATE: Final = 16
IFLA_EXT_MASK: Final = 29
RTEXT_FILTER_SKIP_STATS: Final = 8
IFF_UP: Final = 0x1
IFF_LOWER_UP: Final = 0x10000
OPERSTATES_DOWN: Final = frozenset((1, 2, 3))
"""not present, down, lower layer down (RFC 2863). Devices that tell nothing are `unknown`, and carry."""

IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_FLAGS: Final = 8
IFA_PROTO: Final = 11
"""One byte, since Linux 5.18; before, it is passed over without a word."""
IFA_F_NODAD: Final = 0x02
IFA_F_OPTIMISTIC: Final = 0x04
IFA_F_DADFAILED: Final = 0x08
IFA_F_DEPRECATED: Final = 0x20
IFA_F_TENTATIVE: Final = 0x40
IFA_F_NOPREFIXROUTE: Final = 0x200
RT_SCOPE_UNIVERSE: Final = 0

LINKS_ASKED: Final = IFINFO.pack(0, 0, 0, 0, 0, 0) + attribute(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS))
ADDRESSES_ASKED: Final = IFADDR.pack(0, 0, 0, 0, 0)


def link(body: bytes) -> Link:
    """One RTM_NEWLINK body."""
    _, _, _, index, flags, _ = unpack(IFINFO, body, "link")
    found = dict(_until_known(body))
    name = name_text(found.get(IFLA_IFNAME, b""))
    state = (found.get(IFLA_OPERSTATE) or b"\0")[0]
    carrier = bool(flags & IFF_LOWER_UP) and state not in OPERSTATES_DOWN
    return Link(index, name, bool(flags & IFF_UP), carrier, read_u32(found.get(IFLA_MTU, u32(0))))


def _until_known(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes up to the last one needed; they come early among some fifty."""
    missing = {IFLA_IFNAME, IFLA_MTU, IFLA_OPERSTATE}
    for kind, payload in attributes(body, IFINFO.size):
        if kind in missing:
            missing.discard(kind)
            yield kind, payload
            if not missing:
                return


def global_address(body: bytes) -> Address | None:
    """One RTM_NEWADDR body; None unless it is an IPv4 or IPv6 address of global scope."""
    number, length, flags, scope, index = unpack(IFADDR, body, "address")
    family = FAMILIES_BY_NUMBER.get(number)
    if family is None or scope != RT_SCOPE_UNIVERSE:
        return None
    found = dict(attributes(body, IFADDR.size))
    own = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)  # on a point-to-point link IFA_ADDRESS is the other end
    if own is None:
        return None
    flags = read_u32(found[IFA_FLAGS]) if IFA_FLAGS in found else flags
    tag = (found.get(IFA_PROTO) or b"\0")[0]
    return Address(index, family, address_text(family, own), length, usable=_usable(flags), protocol=tag)


def _usable(flags: int) -> bool:
    """An optimistic address (RFC 4429) may be used while it is still tentative."""
    if flags & (IFA_F_DADFAILED | IFA_F_DEPRECATED):
        return False
    return not flags & IFA_F_TENTATIVE or bool(flags & IFA_F_OPTIMISTIC)


def encode_up(link: Link) -> bytes:
    """The body of RTM_NEWLINK that sets the link up and changes nothing else."""
    return IFINFO.pack(0, 0, 0, link.index, IFF_UP, IFF_UP)


def encode_address(address: Address) -> bytes:
    """The body of RTM_NEWADDR or RTM_DELADDR; KernelError when the address is none.

    It makes no connected route: the prefix of a network that leases addresses may be that of the LAN, or 0. It is not
    asked for on the link (IPv6), as that network has given it to nobody else, and routes by it are wanted at once.
    """
    family, packed = address.family, address_bytes(address.family, address.address)
    flags = IFA_F_NOPREFIXROUTE | (IFA_F_NODAD if family is Family.IPV6 else 0)
    return (
        IFADDR.pack(FAMILY_NUMBERS[family], address.prefix_length, 0, RT_SCOPE_UNIVERSE, address.index)
        + attribute(IFA_LOCAL, packed)
        + attribute(IFA_ADDRESS, packed)
        + attribute(IFA_FLAGS, u32(flags))
        + attribute(IFA_PROTO, bytes((address.protocol,)))
    )
