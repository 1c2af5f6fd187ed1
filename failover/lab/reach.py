"""Look from inside a namespace whether something answers over one interface: for the lab's own checks and for tests."""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path

from failover.lab.namespaces import Namespace
from failover.lab.places import APP, ECHO_PORT
from failover.model import Family

AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
IPPROTO_MPTCP = 262
"""Python has no name for it (socket.IPPROTO_MPTCP) on all systems."""


def speaks_multipath(namespace: Namespace) -> bool:
    """Whether the kernel has MPTCP, and it is switched on there."""
    try:
        namespace.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
    except OSError:
        return False
    return True


def multipath_counters(namespace: Namespace) -> dict[str, int]:
    """What the kernel has counted of MPTCP there, by its own names; nothing where it has none."""
    with namespace.entered():
        rows = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, values = ([row.split()[1:] for row in rows if row.startswith("MPTcpExt:")] + [[], []])[:2]
    return dict(zip(names, map(int, values), strict=True))


def bound_socket(namespace: Namespace, family: Family, kind: int, interface: str, protocol: int = 0) -> socket.socket:
    """A socket inside that speaks over that interface only."""
    opened = namespace.socket(AF[family], kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    return opened


def udp_echo(namespace: Namespace, family: Family, interface: str, timeout: float = 1.0) -> float | None:
    """Round trip of a datagram to the app server, seconds; None when no echo comes in time or nothing can be sent."""
    with bound_socket(namespace, family, socket.SOCK_DGRAM, interface) as opened:
        started = time.monotonic()
        try:
            opened.connect((APP[family], ECHO_PORT))
            opened.send(b"echo")
            if not select.select([opened], [], [], timeout)[0]:
                return None
            opened.recv(65536)
        except OSError:
            return None
        return time.monotonic() - started
