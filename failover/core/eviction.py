"""Which open flows of this box are broken, and when, so that their programs connect anew by a way that works.

Pure. A flow keeps its source address, and with it its uplink, for life. It is broken when that uplink is lost and the
kernel sends new flows by another one that is proven; when its address is gone; when a failback is to take it along.
What was never answered is no open flow, and is broken on a doubt already. How that is done is the kernel room's
business, and what it leaves alone is said in `DestroySockets`. Where the box is a gateway, what it forwards by an
uplink bears its mark, and is forgotten when flows of its own are broken; an address that is gone frees what was
translated to it by itself (nf_nat_masquerade.c).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import inf
from typing import Final, NamedTuple

from failover.config import Config
from failover.core.lane import Lane
from failover.core.multipath import Multipath, proven
from failover.core.plan import mark_of, ours, shared_addresses
from failover.core.uplinks import Uplink, lan_networks, networks_behind, own_networks
from failover.core.verdicts import LOST
from failover.facts import Facts
from failover.model import RECEIVING, Decision, Family, Reason, Verdict
from failover.seam import DestroySockets, ForgetFlows, Order, WithdrawEndpoints

SWEEPS: Final = (0.0, 2.0, 5.0)
"""Seconds after the first one at which a lost uplink's flows are looked for: a program that is quick to connect anew
may have chosen the old source address just before the routes changed."""
LOOK_AGAIN: Final = 0.1
"""Seconds between two looks at a way that has yet to prove itself while flows wait for it."""
GRACE: Final = 10.0
"""Seconds after a failback until flows are taken along: what is about to end, ends by itself."""
GONE_MAX: Final = 64
"""Addresses of one uplink and family, and uplinks, that are gone while nothing leads anywhere; what older ones carried
ends by its own timeouts."""


class _What(enum.Enum):
    """What is to become of the flows with some addresses."""

    UNANSWERED = "those never answered are broken; MPTCP goes by others where it can"
    ALL = "all are broken; MPTCP goes by others"
    GONE = "the same, but what is forwarded stays: the addresses are gone, the uplink is not"
    FORWARDED = "what is forwarded takes the new way, and nothing else"
    BACK = "MPTCP may use them again"


class _Found(NamedTuple):
    """What is to become of flows now: those with the addresses, and those with the mark of the slot."""

    uplink: str
    family: Family
    slot: int
    addresses: tuple[str, ...]
    what: _What


@dataclass(slots=True)
class _Case:
    """What is known of one uplink's flows in one family."""

    slot: int
    held: tuple[str, ...] = ()
    """Its addresses."""
    gone: dict[str, None] = field(default_factory=dict)
    """Those that it held and nobody holds any more, in the order in which they went."""
    alive: bool = False
    """It was no lost one since this agent knows it: what is there when it starts is not ours to break."""
    doubted: bool = False
    """What was never answered is broken."""
    swept: int = 0
    began: float = 0.0
    """How often it was swept since it was lost, and when first."""
    withdrawn: bool = False
    """MPTCP connections may have lost the ways by it."""
    along: float = inf
    """When a failback takes its flows along."""
    moved: float = inf
    """When a gateway's follow the operator's word."""
    due: float = inf
    """When to look again, whatever else happens."""

    def follow(self, slot: int, addresses: tuple[str, ...], everybodys: frozenset[str]) -> None:
        """It has these now. `everybodys`: all addresses that the box holds."""
        self.slot = slot
        self.gone |= dict.fromkeys(address for address in self.held if address not in addresses)
        for address in everybodys & self.gone.keys():
            del self.gone[address]
        while len(self.gone) > GONE_MAX:
            del self.gone[next(iter(self.gone))]
        self.held = addresses

    def take_gone(self) -> tuple[str, ...]:
        """Those addresses, once."""
        gone = tuple(self.gone)
        self.gone.clear()
        return gone

    def sweep(self, now: float) -> bool:
        """Whether the flows of a lost uplink are to be looked for now."""
        if not self.swept:
            self.began = now
        before, self.swept = self.swept, sum(now >= self.began + after for after in SWEEPS)
        self.due = min([self.due, *(self.began + after for after in SWEEPS[self.swept :])])
        return self.swept > before


