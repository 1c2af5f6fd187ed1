"""The picture that status, metrics and the control socket are drawn from. Times are monotonic seconds."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from failover.model import Decision, Family, Outcome, Verdict
from failover.modem import Modem


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target over one uplink."""

    url: str
    loss_ratio: float | None
    rtt_seconds: float | None
    last_outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Penalty:
    """What flapping has earned an uplink: one for each conviction (RFC 2439's figure of merit), fading with time."""

    figure: float = 0.0
    """As it was at `at`."""
    at: float = 0.0
    """Monotonic time."""
    half_life: float = inf
    """Seconds."""
    forgiven_at: float = -inf
    """Monotonic time from which it makes no difference any more."""

    def left(self, now: float) -> float:
        """What it has come down to: figure x 2^(-(now - at) / half_life)."""
        return float(self.figure * 0.5 ** ((now - self.at) / self.half_life))

    def forgiven_in(self, now: float) -> float | None:
        """Seconds; None where nothing is to be forgiven."""
        return self.forgiven_at - now if self.forgiven_at > now else None


@dataclass(frozen=True, slots=True)
class FamilyView:
    """One uplink in one family."""

    verdict: Verdict
    text: str
    """Why this verdict."""
    since: float
    """Monotonic time of the verdict."""
    loss_ratio: float | None
    rtt_seconds: float | None
    last_proven: float | None
    """Monotonic time of the last answer."""
    hold_until: float | None
    """Monotonic time before which traffic does not return here."""
    targets: tuple[TargetView, ...]
    hold_down: float = 0.0
    """Seconds of unbroken health that traffic waits for here; all of it is still to come while there is no health."""
    cause: str = ""
    """How a lost one was lost: `conviction refused link-down absent portal`; empty for all others."""
    penalty: Penalty = Penalty()
    silences_buffered: int = 0
    """Silences that are over, in whose course the link kept what was sent: the replies came late."""
    silences_lost: int = 0
    """Those in which it was lost."""
    last_silence: str = ""
    """The last of either in words; empty before the first."""


@dataclass(frozen=True, slots=True)
class ModemView:
    """The modem of an uplink."""

    slot: int
    """The SIM that the uplink goes by."""
    modem: Modem | None
    """As it was told last; None: never."""
    listed: bool = False
    """Its manager lists it now."""
    step: str = ""
    """Of its repair: the one taken last in the present trouble."""
    step_next: str = ""
    """The one that comes next, as things are; empty: none."""
    step_due: float | None = None
    """Monotonic time of that; None: none is due."""
    obstacle: str = ""
    """Why nothing is done though it wants repair."""
    refused: str = ""
    """Why it must not be used: its SIM is the wrong one, or there is none, or it roams where that is denied."""
    slot_due: float | None = None
    """Monotonic time at which its modem changes its SIM, as things are; None: that is not in sight."""
    resets: tuple[float, ...] = ()
    """When it was reset, the last times; power cycles count as such."""
    switch_seconds: float | None = None
    """That a change of its SIM takes; None: not measured."""


class Sharing(enum.StrEnum):
    """By what two uplinks share a fate."""

    NETWORK = "network"
    MODEM = "modem"
    HUB = "hub"
    NEXT_HOP = "next-hop"
    OUTAGES = "outages"
    """Observed, whatever the cause: they go down together, and others do not."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What one uplink has in common with another."""

    other: str
    why: Sharing
    what: str
    """In words that follow `they share`, as `the network au`."""


@dataclass(frozen=True, slots=True)
class UplinkView:
    """One uplink."""

    name: str
    interface: str
    carrier: str
    slot: int
    metered: bool
    drained: bool
    families: Mapping[Family, FamilyView]
    budget: float | None = None
    """IP bytes of probes that its budget holds when it is full; None: not metered."""
    budget_left: float | None = None
    """What is left of that."""
    name_servers: tuple[str, ...] = ()
    """Whom the box's resolver is to ask over it; none while that is not known, or names do not follow."""
    modem: ModemView | None = None
    fate: tuple[Shared, ...] = ()
    """What would bring it down together with others."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole picture of one moment."""

    decisions: Mapping[Family, Decision]
    uplinks: tuple[UplinkView, ...]
    use: str | None
    use_until: float | None
    use_strict: bool
    warnings: tuple[str, ...] = ()
    """What stands in the way of doing it truly, as long as it does."""
    flows_counted: bool = True
    """Whether the user's flows are counted, and not just what passes the interfaces."""
    lan: tuple[str, ...] = ()
    """Interfaces of the gateway's clients; none without a gateway."""


@dataclass(frozen=True, slots=True)
class CandidateView:
    """One uplink in one family as the policy weighs it."""

    name: str
    preference: int
    """0: the first choice."""
    verdict: Verdict
    text: str
    """Why this verdict."""
    active: bool
    settled: bool
    drained: bool
    proven: bool
    """Its newest probe was answered, lately enough to take traffic over on doubt."""
    owed_seconds: float | None
    """What is left of its hold-down; None while it is not healthy, 0 when it owes nothing."""
    relapses: float
    """Convictions that count against it, each halved every 15 minutes."""
    numbers: Mapping[str, float]
    """What its verdict rests on, each name with its unit."""
    objection: str
    """Why new flows are not here; empty for the active one."""
    forgiven_seconds: float | None = None
    """Until `relapses` make no difference any more; None: they make none."""
    counted: str = "no"
    """How the user's traffic over it is counted: `flows`, by its `interface` alone, or `no`."""
    last_silence: str = ""
    """As in FamilyView."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """Something that would change the decision."""

    text: str
    after_seconds: float | None
    """At the earliest, if nothing else happens; None: it hangs on an event, not on time."""


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a new flow."""

    to: str
    protocol: str = ""
    """As the config's rules name it; empty: one that no rule is about."""
    port: int = 0
    """Destination; 0: none."""
    dscp: int = 0
    uid: int = 0
    """Of the socket's owner, where this box sends it."""
    source: str | None = None
    """None: this box sends it."""

    @property
    def family(self) -> Family:
        """Of its destination."""
        return Family.of(self.to)


@dataclass(frozen=True, slots=True)
class Passage:
    """By which way a packet would go, as far as it is ours to tell."""

    uplink: str | None
    """None: by none."""
    text: str
    """Why."""
    refused: bool = False
    rule: str | None = None
    """The first rule of the config that is about it."""
    allowed: Mapping[str, Verdict] = field(default_factory=dict)
    """The uplinks that it may take."""
    held: bool = False
    """It vanishes there until the uplink is back, as its rule wants it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one family's traffic goes where it goes, and what would change that."""

    family: Family
    decision: Decision
    rule: str
    """The rule of the policy that holds at this moment, as it is named there."""
    text: str
    """That rule in words, about these uplinks."""
    candidates: tuple[CandidateView, ...]
    """In order of rank, best first."""
    prospects: tuple[Prospect, ...]
    way: Callable[[Packet], Passage] | None = field(default=None, compare=False)
    """Tells where a packet of this family would go."""
