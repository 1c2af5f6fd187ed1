"""All uplinks in both families: kept in step with the kernel's facts and the config.

Pure. Holds the lanes and finds out what changed; how a lane is judged and what is decided lies elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import takewhile
from math import inf
from typing import Final

from failover.config import Config, Metered
from failover.core.blame import Blame
from failover.core.budget import Budget
from failover.core.candidate import Candidate
from failover.core.deaths import Deaths
from failover.core.fate import bound
from failover.core.lane import Lane
from failover.core.names import ASK_AGAIN, AT_ONCE, LOOK_AGAIN, MUTE_STREAK
from failover.core.policy import Will
from failover.core.uplinks import Tie, Uplink, resolve
from failover.core.verdicts import LOST
from failover.facts import PROTOCOL, TABLE_ACTIVE, TABLE_MAIN, TABLE_SETTLED, Counts, Facts, RouteKind
from failover.memory import Outage
from failover.model import (
    FAMILIES,
    RECEIVING,
    Command,
    Decision,
    Family,
    Notice,
    NoticeKind,
    ProbeNow,
    Reason,
    Target,
    Use,
    Verdict,
)
from failover.picture import ModemView, UplinkView
from failover.resolvers import Resolvers
from failover.seam import Counted, SocketsRead

SHAKY: Final = (Verdict.DOUBTFUL, Verdict.DEGRADED)
"""Verdicts under which traffic of an active uplink may wait for another one to be proven."""
SIBLING_REST: Final = 1.0
"""Seconds without anything received after which the other family of a suspicious uplink is asked too."""


class Fleet:
    """The lanes, by family and in order of preference."""

    def __init__(self, config: Config, random: Callable[[], float], outages: Iterable[Outage] = ()) -> None:
        """`outages`: what is remembered of them."""
        self.config = config
        self.uplinks: tuple[Uplink, ...] = ()
        self.by_family: dict[Family, list[Lane]] = {family: [] for family in FAMILIES}
        self.renamed: dict[str, str] = {}
        """Old name -> new name of uplinks on the same interface, at the last `follow`."""
        self.blame, self.deaths = Blame(), Deaths(outages)
        self.budgets: dict[str, Budget] = {}
        """By uplink."""
        self._metered: dict[str, Metered | None] = {}
        self._limited: list[tuple[str, Budget]] = []
        """Those that can be used up."""
        self._lanes: tuple[Lane, ...] = ()
        self._random = random

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    def reload(self, config: Config) -> None:
        """This config holds from the next `follow` on. It may end a hold-down earlier, and makes none longer."""
        was, self.config = self.config, config
        failback = _if_less(config.policy.failback_after, was.policy.failback_after)
        after_doubt = _if_less(config.detection.return_after, was.detection.return_after)
        for lane in self._lanes:
            lane.standing.shorten(failback, after_doubt)

    def follow(
        self, now: float, facts: Facts, besides: Mapping[str, tuple[Target, ...]], ties: Mapping[str, Tie]
    ) -> list[Notice]:
        """Take over new facts; says which uplinks came and went. One that only got a new name keeps its history.
        `besides`: targets by interface, after the config's; `ties`: what their modems are to uplinks, by name."""
        kept = (u for u in self.uplinks if self.config.uplinks or u.name == u.interface)  # no ghosts of given names
        slots = {uplink.name: uplink.slot for uplink in kept}
        before = {uplink.name: uplink.place for uplink in self.uplinks}
        self.uplinks = resolve(facts, self.config, slots, besides, ties)
        names = {uplink.place: uplink.name for uplink in self.uplinks}
        self.renamed = {name: names[at] for name, at in before.items() if at in names and name not in names.values()}
        self.deaths.rename(self.renamed)
        self.deaths.close(now)
        self.uplinks = bound(self.uplinks, self.config, ties, self.deaths.observed())
        self._allot(now, ties)
        for family in FAMILIES:
            known = {self.renamed.get(lane.uplink.name, lane.uplink.name): lane for lane in self.by_family[family]}
            self.by_family[family] = [self._lane(now, uplink, family, known) for uplink in self.uplinks]
            self.blame.keep(family, self.by_family[family])
        self._lanes = tuple(lane for family in FAMILIES for lane in self.by_family[family])
        after = frozenset(uplink.name for uplink in self.uplinks)
        notices = [
            Notice(NoticeKind.UPLINK, _presence(uplink, ties), {"uplink": uplink.name, "interface": uplink.interface})
            for uplink in self.uplinks
            if uplink.name not in before
        ]
        gone = [Notice(NoticeKind.UPLINK, f"{name} is gone", {"uplink": name}) for name in before if name not in after]
        return notices + gone

    def _lane(self, now: float, uplink: Uplink, family: Family, known: dict[str, Lane]) -> Lane:
        lane = known.get(uplink.name)
        if lane is None:
            return Lane.open(now, uplink, family, self.config, self.budgets[uplink.name], self._phase(uplink, family))
        lane.budget = self.budgets[uplink.name]
        lane.health.detection = self.config.detection
        lane.follow(now, uplink)
        return lane

    def _phase(self, uplink: Uplink, family: Family) -> float:
        """When in each interval this family has its turn: any time, and the other one half an interval later."""
        phases = [s.schedule.phase for s in self._lanes_of(uplink.name) if s.family is not family]
        return (phases[0] + 0.5) % 1.0 if phases else self._random()

    def _lanes_of(self, name: str) -> list[Lane]:
        return [lane for lanes in self.by_family.values() for lane in lanes if lane.uplink.name == name]

    def _allot(self, now: float, ties: Mapping[str, Tie]) -> None:
        """A budget for each uplink, kept under its new name; in a foreign network there is always one."""
        was, told = self._metered, {uplink.name: uplink.metered for uplink in self.config.uplinks}
        told |= {name: told[name] or Metered() for name, tie in ties.items() if tie.foreign and name in told}
        kept = {self.renamed.get(name, name): budget for name, budget in self.budgets.items()}
        self.budgets = {
            uplink.name: kept.get(uplink.name) or Budget(now, told.get(uplink.name)) for uplink in self.uplinks
        }
        for name, budget in self.budgets.items():
            if name in kept and was.get(name) != told.get(name):
                budget.configure(now, told.get(name))
        self._metered = told
        self._limited = [(name, budget) for name, budget in self.budgets.items() if told.get(name)]

    def candidates(self, now: float, family: Family) -> list[Candidate]:
        """Every uplink of the family as policy sees it, in order of preference."""
        return [lane.candidate(now, preference) for preference, lane in enumerate(self.by_family[family])]

    def witness(self, lane: Lane) -> float | None:
        """Since when another uplink of the family has been receiving, if it was heard after this one fell silent."""
        silent = lane.health.silence.grave_since
        if silent is None:
            return None
        rivals = (other.health for other in self.by_family[lane.family] if other is not lane)
        since = [r.receiving_since for r in rivals if r.last_heard is not None and r.last_heard >= silent]
        return min((at for at in since if at is not None), default=None)

    def counted(self, now: float, event: Counted) -> tuple[list[Lane], list[Lane]]:
        """The user's traffic was counted: the lanes where there was some, and all that this tells something about."""
        stirred = [lane for lane in self._lanes if lane.counted(now, _counts(event, lane), weak=event.weak)]
        loaded = {lane.uplink.name for lane in self._lanes if lane.health.passive.loaded(now)}
        for lane in self._lanes:
            lane.health.record.loaded = lane.uplink.name in loaded  # both families share the queue
        touched = list(stirred)
        for lane in stirred:
            if lane.health.last_heard == now:
                lane.schedule.rest()
                touched += (other for other in self.concerned(now, lane) if other not in touched)
        return stirred, touched

    def segments(self, read: SocketsRead) -> None:
        """TCP sockets were read; an address that several uplinks hold tells nothing."""
        held = [(address, lane) for lane in self._lanes for address in lane.health.path.addresses]
        holders = Counter(address for address, _ in held)
        for address, lane in held:
            if holders[address] == 1 and address in read.segments:
                lane.health.segments(read.segments[address])

    def concerned(self, now: float, heard: Lane) -> list[Lane]:
        """Other lanes that an answer on `heard` tells something about: those in doubt, and those behind a portal.

        A new witness is worth another burst.
        """
        family = self.by_family[heard.family]
        self.blame.weigh(now, heard.family, family)
        rivals = [lane for lane in family if lane is not heard]
        silent = [lane for lane in rivals if lane.verdict is Verdict.DOUBTFUL]
        if heard.health.receiving_since == now:
            for lane in silent:
                lane.schedule.rest()
        return silent + [lane for lane in rivals if lane.verdict is Verdict.PORTAL]

    def judge(self, now: float, lanes: Iterable[Lane]) -> list[Lane]:
        """Judge these; returns those whose verdict has changed. Where one meets a portal, the others look for it too:
        if all find it, it is none."""
        turned = []
        for lane in lanes:
            resolved = self._resolved(now, lane)
            lane.health.judge(now, self.witness(lane), self.blame.at_fault[lane.family], resolved=resolved)
            if lane.health.suspicious(now) and lane.burst(now):
                self._ask_sibling(now, lane)
            if lane.turned(now, self.config):
                turned.append(lane)
        if turned:
            self.deaths.seen(now, {u.name: [lane.verdict for lane in self._lanes_of(u.name)] for u in self.uplinks})
        for lane in turned:
            for rival in self._rivals(lane) if lane.verdict is Verdict.PORTAL else ():
                rival.schedule.others_within(now, 0.0)
        return turned

    def _ask_sibling(self, now: float, suspect: Lane) -> None:
        """What one family suspects of an uplink, the other one will soon want to know."""
        for lane in self._lanes_of(suspect.uplink.name):
            if lane is not suspect and not lane.health.path.fault:
                heard = lane.health.last_heard
                if heard is None or now - heard >= SIBLING_REST:
                    lane.schedule.soon(now + AT_ONCE)
                    lane.rearm()

    def _resolved(self, now: float, lane: Lane) -> bool:
        """Whether names resolve elsewhere while they do not here. That is asked with the first one unanswered."""
        before, lane.mute = lane.mute, lane.health.mute
        if not lane.mute:
            return False
        lane.schedule.others_within(now, ASK_AGAIN if lane.mute < MUTE_STREAK else LOOK_AGAIN, web=False)
        rivals = self._rivals(lane)
        for rival in rivals if not before else ():
            rival.schedule.others_within(now, AT_ONCE, web=False)
            rival.rearm()
        at = inf if lane.verdict is Verdict.DEGRADED else lane.health.flight.unnamed_at
        return any(rival.health.resolved_before(at) for rival in rivals)

    def _rivals(self, lane: Lane) -> list[Lane]:
        return [other for other in self.by_family[lane.family] if other is not lane]

    def hang_on(self, now: float, lane: Lane, decision: Decision) -> bool:
        """Whether traffic of a shaky active uplink, or what is to return to this one, may wait for its proof."""
        if lane.verdict not in RECEIVING:
            return False
        if lane.verdict is Verdict.UP and lane.standing.until() <= now and self.left(lane, decision):
            return lane.uplink.name != decision.active
        shaky = (rival for rival in self.by_family[lane.family] if rival.verdict in SHAKY)
        return any(rival.uplink.name == decision.active for rival in shaky)

    def left(self, lane: Lane, decision: Decision) -> bool:
        """Whether traffic has left this uplink: it would return there, or part of it is still there."""
        ahead = takewhile(lambda other: other.uplink.name != decision.active, self.by_family[lane.family])
        return lane.uplink.name in (decision.active, decision.settled) or any(other is lane for other in ahead)

    def settle(self, now: float, decision: Decision, drained: Collection[str]) -> None:
        """Whose hold-down is over owes nothing more, unless traffic is to return there and cannot yet: not the active
        uplink, nor what comes after it (another order would bring traffic there), nor what is drained. Nor does what
        was pardoned, once traffic is there."""
        after = False
        for lane in self.by_family[decision.family]:
            name = lane.uplink.name
            after = after or name == decision.active
            if lane.standing.pardoned and name == decision.active and lane.standing.until() < inf:
                lane.standing.served()
            elif lane.standing.until() <= now and name in drained:
                lane.standing.served(Reason.OPERATOR)
            elif lane.standing.until() <= now and after:
                lane.standing.served(Reason.CONFIG)

    def shunned(self, now: float, decisions: Iterable[Decision]) -> frozenset[tuple[Family, str]]:
        """What no traffic should be kept on while new flows have a way that is not lost."""
        return frozenset(
            (then.family, lane.uplink.name)
            for then in decisions
            for lane in self.by_family[then.family]
            if lane.uplink.name != then.active and lane.shunned(now) and self._leads(then)
        )

    def _leads(self, then: Decision) -> bool:
        return any(lane.uplink.name == then.active and lane.verdict not in LOST for lane in self.by_family[then.family])

    def roles(self, now: float, used: Collection[str]) -> None:
        """Who carries traffic has a budget for that."""
        for name, budget in self.budgets.items():
            budget.role(now, active=name in used)

    def adopt(self, now: float, facts: Facts, will: Will | None = None) -> dict[Family, Decision]:
        """The kernel's present choice: our own tables if a former agent left them, else the best default of main.

        Where a former agent had moved away from an uplink, that one owes the full hold-down again, unless it is known
        (`will`; None: nothing is remembered) that it was at the operator's word. What is remembered of debts is given
        back after this; where nothing is, the other uplinks owe as much. Where main's choice is all there is, nobody
        has weighed it against the config: what is there and comes before it has its first turn with all traffic.
        """
        decisions = {}
        for family in FAMILIES:
            ours = self._chosen(facts, family, TABLE_ACTIVE)
            held = self._chosen(facts, family, TABLE_SETTLED)
            active = ours or self._chosen(facts, family, TABLE_MAIN)
            text = "found in the kernel"
            decisions[family] = Decision(family, active, held or active, text=text, at=now, since=now)
            if ours is None and held is None:
                self._first_turn(family, active)
            left = ours is not None and (will is None or will.use != active)
            for lane in self.by_family[family]:
                if lane.uplink.name == active:
                    lane.standing.served()
                    left = left and will is None
                elif left and not (will and lane.uplink.name in will.drained):
                    lane.standing.wait = self.config.policy.failback_after
                    lane.standing.returns = Reason.FAILBACK
        return decisions

    def _first_turn(self, family: Family, active: str | None) -> None:
        lanes = self.by_family[family]
        for lane in takewhile(lambda lane: lane.uplink.name != active, lanes if active else ()):
            lane.standing.returns = Reason.FIRST

    def _chosen(self, facts: Facts, family: Family, table: int) -> str | None:
        names = {uplink.index: uplink.name for uplink in self.uplinks if uplink.index is not None}
        routes = [
            route
            for route in facts.routes
            if route.table == table and route.family is family and route.kind is RouteKind.UNICAST
            if route.interface in names and (table == TABLE_MAIN or route.protocol == PROTOCOL)
        ]
        best = min(routes, key=lambda route: route.metric, default=None)
        return names.get(best.interface or 0) if best is not None else None

    def rename(self, decision: Decision) -> Decision:
        """The same decision under the present names."""
        if not self.renamed:
            return decision
        active, settled = (self.renamed.get(name or "", name) for name in (decision.active, decision.settled))
        return replace(decision, active=active, settled=settled)

    def views(
        self, drained: frozenset[str], names: Iterable[Resolvers], modems: Mapping[str, ModemView]
    ) -> tuple[UplinkView, ...]:
        """Every uplink for the snapshot; `drained` names those that are."""
        asked = {one.interface: one.servers for one in names}
        lanes = {(lane.uplink.name, lane.family): lane for lane in self}
        return tuple(
            UplinkView(
                name=uplink.name,
                interface=uplink.interface,
                carrier=uplink.carrier,
                slot=uplink.slot,
                metered=uplink.metered,
                drained=uplink.name in drained,
                families={family: lanes[uplink.name, family].view() for family in FAMILIES},
                budget=self.budgets[uplink.name].capacity,
                budget_left=self.budgets[uplink.name].known,
                name_servers=asked.get(uplink.interface, ()),
                modem=modems.get(uplink.name),
                fate=uplink.fate,
            )
            for uplink in self.uplinks
        )

    def obey(self, now: float, command: Command) -> list[Lane]:
        """What a command that was taken means to the lanes that it names; returns those."""
        named = self._lanes_of(getattr(command, "name", ""))
        for lane in named:
            if isinstance(command, ProbeNow):
                lane.probe_all(now)
            elif isinstance(command, Use):
                lane.pardon()
        return named

    def hint(self, now: float, names: Collection[str]) -> None:
        """What their modems say of these uplinks is worth a probe, and that they are watched for a while."""
        for lane in self._lanes:
            if lane.uplink.name in names:
                lane.hint(now)

    def resumed(self, now: float, seconds: float) -> None:
        """The machine slept for so long."""
        for budget in self.budgets.values():
            budget.asleep(now, seconds)
        for lane in self._lanes:
            lane.resumed(now, seconds)

    def warnings(self, now: float) -> tuple[str, ...]:
        """Targets at fault; where this box cannot even ask, which is no uplink's fault; budgets that are used up."""
        spent = [budget.warning(now, name) for name, budget in self._limited]
        return (*self.blame.warnings(), *self._hindered(), *filter(None, spent))

    def _hindered(self) -> list[str]:
        hindered = [lane for lane in self._lanes if lane.health.hindrance]
        return [f"{n.uplink.name} {n.family}: this box cannot probe: {n.health.hindrance}" for n in hindered]

    def deadline(self) -> float:
        """Monotonic time at which the first lane must be looked at; inf: none."""
        return min([lane.deadline for lane in self._lanes], default=inf)


def _counts(event: Counted, lane: Lane) -> Counts | None:
    return event.counts.get((lane.uplink.interface, lane.family))


def _if_less(wait: float, was: float) -> float:
    return wait if wait < was else inf


def _presence(uplink: Uplink, ties: Mapping[str, Tie]) -> str:
    if uplink.name in ties and not uplink.interface:
        return f"{uplink.name} is configured, and {ties[uplink.name].fault}"
    if uplink.index is None:
        return f"{uplink.name} is configured, and there is no interface {uplink.interface} yet"
    return f"{uplink.name} found: {uplink.interface}"


def moved(decision: Decision, then: Decision) -> bool:
    """Whether traffic moves, and not just the fallback order."""
    return replace(decision, order=then.order) != then
