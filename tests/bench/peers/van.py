"""The van that every peer gets: the lab with two carriers and IPv4, which is what all of them can do.

What lives here: the world and what is asked of its kernel. No peer.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from failover.lab.ground import Ground
from failover.lab.namespaces import Namespace
from failover.lab.places import APP, CARRIERS, ECHO_PORT, GATEWAY6, Carrier
from failover.lab.rtnl import Route
from failover.lab.wire import End
from failover.lab.world import World
from failover.model import Family

UPLINKS: Final = CARRIERS[:2]
"""au, which is preferred and breaks; docomo."""
LOOSE: Final = 2
"""rp_filter as Debian sets it: a strict one drops the answers to whatever asks over the idle uplink."""
RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE = 0x40, 0x80
LOOK_INTERVAL = 0.05
ASK_INTERVAL = 0.2
"""Seconds; a daemon's own command to ask it costs as much CPU as the daemon does in some seconds."""


@contextmanager
def van(seed: int, round_trip: float) -> Iterator[World]:
    """A world with au and docomo over IPv4 and nothing else; round trip in seconds."""
    with World(seed, round_trip / 2, LOOSE) as world:
        kernel = world.van.rtnl
        for carrier in CARRIERS[2:]:
            kernel.remove_link(end_of(world.ground, carrier).index)
        for carrier in UPLINKS:
            kernel.remove_route(Route("default", end_of(world.ground, carrier).index, GATEWAY6, carrier.metric))
        yield world


def without_defaults(world: World) -> None:
    """Leave the default routes to the peer."""
    for carrier in UPLINKS:
        index = end_of(world.ground, carrier).index
        world.van.rtnl.remove_route(Route("default", index, carrier.gateway, carrier.metric, protocol=0))


def without_addresses(world: World) -> None:
    """Leave addresses and default routes to the peer."""
    for carrier in UPLINKS:
        for family, length in ((Family.IPV4, 24), (Family.IPV6, 64)):
            world.van.rtnl.remove_address(end_of(world.ground, carrier).index, f"{carrier.address[family]}/{length}")


def end_of(ground: Ground, carrier: Carrier) -> End:
    """The van's end of that carrier's cable, as ground.py makes it."""
    return End(ground.van, carrier.interface, 10 + carrier.number)


class Departure:
    """By which uplink a new flow to the user's server would leave, as the kernel has it. Sends nothing."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._names = {carrier.address[Family.IPV4]: carrier.name for carrier in UPLINKS}
        self._events = namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.bind((0, RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_RULE))
        self._events.setblocking(False)

    def __enter__(self) -> Departure:
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()

    def by(self) -> str:
        """The carrier's name; empty where no route leads."""
        with self._namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                asked.connect((APP[Family.IPV4], ECHO_PORT))
            except OSError:
                return ""
            return self._names.get(asked.getsockname()[0], "")

    def wait(self, carrier: str, timeout: float) -> float | None:
        """Wait until new flows leave by that carrier; the monotonic moment, None after so many seconds."""
        deadline = time.monotonic() + timeout
        while self.by() != carrier:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._until_changed(min(left, LOOK_INTERVAL))
        return time.monotonic()

    def _until_changed(self, timeout: float) -> None:
        if select.select([self._events], [], [], timeout)[0]:
            try:
                self._events.recv(65536)
            except OSError:  # more messages than fit: something has changed
                return


def until(true: Callable[[], bool], timeout: float, what: str) -> None:
    """Look again and again; AssertionError that names what did not come within so many seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
        select.select([], [], [], ASK_INTERVAL)
