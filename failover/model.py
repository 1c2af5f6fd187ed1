"""The words that every room shares: facts, verdicts, decisions, events, effects.

Immutable values only. No behaviour beyond reading a value; no I/O, no clock.
Times are monotonic seconds, sizes bytes, ratios 0-1.
"""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

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
SLOTS_MAX: Final = 63
"""Six bits of fwmark: slot s carries mark value s + 1."""

_UNPRINTABLE: Final = frozenset(("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"))


def clean(text: str, limit: int = 128) -> str:
    """Text from outside made safe for screen, log and labels: control, bidi and unassigned characters become `?`."""
    shown = "".join("?" if unicodedata.category(c) in _UNPRINTABLE else c for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


class FailoverError(Exception):
    """An error with a hint: what is wrong, and the mend."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class KernelError(FailoverError):
    """The kernel refused or vanished."""


class ControlError(FailoverError):
    """A client of the control socket asked for something that cannot be."""


class Family(enum.StrEnum):
    IPV4 = "ipv4"
    IPV6 = "ipv6"

    @staticmethod
    def of(address: str) -> Family:
        """Of a literal address, which is not checked."""
        return Family.IPV6 if ":" in address else Family.IPV4

    @property
    def bits(self) -> int:
        """The length of an address."""
        return 32 if self is Family.IPV4 else 128


FAMILIES: Final = (Family.IPV4, Family.IPV6)


# --- what the kernel holds -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    up: bool
    """Administratively up (IFF_UP)."""
    carrier: bool
    """The kernel says packets can leave (IFF_LOWER_UP and operstate not down)."""
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    family: Family
    address: str
    prefix_length: int
    usable: bool = True
    """Neither tentative nor failed DAD nor deprecated."""


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
    def leads(self) -> bool:
        """Whether it is the way of the box's new flows: what a switch replaces."""
        return self.table == TABLE_ACTIVE and self.metric == METRIC_CHOSEN


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
    path: str
    """Below /proc/sys, as `net/ipv4/conf/wwan0/ignore_routes_with_linkdown`."""
    value: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The kernel's state, read at one moment: every link; every address of global scope; the default routes of table
    main; every route of our own tables, whoever made it; every policy rule; the sysctls of interest."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()


class Verb(enum.StrEnum):
    ADD = "add"
    REPLACE = "replace"
    DELETE = "delete"
    SET = "set"


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of the kernel: ADD/DELETE a rule or route, REPLACE a route, SET a sysctl."""

    verb: Verb
    item: Route | Rule | Sysctl


@dataclass(frozen=True, slots=True)
class OperationResult:
    operation: Operation
    error: str | None = None
    """None when done; else the kernel's words, cleaned."""


# --- probes ----------------------------------------------------------------------------------------------------------


class ProbeKind(enum.StrEnum):
    ICMP = "icmp"
    TCP = "tcp"
    DNS = "dns"
    HTTP = "http"
    HTTPS = "https"

    @property
    def is_web(self) -> bool:
        """Asks for a page: too dear for a burst."""
        return self in (ProbeKind.HTTP, ProbeKind.HTTPS)


@dataclass(frozen=True, slots=True)
class Target:
    kind: ProbeKind
    host: str
    """Literal address without brackets, or a name (http and https only)."""
    port: int | None = None
    path: str = ""
    """DNS: the name asked for; HTTP: path and query."""
    status: int = 204
    """HTTP: the expected status."""
    family: Family | None = None
    """None: a name, probed in both families."""
    url: str = ""
    """Canonical form; label in logs and metrics."""


class Outcome(enum.StrEnum):
    """What can come back from a probe; `probes/README.md` says what each thing on the wire means."""

    ANSWERED = "answered"
    LATE = "late"
    SILENT = "silent"
    REFUSED = "refused"
    PORTAL = "portal"
    LOCAL = "local"
    CLOCK = "clock"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Effect: send one probe, bound to the device and the mark."""

    id: int
    uplink: str
    family: Family
    interface: str
    mark: int
    target: Target
    trusted_clock: bool = True


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Event: what came of probe `id`. Adapters say `answered` within PROBE_PATIENCE; the core judges what was late."""

    id: int
    outcome: Outcome
    rtt: float | None = None
    """Seconds from send to answer, where there was one."""
    detail: str = ""
    sent_bytes: int = 0
    """IP bytes on the wire."""
    received_bytes: int = 0


PROBE_PATIENCE: Final = 15.0
"""Seconds after which a probe's outcome is final (late replies come up to 10 s after, PAM 2025 drives)."""


# --- judgement -------------------------------------------------------------------------------------------------------


class Verdict(enum.StrEnum):
    UP = "up"
    DEGRADED = "degraded"
    DOUBTFUL = "doubtful"
    DOWN = "down"
    PORTAL = "portal"
    UNKNOWN = "unknown"
    ABSENT = "absent"


class Reason(enum.StrEnum):
    """Why a decision changed."""

    ADOPTED = "adopted"
    FIRST = "first"
    DOUBT = "doubt"
    CONVICTION = "conviction"
    REFUSED = "refused"
    LINK_DOWN = "link-down"
    ABSENT = "absent"
    DEGRADED = "degraded"
    PORTAL = "portal"
    ACQUITTAL = "acquittal"
    RECOVERED = "recovered"
    FAILBACK = "failback"
    OPERATOR = "operator"
    DRAIN = "drain"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one family's traffic goes."""

    family: Family
    active: str | None
    """Uplink of new flows of the box (table 15500)."""
    settled: str | None
    """Uplink of everything else (table 15590); differs from `active` while in doubt."""
    order: tuple[str, ...] = ()
    """Every uplink with a route, best first: the kernel's own fallback order."""
    reason: Reason = Reason.ADOPTED
    text: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    at: float = 0.0


# --- events: what goes in --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KernelRead:
    """Event: the kernel was read, whole."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Applied:
    """Event: what came of an Apply effect."""

    results: tuple[OperationResult, ...]


@dataclass(frozen=True, slots=True)
class Resumed:
    """Event: the machine slept for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WallClock:
    unix: float
    trusted: bool


@dataclass(frozen=True, slots=True)
class Use:
    name: str
    seconds: float = 86400.0
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Auto:
    pass


@dataclass(frozen=True, slots=True)
class Drain:
    name: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class Undrain:
    name: str


@dataclass(frozen=True, slots=True)
class ProbeNow:
    """Probe every target of an uplink at once."""

    name: str


Command = Use | Auto | Drain | Undrain | ProbeNow


@dataclass(frozen=True, slots=True)
class Asked:
    """Event: an operator's command; answered by one Answer effect with the same id."""

    id: int
    command: Command


# --- effects: what comes out -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Apply:
    """Effect: change the kernel, in this order; then read it again."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class ReadKernel:
    """Effect: read the kernel again (periodic reconcile, a repair that is due)."""


@dataclass(frozen=True, slots=True)
class Answer:
    id: int
    text: str
    error: str = ""
    hint: str = ""


class NoticeKind(enum.StrEnum):
    SWITCH = "switch"
    VERDICT = "verdict"
    UPLINK = "uplink"
    KERNEL = "kernel"
    OPERATOR = "operator"
    READY = "ready"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Notice:
    """Effect: a fact worth a line in the log."""

    kind: NoticeKind
    text: str
    fields: Mapping[str, object] = field(default_factory=dict)


Effect = SendProbe | Apply | ReadKernel | Answer | Notice
