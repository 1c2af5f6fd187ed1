"""What a namespace holds, bit by bit, told apart by who made it. Nothing of the product decodes it.

Left out is what changes by itself: lifetimes and counters.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from failover.kernel.netlink import Netlink
from failover.kernel.wire import attributes
from failover.lab.namespaces import Namespace

RTM_GETLINK = 18
ADDRESSES = RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
ROUTES = RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RULES = RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
HEADS = {RTM_GETLINK: 16, RTM_GETADDR: 8, RTM_GETROUTE: 12, RTM_GETRULE: 12}
"""Bytes before the attributes."""
RUNNING = {RTM_GETADDR: {6}, RTM_GETROUTE: {12, 23}, RTM_GETRULE: set[int]()}
"""Attributes that run: IFA_CACHEINFO, RTA_CACHEINFO, RTA_EXPIRES."""
LINK_KEPT = {1, 3, 4, 16}
"""Of a link: address, name, MTU, state; the rest is counters."""
FAMILIES = (int(socket.AF_INET), int(socket.AF_INET6))
OUR_PROTOCOL, OUR_NUMBERS = 155, range(15500, 15600)
TABLE_MAIN = 254
"""Has the defaults of bearers, with metrics of ours."""
RTA_DST, RTA_PRIORITY, RTA_TABLE, FRA_PRIORITY, FRA_PROTOCOL, IFA_PROTO = 1, 6, 15, 6, 21, 11
FIB_SYSCTLS = Path("/proc/sys/net")

Thing = tuple[object, ...]


@dataclass(frozen=True)
class Inventory:
    ours: Counter[Thing]
    foreign: Counter[Thing]

    def foreign_changes(self, before: Inventory) -> tuple[list[Thing], list[Thing]]:
        """What of others is there that was not, and what is not that was."""
        return list((self.foreign - before.foreign).elements()), list((before.foreign - self.foreign).elements())


def number(found: dict[int, bytes], kind: int) -> int:
    """A 32-bit attribute; 0 where there is none."""
    return int(struct.unpack("=I", found[kind])[0]) if kind in found else 0


def is_ours(kind: int, body: bytes) -> bool:
    """Whether a route or rule carries our tag within our numbers, or an address our tag."""
    if kind in ADDRESSES:
        return dict(attributes(body, HEADS[RTM_GETADDR])).get(IFA_PROTO) == bytes((OUR_PROTOCOL,))
    if kind not in (*ROUTES, *RULES):
        return False
    found = dict(attributes(body, HEADS[RTM_GETROUTE]))
    if kind in ROUTES:
        table, metric = number(found, RTA_TABLE), number(found, RTA_PRIORITY)
        return body[5] == OUR_PROTOCOL and (metric if table == TABLE_MAIN else table) in OUR_NUMBERS
    return found.get(FRA_PROTOCOL) == bytes((OUR_PROTOCOL,)) and number(found, FRA_PRIORITY) in OUR_NUMBERS


def inventory(namespace: Namespace) -> Inventory:
    """Links, addresses, routes of all tables, rules, and the sysctls of IPv4 and IPv6."""
    found = Inventory(Counter(), Counter())
    with namespace.entered(), contextlib.closing(Netlink()) as netlink:
        for kind in HEADS:
            for family in (0,) if kind == RTM_GETLINK else FAMILIES:
                request = bytes((family,)) + bytes(HEADS[kind] - 1)
                for body in netlink.dump(kind, request).bodies:
                    owner = found.ours if is_ours(kind, body) else found.foreign
                    owner[_still(kind, body)] += 1
        found.foreign.update(_sysctls())
    return found


def _still(kind: int, body: bytes) -> Thing:
    if kind == RTM_GETLINK:
        index, flags = struct.unpack_from("=iI", body, 4)
        kept = sorted((name, value) for name, value in attributes(body, HEADS[kind]) if name in LINK_KEPT)
        return "link", index, flags, *kept
    words = {RTM_GETADDR: "address", RTM_GETROUTE: "route", RTM_GETRULE: "rule"}
    still = sorted((name, value) for name, value in attributes(body, HEADS[kind]) if name not in RUNNING[kind])
    return words[kind], body[: HEADS[kind]], *still


def _sysctls() -> Iterator[Thing]:
    """Those that can be read, of the namespace that the thread is in."""
    for family in ("ipv4", "ipv6"):
        for path in sorted((FIB_SYSCTLS / family).rglob("*")):
            with contextlib.suppress(OSError):
                if path.is_file():
                    yield "sysctl", str(path), path.read_text()
