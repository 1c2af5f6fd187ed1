"""Cables between namespaces: veth pairs with fixed names, indexes and MACs, and without offloads.

What lives here: how one cable is made. Who is connected to whom is in ground.py.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from dataclasses import dataclass

from failover.lab.namespaces import Namespace

SIOCETHTOOL = 0x8946
# linux/ethtool.h: set rx checksum, tx checksum, scatter-gather, TSO, GSO, GRO
OFFLOADS = (0x15, 0x17, 0x19, 0x1F, 0x24, 0x2C)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable. Its index differs from the other end's: the kernel then reports a carrier change at once."""

    namespace: Namespace
    name: str
    index: int

    @property
    def mac(self) -> bytes:
        """A locally administered address, the same in every run: 02, a sum of the names, the index."""
        label = f"{self.namespace.name}/{self.name}".encode()
        return b"\x02" + sum(n * byte for n, byte in enumerate(label, 1)).to_bytes(4, "big") + bytes((self.index,))

    def up(self) -> None:
        """Set this end up; the cable carries once both are."""
        self.namespace.rtnl.link_up(self.index)

    def down(self) -> None:
        """Set this end down: the other end loses its carrier."""
        self.namespace.rtnl.link_down(self.index)

    def sysctl(self, family: str, key: str, value: int) -> None:
        """Write net.FAMILY.conf.NAME.KEY of this interface; family "ipv4" or "ipv6"."""
        self.namespace.sysctl(f"{family}/conf/{self.name}/{key}", value)


def cable(one: End, other: End) -> None:
    """Connect two namespaces; both ends are left down. Offloads are off: packets are complete, checksums too."""
    one.namespace.rtnl.veth(one, other, other.namespace.fd)
    for end in (one, other):
        with end.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for command in OFFLOADS:
                _ethtool(control, end.name, command, 0)


def _ethtool(control: socket.socket, name: str, command: int, value: int) -> None:
    request = ctypes.create_string_buffer(struct.pack("=II", command, value))
    fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(request)))
