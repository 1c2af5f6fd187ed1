"""The words that every room shares: facts, verdicts, decisions, events, effects.

Immutable values only. No behaviour beyond reading a value; no I/O, no clock.
Times are monotonic seconds, sizes bytes, ratios 0-1.
"""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final

_UNPRINTABLE: Final = frozenset(("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"))


def clean(text: str, limit: int = 128) -> str:
    """Text from outside made safe for screen, log and labels: control, bidi and unassigned characters become `?`."""
    shown = text[: limit + 1]
    if not shown.isprintable():  # most are, and that is quicker to see
        shown = "".join("?" if unicodedata.category(c) in _UNPRINTABLE else c for c in shown)
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
    """An address family; each is judged apart."""

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
_PRIVATE: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::/127",
        "::ffff:0:0/96",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Unspecified, loopback, private, link-local, carrier-grade NAT, mapped IPv4: RFC 6890, RFC 6598, RFC 4193."""


def is_private(address: str) -> bool:
    """No address of a server on the Internet."""
    ip = ip_address(address)
    return any(ip in network for network in _PRIVATE if network.version == ip.version)


# --- probes ----------------------------------------------------------------------------------------------------------


class ProbeKind(enum.StrEnum):
    """How a target is asked: the scheme of its URL."""

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
    """Whom to ask over every uplink, and how."""

    kind: ProbeKind
    host: str
    """Literal address without brackets, or a name (http and https only)."""
    port: int | None = None
    """None where the kind has none."""
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
    """What is thought of an uplink in one family."""

    UP = "up"
    DEGRADED = "degraded"
    """It answers, with loss or latency that hurts."""
    DOUBTFUL = "doubtful"
    """Silent for longer than it should be."""
    DOWN = "down"
    """Convicted, refused, or without a carrier."""
    PORTAL = "portal"
    """It carries packets, but somebody else answers."""
    UNKNOWN = "unknown"
    """Nothing was heard of it yet."""
    ABSENT = "absent"
    """It has no way out: no interface, no address or no default route."""
    COLD = "cold"
    """A SIM whose modem uses another one."""


RECEIVING: Final = frozenset((Verdict.UP, Verdict.DEGRADED))
"""Verdicts of an uplink that answers."""


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
    """Monotonic time of the decision."""
    since: float = 0.0
    """Since when `active` is as it is, whatever became of the rest; after a restart, since it was found there."""


# --- what the operator says ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Use:
    """New flows and forwarded traffic go by this uplink."""

    name: str
    seconds: float = 86400.0
    """After which the agent chooses again."""
    strict: bool = False
    """Even when it is convicted."""


@dataclass(frozen=True, slots=True)
class Auto:
    """The end of `Use`: the agent chooses again."""


@dataclass(frozen=True, slots=True)
class Drain:
    """No new flow and no forwarded traffic by this uplink."""

    name: str
    force: bool = False
    """Even if it is the last usable one."""


@dataclass(frozen=True, slots=True)
class Undrain:
    """The end of `Drain`."""

    name: str


@dataclass(frozen=True, slots=True)
class ProbeNow:
    """Probe every target of an uplink at once."""

    name: str


Command = Use | Auto | Drain | Undrain | ProbeNow


# --- what the agent says -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """Effect: what came of the command with this id."""

    id: int
    text: str
    """What is done now; empty when it was refused."""
    error: str = ""
    """Why it was refused; empty when it was not."""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """Flows of this box that the agent never breaks."""

    ports: frozenset[int] = frozenset()
    """TCP and UDP, at either end."""
    uids: frozenset[int] = frozenset()
    """Of the sockets' owners."""


class NoticeKind(enum.StrEnum):
    """What a log line is about; `log.py` has the priority of each."""

    SWITCH = "switch"
    VERDICT = "verdict"
    UPLINK = "uplink"
    FLOWS = "flows"
    MODEM = "modem"
    KERNEL = "kernel"
    OPERATOR = "operator"
    READY = "ready"
    WARNING = "warning"
    STARTED = "started"
    STOPPED = "stopped"
    CONFIG = "config"
    ERROR = "error"
    COUNTED = "counted"
    """How often something happened that is not written down one by one."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Effect: a fact worth a line in the log."""

    kind: NoticeKind
    text: str
    fields: Mapping[str, object] = field(default_factory=dict)
