"""Open probes: which lane each belongs to, and what leaves when a lane's schedule says so.

Pure. When to probe is schedule.py's, what came of it health.py's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from failover.core.fleet import Fleet
from failover.core.lane import Lane
from failover.core.plan import mark_of
from failover.model import Decision, Outcome, ProbeResult, SendProbe, Target, Verdict
from failover.weights import wire_bytes

OPEN_MAX: Final = 10_000
"""Probes remembered; the oldest is forgotten. Each ends after PROBE_PATIENCE, so this is a guard and no limit."""
WITNESS_AFTER: Final = 1.0
"""Seconds of silence after which a proven standby is asked whether it receives: a conviction takes longer, and the
traffic that has gone there on doubt may say so by itself."""


class Prober:
    """Numbers the probes and finds their lanes again."""

    def __init__(self) -> None:
        self._mask = 0
        self.trusted_clock = False
        self._last_id = 0
        self._open: dict[int, tuple[Lane, int | None]] = {}
        """Whose each probe is, and what was paid for it; None: that is not gone into, as it was the operator's."""

    def prune(self, fleet: Fleet, mask: int) -> None:
        """Forget the probes of lanes that are gone; from now on marks are of this mask."""
        self._mask = mask
        lanes = {id(lane) for lane in fleet}
        self._open = {probe: one for probe, one in self._open.items() if id(one[0]) in lanes}

    def heard(self, now: float, result: ProbeResult, fleet: Fleet) -> list[Lane]:
        """What came of a probe goes to its lane; returns the lanes that it says something about."""
        lane, weight = self._open.pop(result.id, (None, 0))
        if lane is None:
            return []
        if weight is not None:
            lane.budget.refund(now, weight - result.sent_bytes - result.received_bytes)
        if lane.health.result(now, result) is None:
            return []
        if lane.health.last_heard != now:
            return [lane]
        lane.schedule.rest()
        return [lane, *fleet.concerned(now, lane)]

    def due(self, now: float, lane: Lane, rivals: Sequence[Lane], decision: Decision) -> list[SendProbe]:
        """Everything this lane has to send now, and its standby with it."""
        sends = []
        health = lane.health
        for due in lane.schedule.due(now, health.flight.late, health.record.dead_target):
            sends += self._paid(now, lane, due.target, steady=due.steady, wanted=due.wanted)
            partner = _partner(now, lane, rivals, decision) if due.partner else None
            if partner is not None:
                sends += self._paid(now, partner, partner.counterpart(due.target), steady=False)
                partner.rearm()
        return sends

    def _paid(self, now: float, lane: Lane, target: Target, *, steady: bool, wanted: bool = False) -> list[SendProbe]:
        """The probe, if the uplink can afford it; if the operator wants it, in any case."""
        weight = sum(wire_bytes(target, lane.family, Outcome.ANSWERED))
        if wanted:
            lane.budget.grant(now, weight)
        elif lane.budget.affords(now, weight, doubt=not steady or lane.worth_the_reserve(now)):
            lane.budget.spend(now, weight)
        else:
            return []
        lane.asked = now
        return [self._send(now, lane, target, None if wanted else weight, steady=steady)]

    def _send(self, now: float, lane: Lane, target: Target, weight: int | None, *, steady: bool) -> SendProbe:
        self._last_id += 1
        self._open[self._last_id] = lane, weight
        if len(self._open) > OPEN_MAX:
            del self._open[next(iter(self._open))]
        lane.health.sent(now, self._last_id, target, steady=steady)
        uplink = lane.uplink
        return SendProbe(
            id=self._last_id,
            uplink=uplink.name,
            family=lane.family,
            interface=uplink.interface,
            mark=mark_of(uplink.slot, self._mask),
            target=target,
            trusted_clock=self.trusted_clock,
        )


def _partner(now: float, suspect: Lane, rivals: Sequence[Lane], decision: Decision) -> Lane | None:
    """The best other uplink that can be probed, while the suspect carries traffic and this one was not heard since that
    fell silent. What is proven is trusted, and asked for a conviction only, or where several are silent."""
    if suspect.uplink.name not in (decision.active, decision.settled):
        return None
    ranks = {name: rank for rank, name in enumerate(decision.order)}
    able = [r for r in rivals if r is not suspect and r.targets and not r.health.path.fault and r.uplink.name in ranks]
    best = min(able, key=lambda lane: ranks[lane.uplink.name], default=None)
    if best is None:
        return None
    several = any(lane.verdict is Verdict.DOUBTFUL for lane in rivals if lane is not suspect)
    return best if _worth_asking(now, suspect, best, several=several) else None


def _worth_asking(now: float, suspect: Lane, partner: Lane, *, several: bool) -> bool:
    """`several`: others are silent too, and then a proof from before is no proof."""
    heard, silent = partner.health.last_heard, suspect.health.silence.since
    if heard is not None and silent is not None and heard >= silent:
        return False
    return several or not partner.proven(now) or suspect.health.silent_for(now) >= WITNESS_AFTER
