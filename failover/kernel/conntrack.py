"""Connection tracking: entries forgotten by their mark, asked about and listed (NETLINK_NETFILTER, ctnetlink).

What lives here: the messages, with the filters that the kernel runs. Which mark is whose, and when its flows are to be
forgotten, is not known here. Layouts: linux/netfilter/nfnetlink_conntrack.h.

Each call has a socket of its own, in the network namespace of the calling thread, and shares nothing. The kernel takes
one request of ctnetlink at a time: what asks while `forget` is at work waits for it, so never ask on the event loop.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Final, NamedTuple

from failover.kernel.counters import NETLINK_NETFILTER
from failover.kernel.netlink import Netlink, RequestError
from failover.kernel.wire import (
    FAMILIES_BY_NUMBER,
    FAMILY_NUMBERS,
    address_bytes,
    address_text,
    attribute,
    attributes,
    bodies,
    garbled,
    unpack,
)
from failover.model import Family, KernelError

NFNL_SUBSYS_CTNETLINK: Final = 1
IPCTNL_MSG_CT_NEW: Final = NFNL_SUBSYS_CTNETLINK << 8 | 0
IPCTNL_MSG_CT_GET: Final = NFNL_SUBSYS_CTNETLINK << 8 | 1
IPCTNL_MSG_CT_DELETE: Final = NFNL_SUBSYS_CTNETLINK << 8 | 2
IPCTNL_MSG_CT_GET_STATS: Final = NFNL_SUBSYS_CTNETLINK << 8 | 5
NLA_F_NESTED: Final = 0x8000
CTA_TUPLE_ORIG: Final = 1
CTA_TUPLE_REPLY: Final = 2
CTA_STATUS: Final = 3
CTA_TIMEOUT: Final = 7
CTA_MARK: Final = 8
CTA_ID: Final = 12
CTA_ZONE: Final = 18
CTA_MARK_MASK: Final = 21
CTA_STATUS_MASK: Final = 26
CTA_TUPLE_IP: Final = 1
CTA_TUPLE_PROTO: Final = 2
CTA_IP_SOURCE: Final = {Family.IPV4: 1, Family.IPV6: 3}
CTA_IP_DESTINATION: Final = {Family.IPV4: 2, Family.IPV6: 4}
CTA_PROTO_NUM: Final = 1
CTA_PROTO_SRC_PORT: Final = 2
CTA_PROTO_DST_PORT: Final = 3
CTA_STATS_GLOBAL_ENTRIES: Final = 1
IPS_SEEN_REPLY: Final = 2
IPS_NAT: Final = 0x30
"""IPS_SRC_NAT, IPS_DST_NAT."""

HEAD: Final = struct.Struct("!BBH")
"""family, version, resource (linux/netfilter/nfnetlink.h). A deletion by filter heeds the family only in version 1."""
HOARD: Final = 256
"""Datagrams of 32 kB, with some 150 entries each."""
_U16: Final = struct.Struct("!H")
_U32: Final = struct.Struct("!I")
_BOTH: Final = HEAD.pack(socket.AF_UNSPEC, 0, 0)


class Flow(NamedTuple):
    """A flow as its first packet was sent, before any NAT. Addresses as on the wire: IPv4's are never mapped."""

    source: str
    source_port: int
    """0 where the protocol has none, as the destination's."""
    destination: str
    destination_port: int
    protocol: int = socket.IPPROTO_UDP


class Entry(NamedTuple):
    """What is tracked of one flow."""

    flow: Flow
    mark: int
    answered: bool
    number: int
    """The kernel's own for this entry; another one of the same flow has another number."""


def forget(
    mark: int, mask: int, family: Family | None = None, *, unanswered: bool = False, untranslated: bool = False
) -> int:
    """Delete the entries, of one family or both, whose mark is this under the mask, and no others; `unanswered`: only
    where no reply has been seen, as of a SYN that nobody took; `untranslated`: only where no address was translated.
    About how many went: others come and go meanwhile.

    Some 1 ms per 1000 that go, spent in the kernel without the GIL: to be called in a thread. KernelError where
    connection tracking cannot be asked; ValueError for a mark without bits, or with others than the mask's.
    """
    if not mark or mark & ~mask:
        raise ValueError(f"mark {mark:#x} under mask {mask:#x} would be others'")
    wanted = _wanted(mark, mask, family)
    with closing(Netlink(NETLINK_NETFILTER)) as netlink:
        before = _size(netlink)
        lacking = (IPS_SEEN_REPLY if unanswered else 0) | (IPS_NAT if untranslated else 0)
        if not lacking:
            _ask(netlink, IPCTNL_MSG_CT_DELETE, wanted)
        elif _knows_status(netlink):
            _ask(netlink, IPCTNL_MSG_CT_DELETE, wanted + _status(0, lacking))
        else:
            forget_singly(netlink, mark, mask, family, lacking)
        return max(0, before - _size(netlink))


