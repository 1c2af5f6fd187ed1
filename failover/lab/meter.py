"""Counts, on the wire, the IP bytes that go to and from the internet's probe targets, per interface of the van.

So what probes cost is measured, and not what the agent says of it. The van's user talks to another server (places.py).
"""

from __future__ import annotations

import ipaddress
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable

from failover.lab.namespaces import Namespace
from failover.lab.places import NAMES, TARGETS

Hear = Callable[[float, str, bytes], None]
"""Gets each IP packet: monotonic moment, interface, bytes; called in the meter's thread."""

ETH_P_ALL = 3
ETHERNET = 14


def _targets() -> frozenset[bytes]:
    texts = [text for texts in TARGETS.values() for text in texts]
    texts += [text for known in NAMES.values() for text in known.values()]
    return frozenset(ipaddress.ip_address(text).packed for text in texts)


class Meter:
    """A packet socket per interface, read by a thread, while entered."""

    def __init__(self, namespace: Namespace, interfaces: Iterable[str], hear: Hear | None = None) -> None:
        self._sockets = {name: namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) for name in interfaces}
        self._bytes = dict.fromkeys(self._sockets, 0)
        self._targets = _targets()
        self._hear = hear
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._count)
        for name, opened in self._sockets.items():
            opened.bind((name, ETH_P_ALL))

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join()
        for opened in (*self._sockets.values(), self._stopped):
            opened.close()

    def counted(self) -> dict[str, int]:
        """IP bytes so far, both directions, by interface."""
        return dict(self._bytes)

    def _count(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stopped, selectors.EVENT_READ, None)
            for name, opened in self._sockets.items():
                selector.register(opened, selectors.EVENT_READ, name)
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    packet = self._sockets[key.data].recv(65536)[ETHERNET:]
                    self._bytes[key.data] += self._weigh(packet)
                    if self._hear is not None:
                        self._hear(time.monotonic(), key.data, packet)

    def _weigh(self, packet: bytes) -> int:
        """IP bytes of a packet from or to a target; 0 for all others."""
        if packet[:1] and packet[0] >> 4 == 4 and {packet[12:16], packet[16:20]} & self._targets:
            return int.from_bytes(packet[2:4], "big")
        if packet[:1] and packet[0] >> 4 == 6 and {packet[8:24], packet[24:40]} & self._targets:
            return 40 + int.from_bytes(packet[4:6], "big")
        return 0