@dataclass(frozen=True, slots=True)
class _Way:
    """How new flows of one family leave by now."""

    lane: Lane | None
    """As it was decided, and as the kernel has it."""
    proven: bool

    def spares(self, lane: Lane) -> bool:
        """Whether they have left this one for another that is proven."""
        return self.proven and self.lane is not lane


class Evictions:
    """`follow` for new facts, `due` after each decision and at `deadline`. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.deadline = inf
        """When to look again whatever else happens; inf: not before news."""
        self._cases: dict[tuple[str, Family], _Case] = {}
        """By place, which outlives a name."""
        self._departed: list[_Found] = []
        """Interfaces that are no uplinks any more: no rule sends these flows where they belong."""
        self._multipath = Multipath()
        self._back = False
        """An uplink is back that MPTCP was taken from."""
        self._active: dict[Family, str | None] = {}
        self._settled: dict[Family, str | None] = {}
        """Both as decided when that was looked at last."""
        self._leads: dict[Family, int | None] = {}
        """Index of the interface by which the kernel sends new flows."""
        self._shared: frozenset[str] = frozenset()
        self._own: dict[str, tuple[str, ...]] = {}
        """By place: the networks between it and its router; it keeps the last ones when that is gone."""
        self._near: tuple[str, ...] = ()
        """Those, and all others of the box that no uplink leads to."""
        self._clients: tuple[str, ...] = ()
        """Those behind a gateway's LAN."""

    def follow(self, uplinks: Sequence[Uplink], facts: Facts, config: Config) -> None:
        """The uplinks, and what the kernel has of them now."""
        self._leads = {route.family: route.interface for route in facts.routes if route.leads and ours(route)}
        own = ((uplink.place, own_networks(uplink, facts)) for uplink in uplinks)
        self._own = {place: networks or self._own.get(place, ()) for place, networks in own}
        self._near = tuple(sorted({*lan_networks(uplinks, facts), *chain.from_iterable(self._own.values())}))
        self._clients = networks_behind(config.lan, facts)
        paths = {(u.place, family): (u.slot, path) for u in uplinks for family, path in u.paths.items()}
        self._shared = frozenset(a for family in Family for a in shared_addresses(uplinks, family))
        everybodys = frozenset(address.address for address in facts.addresses)
        went = ((key, case) for key, case in self._cases.items() if key not in paths)
        self._departed += [_Found(*key, case.slot, (*case.gone, *case.held), _What.ALL) for key, case in went]
        used = {address for _, path in paths.values() for address in path.addresses}
        left = (one._replace(addresses=tuple(a for a in one.addresses if a not in used)) for one in self._departed)
        self._departed = [gone for gone in left if gone.addresses][-GONE_MAX:]
        self._cases = {key: self._cases.get(key) or _Case(slot) for key, (slot, _) in paths.items()}
        for key, case in self._cases.items():
            slot, path = paths[key]
            case.follow(slot, path.addresses, everybodys)

    def due(
        self,
        now: float,
        lanes: Mapping[Family, Sequence[Lane]],
        decisions: Mapping[Family, Decision],
        config: Config,
        *,
        settled: bool,
    ) -> list[Order]:
        """What is to become of open flows now. `settled`: nothing is under way to the kernel, which is as wanted."""
        found = self._found(now, lanes, decisions, config, settled=settled)
        orders = [order for one in found for order in self._orders(one, proven(now, lanes), config)]
        self._back = self._back or any(one.what is _What.BACK for one in found)
        if settled:
            chosen = decisions if config.mptcp else {}
            kept = self._multipath.keep(now, lanes, chosen, self._shared, anew=self._back)
            self._back = self._back and not kept
            orders += kept
        self.deadline = min([case.due for case in self._cases.values()], default=inf)
        return orders

    # --- inside ------------------------------------------------------------------------------------------------------

    def _found(
        self,
        now: float,
        lanes: Mapping[Family, Sequence[Lane]],
        decisions: Mapping[Family, Decision],
        config: Config,
        *,
        settled: bool,
    ) -> list[_Found]:
        found: list[_Found] = []
        for family, decision in decisions.items():
            way = self._way(now, lanes[family], decision)
            self._failback(now, lanes[family], decision, config)
            if settled and way.lane is not None:
                found += (gone for gone in self._departed if gone.family is family)
                self._departed = [gone for gone in self._departed if gone.family is not family]
            for lane in lanes[family]:
                case = self._cases[lane.uplink.place, family]
                looked = self._look(now, lane, case, way, settled=settled)
                found += (_Found(lane.uplink.name, family, case.slot, *what) for what in looked)
        return found

    def _orders(self, one: _Found, sound: tuple[str, ...], config: Config) -> Iterator[Order]:
        held = tuple(address for address in one.addresses if address not in self._shared)
        name, family, what, mask = one.uplink, one.family, one.what, config.fwmark_mask
        unanswered = what is _What.UNANSWERED
        if held and config.mptcp and what is not _What.FORWARDED:
            yield WithdrawEndpoints(held, sound, spare=what not in (_What.ALL, _What.GONE))
        if held and what not in (_What.BACK, _What.FORWARDED):
            yield DestroySockets(name, family, held, self._near, mask, config.flows.keep, unanswered)
        if config.gateway is not None and what in (_What.UNANSWERED, _What.FORWARDED, _What.ALL):
            clients = tuple(network for network in self._clients if Family.of(network) is family)
            yield ForgetFlows(name, family, mark_of(one.slot, mask), mask, unanswered, clients=clients)

    def _way(self, now: float, lanes: Sequence[Lane], decision: Decision) -> _Way:
        lane = next((lane for lane in lanes if lane.uplink.name == decision.active), None)
        if lane is None or lane.uplink.index != self._leads.get(decision.family):
            return _Way(None, proven=False)
        return _Way(lane, proven=lane.verdict in RECEIVING and lane.proven(now))

    def _failback(self, now: float, lanes: Sequence[Lane], decision: Decision, config: Config) -> None:
        """With `failback_moves_flows`, what is left is drained; what is returned to, not (any more). Forwarded traffic
        goes where the operator says."""
        before, kept = self._active.get(decision.family), self._settled.get(decision.family)
        self._active[decision.family], self._settled[decision.family] = decision.active, decision.settled
        told = decision.settled != kept and decision.reason in (Reason.OPERATOR, Reason.DRAIN)
        for lane in lanes if told else ():
            case, name = self._cases[lane.uplink.place, decision.family], lane.uplink.name
            case.moved = now + GRACE if name == kept else inf if name == decision.settled else case.moved
        if before == decision.active:
            return
        brings = config.policy.failback_moves_flows and decision.reason is Reason.FAILBACK
        for lane in lanes:
            case, name = self._cases[lane.uplink.place, decision.family], lane.uplink.name
            if name == decision.active:
                case.along = inf
            elif name == before and brings:
                case.along = now + GRACE

    def _look(
        self, now: float, lane: Lane, case: _Case, way: _Way, *, settled: bool
    ) -> list[tuple[tuple[str, ...], _What]]:
        """Addresses, and what is to become of their flows."""
        case.due = min((at for at in (case.along, case.moved) if now < at), default=inf)
        lost, doubtful = lane.verdict in LOST, lane.verdict is Verdict.DOUBTFUL
        case.alive = case.alive or not lost
        case.swept = case.swept if lost else 0
        case.doubted = case.doubted and doubtful
        found = [(case.take_gone(), _What.GONE)] if settled and way.lane is not None else []
        waits = (lost and case.alive) or now >= case.along
        if way.spares(lane):
            if doubtful and not case.doubted:
                case.doubted = True
                found.append((case.held, _What.UNANSWERED))
            if waits and (now >= case.along or case.sweep(now)):
                case.along = case.moved = inf
                found.append((case.held, _What.ALL))
            elif now >= case.moved:
                case.moved = inf
                found.append((case.held, _What.FORWARDED))
        elif (waits or now >= case.moved) and way.lane not in (None, lane):
            case.due = now + LOOK_AGAIN
        if case.withdrawn and lane.verdict in RECEIVING:
            found.append((case.held, _What.BACK))
        case.withdrawn = lane.verdict not in RECEIVING and (case.withdrawn or any(a for a, _ in found))
        return found