def forget_singly(
    netlink: Netlink, mark: int, mask: int, family: Family | None = None, lacking: int = IPS_SEEN_REPLY
) -> None:
    """Those that lack these bits of their status, on a kernel that cannot be told to delete these alone (before 5.15):
    listed, then deleted one by one, some 15 µs each. One that is answered in the moment between goes, too."""
    with closing(_slices(_wanted(mark, mask, family))) as slices:
        for body in (body for bodies in slices for body in bodies):
            found = dict(attributes(body, HEAD.size))
            if not _number(found, CTA_STATUS) & lacking:
                names = (kind for kind in (CTA_TUPLE_ORIG, CTA_ID, CTA_ZONE) if kind in found)
                named = b"".join(attribute(kind, found[kind]) for kind in names)
                _ask(netlink, IPCTNL_MSG_CT_DELETE, body[: HEAD.size] + named, gone=True)


def answered(flows: Iterable[Flow]) -> list[bool | None]:
    """Whether a reply to each has been seen; None where it is not tracked. Some 10 µs each; KernelError as forget()."""
    with closing(Netlink(NETLINK_NETFILTER)) as netlink:
        return [_answered(netlink, flow) for flow in flows]


def count(mark: int, mask: int, family: Family | None = None) -> int:
    """How many entries have this mark under the mask (0, 0: all there are). KernelError as forget()."""
    with closing(_slices(_wanted(mark, mask, family))) as slices:
        return sum(len(bodies) for bodies in slices)


def entries(mark: int, mask: int, family: Family | None = None) -> Generator[list[Entry], None, None]:
    """Those that count() counts, a datagram of the kernel's at a time: some 150 entries, 2 ms. What comes and goes
    meanwhile is listed or not. KernelError as forget()."""
    with closing(_slices(_wanted(mark, mask, family))) as slices:
        for bodies in slices:
            yield [entry(body) for body in bodies]


def hoard(mark: int, mask: int, family: Family | None = None) -> list[bytes]:
    """What the kernel tells of those that were answered (before 5.15: of all), as far as HOARD goes, to be read by
    hoarded() when there is time. 2 µs each."""
    with closing(Netlink(NETLINK_NETFILTER)) as netlink:
        _size(netlink)
        return netlink.hoard(
            IPCTNL_MSG_CT_GET, _wanted(mark, mask, family) + _status(IPS_SEEN_REPLY, IPS_SEEN_REPLY), HOARD
        )


def hoarded(datagrams: Iterable[bytes]) -> Iterator[Entry]:
    """The entries, some 15 µs each."""
    return map(entry, bodies(datagrams))


def entry(body: bytes) -> Entry:
    """One answer of the kernel's, read. Raises KernelError where it cannot be."""
    found = dict(attributes(body, HEAD.size))
    number = unpack(HEAD, body, "entry")[0]
    try:
        flow = _flow(FAMILIES_BY_NUMBER[number], found[CTA_TUPLE_ORIG])
    except (KeyError, IndexError) as error:
        raise garbled("entry") from error
    seen = bool(_number(found, CTA_STATUS) & IPS_SEEN_REPLY)
    return Entry(flow, _number(found, CTA_MARK), seen, _number(found, CTA_ID))


def of_flow(flow: Flow) -> bytes:
    """The addresses, protocol and ports of a flow, as ctnetlink takes them after HEAD in CTA_TUPLE_ORIG."""
    family = Family.of(flow.source)
    ends = attribute(CTA_IP_SOURCE[family], address_bytes(family, flow.source))
    ends += attribute(CTA_IP_DESTINATION[family], address_bytes(family, flow.destination))
    carried = attribute(CTA_PROTO_NUM, bytes((flow.protocol,)))
    carried += attribute(CTA_PROTO_SRC_PORT, _U16.pack(flow.source_port))
    carried += attribute(CTA_PROTO_DST_PORT, _U16.pack(flow.destination_port))
    return attribute(NLA_F_NESTED | CTA_TUPLE_IP, ends) + attribute(NLA_F_NESTED | CTA_TUPLE_PROTO, carried)


