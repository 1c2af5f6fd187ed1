"""The operator's will as one frozen tree, and the error that says what is wrong with one.

The tree is what the core reads, so nothing heavy is imported here. Reading it from YAML is `reading.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from failover.config.modems import Messages, Modem, Repair
from failover.config.rules import TrafficRule
from failover.facts import Gateway
from failover.model import FailoverError, Family, Keep, ProbeKind, Target
from failover.resolvers import Way

CONFIG_PATH: Final = "/etc/failover/failover.yaml"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong (or, as a warning, doubtful) in a file. `str` is one line for people, as
    `failover.yaml:7: uplinks[1].metred: unknown key; did you mean 'metered'?`."""

    source: str
    line: int
    """1-based; 0: the file as a whole."""
    column: int
    path: str
    """As `uplinks[1].metered.budget`; empty: the file as a whole."""
    message: str
    mend: str = ""

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else self.source
        parts = (where, self.path, self.message + (f"; {self.mend}" if self.mend else ""))
        return ": ".join(part for part in parts if part)


class ConfigError(FailoverError):
    """The operator's file cannot be used: every problem at once, in order of lines."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Metered:
    """Probes over this uplink cost money: IP bytes of both directions in 30 days that they may come to."""

    budget: int = 30_000_000
    """While it carries traffic."""
    standby: int = 5_000_000
    """While it does not."""


@dataclass(frozen=True, slots=True)
class Uplink:
    """One entry of `uplinks`: a name, its interface, and what is particular to it."""

    name: str
    interface: str = ""
    """Of a modem: where it is while nobody tells; empty: nowhere."""
    carrier: str = ""
    metered: Metered | None = None
    targets: tuple[Target, ...] | None = None
    """Instead of the common ones."""
    delegated: tuple[str, ...] = ()
    """Prefixes that its carrier gives the LAN, as `2001:db8:100::/40`: they leave by it untranslated."""
    dns: tuple[str, ...] | None = None
    """Addresses of its name servers, instead of those that its network tells."""
    modem: Modem | None = None
    costless: bool = field(default=False, compare=False)
    """The file says `metered: false`, which is as good as nothing but to who doubts that anybody thought of it."""


@dataclass(frozen=True, slots=True)
class Detection:
    """How soon silence counts. DESIGN: a fixed threshold wins within noise; the knee is 0.35 s."""

    suspicion: float = 0.25
    """Silence after which a burst of probes asks."""
    doubt: float = 0.35
    """Silence after which new flows leave."""
    conviction: float = 1.5
    """Silence after which everything leaves."""
    return_after: float = 10.0
    """Replies after a doubt before new flows come back."""
    conviction_sends: int = 6
    """Unanswered sends that a conviction takes: probes, and packets of flows that have been answered."""
    rtt_factor: float = 2.5
    """Round trips that a doubt waits at least, up to `conviction`."""
    profile: str = "balanced"
    """What the numbers start from, for people."""


SECONDS: Final = ("suspicion", "doubt", "conviction", "return_after")
"""The fields of Detection that are seconds; the other numbers count."""


PROFILES: Final = {
    "fast": Detection(suspicion=0.15, doubt=0.25, conviction=1.0, profile="fast"),
    "balanced": Detection(),
    "frugal": Detection(suspicion=0.4, doubt=0.5, conviction=2.0, profile="frugal"),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """When traffic comes back, and what comes along."""

    failback_after: float = 60.0
    """Seconds of proven health after a conviction; doubles per relapse."""
    failback_moves_flows: bool = False
    """Forwarded traffic too, which breaks its open flows."""


@dataclass(frozen=True, slots=True)
class Flows:
    """What becomes of flows that are open when their uplink is lost."""

    keep: Keep = field(default_factory=Keep)


@dataclass(frozen=True, slots=True)
class Names:
    """How names follow the uplink."""

    way: Way = Way.AUTO
    servers: tuple[str, ...] = ()
    """Addresses of public name servers, for an uplink whose own do not answer."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where Prometheus reads."""

    listen: str | None = "127.0.0.1:9109"
    """None: not served."""


DEFAULT_TARGETS: Final = (
    Target(ProbeKind.ICMP, "1.1.1.1", family=Family.IPV4, url="icmp://1.1.1.1"),
    Target(ProbeKind.ICMP, "8.8.8.8", family=Family.IPV4, url="icmp://8.8.8.8"),
    Target(ProbeKind.ICMP, "2606:4700:4700::1111", family=Family.IPV6, url="icmp://[2606:4700:4700::1111]"),
    Target(ProbeKind.ICMP, "2001:4860:4860::8888", family=Family.IPV6, url="icmp://[2001:4860:4860::8888]"),
    Target(ProbeKind.DNS, "9.9.9.9", 53, "example.com", family=Family.IPV4, url="dns://9.9.9.9/example.com"),
    Target(ProbeKind.DNS, "2620:fe::fe", 53, "example.com", family=Family.IPV6, url="dns://[2620:fe::fe]/example.com"),
    Target(
        ProbeKind.HTTP,
        "connectivitycheck.gstatic.com",
        80,
        "/generate_204",
        url="http://connectivitycheck.gstatic.com/generate_204",
    ),
)
"""As `targets.parse_target` reads them; spelled out so that a `Config()` costs no parsing."""


@dataclass(frozen=True, slots=True)
class Config:
    """The operator's whole will; as made, every default."""

    uplinks: tuple[Uplink, ...] = ()
    """Empty: discovered from the default routes of table main."""
    targets: tuple[Target, ...] = DEFAULT_TARGETS
    detection: Detection = field(default_factory=Detection)
    policy: Policy = field(default_factory=Policy)
    flows: Flows = field(default_factory=Flows)
    mptcp: bool = True
    """Uplinks' addresses are MPTCP endpoints, where the kernel has it."""
    dns: Names = field(default_factory=Names)
    metrics: Metrics = field(default_factory=Metrics)
    fwmark_mask: int = 0x3F000000
    rules: tuple[TrafficRule, ...] = ()
    """For certain traffic: the first that matches."""
    gateway: Gateway | None = None
    """None: nothing is done for what the box forwards."""
    repair: Repair = field(default_factory=Repair)
    messages: Messages = field(default_factory=Messages)
    networks: Mapping[str, str] = field(default_factory=dict)
    """Carrier label, or MCC and MNC -> the name of the network that it rides on, besides those that are known."""

    @property
    def modems(self) -> bool:
        """Whether any uplink is a modem."""
        return any(uplink.modem for uplink in self.uplinks)

    @property
    def lan(self) -> tuple[str, ...]:
        """Interfaces of the gateway's clients; none without a gateway."""
        return self.gateway.lan if self.gateway else ()

    def targets_of(self, uplink: Uplink) -> tuple[Target, ...]:
        """Its own targets, or the common ones."""
        return self.targets if uplink.targets is None else uplink.targets


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """Event: a new config is in force."""

    config: Config
