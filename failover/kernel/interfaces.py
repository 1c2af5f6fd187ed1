"""What the interfaces themselves count, out of one RTM_GETSTATS dump (linux/if_link.h). Decoding only.

All packets are among these: probes, neighbours' chatter, floods of a gateway over a dead upstream.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from failover.kernel.netlink import Netlink
from failover.kernel.wire import attributes, unpack

RTM_GETSTATS: Final = 94
IFLA_STATS_LINK_64: Final = 1
_HEAD: Final = struct.Struct("=BxxxII")
"""family, index, which statistics are asked for: bit (type - 1)."""
_STATS: Final = struct.Struct("=4Q")
"""The first of struct rtnl_link_stats64."""
ASKED: Final = _HEAD.pack(0, 0, 1 << (IFLA_STATS_LINK_64 - 1))


class Passed(NamedTuple):
    """What came in and went out since the interface was made."""

    received_packets: int
    sent_packets: int
    received_bytes: int
    sent_bytes: int


def passed(netlink: Netlink) -> Mapping[int, Passed]:
    """Of every interface, by its index. Raises KernelError."""
    found: dict[int, Passed] = {}
    for body in netlink.dump(RTM_GETSTATS, ASKED).bodies:
        _, index, _ = unpack(_HEAD, body, "statistics")
        for kind, payload in attributes(body, _HEAD.size):
            if kind == IFLA_STATS_LINK_64:
                found[index] = Passed(*unpack(_STATS, payload, "statistics"))
    return found
