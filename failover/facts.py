"""What the kernel holds, as far as it concerns us, and the changes we make there; what is ours in it is numbered here.

Immutable values only. No behaviour beyond reading a value; no I/O.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from failover.model import Family

PROTOCOL: Final = 155
"""rtnetlink protocol and IFA_PROTO of everything we create."""
TABLE_ACTIVE: Final = 15500
METRIC_CHOSEN: Final = 1
"""Default routes for new flows of the box; table TABLE_UPLINK + slot belongs to one uplink."""
TABLE_UPLINK: Final = 15501
TABLE_SETTLED: Final = 15590
"""Default routes for everything that is not a new flow of the box (forwarded traffic, containers)."""
TABLES_OWNED: Final = range(15500, 15600)
PREFS_OWNED: Final = range(15500, 15600)
TABLE_MAIN: Final = 254
METRICS_OWNED: Final = range(15500, 15600)
"""Of our defaults in table main, which are those of bearers."""
PINS_MAX: Final = 256
"""Host routes of main that are looked at."""
SLOTS_MAX: Final = 62
"""Six bits of fwmark: slot s carries mark value s + 1; all six are for the connections of probes."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network device."""

    index: int
    name: str
    up: bool
    """Administratively up (IFF_UP)."""
    carrier: bool
    """The kernel says packets can leave (IFF_LOWER_UP and operstate not down)."""
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a device."""

    index: int
    """Of its link."""
    family: Family
    address: str
    prefix_length: int
    usable: bool = True
    """Neither tentative nor failed DAD nor deprecated."""
    protocol: int = 0
    """IFA_PROTO: who put it there; 0: nobody said."""


class RouteKind(enum.Enum):
    """rtnetlink route types that we read or write (linux/rtnetlink.h)."""

    UNICAST = 1
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8


@dataclass(frozen=True, slots=True)
class Route:
    """A default route (the only kind the agent deals in)."""

    family: Family
    table: int
    metric: int
    kind: RouteKind = RouteKind.UNICAST
    interface: int | None = None
    gateway: str | None = None
    """Next hop, of either family; None on a raw-IP link."""
    source: str | None = None
    onlink: bool = False
    mtu: int | None = None
    advmss: int | None = None
    hoplimit: int | None = None
    expires: float | None = None
    """Seconds left, as told by the kernel when it was read (RA defaults)."""
    protocol: int = PROTOCOL
    dead: bool = field(default=False, compare=False)
    """RTNH_F_DEAD or RTNH_F_LINKDOWN when read."""

    @property
    def ours(self) -> bool:
        """Whether we made it: our tag, among our numbers."""
        among = self.metric in METRICS_OWNED if self.table == TABLE_MAIN else self.table in TABLES_OWNED
        return among and self.protocol == PROTOCOL

    @property
    def leads(self) -> bool:
        """Whether it is the way of the box's new flows: what a switch replaces."""
        return self.table == TABLE_ACTIVE and self.metric == METRIC_CHOSEN


@dataclass(frozen=True, slots=True)
class Pin:
    """A host route of table main, set by a person or a program that is no routing daemon."""

    family: Family
    destination: str
    interface: int


class RuleAction(enum.Enum):
    """Policy rule actions (linux/fib_rules.h)."""

    LOOKUP = 1
    GOTO = 2
    NOP = 3
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule. `extra` holds, verbatim, every attribute that has no field here, so that a copy is a true copy."""

    family: Family
    priority: int
    action: RuleAction = RuleAction.LOOKUP
    table: int = 0
    invert: bool = False
    source: str | None = None
    """`address/length`, as `destination`."""
    destination: str | None = None
    iif: str | None = None
    oif: str | None = None
    fwmark: int | None = None
    fwmask: int | None = None
    suppress_prefix_length: int | None = None
    tos: int = 0
    extra: tuple[tuple[int, bytes], ...] = ()
    """(FRA_* type, payload), sorted by type."""
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel parameter and its value."""

    path: str
    """Below /proc/sys, as `net/ipv4/conf/wwan0/ignore_routes_with_linkdown`."""
    value: str


FORWARDING_IPV6: Final = "net/ipv6/conf/all/forwarding"
"""IPv6 is forwarded between all devices or none."""
ACCEPT_RA_NEW: Final = "net/ipv6/conf/default/accept_ra"
"""Of devices that come later."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of nftables."""

    family: str
    """As nft(8) names it: `inet`."""
    name: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The kernel's state, read at one moment: every link; every address of global scope; the default routes of table
    main; every route of our own tables, whoever made it; every policy rule; the sysctls of interest; the host routes of
    main that were set, PINS_MAX of them and one more where there are more."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    pins: tuple[Pin, ...] = ()


