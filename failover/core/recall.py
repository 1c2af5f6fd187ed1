"""What outlives a restart: the memory as it is taken from the engine's parts, and as it is given back to them.

Pure. Spans are cut to what can be, whatever a memory says; a hold-down is never made shorter than it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import Final

from failover.config import Config
from failover.core.budget import MONTH, Budget
from failover.core.damping import HALF_LIFE, LONGEST
from failover.core.deaths import KEPT_MAX
from failover.core.lane import Lane
from failover.core.policy import Will
from failover.core.verdicts import WAYLESS
from failover.facts import SLOTS_MAX
from failover.memory import Allowance, Debt, Memory, ModemPast, Outage
from failover.model import Family

RELAPSES_MAX: Final = 64.0
"""Far more than make the longest wait, and few enough to be an exponent."""
RELAPSES_LEAST: Final = 0.01
"""Fewer make no wait even one percent longer."""


class Recall:
    """What was remembered, until it is given back; uplinks may come later than the agent."""

    def __init__(self, memory: Memory | None) -> None:
        """None: nothing is remembered."""
        self.remembers = memory is not None
        self._memory = _aged(memory or Memory())
        self._debts = {(debt.uplink, debt.family): debt for debt in self._memory.debts}
        self._age = _span(memory.age, MONTH) if memory else 0.0
        self._allowances = {allowance.uplink: allowance.left for allowance in self._memory.allowances}
        self._since: float | None = None
        """When its spans began to run; None: not yet."""

    def will(self, now: float) -> Will:
        """The operator's will as it was remembered; its time runs from now on."""
        self._since = now
        told = self._memory
        if told.use is None:
            return Will(drained=frozenset(told.drained))
        until = inf if told.use_seconds is None else now + told.use_seconds
        return Will(told.use, until, told.use_strict, frozenset(told.drained))

    def give(self, now: float, lanes: Iterable[Lane], config: Config, budgets: Mapping[str, Budget]) -> None:
        """To each lane that has come what it owed. Where the config names the uplinks, no other will ever come; what is
        metered is always named, so that each budget is there the first time."""
        left = {(debt.uplink, debt.family): debt for debt in self._left(now)}
        for lane in lanes:
            debt = left.get(place := (lane.uplink.name, lane.family))
            if debt is not None:
                lane.standing.recall(now, debt, config.policy.failback_after, config.detection.return_after)
                del self._debts[place]
        if config.uplinks:
            self._debts.clear()
        for name, left_over in self._allowances.items():
            if name in budgets:
                budgets[name].recall(now, left_over, self._age)
        self._allowances.clear()

    @property
    def modems(self) -> tuple[ModemPast, ...]:
        """What was done to modems."""
        return self._memory.modems

    @property
    def outages(self) -> tuple[Outage, ...]:
        """Who went down with whom."""
        return self._memory.outages

    def take(
        self,
        now: float,
        will: Will,
        lanes: Iterable[Lane],
        budgets: Mapping[str, Budget],
        modems: tuple[ModemPast, ...] = (),
        outages: tuple[Outage, ...] = (),
    ) -> Memory:
        """What to remember now."""
        if self._since is None:
            return self._memory
        return Memory(
            use=will.use,
            use_seconds=None if will.use is None or will.until == inf else max(0.0, will.until - now),
            use_strict=will.strict,
            drained=tuple(sorted(will.drained)),
            debts=(*(debt for lane in lanes for debt in _debts(now, lane)), *self._left(now)),
            allowances=tuple(
                Allowance(name, left) for name, budget in budgets.items() if (left := budget.left(now)) is not None
            ),
            modems=modems,
            outages=outages,
        )

    def _left(self, now: float) -> tuple[Debt, ...]:
        """Debts of uplinks that have not come yet; after LONGEST they are forgotten."""
        passed = now - self._since if self._since is not None else 0.0
        if passed > LONGEST:
            self._debts.clear()
        return tuple(replace(debt, relapses=_decayed(debt.relapses, passed)) for debt in self._debts.values())


def _debts(now: float, lane: Lane) -> list[Debt]:
    """What a lane owes, if anything. One that was never there owes what everyone does at first."""
    standing = lane.standing
    owed = standing.owed(now) if standing.convicted or lane.verdict not in WAYLESS else 0.0
    relapses = standing.relapses_now(now)
    if owed <= 0 and relapses < RELAPSES_LEAST:
        return []
    return [Debt(lane.uplink.name, lane.family, owed, standing.convicted and owed > 0, relapses)]


def _aged(memory: Memory) -> Memory:
    """The same, taken now: what was used is used for a shorter while, relapses are forgiven, what is owed is owed."""
    age = _span(memory.age, inf)
    left = None if memory.use_seconds is None else _span(_span(memory.use_seconds, inf) - age, inf)
    debts = [
        replace(debt, owed=_span(debt.owed, LONGEST), relapses=_decayed(_span(debt.relapses, RELAPSES_MAX), age))
        for debt in memory.debts[: SLOTS_MAX * len(Family)]
    ]
    return replace(
        memory,
        use_seconds=left,
        drained=memory.drained[:SLOTS_MAX],
        debts=tuple(debts),
        allowances=memory.allowances[:SLOTS_MAX],
        modems=tuple(one.older(age) for one in memory.modems[:SLOTS_MAX]),
        outages=tuple(replace(one, ago=one.ago + age) for one in memory.outages[-KEPT_MAX:]),
        age=0.0,
    )


def _span(value: float, most: float) -> float:
    """From 0 to `most`; no number is 0."""
    return min(most, value) if value > 0 else 0.0


def _decayed(relapses: float, seconds: float) -> float:
    return float(relapses * 0.5 ** (seconds / HALF_LIFE))
