"""The seam of the engine: every event that goes in, every effect that comes out.

Immutable values only. A new config is an event too (`config.Reconfigured`); the brain's alias for all of them is
`core.engine.Event`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from failover.facts import Counts, Facts, Gateway, Operation, OperationResult, Segments, Tap
from failover.model import Answer, Command, Family, Keep, Notice, SendProbe
from failover.modem import Deed, Dial, Modem
from failover.resolvers import Resolvers


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
    """Event: the wall clock. Until it is trusted, no certificate is judged by its dates."""

    unix: float
    """Seconds since 1970."""
    trusted: bool
    """Whether something keeps it right."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Event: an operator's command; answered by one Answer effect with the same id."""

    id: int
    command: Command


@dataclass(frozen=True, slots=True)
class Counted:
    """Event: the user's packets were counted, by interface and family; what is missing is not counted (any more)."""

    counts: Mapping[tuple[str, Family], Counts]
    weak: bool = False
    """By the interfaces' own counters: they tell no reply from a neighbour's chatter and no flow from another. Of each
    interface both families have the same counts, all that came in and all that left (`fresh`), probes included."""


@dataclass(frozen=True, slots=True)
class SocketsRead:
    """Event: what this box's TCP sockets had to send since they were read last, by source address."""

    segments: Mapping[str, Segments]


@dataclass(frozen=True, slots=True)
class SocketsDestroyed:
    """Event: what came of a DestroySockets."""

    order: DestroySockets
    tcp: int = 0
    udp: int = 0
    error: str = ""
    """Why there was no more, in the kernel's words; empty when all is done."""


@dataclass(frozen=True, slots=True)
class FlowsForgotten:
    """Event: what came of a ForgetFlows."""

    order: ForgetFlows
    flows: int = 0
    error: str = ""
    """Why there were none, with the mend."""


@dataclass(frozen=True, slots=True)
class NamesTold:
    """Event: the name servers that the uplinks' networks tell, best first, by interface; none where nobody knows."""

    servers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ModemsTold:
    """Event: every modem, as the modem manager tells them now."""

    modems: tuple[Modem, ...] = ()
    managed: bool = True
    """False: there is no manager; nothing is known of any modem, and none is gone for that."""


@dataclass(frozen=True, slots=True)
class ModemActed:
    """Event: what came of an ActOnModem."""

    order: ActOnModem
    error: str = ""
    """In the manager's words; empty when it is done."""
    hint: str = ""
    unknown: bool = False
    """The manager cannot do this with this modem, or there is nobody who could."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Effect: change the kernel, in this order; then read it again."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class ReadKernel:
    """Effect: read the kernel again (periodic reconcile, a repair that is due)."""


@dataclass(frozen=True, slots=True)
class CountFlows:
    """Effect: count the flows of exactly these interfaces from now on. `mask`: bits of the mark that probes bear.

    With a `gateway`, what it forwards is marked, translated and kept on its uplink from then on, too.
    """

    taps: tuple[Tap, ...]
    mask: int
    gateway: Gateway | None = None

    @property
    def gateways(self) -> tuple[str, ...]:
        """The interfaces between which it forwards."""
        return (*self.gateway.lan, *(tap.interface for tap in self.taps)) if self.gateway else ()


@dataclass(frozen=True, slots=True)
class ReadCounters:
    """Effect: read them now; the next event, in the same moment, is the Counted."""


@dataclass(frozen=True, slots=True)
class ReadSockets:
    """Effect: read the TCP sockets with these source addresses; a SocketsRead follows soon."""

    addresses: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    """Networks on the uplinks' own wires: what goes there is left out, as is what bears bits of `mask` in its mark."""
    mask: int = 0


@dataclass(frozen=True, slots=True)
class DestroySockets:
    """Effect: break this box's TCP connections and connected UDP sockets with these source addresses, so that their
    programs hear of it now and connect anew; a SocketsDestroyed follows soon.

    Left alone: what listens, what is bound to a device, and what the other fields name.
    """

    uplink: str
    family: Family
    addresses: tuple[str, ...]
    local: tuple[str, ...] = ()
    """Networks on the box's own wires: what goes there does not leave by an uplink."""
    mask: int = 0
    """Bits of the mark that probes bear."""
    keep: Keep = field(default_factory=Keep)
    unanswered: bool = False
    """Only what was never answered: TCP that is still connecting, and questions to name servers (UDP, port 53)."""


@dataclass(frozen=True, slots=True)
class ForgetFlows:
    """Effect: forget what the box forwards by an uplink, so that it takes the present way from its next packet on; a
    FlowsForgotten follows soon."""

    uplink: str
    family: Family
    mark: int
    mask: int
    """Connections with this mark under this mask, and no others."""
    unanswered: bool = False
    """Only those that nobody has answered."""
    strays: bool = False
    """Only those that nobody has translated: they began while there was no table."""
    clients: tuple[str, ...] = ()
    """Networks of the LAN, whose TCP connections are asked where they stand, and so hear of it now. None: nobody's."""


@dataclass(frozen=True, slots=True)
class KeepEndpoints:
    """Effect: offer MPTCP connections exactly these addresses as ways of their own."""

    addresses: tuple[tuple[str, bool], ...] = ()
    """And whether each is for backup only."""


@dataclass(frozen=True, slots=True)
class WithdrawEndpoints:
    """Effect: take the ways from these addresses from MPTCP connections, which go on by others."""

    addresses: tuple[str, ...]
    proven: tuple[str, ...]
    """Addresses of uplinks that are known to work."""
    spare: bool
    """Only if every connection that uses them stands on a proven one as well."""


@dataclass(frozen=True, slots=True)
class AskNames:
    """Effect: ask which name servers these interfaces' networks tell; a NamesTold follows, if anybody can be asked."""

    interfaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FollowNames:
    """Effect: let the box's resolver ask so from now on; every uplink's link is named."""

    wanted: tuple[Resolvers, ...]


@dataclass(frozen=True, slots=True)
class ActOnModem:
    """Effect: do this to a modem; a ModemActed follows, in whatever time it takes."""

    uplink: str
    """On whose behalf."""
    modem: str
    """Its handle, as it was told last."""
    deed: Deed
    dial: Dial = field(default_factory=Dial)
    """CONNECT: what to ask for; RECONNECT: likewise, where nobody else dials."""
    slot: int = 0
    """SELECT_SLOT: which, from 1."""
    pin: str = field(default="", repr=False)
    """UNLOCK."""


Order = DestroySockets | ForgetFlows | KeepEndpoints | WithdrawEndpoints
"""The effects on flows that are open; they are carried out one after the other."""
Moved = SocketsDestroyed | FlowsForgotten
"""What comes of those that break any."""
Reading = ReadKernel | CountFlows | ReadCounters | ReadSockets | AskNames
"""The effects that find something out."""
Effect = SendProbe | Apply | FollowNames | ActOnModem | Reading | Order | Answer | Notice

OfModems = ModemsTold | ModemActed
Told = KernelRead | Applied | Counted | SocketsRead | Moved | NamesTold | OfModems | Resumed | WallClock | Asked
"""The events of this file."""
