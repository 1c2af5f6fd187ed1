"""What lies behind the modems: SIMs and their carriers, per modem a gateway, and an internet behind them all.

    van --wwan0-- radio --core-- internet (targets, servers, the carriers' resolvers)

A packet of a carrier's address passes only while the modem holds a bearer of that carrier.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from failover.lab.control import Helper
from failover.lab.faults import AFTER_LOCAL, BEFORE_LOCAL
from failover.lab.ground import move_local_rule, quiet
from failover.lab.namespaces import Namespace
from failover.lab.places import internet_addresses
from failover.lab.reach import AF
from failover.lab.rtnl import BLACKHOLE, Route, Rtnl, Rule
from failover.lab.wire import End, cable
from failover.model import FAMILIES, Family

AIR, CORE = "air", "core"
RADIO_INDEX, CORE_INDEX = 2, 3
FIRST_INDEX = 100
"""Of the modems' interfaces in the van; a new one each time."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """The number, 1-250, makes its addresses. `plmn`: MCC and MNC."""

    number: int
    plmn: str
    name: str
    mtu: int = 1430

    @property
    def address(self) -> dict[Family, str]:
        """What a modem gets from it."""
        return {Family.IPV4: f"10.64.{self.number}.2", Family.IPV6: f"2001:db8:64:{self.number:x}::2"}

    @property
    def gateway(self) -> dict[Family, str]:
        return {Family.IPV4: f"10.64.{self.number}.1", Family.IPV6: f"2001:db8:64:{self.number:x}::1"}

    @property
    def prefix(self) -> dict[Family, int]:
        return {Family.IPV4: 30, Family.IPV6: 64}

    @property
    def network(self) -> dict[Family, str]:
        return {Family.IPV4: f"10.64.{self.number}.0/30", Family.IPV6: f"2001:db8:64:{self.number:x}::/64"}

    @property
    def resolvers(self) -> dict[Family, tuple[str, str]]:
        """Its own, behind the gateway."""
        six = f"2001:db8:65:{self.number:x}::"
        return {
            Family.IPV4: (f"10.65.{self.number}.53", f"10.65.{self.number}.54"),
            Family.IPV6: (f"{six}53", f"{six}54"),
        }


@dataclass(slots=True)
class Sim:
    """A card in a slot, or an eSIM's active profile. With a `pin` it is locked until that is entered."""

    carrier: Carrier
    iccid: str
    imsi: str
    esim: bool = False
    pin: str = ""
    number: str = "+818012345678"
    locked: bool = field(init=False)
    retries: int = field(init=False, default=3)
    """Of the PIN; at 0 the PUK is wanted."""
    present: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self.locked = bool(self.pin)

    def enter(self, pin: str) -> bool:
        """Whether it was the right one; a wrong one costs a retry."""
        if self.retries and pin == self.pin:
            self.locked, self.retries = False, 3
        elif self.locked:
            self.retries = max(0, self.retries - 1)
        return not self.locked


AU = Carrier(1, "44051", "KDDI")
DOCOMO = Carrier(2, "44010", "NTT DOCOMO")
SOFTBANK = Carrier(3, "44020", "SoftBank")
RAKUTEN = Carrier(4, "44011", "Rakuten")
CARRIERS = (AU, DOCOMO, SOFTBANK, RAKUTEN)


def sim_of(carrier: Carrier, esim: bool = False, pin: str = "") -> Sim:
    """A new card of that carrier; its numbers end in the carrier's."""
    number = f"{carrier.number:04d}"
    return Sim(carrier, f"898120000000000{number}", f"{carrier.plmn}000000{number}", esim, pin)


class Internet:
    """A namespace with the lab's servers, and the carriers' resolvers."""

    def __init__(self, carriers: Iterable[Carrier] = CARRIERS) -> None:
        resolvers = [one for carrier in carriers for pair in carrier.resolvers.values() for one in pair]
        self.namespace = quiet(Namespace("internet"))
        for address in (*internet_addresses(), *resolvers):
            self.namespace.rtnl.add_address(1, f"{address}/{Family.of(address).bits}")
        self._servers = Helper(self.namespace, "failover.lab.servers", "internet", *resolvers)

    def ready(self) -> None:
        """Wait until the servers serve; the kernel answers ICMP before."""
        self._servers.ready()

    def close(self) -> None:
        self._servers.close()
        self.namespace.close()


