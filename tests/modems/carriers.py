"""What lies behind the modems: SIMs and their carriers, per modem a gateway, and an internet behind them all.

    van --wwan0-- radio --core-- internet (targets, servers, the lines' resolvers)

A packet of a line's address passes only while the modem holds a bearer of that line.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle

from failover.lab.control import Helper
from failover.lab.faults import AFTER_LOCAL, BEFORE_LOCAL
from failover.lab.ground import move_local_rule, quiet
from failover.lab.namespaces import Namespace
from failover.lab.places import internet_addresses
from failover.lab.reach import AF
from failover.lab.rtnl import BLACKHOLE, Route, Rtnl, Rule
from failover.lab.wire import End, cable
from failover.model import FAMILIES, Family
from tests.enclosure import PATIENCE

AIR, CORE = "air", "core"
RADIO_INDEX, CORE_INDEX, FAR_INDEX = 2, 3, 70
FIRST_INDEX, INDEXES = 64, 48
"""Of the modems' interfaces in the van: so many for modem 1, so many for the next; a new one each time."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """A network. `plmn`: MCC and MNC."""

    plmn: str
    name: str


AU = Carrier("44051", "KDDI")
DOCOMO = Carrier("44010", "NTT DOCOMO")
SOFTBANK = Carrier("44020", "SoftBank")
RAKUTEN = Carrier("44011", "Rakuten")


@dataclass(frozen=True, slots=True)
class Line:
    """What a carrier gives to one SIM. The number, 1-250, makes its addresses."""

    number: int
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
    line: Line
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


def sim_of(carrier: Carrier, number: int, esim: bool = False, pin: str = "") -> Sim:
    """A new card. Nobody else has that number, which makes its addresses and is at the end of ICCID and IMSI."""
    return Sim(carrier, Line(number), f"898120000000000{number:04d}", f"{carrier.plmn}000000{number:04d}", esim, pin)


LINES = tuple(Line(number) for number in range(1, 9))
"""Whose resolvers answer."""


class Internet:
    """A namespace with the lab's servers, and the resolvers of the lines."""

    def __init__(self, lines: Iterable[Line] = LINES) -> None:
        resolvers = [one for line in lines for pair in line.resolvers.values() for one in pair]
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
    """One modem's way out of the van, by the line of its bearer.

    It is made, used and closed in the stagehand's thread, where its netlink sockets are.
    """

    def __init__(
        self, van: Namespace, interface: str, number: int, lines: Iterable[Line], net: Namespace
    ) -> None:
        """`number`: of the modem, from 1 on. `net`: the internet's namespace. The interface comes by plug()."""
        self.van, self.interface = van, interface
        self.lines: list[Line] = []
        self._indexes = cycle(range(FIRST_INDEX + INDEXES * (number - 1), FIRST_INDEX + INDEXES * number))
        self._plugged: End | None = None
        self._bearer: Line | None = None
        self._stack = ExitStack()
        self.beyond = quiet(self._stack.enter_context(Namespace(f"radio{number}")))
        self.beyond.sysctl("ipv4/ip_forward", 1)
        self.beyond.sysctl("ipv6/conf/all/forwarding", 1)
        move_local_rule(self.beyond)
        self._net, self._number = net, number
        self._reach(net, number)
        for line in lines:
            self.learn(line)

    def learn(self, line: Line) -> None:
        """There can be bearers of that one, too."""
        if line in self.lines:
            return
        self.lines.append(line)
        self._rules(line, add=True)
        ways = {Family.IPV4: f"100.66.{self._number}.1", Family.IPV6: f"fd02:{self._number}::1"}
        with self._net.entered(), Rtnl() as beyond_us:
            for family, here in ways.items():
                beyond_us.add_route(Route(line.network[family], FAR_INDEX + self._number, here))
        if self._plugged:
            self._serve(line)

    def _reach(self, net: Namespace, number: int) -> None:
        core, far = End(self.beyond, CORE, CORE_INDEX), End(net, f"radio{number}", FAR_INDEX + number)
        cable(core, far)
        self._stack.callback(self.beyond.rtnl.remove_link, CORE_INDEX)
        with net.entered(), Rtnl() as beyond_us:
            for end, kernel in ((core, self.beyond.rtnl), (far, beyond_us)):
                kernel.link_up(end.index)
            for here, there, length in (
                (f"100.66.{number}.1", f"100.66.{number}.2", 30),
                (f"fd02:{number}::1", f"fd02:{number}::2", 126),
            ):
                self.beyond.rtnl.add_address(core.index, f"{here}/{length}")
                self.beyond.rtnl.add_neighbour(core.index, there, far.mac)
                self.beyond.rtnl.add_route(Route("default", core.index, there))
                beyond_us.add_address(far.index, f"{there}/{length}")
                beyond_us.add_neighbour(far.index, here, core.mac)

    def lend(self, line: Line) -> None:
        """That line's address is to be had by DHCP, while there is a bearer of it."""
        own, resolvers = line.address[Family.IPV4], ",".join(line.resolvers[Family.IPV4])
        options = {"3": line.gateway[Family.IPV4], "6": resolvers, "26": str(line.mtu)}
        argv = [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"),
            *("--pid-file=", "--leasefile-ro", "--no-ping", "--log-facility=/dev/null"),
            *(f"--interface={AIR}", "--bind-dynamic"),
            f"--dhcp-range={own},{own},255.255.255.252,2m",
            *(f"--dhcp-option={number},{value}" for number, value in options.items()),
        ]
        server = self.beyond.popen(argv, stdin=subprocess.DEVNULL)
        self._stack.callback(server.wait, PATIENCE)
        self._stack.callback(server.kill)

    def plug(self, interface: str = "") -> None:
        """The van gets the interface, down and without address, under a new index and another name if so wished."""
        self.interface = interface or self.interface
        van, air = End(self.van, self.interface, next(self._indexes)), End(self.beyond, AIR, RADIO_INDEX)
        cable(air, van)
        air.up()
        self._plugged = van
        for line in self.lines:
            self._serve(line)

    def _serve(self, line: Line) -> None:
        """The gateway has its address there."""
        for family in FAMILIES:
            self.beyond.rtnl.add_address(RADIO_INDEX, f"{line.gateway[family]}/{line.prefix[family]}")

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
    def bearer(self) -> Line | None:
        """Whose packets pass."""
        return self._bearer

    def carry(self, line: Line | None) -> None:
        """The modem's bearer is of this line from now on, or there is none."""
        if line == self._bearer:
            return
        if self._bearer is not None:
            self._rules(self._bearer, add=True)
        if line is not None:
            self._rules(line, add=False)
        self._bearer = line

    def _rules(self, line: Line, *, add: bool) -> None:
        """Nothing passes to and from that line's addresses."""
        for family in FAMILIES:
            network, number = line.network[family], AF[family]
            for rule in (
                Rule(BEFORE_LOCAL, number, BLACKHOLE, input=AIR, source=network),
                Rule(BEFORE_LOCAL, number, BLACKHOLE, destination=network),
            ):
                (self.beyond.rtnl.add_rule if add else self.beyond.rtnl.remove_rule)(rule)

    def silence(self, line: Line | None, *, on: bool) -> None:
        """The carrier of that line, or of every one, swallows all beyond the gateway, which answers; or no more."""
        for rule in [
            rule
            for one in ((line,) if line else self.lines)
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
