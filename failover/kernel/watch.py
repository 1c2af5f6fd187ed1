"""The kernel's own word that something changed: a multicast socket, and a quick look at each event.

What lives here: which events matter, and how urgently. What the kernel's state is now, `Kernel.read` tells.
"""

from __future__ import annotations

import array
import contextlib
import enum
import errno
import os
import socket
import struct
from typing import Final

from failover.facts import PREFS_OWNED, TABLE_MAIN, TABLES_OWNED, Address
from failover.kernel import links, routes, rules
from failover.kernel.wire import Message, attributes, messages, read_u32, unpack
from failover.model import Family, KernelError

GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000 | 0x800000 | 0x1000000
"""RTNLGRP_LINK, and address, route, rule and netconf of IPv4 and IPv6 (linux/rtnetlink.h)."""
RTM_NEWNETCONF: Final = 80
"""A sysctl of a device changed: forwarding, rp_filter, ignore_routes_with_linkdown (linux/netconf.h)."""
BUFFER: Final = 65536
QUEUE_BYTES: Final = 4 << 20
"""Some 3000 events."""
DRAIN_DATAGRAMS: Final = 512
"""At most so many at once: the loop has other things to do, and the descriptor stays readable."""
ADDRESSES_MAX: Final = 1024
"""Addresses remembered; one forgotten costs a read."""
SO_ATTACH_FILTER: Final = 26
SO_RCVBUFFORCE: Final = 33
AF_BRIDGE: Final = 7
LINK_STATE: Final = links.IFF_UP | links.IFF_LOWER_UP


class Dirty(enum.IntEnum):
    """What an event comes to; several come to the greatest of them."""

    CLEAN = 0
    CHANGED = 1
    """Something that `Facts` holds may have changed: read soon."""
    URGENT = 2
    """A link came, went, or changed its state, somebody else was in our tables and prefs, or events were lost and it
    may have been anything: read at once."""