class Radio:
    """One modem's way out of the van, by whichever carrier its bearer is of.

    It is made, used and closed in the stagehand's thread, where its netlink sockets are.
    """

    def __init__(
        self, van: Namespace, interface: str, number: int, carriers: Iterable[Carrier], net: Namespace
    ) -> None:
        """`number`: of the modem, from 1 on. `net`: the internet's namespace. The interface comes by plug()."""
        self.van, self.interface = van, interface
        self.carriers = tuple(carriers)
        self._index = FIRST_INDEX + 40 * number
        self._plugged: End | None = None
        self._bearer: Carrier | None = None
        self._stack = ExitStack()
        self.beyond = quiet(self._stack.enter_context(Namespace(f"radio{number}")))
        self.beyond.sysctl("ipv4/ip_forward", 1)
        self.beyond.sysctl("ipv6/conf/all/forwarding", 1)
        move_local_rule(self.beyond)
        self._reach(net, number)
        for carrier in self.carriers:
            self._rules(carrier, add=True)

    def _reach(self, net: Namespace, number: int) -> None:
        core, far = End(self.beyond, CORE, CORE_INDEX), End(net, f"radio{number}", 70 + number)
        cable(core, far)
        self._stack.callback(self.beyond.rtnl.remove_link, CORE_INDEX)
        with net.entered(), Rtnl() as beyond_us:
            for end, kernel in ((core, self.beyond.rtnl), (far, beyond_us)):
                kernel.link_up(end.index)
            for family, (here, there, length) in {
                Family.IPV4: (f"100.66.{number}.1", f"100.66.{number}.2", 30),
                Family.IPV6: (f"fd02:{number}::1", f"fd02:{number}::2", 126),
            }.items():
                self.beyond.rtnl.add_address(core.index, f"{here}/{length}")
                self.beyond.rtnl.add_neighbour(core.index, there, far.mac)
                self.beyond.rtnl.add_route(Route("default", core.index, there))
                beyond_us.add_address(far.index, f"{there}/{length}")
                beyond_us.add_neighbour(far.index, here, core.mac)
                for carrier in self.carriers:
                    beyond_us.add_route(Route(carrier.network[family], far.index, here))

    def plug(self, interface: str = "") -> None:
        """The van gets the interface, down and without address, under a new index and another name if so wished."""
        self.interface = interface or self.interface
        self._index += 1
        van, air = End(self.van, self.interface, self._index), End(self.beyond, AIR, RADIO_INDEX)
        cable(air, van)
        air.up()
        for carrier in self.carriers:
            for family in FAMILIES:
                self.beyond.rtnl.add_address(air.index, f"{carrier.gateway[family]}/{carrier.prefix[family]}")
        self._plugged = van

    def unplug(self) -> None:
        """The interface is gone."""
        self.carry(None)
        if self._plugged is not None:
            self.beyond.rtnl.remove_link(RADIO_INDEX)
            self._plugged = None

    @property
    def index(self) -> int:
        """Of the interface in the van."""
        assert self._plugged is not None
        return self._plugged.index

    @property
    def bearer(self) -> Carrier | None:
        """Whose packets pass."""
        return self._bearer

    def carry(self, carrier: Carrier | None) -> None:
        """The modem's bearer is of this carrier from now on, or there is none."""
        if carrier is self._bearer:
            return
        if self._bearer is not None:
            self._rules(self._bearer, add=True)
        if carrier is not None:
            self._rules(carrier, add=False)
        self._bearer = carrier

    def _rules(self, carrier: Carrier, *, add: bool) -> None:
        """Nothing passes to and from that carrier's addresses."""
        for family in FAMILIES:
            network, number = carrier.network[family], AF[family]
            for rule in (
                Rule(BEFORE_LOCAL, number, BLACKHOLE, input=AIR, source=network),
                Rule(BEFORE_LOCAL, number, BLACKHOLE, destination=network),
            ):
                (self.beyond.rtnl.add_rule if add else self.beyond.rtnl.remove_rule)(rule)

    def silence(self, carrier: Carrier | None, *, on: bool) -> None:
        """The carrier, or every one, swallows all beyond the gateway, which goes on answering; or no more."""
        for rule in [
            rule
            for one in ((carrier,) if carrier else self.carriers)
            for family in FAMILIES
            for rule in (
                Rule(AFTER_LOCAL, AF[family], BLACKHOLE, input=AIR, source=one.network[family]),
                Rule(AFTER_LOCAL, AF[family], BLACKHOLE, input=CORE, destination=one.network[family]),
            )
        ]:
            (self.beyond.rtnl.add_rule if on else self.beyond.rtnl.remove_rule)(rule)

    def close(self) -> None:
        self.unplug()
        self._stack.close()