@dataclass(frozen=True, slots=True)
class Tap:
    """An interface whose flows are to be counted."""

    interface: str
    local: tuple[str, ...] = ()
    """Networks of its own, as `192.168.8.0/24`: what comes from there says nothing of what lies beyond."""
    mark: int = 0
    """Of the uplink's flows where the box is a gateway, inside the mask and not all of it; 0: they get none."""
    delegated: tuple[str, ...] = ()
    """Prefixes that the uplink gave the LAN, as `2001:db8:1::/64`: their addresses leave by it as they are."""
    uplink: str = ""
    """Its name, where there is a mark."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The box forwards for others, and each of their flows keeps its uplink."""

    lan: tuple[str, ...]
    """Interfaces behind which the clients are."""
    masquerade: bool = True
    """They leave with the uplink's address; False: as they are, or somebody else translates."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets of the user's flows over one interface in one family, local and forwarded, since some moment; probes are
    not among them. They only grow; smaller ones than before have begun anew."""

    received: int = 0
    """Replies that came in from beyond the interface's own networks, no ICMP errors; of a flow that somebody beyond
    began, all that comes in once it has gone both ways."""
    sent: int = 0
    """That left, of flows which have been answered."""
    fresh: int = 0
    """That left, of flows which have not."""
    sent_bytes: int = 0
    """Of both kinds that left."""
    received_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Segments:
    """TCP segments with data of this box's own sockets with one source address, since they were read last."""

    sent: int = 0
    """Those sent again among them."""
    resent: int = 0


class EndpointFlag(enum.IntFlag):
    """What an MPTCP endpoint is for (linux/mptcp.h); bits that have no name here are kept."""

    SIGNAL = 1
    """Peers are told of it."""
    SUBFLOW = 2
    """Connections open a subflow from it."""
    BACKUP = 4
    """Its subflows are for when no other carries."""
    FULLMESH = 8
    IMPLICIT = 16
    """Made by the kernel itself, for a subflow that somebody else began."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address of this box that its MPTCP connections may use besides their first one."""

    address: str
    flags: EndpointFlag = EndpointFlag.SUBFLOW
    interface: int | None = None
    """ifindex that its subflows are bound to."""
    port: int = 0
    """Where peers that are told of it connect, if not where the connection began."""
    id: int = 0
    """1-255, by which the kernel and the peers know it; 0: the kernel chooses."""


@dataclass(frozen=True, slots=True)
class SubflowLimits:
    """What the kernel's path manager grants each MPTCP connection."""

    subflows: int = 0
    """Besides the first."""
    add_addr_accepted: int = 0
    """Addresses that the peer tells of and that are taken up."""


@dataclass(frozen=True, slots=True)
class Mptcp:
    """The kernel's path manager of MPTCP."""

    endpoints: tuple[Endpoint, ...] = ()
    limits: SubflowLimits = field(default_factory=SubflowLimits)


class Unmanaged(enum.StrEnum):
    """Why endpoints are of no use here."""

    ABSENT = "the kernel has no MPTCP"
    DISABLED = "net.mptcp.enabled is 0"
    ELSEWHERE = "another path manager than the kernel's own has MPTCP (net.mptcp.pm_type)"


class Stage(enum.Enum):
    """How far a subflow is."""

    BEGUN = "begun"
    """Nobody has answered yet."""
    OPEN = "open"
    """Answered; what follows is not true of it yet, or no more."""
    ESTABLISHED = "established"
    """Both ends have proven that it is a part of the connection (RFC 8684, sections 3.1 and 3.2)."""


@dataclass(frozen=True, slots=True)
class Subflow:
    """A TCP connection that is a part of an MPTCP connection of this box."""

    connection: int
    """Its token."""
    source: str
    stage: Stage
    backup: bool = False
    """For either end it is for when no other carries."""
    handle: bytes = field(default=b"", repr=False, compare=False)
    """By which the kernel breaks it (struct inet_diag_req_v2)."""


@dataclass(frozen=True, slots=True)
class Subflows:
    """Those of this box with certain source addresses."""

    found: tuple[Subflow, ...] = ()
    whole: bool = True
    """False: there were too many sockets to look at them all."""

    def stranded(self, address: str, proven: Collection[str]) -> frozenset[int]:
        """The connections that use the address, and without it have no established subflow from a proven one."""
        using = {one.connection for one in self.found if one.source == address and one.stage is not Stage.BEGUN}
        others = (one for one in self.found if one.source != address and one.source in proven)
        return frozenset(using - {one.connection for one in others if one.stage is Stage.ESTABLISHED})

    def can_spare(self, address: str, proven: Collection[str]) -> bool:
        """Whether the endpoint of the address may be withdrawn on mere doubt."""
        return self.whole and not self.stranded(address, proven)


class Verb(enum.StrEnum):
    """What an operation does; `Operation` says to what."""

    ADD = "add"
    REPLACE = "replace"
    DELETE = "delete"
    SET = "set"


Item = Route | Rule | Address | Link | Sysctl | Table | Endpoint | SubflowLimits
"""What can be changed."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of the kernel: ADD/DELETE a rule, route or address, REPLACE a route, SET a sysctl, SET a link up,
    DELETE a table; and what becomes of MPTCP's endpoints and limits."""

    verb: Verb
    item: Item


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What came of one change."""

    operation: Operation
    error: str | None = None
    """None when done; else the kernel's words, cleaned."""
