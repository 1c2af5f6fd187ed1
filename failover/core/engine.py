"""The brain's dispatch: events in, effects out. Composition only; every judgement lives in the other files of core.

`now` is monotonic seconds and always an argument. Engine never waits, reads no clock and does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import assert_never

from failover import seam
from failover.config import Config, Reconfigured
from failover.core import notices
from failover.core.choices import Choices
from failover.core.eviction import Evictions
from failover.core.fleet import Fleet
from failover.core.lane import Lane
from failover.core.modems import Modems
from failover.core.naming import Naming
from failover.core.prober import Prober
from failover.core.recall import Recall
from failover.core.reconcile import Reconciler
from failover.core.sampler import Sampler
from failover.memory import Memory
from failover.model import ProbeNow, ProbeResult
from failover.picture import Explanation, Snapshot
from failover.seam import Asked, Effect, ReadCounters, ReadKernel, Told

Event = Told | ProbeResult | Reconfigured


class Engine:
    """One box: `handle` every event, `wake` at every `deadline`, carry out the effects in order."""

    def __init__(self, config: Config, random: Callable[[], float], memory: Memory | None = None) -> None:
        """`random` gives floats in [0, 1): the only dice. `memory`: what a former engine said it was to remember."""
        self.config = config
        self._recall = Recall(memory)
        self._fleet, self._modems = Fleet(config, random, self._recall.outages), Modems(random, self._recall.modems)
        self._kernel = Reconciler()
        self._choices = Choices(self._fleet, self._kernel)
        self._sampler, self._prober, self._evictions, self._naming = Sampler(), Prober(), Evictions(), Naming()
        self._failures, self._warnings, self._ready = notices.Once(), notices.Warnings(), notices.Once()

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Take in one event; returns what to do about it."""
        match event:
            case ProbeResult():
                return self.hear(now, [event])
            case seam.Counted():
                stirred, touched = self._fleet.counted(now, event)
                self._sampler.counted(now, event, stirred)
                return self._turn(now, [*touched, *(lane for lane in self._due(now) if lane not in touched)])
            case seam.SocketsRead():
                self._fleet.segments(event)
                self._sampler.resent(now, event)
                return []  # it is judged with the next packet
            case seam.SocketsDestroyed() | seam.FlowsForgotten():
                return [*notices.moved(event)]
            case seam.NamesTold():
                return self._follow(now) if self._naming.told(event) else self._turn(now, ())
            case seam.ModemsTold():
                hinted, grave = self._modems.told(now, event, self.config)
                self._fleet.hint(now, hinted)
                return self._follow(now) if grave and self._choices else self._turn(now, ())
            case seam.ModemActed():
                lanes = self._fleet.by_family
                return [*self._modems.acted(now, event, lanes, self.config), *self._turn(now, (), willed=True)]
            case seam.KernelRead(facts):
                self._kernel.read(now, facts)
                return self._follow(now) + self._readiness(now)
            case Reconfigured(config):
                self.config = config
                self._fleet.reload(config)
                return self._follow(now) if self._choices else []
            case seam.Applied(results):
                self._kernel.applied(results)
                return [*self._failures.news(now, notices.failures(event)), *self._readiness(now)]
            case seam.Resumed(seconds):
                self._fleet.resumed(now, seconds)
                self._choices.slept(seconds)
                return [notices.resumed(seconds), *self._turn(now, self._fleet)]
            case seam.WallClock(_, trusted):
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
        """Do what has come due; once the counters that it asks for are handed in, `deadline` lies in the future."""
        effects: list[Effect] = self._follow(now) if now >= self._modems.deadline else []
        due = self._due(now)
        effects += self._sampler.ask(now, due)
        if ReadCounters() not in effects:  # else what is due is judged by what they say
            effects += self._turn(now, due)
        if self._kernel.due(now):
            effects.append(ReadKernel())
        return effects

    def deadline(self) -> float:
        """Monotonic time of the next `wake`; inf when nothing is under way."""
        mine = self._sampler.deadline(), self._evictions.deadline, self._modems.deadline, self._naming.deadline()
        return min(self._fleet.deadline(), self._choices.deadline(), self._kernel.deadline(), *mine)

    def snapshot(self) -> Snapshot:
        """The whole picture, with monotonic times."""
        will = self._choices.will
        until = will.until if will.until < inf else None
        modems, lan = self._modems.view(self.config), self.config.lan
        uplinks = self._fleet.views(will.drained, self._naming.wished, modems)
        decisions, warnings = dict(self._choices.by_family), self._warnings.texts
        return Snapshot(decisions, uplinks, will.use, until, will.strict, warnings, lan=lan)

    def explain(self, now: float) -> tuple[Explanation, ...]:
        """Why each family's traffic goes where it goes, and what would change that."""
        return self._choices.explain(now, self.config)

    def memory(self, now: float) -> Memory:
        """What an engine that comes after this one is to be given."""
        past = self._modems.past(now), self._fleet.deaths.past(now)
        return self._recall.take(now, self._choices.will, self._fleet, self._fleet.budgets, *past)

    def _due(self, now: float) -> list[Lane]:
        return [lane for lane in self._fleet if lane.deadline <= now]

    # --- events ------------------------------------------------------------------------------------------------------

    def _follow(self, now: float) -> list[Effect]:
        """New facts or a new config: everything is looked at again."""
        facts, fleet, choices = self._kernel.facts, self._fleet, self._choices
        self._modems.follow(now, self.config)
        ties = self._modems.ties
        effects: list[Effect] = [*fleet.follow(now, facts, self._naming.targets(self.config, ties), ties)]
        effects += self._naming.follow(now, fleet.uplinks, self.config)
        effects += self._sampler.follow(now, fleet.uplinks, facts, self.config)
        self._evictions.follow(fleet.uplinks, facts, self.config)
        self._prober.prune(fleet, self.config.fwmark_mask)
        choices.rename()
        if not choices:
            choices.adopt(now, facts, self._recall.will(now), remembered=self._recall.remembers)
            effects += notices.recalled(now, choices.will)
        self._recall.give(now, fleet, self.config, fleet.budgets)
        return effects + self._turn(now, fleet, facts=True)

    def _readiness(self, now: float) -> list[Effect]:
        known = self._choices.by_family.values(), len(self._fleet.uplinks)
        return [*self._ready.news(now, {"ready": notices.ready(*known)} if self._kernel.adopted else {})]

    def _asked(self, now: float, asked: Asked) -> list[Effect]:
        before, answer = self._choices.will, self._choices.obey(now, asked)
        if answer.error:
            return [answer]
        named, willed = self._fleet.obey(now, asked.command), not isinstance(asked.command, ProbeNow)
        said = [] if self._choices.will == before else [notices.operator(answer.text)]
        return [answer, *said, *self._turn(now, named, willed=willed)]

    def _evict(self, now: float) -> list[seam.Order]:
        lanes, decisions, settled = self._fleet.by_family, self._choices.by_family, self._kernel.settled(now)
        return self._evictions.due(now, lanes, decisions, self.config, settled=settled)

    # --- the turn ----------------------------------------------------------------------------------------------------

    def _turn(self, now: float, touched: Iterable[Lane], *, facts: bool = False, willed: bool = False) -> list[Effect]:
        """Judge the touched lanes, decide where anything changed, then send what is due."""
        if not self._choices:
            return []
        lanes = list(touched)
        turned = self._fleet.judge(now, lanes)
        effects: list[Effect] = [notices.settled(lane) for lane in lanes if lane.health.settled]
        effects += [notices.verdict(lane) for lane in turned]
        families = self._choices.concerned(now, lanes, turned, everybody=facts or willed)
        if families:
            effects += self._choices.decide(now, families, self.config, facts=facts)
            others = (lane for lane in lanes if lane.family not in families)
            lanes = [*(lane for lane in self._fleet if lane.family in families), *others]
            effects += self._modems.due(now, self._fleet.by_family, self._choices.will, self._choices.used, self.config)
        if families or now >= self._evictions.deadline:
            effects += self._evict(now)
        effects += self._naming.due(now, lanes, self._fleet.by_family, self._choices.by_family, self.config)
        for lane in lanes:
            rivals, decision = self._fleet.by_family[lane.family], self._choices.by_family[lane.family]
            left, ruled = self._fleet.left(lane, decision), self._choices.rules_lead_to(lane)
            lane.pace(now, decision, left=left, ruled=ruled)
            effects += self._prober.due(now, lane, rivals, decision)
            lane.rearm()
        mine = (*self._kernel.desired.warnings, *self._fleet.warnings(now))
        return effects + self._warnings.news(now, (*mine, *self._naming.warnings, *self._modems.warnings))
