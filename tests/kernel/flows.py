"""The box of the kernel tests with a far end that takes every flow, and sockets of the van to be broken."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import ExitStack
from typing import Any

from failover.kernel import destroy as module
from failover.kernel.destroy import destroy
from failover.model import FAMILIES, Family
from failover.seam import DestroySockets, SocketsDestroyed

from .box import AF, GATEWAYS, INTERNET, OWN, V4, V6, WAN0, WAN1, Box

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
KINDS = (TCP, UDP)
PORT, OTHER_PORT, DNS = 4000, 4001, 53
NOWHERE = {V4: "203.0.113.77", V6: "2001:db8:f::77"}
"""The far end answers nothing that is sent there."""
SOURCE = OWN[WAN0]
MANY = 5000
PATIENCE = 20.0


class Place:
    """The box with default routes by wan0, and a far end that takes connections without a word."""

    def __init__(self, box: Box) -> None:
        self.box = box
        box.far.sysctl("core/somaxconn", 2 * MANY)
        self.servers: dict[tuple[str, int, int], socket.socket] = {}
        for family in FAMILIES:
            far = ["ip", f"-{family[-1]}", "route", "add", "blackhole", f"{NOWHERE[family]}/{family.bits}"]
            box.far.popen(far).wait()
            box.ip(f"-{family[-1]} route add default via {GATEWAYS[WAN0][family]} dev wan0")
            for address in (INTERNET[family], *(GATEWAYS[index][family] for index in (WAN0, WAN1))):
                for port in (PORT, OTHER_PORT, DNS):
                    for kind in KINDS:
                        self._serve(address, port, kind)

    def _serve(self, address: str, port: int, kind: int) -> None:
        server = self.box.far.socket(AF[Family.of(address)], kind)
        server.settimeout(PATIENCE)
        server.bind((address, port))
        if kind == TCP:
            server.listen(2 * MANY)
        self.servers[address, port, kind] = server

    def close(self) -> None:
        for server in self.servers.values():
            server.close()


def begun(stack: ExitStack, kind: int, source: str, port: int = 0, **options: int) -> socket.socket:
    """A socket that is bound and leaves nothing behind when it is closed."""
    opened = stack.enter_context(socket.socket(AF[Family.of(source)], kind))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for name, value in options.items():
        opened.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    opened.settimeout(PATIENCE)
    opened.bind((source, port))
    return opened


def connected(
    stack: ExitStack, kind: int, source: str, target: str = "", port: int = PORT, **options: int
) -> socket.socket:
    """To the internet unless told otherwise; of both families at once where the source is mapped."""
    opened = begun(stack, kind, source, **options)
    opened.connect((target or INTERNET[Family.of(source)], port))
    return opened


def mapped(address: str) -> str:
    return f"::ffff:{address}"


def order(family: Family, *addresses: str, **more: Any) -> DestroySockets:
    return DestroySockets("au", family, addresses or (SOURCE[family],), **more)


def came(wanted: DestroySockets, limit: int = module.LIMIT) -> SocketsDestroyed:
    """What comes of an order; AssertionError unless that is told last."""
    *slices, found = destroy(wanted, limit)
    assert slices == [None] * len(slices)
    assert found is not None
    assert found.order is wanted
    return found


def counts(wanted: DestroySockets) -> tuple[int, int]:
    """How many of TCP and UDP, without an error."""
    found = came(wanted)
    assert not found.error, found.error
    return found.tcp, found.udp


def broken(opened: socket.socket) -> bool:
    """Whether it was; AssertionError if anything else is wrong with it."""
    error = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert error in (0, errno.ECONNABORTED)
    return error != 0
