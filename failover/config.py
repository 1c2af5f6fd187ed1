"""The operator's will as one frozen tree.

The tree is what the core reads. Reading it from YAML, with every problem reported at once, is `load` at the end;
the libraries that takes are imported there only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from failover.model import Target


@dataclass(frozen=True, slots=True)
class Metered:
    budget: int | None = None
    """Probe bytes a month; None: the default of the agent."""


@dataclass(frozen=True, slots=True)
class Uplink:
    name: str
    interface: str
    carrier: str = ""
    metered: Metered | None = None
    targets: tuple[Target, ...] | None = None
    """Instead of the common ones."""


@dataclass(frozen=True, slots=True)
class Detection:
    """All in seconds but the last two. DESIGN: a fixed threshold wins within noise; the knee is 0.35 s."""

    suspicion: float = 0.25
    doubt: float = 0.35
    conviction: float = 1.5
    return_after: float = 10.0
    conviction_sends: int = 6
    rtt_factor: float = 2.5


PROFILES: Final = {
    "fast": Detection(suspicion=0.15, doubt=0.25, conviction=1.0),
    "balanced": Detection(),
    "frugal": Detection(suspicion=0.4, doubt=0.5, conviction=2.0),
}


@dataclass(frozen=True, slots=True)
class Policy:
    failback_after: float = 60.0
    failback_moves_flows: bool = False


@dataclass(frozen=True, slots=True)
class Metrics:
    listen: str | None = "127.0.0.1:9109"
    """None: not served."""


@dataclass(frozen=True, slots=True)
class Config:
    uplinks: tuple[Uplink, ...] = ()
    """Empty: discovered from the default routes of table main."""
    targets: tuple[Target, ...] = ()
    detection: Detection = field(default_factory=Detection)
    policy: Policy = field(default_factory=Policy)
    metrics: Metrics = field(default_factory=Metrics)
    fwmark_mask: int = 0x3F000000


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """Event: a new config is in force."""

    config: Config