# --- messages --------------------------------------------------------------------------------------------------------


def _wanted(mark: int, mask: int, family: Family | None) -> bytes:
    head = HEAD.pack(FAMILY_NUMBERS[family], 1, 0) if family else _BOTH
    return head + _marked(mark, mask)


def _marked(mark: int, mask: int) -> bytes:
    return attribute(CTA_MARK, _U32.pack(mark)) + attribute(CTA_MARK_MASK, _U32.pack(mask))


def _status(bits: int, mask: int) -> bytes:
    return attribute(CTA_STATUS, _U32.pack(bits)) + attribute(CTA_STATUS_MASK, _U32.pack(mask))


_NOTHING: Final = _marked(1, 0)
"""No mark is 1 under this mask."""


def _knows_status(netlink: Netlink) -> bool:
    """Whether a deletion heeds CTA_STATUS_MASK (since Linux 5.15; a kernel that does not would delete all that has the
    mark). One that does refuses it alone; the rest of this deletion is of nothing."""
    try:
        netlink.request(IPCTNL_MSG_CT_DELETE, 0, _BOTH + _NOTHING + attribute(CTA_STATUS_MASK, _U32.pack(1)))
    except RequestError as error:
        return error.code == errno.EINVAL
    return False


def _size(netlink: Netlink) -> int:
    """How many entries there are. Raises KernelError where connection tracking cannot be asked."""
    for body in _ask(netlink, IPCTNL_MSG_CT_GET_STATS, _BOTH):
        return _number(dict(attributes(body, HEAD.size)), CTA_STATS_GLOBAL_ENTRIES)
    raise garbled("statistics")


def _answered(netlink: Netlink, flow: Flow) -> bool | None:
    head = HEAD.pack(FAMILY_NUMBERS[Family.of(flow.source)], 0, 0)
    asked = head + attribute(NLA_F_NESTED | CTA_TUPLE_ORIG, of_flow(flow))
    for body in _ask(netlink, IPCTNL_MSG_CT_GET, asked, gone=True):
        return entry(body).answered
    return None


def _slices(wanted: bytes) -> Generator[list[bytes], None, None]:
    """A dump of what has the mark, a datagram at a time; closing it is the only way to end one that is not wanted."""
    with closing(Netlink(NETLINK_NETFILTER)) as netlink:
        _size(netlink)  # it has no room for a refusal's code, and this has
        for piece in netlink.pieces(IPCTNL_MSG_CT_GET, wanted):
            yield piece.bodies


def _ask(netlink: Netlink, kind: int, body: bytes, *, gone: bool = False) -> list[bytes]:
    """What the kernel answers; `gone`: nothing, when there is no such entry. Raises KernelError."""
    try:
        return netlink.request(kind, 0, body)
    except RequestError as error:
        if gone and error.code == errno.ENOENT:
            return []
        raise refusal(error) from error


def refusal(error: RequestError) -> KernelError:
    """The kernel's no, with the mend. Our messages are sound: EINVAL comes where nobody takes them (nfnetlink.c)."""
    match error.code:
        case errno.EINVAL:
            return KernelError("nobody in the kernel tells of connection tracking", "modprobe nf_conntrack_netlink")
        case errno.EPERM:
            mend = "give the agent CAP_NET_ADMIN as an ambient capability"
            return KernelError("connection tracking may not be asked about", mend)
        case errno.EOPNOTSUPP:
            return KernelError("connection tracking has no marks", "take a kernel with CONFIG_NF_CONNTRACK_MARK")
        case _:
            return KernelError(f"connection tracking: {error.words}", "does `conntrack -L` work?")


def _flow(family: Family, data: bytes) -> Flow:
    parts = dict(attributes(data))
    ends, carried = dict(attributes(parts[CTA_TUPLE_IP])), dict(attributes(parts[CTA_TUPLE_PROTO]))
    return Flow(
        address_text(family, ends[CTA_IP_SOURCE[family]]),
        _port(carried, CTA_PROTO_SRC_PORT),
        address_text(family, ends[CTA_IP_DESTINATION[family]]),
        _port(carried, CTA_PROTO_DST_PORT),
        carried[CTA_PROTO_NUM][0],
    )


def _port(found: dict[int, bytes], kind: int) -> int:
    return unpack(_U16, found[kind], "port")[0] if kind in found else 0


def _number(found: dict[int, bytes], kind: int) -> int:
    """0 where it is not told."""
    return unpack(_U32, found[kind], "number")[0] if kind in found else 0
