"""One uplink in one family, as the policy sees it.

Immutable values only; no behaviour beyond reading them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from failover.core.fate import AILING, shadow
from failover.model import Reason, Verdict


@dataclass(frozen=True, slots=True)
class Candidate:
    """See the module."""

    name: str
    preference: int
    """0: the first choice."""
    verdict: Verdict
    text: str
    due: float
    """Monotonic time from which traffic may come here; inf while it is not healthy."""
    proven: bool
    """Its newest probe was answered, lately enough."""
    heard_ago: float
    numbers: Callable[[], Mapping[str, float]]
    """What its verdict rests on; asked only of the one that is left."""
    returns: Reason
    """As what traffic would return here (`damping.Standing`)."""
    cause: Reason = Reason.CONVICTION
    """For a lost one: how."""
    pardoned: bool = False
    """The operator's word pays what it owes as soon as it is healthy."""
    rtt: float | None = 0.0
    """Its usual round trip of late, seconds; None: not measured, and then it is not known to be quick."""
    slow: bool = False
    """Degraded by latency."""
    lossy: bool = False
    """Degraded by loss."""
    loss_evidence: float = 0.0
    """How near a brownout by loss it is, 0-1."""
    foreign: bool = False
    """Its network is a foreign one: it comes last, whatever fate others share."""
    fate: Mapping[str, str] = field(default_factory=dict)
    """Other uplink -> what would bring both down, as `the network au`."""
    ailed: float = -inf
    """When it fell into doubt or was convicted last, or was rid of that (monotonic seconds)."""

    @property
    def convicted(self) -> bool:
        """What it owes comes from a conviction."""
        return self.returns is Reason.FAILBACK

    @property
    def shade(self) -> float:
        """Monotonic time until which its trouble speaks against those that share its fate."""
        return shadow(self.verdict, self.ailed, self.due)

    def kinship(self, other: Candidate) -> str:
        """What of the other one speaks against it, for people."""
        trouble = f"is {other.verdict}" if other.verdict in AILING else "was in trouble just now"
        return f"shares {self.fate[other.name]} with {other.name}, which {trouble}"
