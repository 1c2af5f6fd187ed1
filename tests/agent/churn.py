"""What befalls a van: the lab's faults, and what other programs do to its links, addresses, routes and rules.

At every moment at least one uplink has a default route in both families.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from failover.facts import TABLES_OWNED
from failover.lab import faults
from failover.lab.faults import Fault
from failover.lab.places import CARRIERS, GATEWAY6, Carrier
from failover.lab.rtnl import BLACKHOLE, RTPROT_DHCP, RTPROT_STATIC, Route, Rule
from failover.lab.wire import End, cable
from failover.lab.world import World
from tests.agent.inventory import RTA_DST, inventory
from tests.agent.running import facts, watching

OUR_PROTOCOL = 155
FOREIGN_TABLE, LOOKALIKE_TABLE, OUR_TABLE = 77, 99, 15500
FOREIGN_NET = {socket.AF_INET: "198.51.100.0/24", socket.AF_INET6: "2001:db8:77::/48"}
FOREIGN_RULES = [Rule(0, family, table=FOREIGN_TABLE, destination=net) for family, net in FOREIGN_NET.items()]
PREFS = {"below": 15000, "among": 15555, "between": 20000, "above": 33000}
"""Of the foreign rules, as seen from ours."""
KILL_SWITCH = 20500
SHUT_NET = {socket.AF_INET: "198.51.101.0/24", socket.AF_INET6: "2001:db8:78::/48"}
"""What a foreign rule between ours and main shuts: no packet may go there, ever."""
LATE_ADDRESS = "2001:db8:77::1"
LATE_ROUTE = (RTA_DST, socket.inet_pton(socket.AF_INET6, LATE_ADDRESS))
OTHER_HOST = 57
WLAN = 13


def plant(world: World) -> None:
    """Foreign objects of every kind, all of which must outlive everything."""
    van = world.van
    for route in _foreign_routes():
        van.rtnl.add_route(route)
    for rule in FOREIGN_RULES:
        for pref in PREFS.values():
            van.rtnl.add_rule(replace(rule, priority=pref))
    for family, net in SHUT_NET.items():
        van.rtnl.add_rule(Rule(KILL_SWITCH, family, action=BLACKHOLE, destination=net))
    van.sysctl("ipv4/conf/wlan0/ignore_routes_with_linkdown", 1)
    van.rtnl.add_address(1, "192.0.2.77/32")
    van.rtnl.add_address(1, f"{LATE_ADDRESS}/128")
    with watching(van) as wait:  # the kernel makes its local route a moment later
        wait(lambda _: any(thing[0] == "route" and LATE_ROUTE in thing for thing in inventory(van).foreign))


def _foreign_routes() -> Iterator[Route]:
    """A table of its own, one with our protocol, and a stranger in one of our tables."""
    for family, gateway in ((socket.AF_INET, "10.3.1.1"), (socket.AF_INET6, GATEWAY6)):
        yield Route("default", WLAN, gateway, metric=5, table=FOREIGN_TABLE, protocol=RTPROT_STATIC)
        yield Route(FOREIGN_NET[family], WLAN, gateway, metric=6, table=FOREIGN_TABLE, protocol=201)
        yield Route("default", WLAN, gateway, metric=1, table=LOOKALIKE_TABLE, protocol=OUR_PROTOCOL)
        yield Route(FOREIGN_NET[family], WLAN, gateway, metric=9, table=OUR_TABLE, protocol=RTPROT_STATIC)


class Churn:
    """What other programs do. `heal` puts an interface that came back under another index where it was."""

    def __init__(self, world: World) -> None:
        self._world, self._rtnl = world, world.van.rtnl
        self._index = {carrier.name: 10 + carrier.number for carrier in CARRIERS}

    # --- DHCP, modem managers ----------------------------------------------------------------------------------------

    def withdrawn(self, carrier: Carrier, family: int) -> Fault:
        """The default route leaves main and comes back."""
        return _fault(
            lambda: self._rtnl.remove_route(self._default(carrier, family)),
            lambda: self._rtnl.add_route(self._default(carrier, family)),
        )

    def renumbered(self, carrier: Carrier) -> Fault:
        """Another lease: the last IPv4 address goes, and the kernel drops all IPv4 routes of the device in silence."""
        return _fault(lambda: self._lease(carrier, 2, OTHER_HOST), lambda: self._lease(carrier, OTHER_HOST, 2))

    def _lease(self, carrier: Carrier, old: int, new: int) -> None:
        index, v6 = self._index[carrier.name], carrier.networks[1].removesuffix("::/64")
        self._rtnl.remove_address(index, f"10.{carrier.number}.1.{old}/24")
        self._rtnl.add_address(index, f"10.{carrier.number}.1.{new}/24")
        self._rtnl.add_route(self._default(carrier, socket.AF_INET))
        self._rtnl.add_address(index, f"{v6}::{new}/64")
        self._rtnl.remove_address(index, f"{v6}::{old}/64")

    def _default(self, carrier: Carrier, family: int) -> Route:
        """The carrier's default in main."""
        index = self._index[carrier.name]
        if family == socket.AF_INET:
            return Route("default", index, carrier.gateway, metric=carrier.metric, protocol=RTPROT_DHCP)
        return Route("default", index, GATEWAY6, metric=carrier.metric, protocol=RTPROT_STATIC)

    def switched_off(self, carrier: Carrier) -> Fault:
        """The interface is set down: the kernel drops its IPv4 routes in silence, and its IPv6 addresses too."""
        return _fault(lambda: self._rtnl.link_down(self._index[carrier.name]), lambda: self._switch_on(carrier))

    def _switch_on(self, carrier: Carrier) -> None:
        index = self._index[carrier.name]
        self._rtnl.link_up(index)
        self._rtnl.add_route(self._default(carrier, socket.AF_INET))
        self._rtnl.add_address(index, carrier.networks[1].replace("::/", "::2/"))
        self._rtnl.add_route(self._default(carrier, socket.AF_INET6))

    def flushed(self, carrier: Carrier) -> Fault:
        """Somebody empties every table of the device's routes but main, as NetworkManager does; and once more."""
        return _fault(lambda: self._flush(carrier), lambda: self._flush(carrier))

    def _flush(self, carrier: Carrier) -> None:
        index = self._index[carrier.name]
        for route in facts(self._world.van).routes:
            if route.interface == index and route.gateway and route.table in TABLES_OWNED:
                with suppress(ProcessLookupError):  # the agent may have been there first
                    self._rtnl.remove_route(
                        Route("default", index, route.gateway, route.metric, route.table, OUR_PROTOCOL)
                    )

    # --- modems that reset -------------------------------------------------------------------------------------------

    def replugged(self, carrier: Carrier) -> Fault:
        """The interface goes and is back at once under another index; then the same once more."""
        there, back = self._index[carrier.name] + 40, self._index[carrier.name]
        return _fault(lambda: self._replug(carrier, there), lambda: self._replug(carrier, back))

    def vanished(self, carrier: Carrier) -> Fault:
        """The interface goes, and is back later, under another index if it has its own now."""
        home = 10 + carrier.number
        other = home + 40 if self._index[carrier.name] == home else home
        return _fault(lambda: self._rtnl.remove_link(self._index[carrier.name]), lambda: self._plug_in(carrier, other))

    def heal(self) -> None:
        for carrier in CARRIERS:
            if self._index[carrier.name] != 10 + carrier.number:
                self._replug(carrier, 10 + carrier.number)

    def _replug(self, carrier: Carrier, index: int) -> None:
        self._rtnl.remove_link(self._index[carrier.name])
        self._plug_in(carrier, index)

    def _plug_in(self, carrier: Carrier, index: int) -> None:
        """As the lab does it."""
        self._index[carrier.name] = index
        world = self._world
        van, access = End(world.van, carrier.interface, index), world.ground.access(carrier.name)
        cable(van, access)
        van.sysctl("ipv4", "rp_filter", 1)
        van.up()
        world.ground.plug(carrier.name)
        for address in (f"{carrier.gateway}/24", carrier.networks[1].replace("::/", "::1/")):
            access.namespace.rtnl.add_address(access.index, address)
        self._rtnl.add_address(index, f"10.{carrier.number}.1.2/24")
        self._rtnl.add_route(self._default(carrier, socket.AF_INET))
        self._rtnl.add_address(index, carrier.networks[1].replace("::/", "::2/"))
        self._rtnl.add_route(self._default(carrier, socket.AF_INET6))

    # --- tunnels, containers -----------------------------------------------------------------------------------------

    def ruled(self) -> Fault:
        """A foreign rule before the kill switch makes way for two behind it: all copies change places."""
        between = [replace(rule, priority=PREFS["between"]) for rule in FOREIGN_RULES]
        others = [replace(rule, priority=21000 + extra, input="lo") for extra in (0, 500) for rule in FOREIGN_RULES]
        return _fault(lambda: self._swap(between, others), lambda: self._swap(others, between))

    def _swap(self, old: list[Rule], new: list[Rule]) -> None:
        for rule in old:
            self._rtnl.remove_rule(rule)
        for rule in new:
            self._rtnl.add_rule(rule)


