"""What must hold at every decision and every effect, whatever the world does; a breach ends the run.

Watch looks at the agent from outside only: what it does to the kernel, what it says it decided, when it wants to be
woken. It must not use the core's own planning or judgement, or it would agree with a mistake.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Final

from failover.config import Config
from failover.facts import (
    PREFS_OWNED,
    PROTOCOL,
    TABLE_ACTIVE,
    TABLE_SETTLED,
    Address,
    Endpoint,
    Item,
    Link,
    Operation,
    Route,
    Rule,
    SubflowLimits,
    Sysctl,
    Table,
)
from failover.model import FAMILIES, Command, Decision, FailoverError, Family, Reason, Use, Verdict
from failover.picture import FamilyView, Snapshot, UplinkView
from failover.seam import ActOnModem
from failover.sim.ground import Ground
from failover.sim.modem_watch import ModemWatch

TAIL: Final = 120
"""Events and effects told when something is broken."""
ROUNDS_MAX: Final = 25
"""Kernel reads and changes at one moment before it is called a quarrel with oneself."""
EPSILON: Final = 1e-6
_LOST: Final = frozenset((Verdict.DOWN, Verdict.ABSENT, Verdict.PORTAL, Verdict.COLD))
_FREE: Final = frozenset((Reason.OPERATOR, Reason.DRAIN, Reason.CONFIG, Reason.ABSENT, Reason.LINK_DOWN))
"""Reasons that owe nothing to a hold-down."""
_SYSCTLS: Final = ("ignore_routes_with_linkdown", "rp_filter")


class InvariantError(FailoverError):
    """The agent did what it must never do; the hint is the history that led there."""


@dataclass(slots=True)
class _Debt:
    """What an uplink that was left owes before traffic may come back to it."""

    seconds: float
    heard: float | None = None
    """First answer since."""


class Watch:
    """Times are the script's, in seconds."""

    def __init__(self, ground: Ground, config: Config, modems: Mapping[str, str]) -> None:
        """`modems`: interfaces by uplink, of those that are modems."""
        self._ground = ground
        self._config = config
        self._tail: deque[tuple[float, object]] = deque(maxlen=TAIL)
        self._debts: dict[tuple[str, Family], _Debt] = {}
        self._adopting = True
        self._interfaces = modems
        self._modems = ModemWatch(config, modems)
        self._foreign: Hashable = None

    # --- what is seen ------------------------------------------------------------------------------------------------

    def saw(self, now: float, what: object) -> None:
        self._tail.append((now, what))

    def heard(self, now: float, uplink: str, family: Family) -> None:
        """A probe of this uplink was answered."""
        debt = self._debts.get((uplink, family))
        if debt is not None and debt.heard is None:
            debt.heard = now

    def asked(self, command: Command) -> None:
        """The operator's word for an uplink forgives its debts."""
        if isinstance(command, Use):
            self._debts = {place: debt for place, debt in self._debts.items() if place[0] != command.name}

    def born(self) -> None:
        """A fresh agent adopts what it finds, and remembers no debt and no deed."""
        self._adopting = True
        self._debts.clear()
        self._modems = ModemWatch(self._config, self._interfaces)

    # --- modems ------------------------------------------------------------------------------------------------------

    def ordered(self, now: float, order: ActOnModem, under_way: Collection[ActOnModem]) -> None:
        """The agent wants something done to a modem."""
        breach = self._modems.ordered(now, order, under_way)
        if breach:
            self._fail(now, f"{breach}: {order}")

    # --- the deadline ------------------------------------------------------------------------------------------------

    def handled(self, now: float, ahead: float) -> None:
        """An event was taken in; the deadline lies `ahead` seconds from now."""
        if not ahead >= -EPSILON:
            self._fail(now, f"the deadline lies {-ahead:g} s back")

    def woken(self, now: float, ahead: float) -> None:
        """What was due was done."""
        if not ahead > 0:
            self._fail(now, "woken, and the deadline still does not lie in the future")

    def rounds(self, now: float, count: int) -> None:
        if count > ROUNDS_MAX:
            self._fail(now, f"{count} events at one moment, and the kernel is still not as wanted")

    # --- the kernel --------------------------------------------------------------------------------------------------

    def before(self) -> None:
        """The kernel is about to be changed."""
        self._foreign = self._ground.foreign()

    def changed(self, now: float, operation: Operation, given_up: Collection[str]) -> None:
        """One operation was carried out. `given_up`: interfaces of modems that change their SIM."""
        self.saw(now, operation)
        if not _owned(operation.item):
            self._fail(now, f"an operation on what is not ours: {operation}")
        if self._ground.foreign() != self._foreign:
            self._fail(now, f"foreign objects changed by {operation}")
        self._check_ways(now, given_up)

    def _check_ways(self, now: float, given_up: Collection[str]) -> None:
        for family in FAMILIES:
            if not self._ground.has_way(family, given_up):
                continue
            if self._ground.new_way(family) is None:
                self._fail(now, f"no {family} default for new flows although a link has an address")
            if self._ground.settled_way(family) is None:
                self._fail(now, f"no {family} default for open and forwarded flows although a link has an address")

    def at_rest(self, now: float, snapshot: Snapshot) -> None:
        """Nothing is under way: the kernel does what was decided, and would go on by itself if the agent died."""
        given_up = self._modems.given_up(snapshot)
        interfaces = {view.name: view.interface for view in snapshot.uplinks}
        for family, decision in snapshot.decisions.items():
            new, settled = self._ground.new_way(family), self._ground.settled_way(family)
            for what, wanted, actual in (("active", decision.active, new), ("settled", decision.settled, settled)):
                if wanted is not None and self._ground.carries(interfaces[wanted], family):
                    self._same(now, f"{family} {what}", interfaces[wanted], actual)
            self._check_fallbacks(now, family, [interfaces[name] for name in decision.order], given_up)
            for table in self._ground.floorless(family):
                self._fail(now, f"at rest, and {family} rules ask table {table}, which has no floor")
            for view in snapshot.uplinks:
                self._check_own(now, family, view)

    def _check_fallbacks(self, now: float, family: Family, order: list[str], given_up: Collection[str]) -> None:
        """Every way there is, in the decided order: by them the kernel fails over without the agent."""
        for table in (TABLE_ACTIVE, TABLE_SETTLED):
            held = self._ground.fallbacks(family, table)
            if held != order:
                told, wanted = (", ".join(names) or "none" for names in (held, order))
                self._fail(now, f"at rest, and {family} fallbacks in table {table} are {told}, not {wanted}")
        for missing in self._ground.ways(family) - {*order, *given_up}:
            self._fail(now, f"at rest, and {missing} is no {family} fallback although it has a default route")

    def _check_own(self, now: float, family: Family, view: UplinkView) -> None:
        """An uplink's probes and open flows leave by itself."""
        if not self._ground.carries(view.interface, family):
            return
        mask = self._config.fwmark_mask
        mark = (view.slot + 1) * (mask & -mask)
        self._same(now, f"{family} mark {mark:#x}", view.interface, self._ground.marked_way(family, mark))
        for address in self._ground.addresses(view.interface, family):
            self._same(now, f"{family} from {address}", view.interface, self._ground.sourced_way(family, address))

    def _same(self, now: float, what: str, wanted: str, actual: str | None) -> None:
        if actual != wanted:
            self._fail(now, f"at rest, and {what} goes by {actual or 'nothing'}, not by {wanted}")

    # --- decisions ---------------------------------------------------------------------------------------------------

    def decided(self, now: float, before: Snapshot | None, after: Snapshot) -> None:
        """The agent's picture has changed."""
        breach = self._modems.decided(after)
        if breach:
            self._fail(now, breach)
        verdicts = _verdicts(after)
        for place, verdict in verdicts.items():
            if before is not None and _verdicts(before).get(place) is not verdict:
                self._judge(now, place, verdict)
        for family, decision in after.decisions.items():
            old = None if before is None else before.decisions.get(family)
            if old is not None and (old.active, old.settled) != (decision.active, decision.settled):
                self._check_reason(now, decision)
                self._check_return(now, old, decision, before, after)
        self._adopting = False

    def _judge(self, now: float, place: tuple[str, Family], verdict: Verdict) -> None:
        """A doubt or a conviction puts an uplink in debt; an old conviction outweighs a new doubt."""
        owed = self._debts.get(place)
        if owed is not None and owed.heard is not None and now - owed.heard >= owed.seconds:
            owed = None
        if verdict in _LOST:
            self._debts[place] = _Debt(self._config.policy.failback_after)
        elif verdict is Verdict.DOUBTFUL:
            least = self._config.detection.return_after
            self._debts[place] = _Debt(least if owed is None else max(owed.seconds, least))

    def _check_reason(self, now: float, decision: Decision) -> None:
        if not decision.text.strip():
            self._fail(now, f"a switch without a reason: {decision}")
        if decision.reason is Reason.ADOPTED and not self._adopting:
            self._fail(now, f"a switch that calls itself adopted: {decision}")

    def _check_return(self, now: float, old: Decision, new: Decision, before: Snapshot | None, after: Snapshot) -> None:
        """New flows come back to an uplink that was left only after its hold-down, while the one in use is healthy."""
        if new.active is None or old.active is None or new.active == old.active or new.reason in _FREE:
            return
        place = (new.active, new.family)
        debt = self._debts.get(place)
        if debt is None or _verdicts(after).get((old.active, new.family)) is not Verdict.UP:
            return
        proven = -math.inf if debt.heard is None else now - debt.heard
        if proven < debt.seconds - EPSILON:
            told = "no answer since" if debt.heard is None else f"answers for {proven:.3f} s"
            self._fail(now, f"{new.active} {new.family} is in its hold-down of {debt.seconds:g} s ({told}): {new}")
        view = _view(before, place)
        if view is not None and view.hold_until is None:
            self._fail(now, f"{new.active} {new.family} had no end of its hold-down in sight: {new}")
        del self._debts[place]

    def _fail(self, now: float, message: str) -> None:
        story = "\n".join(f"  {at:14.3f}  {what}" for at, what in self._tail)
        raise InvariantError(f"at {now:.3f} s: {message}", f"the last that happened:\n{story}")


def _owned(item: Item) -> bool:
    match item:
        case Route():
            return item.ours
        case Address(protocol=protocol):
            return protocol == PROTOCOL
        case Rule(priority=priority, protocol=protocol):
            return priority in PREFS_OWNED and protocol == PROTOCOL
        case Sysctl(path=path):
            return path.rpartition("/")[2] in _SYSCTLS
        case Link(up=up):
            return up
        case Table() | Endpoint() | SubflowLimits():
            return False


def _verdicts(snapshot: Snapshot) -> dict[tuple[str, Family], Verdict]:
    return {(view.name, family): seen.verdict for view in snapshot.uplinks for family, seen in view.families.items()}


def _view(snapshot: Snapshot | None, place: tuple[str, Family]) -> FamilyView | None:
    views = () if snapshot is None else snapshot.uplinks
    return next((view.families.get(place[1]) for view in views if view.name == place[0]), None)
