"""The ground of the lab: namespaces, cables, addresses and routes, without any process. Who is connected to whom.

    van --wwan0-- router au     --core-- link -- internet (targets, servers)
        --wwan1-- router docomo --core-- link --
        --wlan0-- router depot  --core-- link --      each router also --walled-- walled (a captive portal)
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass

from failover.lab.namespaces import Namespace
from failover.lab.places import CARRIERS, GATEWAY6, Carrier, internet_addresses
from failover.lab.rtnl import LOCAL, RTPROT_DHCP, RTPROT_STATIC, Route, Rule
from failover.lab.wire import End, cable
from failover.model import Family

LOCAL_TABLE = 255
LOCAL_PRIORITY = 100
"""Where `lookup local` stands in the routers and in the internet: faults may come before it."""
WALLED_TABLE = 80
AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
EVERYTHING = {socket.AF_INET: "0.0.0.0/0", socket.AF_INET6: "::/0"}


@dataclass(frozen=True, slots=True)
class Ground:
    """The namespaces. The routers' ends: "access" to the van, "core" to the internet, "walled"."""

    van: Namespace
    internet: Namespace
    walled: Namespace
    between: Namespace
    """Where the link runs: CARRIER-r goes to the router, CARRIER-i to the internet."""
    routers: dict[str, Namespace]

    def access(self, carrier: str) -> End:
        """The router's end of the van's cable."""
        return End(self.routers[carrier], "access", 2)


def lay(stack: ExitStack) -> Ground:
    """Build it all; closing the stack lets go of it."""

    def namespace(name: str) -> Namespace:
        return _quiet(stack.enter_context(Namespace(name)))

    routers = {carrier.name: namespace(carrier.name) for carrier in CARRIERS}
    ground = Ground(namespace("van"), namespace("internet"), namespace("walled"), namespace("between"), routers)
    ground.between.sysctl("ipv6/conf/default/disable_ipv6", 1)
    _prepare_internet(ground)
    for router in routers.values():
        _prepare_router(router)
    for carrier in CARRIERS:
        _connect_van(ground, carrier)
        _connect_internet(ground, carrier)
        _connect_walled(ground, carrier)
    return ground


def _quiet(namespace: Namespace) -> Namespace:
    """The same defaults on every machine: nothing filtered, nothing learned, no wait for duplicate addresses."""
    for key in ("all", "default"):
        namespace.sysctl(f"ipv6/conf/{key}/accept_dad", 0)
        namespace.sysctl(f"ipv4/conf/{key}/rp_filter", 0)
        namespace.sysctl(f"ipv4/conf/{key}/forwarding", 0)
    namespace.sysctl("ipv6/conf/default/accept_ra", 0)
    namespace.sysctl("ipv6/conf/default/use_tempaddr", 0)
    return namespace


def _prepare_internet(ground: Ground) -> None:
    for address in internet_addresses():
        ground.internet.rtnl.add_address(1, f"{address}/{128 if ':' in address else 32}")
    _move_local_rule(ground.internet)
    for family, everything in EVERYTHING.items():
        ground.walled.rtnl.add_route(Route(everything, 1, family=family, table=WALLED_TABLE, kind=LOCAL))


def _prepare_router(router: Namespace) -> None:
    """A router that answers every forbidden packet (no ICMP rate limit) and keeps its addresses over a link-down."""
    router.sysctl("ipv6/conf/default/addr_gen_mode", 1)
    router.sysctl("ipv6/conf/default/keep_addr_on_down", 1)
    router.sysctl("ipv4/ip_forward", 1)
    router.sysctl("ipv6/conf/all/forwarding", 1)
    router.sysctl("ipv4/icmp_ratelimit", 0)
    router.sysctl("ipv6/icmp/ratelimit", 0)
    _move_local_rule(router)


def _move_local_rule(namespace: Namespace) -> None:
    for family in AF.values():
        namespace.rtnl.add_rule(Rule(LOCAL_PRIORITY, family, table=LOCAL_TABLE))
        namespace.rtnl.remove_rule(Rule(0, family, table=LOCAL_TABLE))


def _connect(one: End, other: End) -> None:
    cable(one, other)
    one.up()
    other.up()


def _connect_van(ground: Ground, carrier: Carrier) -> None:
    """The van's side is what DHCP or a modem manager would set; an advertised IPv6 waits for its first RA."""
    van, access = End(ground.van, carrier.interface, 10 + carrier.number), ground.access(carrier.name)
    cable(van, access)
    if carrier.advertised:
        van.sysctl("ipv6", "accept_ra", 1)
        van.sysctl("ipv6", "ra_defrtr_metric", carrier.metric)
    van.up()
    access.up()
    for address in (f"{carrier.gateway}/24", f"{carrier.networks[1].replace('/', '1/')}", f"{GATEWAY6}/64"):
        access.namespace.rtnl.add_address(access.index, address)
    kernel, metric = ground.van.rtnl, carrier.metric
    kernel.add_address(van.index, f"{carrier.address[Family.IPV4]}/24")
    kernel.add_route(Route("default", van.index, carrier.gateway, metric=metric, protocol=RTPROT_DHCP))
    if not carrier.advertised:
        kernel.add_address(van.index, f"{carrier.address[Family.IPV6]}/64")
        kernel.add_route(Route("default", van.index, GATEWAY6, metric=metric, protocol=RTPROT_STATIC))


def _connect_internet(ground: Ground, carrier: Carrier) -> None:
    """Router - link - internet. Both know each other's MAC, so that a cut is silent and not a failed ARP."""
    router, between = ground.routers[carrier.name], ground.between
    core, far = End(router, "core", 3), End(ground.internet, carrier.name, 10 + carrier.number)
    _connect(core, End(between, f"{carrier.name}-r", 20 + carrier.number))
    _connect(End(between, f"{carrier.name}-i", 40 + carrier.number), far)
    for (ours, theirs), length, network in zip(carrier.core, (30, 126), carrier.networks, strict=True):
        router.rtnl.add_address(core.index, f"{ours}/{length}")
        ground.internet.rtnl.add_address(far.index, f"{theirs}/{length}")
        router.rtnl.add_neighbour(core.index, theirs, far.mac)
        ground.internet.rtnl.add_neighbour(far.index, ours, core.mac)
        router.rtnl.add_route(Route("default", core.index, theirs))
        ground.internet.rtnl.add_route(Route(network, far.index, ours))


def _connect_walled(ground: Ground, carrier: Carrier) -> None:
    """Router - walled garden, where every address is local. A router sends nothing there until a portal fault does."""
    router, walled = ground.routers[carrier.name], ground.walled
    door, garden = End(router, "walled", 4), End(walled, carrier.name, 10 + carrier.number)
    _connect(door, garden)
    for (ours, theirs), length, network in zip(carrier.garden, (30, 126), carrier.networks, strict=True):
        router.rtnl.add_address(door.index, f"{ours}/{length}")
        walled.rtnl.add_address(garden.index, f"{theirs}/{length}")
        router.rtnl.add_route(Route("default", door.index, theirs, table=WALLED_TABLE))
        walled.rtnl.add_route(Route(network, garden.index, ours))
    for family in AF.values():
        walled.rtnl.add_rule(Rule(LOCAL_PRIORITY + carrier.number, family, input=garden.name, table=WALLED_TABLE))
