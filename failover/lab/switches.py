"""When the kernel took a switch: the moments at which the way of new flows, table 15500, was replaced in the van.

Heard from the kernel and not from the agent, and parsed by pyroute2 and not by the product's own netlink code.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass

from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from failover.facts import METRIC_CHOSEN, TABLE_ACTIVE
from failover.lab.namespaces import Namespace
from failover.lab.reach import AF
from failover.model import Family

ROUTE_GROUPS = 0x40 | 0x400
"""RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE."""
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Switch:
    """New flows of a family go by this interface from that monotonic moment on."""

    at: float
    family: Family
    interface: str


class Switches:
    """Every one from the moment it is entered."""

    def __init__(self, van: Namespace, table: int = TABLE_ACTIVE) -> None:
        """`table`: whose first route is meant."""
        self._table = table
        self._events = van.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.bind((0, ROUTE_GROUPS))
        with van.entered():
            self._names: dict[int | None, str] = dict(socket.if_nameindex())
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._listen, name="switches")
        self._found: deque[Switch] = deque(maxlen=KEPT)
        self._more = threading.Condition()

    def __enter__(self) -> Switches:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join()
        for opened in (self._events, self._stopped):
            opened.close()

    def since(self, moment: float) -> list[Switch]:
        """Those from that moment on, oldest first."""
        with self._more:
            return [switch for switch in self._found if switch.at >= moment]

    def left(self, interface: str, family: Family, since: float, timeout: float) -> float | None:
        """Wait for the first switch of the family to another interface from `since` on: its moment; None on timeout."""

        def found() -> float | None:
            others = (one for one in self.since(since) if one.family is family and one.interface != interface)
            return next((one.at for one in others), None)

        with self._more:
            self._more.wait_for(lambda: found() is not None, timeout)
            return found()

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stopped, selectors.EVENT_READ)
            selector.register(self._events, selectors.EVENT_READ)
            while all(key.fileobj is self._events for key, _ in selector.select()):
                data, now = self._events.recv(65536), time.monotonic()
                self._take(data, now)

    def _take(self, data: bytes, now: float) -> None:
        for message in MarshalRtnl().parse(data):
            attributes = dict(message["attrs"])
            key = attributes.get("RTA_TABLE"), attributes.get("RTA_PRIORITY")
            if message["event"] == "RTM_NEWROUTE" and key == (self._table, METRIC_CHOSEN):
                family = next(family for family, number in AF.items() if number == message["family"])
                switch = Switch(now, family, self._names.get(attributes.get("RTA_OIF"), ""))
                with self._more:
                    self._found.append(switch)
                    self._more.notify_all()
