"""The counters of our nftables table, read through one raw netlink dump; and whether that table is there, whole, ours.

Reading only (linux/netfilter/nf_tables.h): what the table looks like and how it is made is in nft.py. No child of nft
is started here, as that takes 5 ms and this happens twenty times a second.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from failover.kernel.netlink import Netlink
from failover.kernel.nft import COMMENT, MARKER, TABLE
from failover.kernel.wire import attribute, attributes, garbled, unpack

NETLINK_NETFILTER: Final = 12
NFNL_SUBSYS_NFTABLES: Final = 10
NFPROTO_INET: Final = 1
NFT_MSG_GETTABLE: Final = NFNL_SUBSYS_NFTABLES << 8 | 1
NFT_MSG_GETCHAIN: Final = NFNL_SUBSYS_NFTABLES << 8 | 4
NFT_MSG_GETRULE: Final = NFNL_SUBSYS_NFTABLES << 8 | 7
NFT_MSG_GETOBJ: Final = NFNL_SUBSYS_NFTABLES << 8 | 19
NFTA_TABLE_NAME: Final = 1
NFTA_CHAIN_TABLE: Final = 1
NFTA_RULE_TABLE: Final = 1
NFTA_OBJ_TABLE: Final = 1
NFTA_OBJ_NAME: Final = 2
NFTA_OBJ_TYPE: Final = 3
NFTA_OBJ_DATA: Final = 4
NFTA_OBJ_USERDATA: Final = 8
NFTA_COUNTER_BYTES: Final = 1
NFTA_COUNTER_PACKETS: Final = 2
NFT_OBJECT_COUNTER: Final = 1

_HEAD: Final = struct.Struct("!BBH")
"""family, version, the lower half of the ruleset's generation (linux/netfilter/nfnetlink.h)."""
_U64: Final = struct.Struct("!Q")
_ATTRIBUTE_HEAD: Final = 4
"""Bytes."""
_INET: Final = _HEAD.pack(NFPROTO_INET, 0, 0)
_NAME: Final = TABLE.name.encode() + b"\0"
_WORD: Final = COMMENT.encode()
_KIND: Final = attribute(NFTA_OBJ_TYPE, struct.pack("!I", NFT_OBJECT_COUNTER))
_ASKED: Final = _INET + attribute(NFTA_OBJ_TABLE, _NAME) + _KIND


class Standing(enum.Enum):
    """Whose the table is."""

    ABSENT = enum.auto()
    OURS = enum.auto()
    FOREIGN = enum.auto()
    """Somebody else's of the same name."""


class Count(NamedTuple):
    """What one counter has come to."""

    packets: int
    bytes: int


class Reading(NamedTuple):
    """Every counter of the table by its name, none where there is no table."""

    counts: Mapping[str, Count]
    generation: int
    """Another one whenever anybody has changed any table of the namespace; 0 while there is nothing to read."""


class _Place(NamedTuple):
    """Where the numbers of one counter are, as long as all that comes before them stays the same."""

    before: bytes
    """From the end of the message's head up to the numbers."""
    packets: int
    bytes: int
    name: str


class Counters:
    """Those in the thread's network namespace; KernelError where nf_tables cannot be asked."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_NETFILTER)
        self._places: list[_Place] = []
        """Of the last reading: most are the same in the next one, and to look there is ten times as quick."""

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def read(self) -> Reading:
        """All of them, out of one state."""
        bodies = self._netlink.dump(NFT_MSG_GETOBJ, _ASKED).bodies
        counts: dict[str, Count] = {}
        if len(bodies) != len(self._places):
            self._places = [_place(body) for body in bodies]
        for number, body in enumerate(bodies):
            place = self._places[number]
            if not body.startswith(place.before, _HEAD.size):
                place = self._places[number] = _place(body)
            packets, size = _U64.unpack_from(body, place.packets), _U64.unpack_from(body, place.bytes)
            counts[place.name] = Count(packets[0], size[0])
        return Reading(counts, unpack(_HEAD, bodies[0], "counter")[2] if bodies else 0)

    def standing(self) -> Standing:
        """Whether there is such a table, and whose: ours has a counter MARKER with our COMMENT."""
        tables = self._netlink.dump(NFT_MSG_GETTABLE, _INET).bodies
        if not any((NFTA_TABLE_NAME, _NAME) in attributes(body, _HEAD.size) for body in tables):
            return Standing.ABSENT
        counters = self._netlink.dump(NFT_MSG_GETOBJ, _ASKED).bodies
        ours = any(_WORD in _comment(body) for body in counters if _name(body) == MARKER)
        return Standing.OURS if ours else Standing.FOREIGN

    def made(self) -> tuple[bytes, ...]:
        """The table, its chains and rules as the kernel tells them: the same as long as nobody has changed one (put it
        to sleep, given a chain another policy)."""
        asked = _INET + attribute(NFTA_RULE_TABLE, _NAME)
        return (
            *self._ours(NFT_MSG_GETTABLE, NFTA_TABLE_NAME),
            *self._ours(NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE),
            *(body[_HEAD.size :] for body in self._netlink.dump(NFT_MSG_GETRULE, asked).bodies),
        )

    def _ours(self, message: int, key: int) -> Iterator[bytes]:
        """What is of our table, where the kernel cannot be asked for that alone."""
        for body in self._netlink.dump(message, _INET).bodies:
            if (key, _NAME) in attributes(body, _HEAD.size):
                yield body[_HEAD.size :]


def _name(body: bytes) -> str:
    """Of an object."""
    return _text(dict(attributes(body, _HEAD.size)).get(NFTA_OBJ_NAME, b""))


def _comment(body: bytes) -> bytes:
    return dict(attributes(body, _HEAD.size)).get(NFTA_OBJ_USERDATA, b"")


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode("utf-8", "replace")


def _place(body: bytes) -> _Place:
    """Look where the numbers of a counter are. Raises KernelError where there are none."""
    found = {kind: (start, payload) for kind, start, payload in _placed(body, _HEAD.size)}
    start, data = found.get(NFTA_OBJ_DATA, (len(body), b""))
    numbers = {kind: start + at for kind, at, payload in _placed(data, 0) if len(payload) == _U64.size}
    try:
        packets, size = numbers[NFTA_COUNTER_PACKETS], numbers[NFTA_COUNTER_BYTES]
        name = _text(found[NFTA_OBJ_NAME][1])
    except KeyError as error:
        raise garbled("counter") from error
    return _Place(body[_HEAD.size : start], packets, size, name)


def _placed(data: bytes, offset: int) -> Iterator[tuple[int, int, bytes]]:
    """(type, where the payload begins, payload) of each attribute."""
    for kind, payload in attributes(data, offset):
        yield kind, offset + _ATTRIBUTE_HEAD, payload
        offset += (_ATTRIBUTE_HEAD + len(payload) + 3) & ~3
