"""The ground of the lab: namespaces, cables, addresses and routes, without any process. Who is connected to whom.

    van --wwan0-- router au     --core-- link -- internet (targets, servers)
        --wwan1-- router docomo --core-- link --
        --wlan0-- router depot  --core-- link --      each router also --walled-- walled (a captive portal)
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from failover.lab.namespaces import Namespace
from failover.lab.places import CARRIERS, GATEWAY6, Carrier, Pairs, internet_addresses
from failover.lab.reach import AF
from failover.lab.rtnl import RT_TABLE_MAIN, RTPROT_DHCP, RTPROT_STATIC, Route, Rule
from failover.lab.wire import End, cable
from failover.model import Family

LOCAL_TABLE = 255
LOCAL_PRIORITY = 100
"""Where `lookup local` stands in the routers and in the internet: faults may come before it."""
WALLED_TABLE = 80


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

    def uplink(self, carrier: Carrier) -> End:
        """The van's end of the same cable."""
        return End(self.van, carrier.interface, 10 + carrier.number)

    def plug(self, carrier: str) -> None:
        """Set the router's end up; the kernel forgets a link-local address whenever it goes down."""
        access = self.access(carrier)
        access.up()
        access.namespace.rtnl.add_address(access.index, f"{GATEWAY6}/64")

    def unplug(self, carrier: str) -> None:
        """Set the router's end down: the van loses its carrier."""
        self.access(carrier).down()


def lay(stack: ExitStack) -> Ground:
    """Build it all; closing the stack lets go of it."""

    def namespace(name: str, resolv_conf: Path | None = None) -> Namespace:
        return quiet(stack.enter_context(Namespace(name, resolv_conf)))

    routers = {carrier.name: namespace(carrier.name) for carrier in CARRIERS}
    van = namespace("van", Path(__file__).with_name("resolv.conf"))
    ground = Ground(van, namespace("internet"), namespace("walled"), namespace("between"), routers)
    ground.between.sysctl("ipv6/conf/default/disable_ipv6", 1)
    _prepare_internet(ground)
    for router in routers.values():
        _prepare_router(router)
    for carrier in CARRIERS:
        _connect_van(ground, carrier)
        _connect_internet(ground, carrier)
        _connect_walled(ground, carrier)
    return ground


def quiet(namespace: Namespace) -> Namespace:
    """The same defaults on every machine: nothing filtered, nothing learned, no wait for duplicate addresses."""
    for key in ("all", "default"):
        namespace.sysctl(f"ipv6/conf/{key}/accept_dad", 0)
        namespace.sysctl(f"ipv4/conf/{key}/rp_filter", 0)
        namespace.sysctl(f"ipv4/conf/{key}/forwarding", 0)
    namespace.sysctl("ipv6/conf/default/accept_ra", 0)
    namespace.sysctl("ipv6/conf/default/use_tempaddr", 0)
    return namespace


def _prepare_internet(ground: Ground) -> None:
    """The walled garden answers in the name of every server of the internet."""
    for namespace in (ground.internet, ground.walled):
        for address in internet_addresses():
            namespace.rtnl.add_address(1, f"{address}/{Family.of(address).bits}")
    move_local_rule(ground.internet)


def _prepare_router(router: Namespace) -> None:
    """It forwards, and keeps its addresses over a link-down."""
    router.sysctl("ipv6/conf/default/addr_gen_mode", 1)
    router.sysctl("ipv6/conf/default/keep_addr_on_down", 1)
    router.sysctl("ipv4/ip_forward", 1)
    router.sysctl("ipv6/conf/all/forwarding", 1)
    move_local_rule(router)


def move_local_rule(namespace: Namespace) -> None:
    """What it answers itself is decided at LOCAL_PRIORITY, after some faults' rules."""
    for family in AF.values():
        namespace.rtnl.add_rule(Rule(LOCAL_PRIORITY, family, table=LOCAL_TABLE))
        namespace.rtnl.remove_rule(Rule(0, family, table=LOCAL_TABLE))


def _connect_van(ground: Ground, carrier: Carrier) -> None:
    """The van's side is what DHCP or a modem manager would set; an advertised IPv6 waits for its first RA."""
    van, access = ground.uplink(carrier), ground.access(carrier.name)
    cable(van, access)
    if carrier.advertised:
        van.sysctl("ipv6", "accept_ra", 1)
        van.sysctl("ipv6", "ra_defrtr_metric", carrier.metric)
    van.up()
    ground.plug(carrier.name)
    for address in (f"{carrier.gateway}/24", carrier.networks[1].replace("::/", "::1/")):
        access.namespace.rtnl.add_address(access.index, address)
    kernel, metric = ground.van.rtnl, carrier.metric
    kernel.add_address(van.index, f"{carrier.address[Family.IPV4]}/24")
    kernel.add_route(Route("default", van.index, carrier.gateway, metric=metric, protocol=RTPROT_DHCP))
    if not carrier.advertised:
        kernel.add_address(van.index, f"{carrier.address[Family.IPV6]}/64")
        kernel.add_route(Route("default", van.index, GATEWAY6, metric=metric, protocol=RTPROT_STATIC))


def _connect_internet(ground: Ground, carrier: Carrier) -> None:
    """Router - link - internet."""
    between, number = ground.between, carrier.number
    core, far = End(ground.routers[carrier.name], "core", 3), End(ground.internet, carrier.name, 10 + number)
    _plug_in(core, End(between, f"{carrier.name}-r", 20 + number))
    _plug_in(End(between, f"{carrier.name}-i", 40 + number), far)
    _route(core, far, carrier.core, carrier.networks, RT_TABLE_MAIN)


def _connect_walled(ground: Ground, carrier: Carrier) -> None:
    """Router - walled garden. A router sends nothing there until a portal fault does."""
    door, garden = End(ground.routers[carrier.name], "walled", 4), End(ground.walled, carrier.name, 10 + carrier.number)
    _plug_in(door, garden)
    _route(door, garden, carrier.garden, carrier.networks, WALLED_TABLE)


def _plug_in(one: End, other: End) -> None:
    cable(one, other)
    one.up()
    other.up()


def _route(router: End, server: End, addresses: Pairs, networks: tuple[str, str], table: int) -> None:
    """A default there and a way back. Both know each other's MAC, so that a cut is silent and not a failed ARP."""
    for (ours, theirs), length, network in zip(addresses, (30, 126), networks, strict=True):
        for end, address, other, neighbour in ((router, ours, server, theirs), (server, theirs, router, ours)):
            end.namespace.rtnl.add_address(end.index, f"{address}/{length}")
            end.namespace.rtnl.add_neighbour(end.index, neighbour, other.mac)
        router.namespace.rtnl.add_route(Route("default", router.index, theirs, table=table))
        server.namespace.rtnl.add_route(Route(network, server.index, ours))
