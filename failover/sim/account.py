"""What a run cost and what it brought: the user's traffic per family, switches, convictions, probe bytes.

Watches the agent's snapshots; decides nothing. Uplinks are named by their place in order of preference. What lies
before the script's zero (the settling) is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from failover.model import Family, Reason, Verdict
from failover.picture import Snapshot
from failover.seam import ActOnModem
from failover.sim.loads import Load
from failover.sim.traffic import Drawn, Meter, Requests


@dataclass(slots=True)
class Bytes:
    """IP bytes of the probes of one uplink in one family."""

    active: int = 0
    """Sent and received for probes that left while new flows went this way."""
    standby: int = 0


@dataclass(slots=True)
class Account:
    uplinks: Sequence[str]
    meters: Mapping[Family, Meter]
    requests: Mapping[Family, Requests | Drawn] = field(default_factory=dict)
    loads: Mapping[Family, Sequence[Load]] = field(default_factory=dict)
    """What else the user does."""
    active: dict[Family, int | None] = field(default_factory=dict)
    """The kernel's way of new flows."""
    switches: dict[Family, Counter[Reason]] = field(default_factory=dict)
    """Changes of the way of new flows that the agent decided, by reason."""
    downs: dict[str, int] = field(default_factory=dict)
    """Convictions per uplink, whether it carried anything or not."""
    bytes: dict[tuple[int, Family], Bytes] = field(default_factory=dict)
    orders: list[tuple[float, ActOnModem]] = field(default_factory=list)
    """What the agent had modems do, and when."""
    counting: bool = False

    def __post_init__(self) -> None:
        self.switches = {family: Counter() for family in self.meters}
        self.downs = dict.fromkeys(self.uplinks, 0)
        self.bytes = {(place, family): Bytes() for place in range(len(self.uplinks)) for family in self.meters}

    def play(self, until: float) -> None:
        """The user's packets up to now go as the kernel has sent them so far."""
        for family, requests in self.requests.items():
            requests.play(until, self.active.get(family))
        for family, loads in self.loads.items():
            for load in loads:
                load.play(until, self.active.get(family))

    def sleep(self, until: float) -> None:
        for requests in self.requests.values():
            requests.skip(until)
        for loads in self.loads.values():
            for load in loads:
                load.skip(until)

    def probed(self, uplink: int, family: Family, weight: int) -> None:
        if not self.counting:
            return
        spent = self.bytes[uplink, family]
        if self.active.get(family) == uplink:
            spent.active += weight
        else:
            spent.standby += weight

    def ordered(self, now: float, order: ActOnModem) -> None:
        if self.counting:
            self.orders.append((now, order))

    def decided(self, now: float, before: Snapshot | None, after: Snapshot) -> None:
        """The agent's picture has changed; the packets up to now have been played."""
        if before is None:
            return
        for family in self.meters:
            self._switched(family, before, after)
            for uplink, verdict, was in _turns(family, before, after):
                self._turned(now, family, uplink, verdict, was)

    def _switched(self, family: Family, before: Snapshot, after: Snapshot) -> None:
        old, new = before.decisions.get(family), after.decisions.get(family)
        if old is None or new is None:
            return
        if old.active != new.active:
            self.switches[family][new.reason] += self.counting

    def broke(self, family: Family, place: int) -> int:
        """The open flows of an uplink are broken, and reconnect by the way of new flows; returns how many."""
        extra = sum(load.broke(place) for load in self.loads.get(family, ()))
        return self.meters[family].broke(place) + extra

    def _turned(self, now: float, family: Family, uplink: str, verdict: Verdict, was: Verdict | None) -> None:
        if verdict is was or uplink not in self.uplinks:
            return
        place = self.uplinks.index(uplink)
        if verdict is Verdict.DOWN and self.counting:
            self.downs[uplink] += 1
            self.meters[family].convicted(place, now)


def _turns(family: Family, before: Snapshot, after: Snapshot) -> Iterable[tuple[str, Verdict, Verdict | None]]:
    """(uplink, verdict, verdict before) of every uplink."""
    old = {view.name: view.families[family].verdict for view in before.uplinks}
    return [(view.name, view.families[family].verdict, old.get(view.name)) for view in after.uplinks]
