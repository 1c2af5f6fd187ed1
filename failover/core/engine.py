"""The brain's dispatch: events in, effects out. Composition only; every judgement lives in the other files of core.

`now` is monotonic seconds and always an argument. Engine never waits, reads no clock and does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import inf
from typing import assert_never

from failover.config import Config, Reconfigured
from failover.core import notices
from failover.core.explain import explain
from failover.core.fleet import Fleet, moved
from failover.core.lane import Lane
from failover.core.operator import expire, obey
from failover.core.policy import Will, decide, next_due
from failover.core.prober import Prober
from failover.core.recall import Recall
from failover.core.reconcile import Reconciler
from failover.memory import Memory
from failover.model import FAMILIES, Answer, Decision, Family, ProbeNow, ProbeResult, Use
from failover.picture import Explanation, Snapshot
from failover.seam import (
    Applied,
    Apply,
    Asked,
    Counted,
    Effect,
    KernelRead,
    ReadKernel,
    Resumed,
    SocketsRead,
    WallClock,
)

Event = KernelRead | Applied | ProbeResult | Counted | SocketsRead | Resumed | WallClock | Asked | Reconfigured


class Engine:
    """One box: `handle` every event, `wake` at every `deadline`, carry out the effects in order."""

    def __init__(self, config: Config, random: Callable[[], float], memory: Memory | None = None) -> None:
        """`random` gives floats in [0, 1): the only dice. `memory`: what a former engine said it was to remember."""
        self.config = config
        self._recall = Recall(memory)
        self._fleet = Fleet(config, random)
        self._kernel = Reconciler()
        self._will = Will()
        self._decisions: dict[Family, Decision] = {}
        self._policy_due = dict.fromkeys(FAMILIES, inf)
        self._prober = Prober()
        self._failures, self._warnings, self._ready = notices.Once(), notices.Once(), notices.Once()

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Take in one event; returns what to do about it."""
        match event:
            case ProbeResult():
                return self.hear(now, [event])
            case KernelRead(facts):
                self._kernel.read(now, facts)
                return self._follow(now) + self._readiness(now)
            case Reconfigured(config):
                self.config = config
                self._fleet.reload(config)
                return self._follow(now) if self._decisions else []
            case Counted() | SocketsRead():
                return []
            case Applied(results):
                self._kernel.applied(results)
                return [*self._failures.news(now, notices.failures(event)), *self._readiness(now)]
            case Resumed(seconds):
                for lane in self._fleet:
                    lane.resumed(now)
                return [notices.resumed(seconds), *self._turn(now, self._fleet)]
            case WallClock(_, trusted):
                self._prober.trusted_clock = trusted
                return []
            case Asked():
                return self._asked(now, event)
            case _:
                assert_never(event)

    def hear(self, now: float, results: Iterable[ProbeResult]) -> list[Effect]:
        """Take in what came of probes, all of it before anyone is judged by what is still missing."""
        touched = [lane for result in results for lane in self._prober.heard(now, result, self._fleet)]
        return self._turn(now, touched) if touched else []

    def wake(self, now: float) -> list[Effect]:
        """Do what has come due; afterwards `deadline` lies in the future."""
        effects = self._turn(now, [lane for lane in self._fleet if lane.deadline <= now])
        if self._kernel.due(now):
            effects.append(ReadKernel())
        return effects

    def deadline(self) -> float:
        """Monotonic time of the next `wake`; inf when nothing is under way."""
        return min(self._fleet.deadline(), *self._policy_due.values(), self._kernel.deadline())

    def snapshot(self) -> Snapshot:
        """The whole picture, with monotonic times."""
        will = self._will
        until = will.until if will.until < inf else None
        uplinks = self._fleet.views(will.drained)
        return Snapshot(dict(self._decisions), uplinks, will.use, until, will.strict, self._warned)

    def explain(self, now: float) -> tuple[Explanation, ...]:
        """Why each family's traffic goes where it goes, and what would change that."""
        lanes, decisions = self._fleet.by_family, self._decisions.items()
        return tuple(explain(now, decision, lanes[family], self._will, self.config) for family, decision in decisions)

    def memory(self, now: float) -> Memory:
        """What an engine that comes after this one is to be given."""
        return self._recall.take(now, self._will, self._fleet)

    @property
    def _warned(self) -> tuple[str, ...]:
        """What stands in the way now."""
        return (*self._kernel.desired.warnings, *self._fleet.blame.warnings(), *self._fleet.hindered())

    # --- events ------------------------------------------------------------------------------------------------------

    def _follow(self, now: float) -> list[Effect]:
        """New facts or a new config: everything is looked at again."""
        effects: list[Effect] = [*self._fleet.follow(now, self._kernel.facts)]
        self._prober.prune(self._fleet, self.config.fwmark_mask)
        self._decisions = {family: self._fleet.rename(then) for family, then in self._decisions.items()}
        if not self._decisions:
            self._will = self._recall.will(now)
            remembered = self._will if self._recall.remembers else None
            self._decisions = self._fleet.adopt(now, self._kernel.facts, remembered)
            effects += notices.recalled(now, self._will)
        self._recall.give(now, self._fleet, self.config)
        return effects + self._turn(now, self._fleet, facts=True)

    def _readiness(self, now: float) -> list[Effect]:
        known = self._decisions.values(), len(self._fleet.uplinks)
        return [*self._ready.news(now, {"ready": notices.ready(*known)} if self._kernel.adopted else {})]

    def _asked(self, now: float, asked: Asked) -> list[Effect]:
        if not self._decisions:
            return [Answer(asked.id, "", "the kernel has not been read yet", "ask again")]
        before, (self._will, answer) = self._will, obey(now, asked, self._will, list(self._fleet))
        if answer.error:
            return [answer]
        named = [lane for lane in self._fleet if lane.uplink.name == getattr(asked.command, "name", None)]
        if isinstance(asked.command, ProbeNow):
            for lane in named:
                lane.probe_all(now)
            return [answer, *self._turn(now, named)]
        if isinstance(asked.command, Use):
            for lane in named:
                lane.pardon()
        said = [] if self._will == before else [notices.operator(answer.text)]
        return [answer, *said, *self._turn(now, named, willed=True)]

    # --- the turn ----------------------------------------------------------------------------------------------------

    def _turn(self, now: float, touched: Iterable[Lane], *, facts: bool = False, willed: bool = False) -> list[Effect]:
        """Judge the touched lanes, decide where anything changed, then send what is due."""
        if not self._decisions:
            return []
        effects: list[Effect] = []
        lanes = list(touched)
        all_at_once = facts or willed or min(self._policy_due.values()) <= now
        families = set(FAMILIES) if all_at_once else set()
        for lane in self._fleet.judge(now, lanes):
            effects.append(notices.verdict(lane))
            families.add(lane.family)
        for lane in lanes:
            if lane.family not in families and self._fleet.hang_on(lane, self._decisions[lane.family].active):
                families.add(lane.family)
        if families:
            effects += self._decide(now, families, facts=facts)
            others = (lane for lane in lanes if lane.family not in families)
            lanes = [*(lane for lane in self._fleet if lane.family in families), *others]
        for lane in lanes:
            rivals, decision = self._fleet.by_family[lane.family], self._decisions[lane.family]
            lane.pace(now, decision)
            effects += self._prober.due(now, lane, rivals, decision)
            lane.rearm()
        return effects + self._warnings.news(now, notices.warnings(self._warned))

    def _decide(self, now: float, families: Collection[Family], *, facts: bool) -> list[Effect]:
        """Policy for these families, then the kernel."""
        effects = self._expire(now)
        changed, switched = False, []
        for family in sorted(families):
            candidates = self._fleet.candidates(now, family)
            before = self._decisions[family]
            moves = self.config.policy.failback_moves_flows
            then = decide(now, before, candidates, self._will, moves_flows=moves)
            self._policy_due[family] = next_due(now, then, candidates, self._will)
            self._fleet.settle(now, then, self._will.drained)
            if then is before:
                continue
            changed, self._decisions[family] = True, then
            if moved(before, then):
                effects.append(notices.switch(before, then))
            if then.active != before.active:
                switched.append(then)
        if switch := self._kernel.switch(now, self._fleet.uplinks, switched):
            return [*switch, *effects]  # the rest follows when the kernel has been read again
        return [*self._plan(now, decided=changed), *effects] if changed or facts else effects

    def _plan(self, now: float, *, decided: bool) -> list[Apply]:
        self._kernel.want(now, self._fleet.uplinks, self._decisions, self.config.fwmark_mask)
        return self._kernel.apply(now, decided=decided)

    def _expire(self, now: float) -> list[Effect]:
        before, self._will = self._will, expire(now, self._will)
        return [] if self._will is before else [notices.operator(f"the time to use {before.use} is over")]