def _fault(begin: Callable[[], None], end: Callable[[], None]) -> Fault:
    def at(change: Callable[[], None]) -> float:
        moment = time.monotonic()
        change()
        return moment

    return Fault(lambda: at(begin), lambda: at(end))


def troubles(world: World, churn: Churn, dice: random.Random) -> dict[str, Callable[[str], Fault]]:
    """What may befall the carrier of that name; some things befall any."""
    of = {carrier.name: carrier for carrier in CARRIERS}
    static = [carrier.name for carrier in CARRIERS if not carrier.advertised]

    def fixed(name: str) -> Carrier:
        """The depot's Wi-Fi has no default of IPv6 that we could take, and foreign routes that would go with it."""
        return of[name if name in static else dice.choice(static)]

    return {
        "blackout": lambda name: faults.blackout(world, name),
        "all-dead": lambda _: faults.all_dead(world),
        "one-way": lambda name: faults.one_way(world, name),
        "prohibited": lambda name: faults.prohibited(world, name),
        "dns-dead": lambda name: faults.dns_dead(world, name),
        "v6-blackhole": lambda name: faults.v6_blackhole(world, name),
        "router-silent": lambda name: faults.router_silent(world, name),
        "link-down": lambda name: faults.link_down(world, name),
        "withdrawn-v4": lambda name: churn.withdrawn(of[name], socket.AF_INET),
        "withdrawn-v6": lambda name: churn.withdrawn(fixed(name), socket.AF_INET6),
        "renumbered": lambda name: churn.renumbered(fixed(name)),
        "switched-off": lambda name: churn.switched_off(fixed(name)),
        "flushed": lambda name: churn.flushed(of[name]),
        "replugged": lambda name: churn.replugged(fixed(name)),
        "vanished": lambda name: churn.vanished(fixed(name)),
        "ruled": lambda _: churn.ruled(),
    }
