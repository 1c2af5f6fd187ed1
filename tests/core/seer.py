"""An engine that is held to its own explanations.

Whatever it does by time alone, it must have foretold to the moment; and what it foretold must come, unless something
else happened before.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from failover.config import Config, Reconfigured
from failover.core.engine import Engine, Event
from failover.core.policy import PROOF_AGE, RULES, decide
from failover.export.explain import document
from failover.memory import Memory
from failover.model import FAMILIES, Family
from failover.picture import Explanation
from failover.seam import Asked, Effect

NEAR = 1e-6
"""Seconds."""


class Seer(Engine):
    """`fulfilled` counts the prophecies that came true."""

    fulfilled = 0

    def __init__(self, config: Config, random: Callable[[], float], memory: Memory | None = None) -> None:
        super().__init__(config, random, memory)
        self._foretold: dict[Family, tuple[object, list[float]]] = {}

    def handle(self, now: float, event: Event) -> list[Effect]:
        if isinstance(event, Asked | Reconfigured):
            self._foretold = {}  # somebody spoke
        return self._watched(now, lambda: super(Seer, self).handle(now, event))

    def wake(self, now: float) -> list[Effect]:
        return self._watched(now, lambda: super(Seer, self).wake(now))

    def _watched(self, now: float, act: Callable[[], list[Effect]]) -> list[Effect]:
        before = {family: self._where(family) for family in FAMILIES}
        known = {family: self._known(now, family) for family in FAMILIES}
        effects = act()
        for family in FAMILIES:
            said, times = self._foretold.get(family, (None, []))
            adopted = before[family] is not None
            same = adopted and said == known[family] and self._seen(now, family) == known[family][0]
            moved = before[family] != self._where(family)
            if same and moved:
                assert times, f"{family} at {now}: nobody foretold that it moves to {self._where(family)}"
                assert abs(times[0] - now) < NEAR, f"{family} at {now}: foretold for {times[0]}"
                self.fulfilled += 1
            elif same and not moved:
                assert not [at for at in times if at <= now - NEAR], f"{family} at {now}: foretold, and nothing came"
            if moved or not same:
                self._foretold[family] = self._known(now, family), self._prophecy(now, family)
        return effects

    def _where(self, family: Family) -> object:
        decision = self._choices.by_family.get(family)
        return decision and (decision.active, decision.settled)

    def _known(self, now: float, family: Family) -> tuple[object, object]:
        """All that policy goes by, but for the time and the operator's will: what is seen, and what is owed."""
        standings = [lane.standing for lane in self._fleet.by_family[family]]
        return self._seen(now, family), [(standing.convicted, standing.healthy_since) for standing in standings]

    def _seen(self, now: float, family: Family) -> object:
        lanes = self._fleet.by_family[family]
        proven = [lane.health.proven(now, PROOF_AGE) for lane in lanes]
        return proven, [(lane.uplink.name, lane.verdict, lane.uplink.fate) for lane in lanes]

    def _prophecy(self, now: float, family: Family) -> list[float]:
        told = [explanation for explanation in self.explain(now) if explanation.family is family]
        return [now + p.after_seconds for one in told for p in one.prospects if p.after_seconds is not None]


def sound(engine: Engine, now: float) -> tuple[Explanation, ...]:
    """The explanations of this moment, looked at from all sides."""
    told = engine.explain(now)
    json.dumps(document(told, now), allow_nan=False)
    for one in told:
        assert one.rule in RULES
        assert one.text
        listed = engine._fleet.candidates(now, one.family)
        moves = engine.config.policy.failback_moves_flows
        then = decide(now, one.decision, listed, engine._choices.will, moves_flows=moves)
        assert (then.active, then.settled) == (one.decision.active, one.decision.settled), "at rest, nothing moves"
        assert [c.name for c in one.candidates if c.active] == [n for n in [one.decision.active] if n is not None]
        assert all(bool(c.objection) is not c.active for c in one.candidates)
        assert len(one.prospects) <= 2 + 6 * len(one.candidates) + len(engine._choices.will.drained)
        assert all(p.after_seconds is None or p.after_seconds > 0 for p in one.prospects)
    return told