class Watch:
    """Events of the namespace that the calling thread is in; those that `own_port` caused are passed over."""

    def __init__(self, own_port: int, queue_bytes: int = QUEUE_BYTES) -> None:
        self._own_port = own_port
        self._links: dict[int, tuple[object, ...]] = {}
        """The state last seen of each link: Wi-Fi tells of every scan in the words of a change."""
        self._addresses: dict[tuple[int, str], Address] = {}
        """The addresses told of: each router advertisement tells of its own again."""
        self._buffer = bytearray(BUFFER)
        self._queue_bytes = queue_bytes
        self._socket = _opened(queue_bytes)

    def fileno(self) -> int:
        """For the event loop: readable when there is something to drain."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def reopen(self) -> None:
        """A new socket, and descriptor, in place of one of no more use; what was told meanwhile is lost.

        KernelError, and the old one, when there is none.
        """
        fresh = _opened(self._queue_bytes)
        self.close()
        self._socket = fresh
        self._forget()

    def drain(self) -> Dirty:
        """What the waiting events come to; never waits. KernelError when the socket is of no more use."""
        dirty = Dirty.CLEAN
        for _ in range(DRAIN_DATAGRAMS):
            try:
                size, (sender, _) = self._socket.recvfrom_into(self._buffer, BUFFER, socket.MSG_TRUNC)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"no events from the kernel: {os.strerror(error.errno or 0)}") from error
                self._forget()
                dirty = Dirty.URGENT
                continue
            if sender == 0:
                dirty = max(dirty, self._judge(size))
        return dirty

    def _forget(self) -> None:
        """What was seen before events were lost."""
        self._links.clear()
        self._addresses.clear()

    def _judge(self, size: int) -> Dirty:
        """What cannot be read counts as lost."""
        if size > BUFFER:
            return Dirty.URGENT
        dirty = Dirty.CLEAN
        try:
            for event in messages(bytes(self._buffer[:size])):
                if event.port != self._own_port or self._own_port == 0:
                    dirty = max(dirty, self._judge_one(event))
        except KernelError:
            return Dirty.URGENT
        return dirty

    def _judge_one(self, event: Message) -> Dirty:
        match event.kind:
            case links.RTM_NEWLINK | links.RTM_DELLINK:
                return self._link(event)
            case links.RTM_NEWADDR | links.RTM_DELADDR:
                return self._address(event)
            case routes.RTM_NEWROUTE | routes.RTM_DELROUTE:
                return _route(event.body)
            case rules.RTM_NEWRULE | rules.RTM_DELRULE:
                return _rule(event.body)
            case kind if kind == RTM_NEWNETCONF:
                return Dirty.CHANGED
            case _:
                return Dirty.CLEAN

    def _link(self, event: Message) -> Dirty:
        """Every event of a link makes dirty: IPv4 routes go with it in silence. A change of its state is urgent."""
        family, _, _, index, flags, _ = unpack(links.IFINFO, event.body, "link")
        if family == AF_BRIDGE:
            return Dirty.CLEAN
        if event.kind == links.RTM_DELLINK:
            self._links.pop(index, None)
            return Dirty.URGENT
        found = links.link(event.body)
        state = (found.name, flags & LINK_STATE, found.carrier)
        if self._links.get(index) == state:
            return Dirty.CHANGED
        self._links[index] = state
        return Dirty.URGENT

    def _address(self, event: Message) -> Dirty:
        """A lifetime that is only prolonged changes nothing that `Facts` holds."""
        found = links.global_address(event.body)
        if found is None:
            return Dirty.CLEAN
        key = found.index, found.address
        if event.kind == links.RTM_DELADDR:
            self._addresses.pop(key, None)
            return Dirty.CHANGED
        if self._addresses.get(key) == found:
            return Dirty.CLEAN
        if len(self._addresses) >= ADDRESSES_MAX:
            self._addresses.clear()
        self._addresses[key] = found
        return Dirty.CHANGED


def _route(body: bytes) -> Dirty:
    if routes.is_pin(body):
        return Dirty.CHANGED
    table = routes.table_of(body)
    if table in TABLES_OWNED:
        return Dirty.URGENT
    return Dirty.CHANGED if table == TABLE_MAIN else Dirty.CLEAN


def _rule(body: bytes) -> Dirty:
    unpack(rules.RULE, body, "rule")
    found = dict(attributes(body, rules.RULE.size))
    priority = read_u32(found[rules.FRA_PRIORITY]) if rules.FRA_PRIORITY in found else 0
    return Dirty.URGENT if priority in PREFS_OWNED else Dirty.CHANGED


def _opened(queue_bytes: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    try:
        listener = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        _enlarge(listener, queue_bytes)
        _skip_other_routes(listener)
        listener.bind((0, GROUPS))
    except OSError as error:
        raise KernelError(f"no events from the kernel: {error.strerror}") from error
    return listener


def _enlarge(listener: socket.socket, size: int) -> None:
    """Beyond the system's limit where we may."""
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except OSError:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _skip_other_routes(listener: socket.socket) -> None:
    """Let the kernel drop the events of routes that are neither defaults nor set host routes of main, before they are
    queued.

    Thousands of them a second cost nothing then. Without the filter they are only skipped later.
    """
    kind_at, length_at, table_at, protocol_at, keep = 4, 17, 20, 21, 0xFFFFFFFF
    program = (
        (0x28, 0, 0, kind_at),  # load the message type, which is read in network order
        (0x15, 1, 0, socket.htons(routes.RTM_NEWROUTE)),
        (0x15, 0, 9, socket.htons(routes.RTM_DELROUTE)),
        (0x30, 0, 0, length_at),  # load the length of the route's destination
        (0x15, 7, 0, 0),
        (0x15, 1, 0, Family.IPV4.bits),
        (0x15, 0, 6, Family.IPV6.bits),
        (0x30, 0, 0, table_at),
        (0x15, 0, 4, TABLE_MAIN),
        (0x30, 0, 0, protocol_at),
        (0x15, 1, 0, routes.RTPROT_STATIC),
        (0x15, 0, 1, routes.RTPROT_BOOT),
        (0x06, 0, 0, keep),
        (0x06, 0, 0, 0),
    )
    code = array.array("B", b"".join(struct.pack("=HBBI", *step) for step in program))
    with contextlib.suppress(OSError):
        where, _ = code.buffer_info()
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), where))
