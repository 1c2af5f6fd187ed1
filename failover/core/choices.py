"""The decisions in force, one per family, and the operator's will: made anew by the policy, carried to the kernel.

Pure. What a rule says is policy.py's business, how the kernel is changed reconcile.py's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial
from math import inf

from failover.config import Config
from failover.core import notices
from failover.core.explain import explain
from failover.core.fleet import SHAKY, Fleet, moved
from failover.core.lane import Lane
from failover.core.operator import expire, obey
from failover.core.packet import Ground, passage
from failover.core.policy import Will, decide, next_due
from failover.core.reconcile import Reconciler
from failover.core.steering import Steering
from failover.facts import Facts
from failover.model import FAMILIES, RECEIVING, Answer, Decision, Family, Notice
from failover.picture import Explanation
from failover.seam import Apply, Asked, Effect


class Choices:
    """Times are monotonic seconds. Until `adopt` there is none."""

    def __init__(self, fleet: Fleet, kernel: Reconciler) -> None:
        self.will = Will()
        self.by_family: dict[Family, Decision] = {}
        self._fleet, self._kernel, self._steering = fleet, kernel, Steering()
        self._shunned: frozenset[tuple[Family, str]] = frozenset()
        """See pins.py."""
        self._due = dict.fromkeys(FAMILIES, inf)
        self._first_due = inf

    def __bool__(self) -> bool:
        return bool(self.by_family)

    @property
    def used(self) -> frozenset[str]:
        """The uplinks by which any traffic goes, the operator's rules included."""
        listed = (*self.by_family.values(), *self._steering.by_key.values())
        return frozenset(name for then in listed for name in (then.active, then.settled) if name)

    def rename(self) -> None:
        """The uplinks have their present names, to the operator too."""
        self.by_family = {family: self._fleet.rename(then) for family, then in self.by_family.items()}
        self._steering.rename(self._fleet.renamed)
        name, will = self._fleet.renamed.get, self.will
        use = will.use and name(will.use, will.use)
        self.will = replace(will, use=use, drained=frozenset(name(drained, drained) for drained in will.drained))

    def slept(self, seconds: float) -> None:
        """The machine slept for so long, of which `now` knows nothing: what the operator said ends when he said."""
        self.will = replace(self.will, until=self.will.until - seconds)

    def adopt(self, now: float, facts: Facts, will: Will, *, remembered: bool) -> None:
        """Take over what the kernel does now, and the operator's will, if that is `remembered`."""
        self.will = will
        self.by_family = self._fleet.adopt(now, facts, will if remembered else None)

    def deadline(self) -> float:
        """When a return falls due by time alone."""
        return self._first_due

    def obey(self, now: float, asked: Asked) -> Answer:
        """Take a command."""
        if not self.by_family:
            return Answer(asked.id, "", "the kernel has not been read yet", "ask again")
        self.will, answer = obey(now, asked, self.will, list(self._fleet))
        return answer

    def explain(self, now: float, config: Config) -> tuple[Explanation, ...]:
        """Why each family's traffic goes where it goes, and what would change that."""
        lanes = self._fleet.by_family
        told = (explain(now, then, lanes[family], self.will, config) for family, then in self.by_family.items())
        return tuple(replace(one, way=partial(passage, ground=self._ground(one.family))) for one in told)

    def _ground(self, family: Family) -> Ground:
        return Ground(
            self._kernel.facts,
            self._kernel.desired,
            self._steering.steered,
            self._fleet.uplinks,
            {lane.uplink.name: lane.verdict for lane in self._fleet.by_family[family]},
            self.by_family[family],
            self._steering.by_key,
        )

    def concerned(self, now: float, lanes: Iterable[Lane], turned: Iterable[Lane], *, everybody: bool) -> set[Family]:
        """The families to be decided on: everybody's, those whose verdicts turned, those whose traffic waits."""
        if everybody or self._first_due <= now:
            return set(FAMILIES)
        families = {lane.family for lane in turned}
        for lane in lanes:
            if lane.family not in families and self._hangs_on(now, lane):
                families.add(lane.family)
        return families

    def rules_lead_to(self, lane: Lane) -> bool:
        """Whether a rule of the operator's brings traffic there."""
        listed = self._steering.by_key.items()
        return any(f is lane.family and lane.uplink.name in (then.active, then.settled) for (f, _), then in listed)

    def _hangs_on(self, now: float, lane: Lane) -> bool:
        """Whether traffic of any kind may wait for what this uplink has just proven."""
        if self._fleet.hang_on(now, lane, self.by_family[lane.family]):
            return True
        if not self._steering.by_key or lane.verdict not in RECEIVING:
            return False
        shaky = [other.uplink.name for other in self._fleet.by_family[lane.family] if other.verdict in SHAKY]
        return self._steering.waits(lane.family, lane.uplink.name, shaky)

    def decide(self, now: float, families: Collection[Family], config: Config, *, facts: bool) -> list[Effect]:
        """Policy for these families, then the kernel; `facts`: its state is news."""
        effects = self._expire(now)
        changed: list[Decision] = []
        switched = []
        for family in sorted(families):
            before, then = self._decided(now, family, config)
            if then is before:
                continue
            changed.append(then)
            if moved(before, then):
                effects.append(notices.switch(before, then))
            if then.active != before.active:
                switched.append(then)
        steered = self._steer(now, families, config)
        effects += steered
        if changed or steered:
            self._fleet.roles(now, self.used)
        if switch := self._kernel.switch(now, self._fleet.uplinks, switched):
            return [*switch, *effects]  # the rest follows when the kernel has been read again
        shunned = self._fleet.shunned(now, self.by_family.values())
        decided = bool(changed or steered or shunned != self._shunned)
        self._shunned = shunned
        return [*self._plan(now, config, decided=decided), *effects] if decided or facts else effects

    def _steer(self, now: float, families: Collection[Family], config: Config) -> list[Notice]:
        """Policy for the operator's rules; what is said of those that lead elsewhere now."""
        if not (config.rules or self._steering.by_key):
            return []
        found = {family: self._fleet.candidates(now, family) for family in sorted(families)}
        ground = self._fleet.uplinks, self.will, self._kernel.facts
        said = self._steering.decide(now, config, found, *ground)
        self._first_due = min(*self._due.values(), self._steering.due)
        return said

    def _decided(self, now: float, family: Family, config: Config) -> tuple[Decision, Decision]:
        """The decision so far, and the one from now on."""
        candidates, before = self._fleet.candidates(now, family), self.by_family[family]
        then = decide(now, before, candidates, self.will, moves_flows=config.policy.failback_moves_flows)
        self._due[family] = next_due(now, then, candidates, self.will)
        self._first_due = min(*self._due.values(), self._steering.due)
        self._fleet.settle(now, then, self.will.drained)
        self.by_family[family] = then
        return before, then

    def _plan(self, now: float, config: Config, *, decided: bool) -> list[Apply]:
        steered, lan = self._steering.steered, config.lan
        ground = self._fleet.uplinks, self.by_family, config.fwmark_mask
        self._kernel.want(now, *ground, steered, lan, self._shunned)
        return self._kernel.apply(now, decided=decided)

    def _expire(self, now: float) -> list[Effect]:
        before, self.will = self.will, expire(now, self.will)
        return [] if self.will is before else [notices.operator(f"the time to use {before.use} is over")]
