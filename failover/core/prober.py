"""Open probes: which lane each belongs to, and what leaves when a lane's schedule says so.

Pure. When to probe is schedule.py's, what came of it health.py's business.
"""

from __future__ import annotations

from collections.abc import Sequence

from failover.core.fleet import Fleet
from failover.core.lane import Lane
from failover.core.plan import mark_of
from failover.core.schedule import Due
from failover.model import Decision, SendProbe


class Prober:
    """Numbers the probes and finds their lanes again."""

    def __init__(self) -> None:
        self.mask = 0
        self.trusted_clock = False
        self._last_id = 0
        self._open: dict[int, Lane] = {}

    def prune(self, fleet: Fleet) -> None:
        """Forget the probes of lanes that are gone."""
        lanes = {id(lane) for lane in fleet}
        self._open = {probe: lane for probe, lane in self._open.items() if id(lane) in lanes}

    def close(self, probe: int) -> Lane | None:
        """The lane of a probe whose outcome is known."""
        return self._open.pop(probe, None)

    def due(self, now: float, lane: Lane, rivals: Sequence[Lane], decision: Decision) -> list[SendProbe]:
        """Everything this lane has to send now, and its standby with it."""
        sends = []
        for due in lane.schedule.due(now, overdue=lane.health.overdue_targets()):
            sends.append(self._send(now, lane, due))
            partner = _partner(lane, rivals, decision) if due.partner else None
            if partner is not None:
                sends.append(self._send(now, partner, due))
                partner.rearm()
        return sends

    def _send(self, now: float, lane: Lane, due: Due) -> SendProbe:
        self._last_id += 1
        self._open[self._last_id] = lane
        lane.health.sent(now, self._last_id, due.target, steady=due.steady)
        uplink = lane.uplink
        return SendProbe(
            id=self._last_id,
            uplink=uplink.name,
            family=lane.family,
            interface=uplink.interface,
            mark=mark_of(uplink.slot, self.mask),
            target=due.target,
            trusted_clock=self.trusted_clock,
        )


def _partner(suspect: Lane, rivals: Sequence[Lane], decision: Decision) -> Lane | None:
    """The best other uplink, while the suspect carries traffic."""
    if suspect.uplink.name not in (decision.active, decision.settled):
        return None
    ranks = {name: rank for rank, name in enumerate(decision.order)}
    able = [lane for lane in rivals if lane is not suspect and not lane.health.path.fault and lane.uplink.name in ranks]
    return min(able, key=lambda lane: ranks[lane.uplink.name], default=None)
