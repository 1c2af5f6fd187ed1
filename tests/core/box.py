"""A box in virtual time: the real Engine, a kernel that is a table, and uplinks whose weather a test makes up.

At each step it holds the engine to its seam: the deadline after a wake lies ahead, every probe leaves by an interface
that is there, every switch says why, and what the engine thinks is active has a way out.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Self

from failover.config import Config
from failover.core.engine import Engine, Event
from failover.core.verdicts import WAYLESS
from failover.facts import TABLE_MAIN, TABLE_UPLINK, Address, Counts, Facts, Link, Operation, OperationResult, Sysctl
from failover.memory import Memory
from failover.model import (
    PROBE_PATIENCE,
    Answer,
    Command,
    Family,
    Notice,
    NoticeKind,
    Outcome,
    ProbeKind,
    ProbeResult,
    SendProbe,
    Target,
    Verdict,
)
from failover.seam import (
    ActOnModem,
    Applied,
    Apply,
    Asked,
    AskNames,
    Counted,
    DestroySockets,
    Effect,
    FlowsForgotten,
    FollowNames,
    ForgetFlows,
    KeepEndpoints,
    KernelRead,
    NamesTold,
    ReadCounters,
    ReadKernel,
    SocketsDestroyed,
    WithdrawEndpoints,
)

from .worlds import KERNEL_RULES, V4, V6, step, way

Fate = float | Outcome | None
"""What becomes of a probe: its round trip in seconds, another outcome, or nothing."""
Weather = Callable[[float, Target], Fate]
RTT = 0.03

PINGS = tuple(Target(ProbeKind.ICMP, f"192.0.2.{n}", family=V4, url=f"icmp://192.0.2.{n}") for n in (1, 2))
PINGS6 = tuple(Target(ProbeKind.ICMP, f"2001:db8::{n}", family=V6, url=f"icmp://[2001:db8::{n}]") for n in (1, 2))
NAMES = Target(ProbeKind.DNS, "192.0.2.3", 53, "example.com", family=V4, url="dns://192.0.2.3/example.com")
WEB = Target(ProbeKind.HTTP, "portal.example", 80, "/204", url="http://portal.example/204")
QUICK = Config(targets=PINGS)


def fair(_: float, __: Target) -> Fate:
    return RTT


def dead(start: float, end: float = 1e9) -> Weather:
    """No answer to what is sent from `start` to `end`."""
    return lambda now, _: None if start <= now < end else RTT


def lossy(share: float, start: float = 0.0) -> Weather:
    """Loses so many of what is sent from `start` on, but never two on end: a brownout, and no silence."""
    dice, lost = random.Random(1), False

    def weather(now: float, _: Target) -> Fate:
        nonlocal lost
        lost = now >= start and not lost and dice.random() < share
        return None if lost else RTT

    return weather


def ground(names: Sequence[str], families: Iterable[Family] = (V4,)) -> Facts:
    """Uplinks that are all there, the first with the best metric."""
    links = tuple(Link(2 + n, name, up=True, carrier=True) for n, name in enumerate(names))
    held = {V4: ("10.0.{}.2", 24), V6: ("2001:db8:{}::2", 64)}
    return Facts(
        links=links,
        addresses=tuple(
            Address(link.index, f, held[f][0].format(link.index), held[f][1]) for link in links for f in families
        ),
        routes=tuple(way(link.index, f) for link in links for f in families),
        rules=KERNEL_RULES,
        sysctls=tuple(Sysctl(f"net/{f}/conf/{n}/ignore_routes_with_linkdown", "0") for n in names for f in families),
    )


class Box:
    """`run` it; `facts`, `weather` and `blocked` may be changed at any time (call `stir` after the first)."""

    def __init__(
        self,
        *names: str,
        config: Config = QUICK,
        seed: int = 1,
        families: Iterable[Family] = (V4,),
        start: float = 0.0,
        memory: Memory | None = None,
        brain: type[Engine] = Engine,
    ) -> None:
        self.facts = ground(names, families)
        self.weather: dict[str, Weather] = {}
        self.blocked: Callable[[Operation], str | None] = lambda _: None
        """What the kernel says against an operation."""
        self.engine = brain(config, random.Random(seed).random, memory)
        self.now = start
        self.sent: list[tuple[float, SendProbe]] = []
        self.notices: list[tuple[float, Notice]] = []
        self.answers: list[Answer] = []
        self.applied: list[tuple[float, Apply]] = []
        self.broken: list[tuple[float, DestroySockets]] = []
        self.forgotten: list[tuple[float, ForgetFlows]] = []
        self.offered: list[tuple[float, KeepEndpoints]] = []
        self.withdrawn: list[tuple[float, WithdrawEndpoints]] = []
        self.servers: dict[str, tuple[str, ...]] | None = None
        """What the networks tell of their name servers, by interface; None: names do not follow."""
        self.wished: list[tuple[float, FollowNames]] = []
        self.deeds: list[tuple[float, ActOnModem]] = []
        self.on_deed: Callable[[ActOnModem], None] = lambda _: None
        """What becomes of a deed; nobody answers by default."""
        self.read: list[float] = []
        self.errors = 0
        self.counts: Callable[[float], dict[tuple[str, Family], Counts]] = lambda _: {}
        """What the counters of the user's traffic say at a moment; nothing is counted by default."""
        self.weak = False
        """They are the interfaces' own."""
        self._queue: list[tuple[float, int, Event | Callable[[], None]]] = []
        self._count = 0
        self._ids: set[int] = set()
        self._known = Facts()
        """What the engine was told of the kernel last."""
        self.stir()

    # --- what a test does --------------------------------------------------------------------------------------------

    def run(self, until: float) -> Self:
        while min(self._queue[0][0] if self._queue else until, self.engine.deadline()) < until:
            if self._queue and self._queue[0][0] <= self.engine.deadline():
                self.now, _, event = heapq.heappop(self._queue)
                if callable(event):
                    event()
                else:
                    if isinstance(event, KernelRead):
                        self._known = event.facts
                    self._carry_out(self.engine.handle(self.now, event))
            else:
                self.now = max(self.now, self.engine.deadline())
                self._carry_out(self.engine.wake(self.now))
                assert self.engine.deadline() > self.now
        self.now = until
        return self

    def at(self, when: float, act: Callable[[], None]) -> None:
        self._push(when, act)

    def tell(self, event: Event) -> None:
        self._push(self.now, event)

    def ask(self, command: Command) -> Answer:
        """Give a command, now."""
        self._count += 1
        number = self._count
        self._carry_out(self.engine.handle(self.now, Asked(number, command)))
        assert self.answers[-1].id == number
        return self.answers[-1]

    def restart(self, memory: Memory | None, *, pause: float = 1.0, config: Config | None = None) -> None:
        """The agent is gone, with all that was on its way to it; after a pause another one starts."""
        self.now += pause
        self._queue = [entry for entry in self._queue if callable(entry[2])]
        self._ids.clear()
        self.engine = type(self.engine)(config or self.engine.config, random.Random(self.now).random, memory)
        self.stir()

    def stir(self) -> None:
        """The kernel is read."""
        self.tell(KernelRead(self.facts))

    def change(self, name: str, **fields: object) -> None:
        """The link is another now (`up`, `carrier`, `index`)."""
        old = next(link for link in self.facts.links if link.name == name)
        new = replace(old, **fields)  # type: ignore[arg-type]
        links = tuple(new if link is old else link for link in self.facts.links)
        self.facts = replace(self.facts, links=links)
        self.stir()

    def unplug(self, name: str) -> None:
        """The interface vanishes with everything that hangs on it, our routes as well."""
        index = next(link.index for link in self.facts.links if link.name == name)
        self.facts = replace(
            self.facts,
            links=tuple(link for link in self.facts.links if link.index != index),
            addresses=tuple(address for address in self.facts.addresses if address.index != index),
            routes=tuple(route for route in self.facts.routes if route.interface != index),
        )
        self.stir()

    def plug(self, name: str, index: int, families: Iterable[Family] = (V4,), metric: int | None = None) -> None:
        """The interface is there (again)."""
        ways = (way(index, family) for family in families)
        held = {V4: (f"10.0.{index}.2", 24), V6: (f"2001:db8:{index}::2", 64)}
        self.facts = replace(
            self.facts,
            links=(*self.facts.links, Link(index, name, up=True, carrier=True)),
            addresses=(*self.facts.addresses, *(Address(index, family, *held[family]) for family in families)),
            routes=(*self.facts.routes, *(replace(r, metric=r.metric if metric is None else metric) for r in ways)),
        )
        self.stir()

    def lose_default(self, name: str, family: Family = V4) -> None:
        """The default of main is withdrawn, as when a router advertisement expires."""
        index = next(link.index for link in self.facts.links if link.name == name)
        gone = [r for r in self.facts.routes if (r.table, r.interface, r.family) == (TABLE_MAIN, index, family)]
        self.facts = replace(self.facts, routes=tuple(r for r in self.facts.routes if r not in gone))
        self.stir()

    # --- what a test looks at ----------------------------------------------------------------------------------------

    def verdict(self, name: str, family: Family = V4) -> Verdict:
        return next(u for u in self.engine.snapshot().uplinks if u.name == name).families[family].verdict

    def active(self, family: Family = V4) -> str | None:
        return self.engine.snapshot().decisions[family].active

    def settled(self, family: Family = V4) -> str | None:
        return self.engine.snapshot().decisions[family].settled

    def switches(self, since: float = 0.0) -> list[str]:
        """`101.35 a>b doubt`, new flows and open ones (in brackets)."""
        told = []
        for at, notice in self.notices:
            if notice.kind is NoticeKind.SWITCH and at >= since:
                fields = notice.fields
                told.append(f"{at:g} {fields['from']}>{fields['to']}({fields['settled']}) {fields['reason']}")
        return told

    def probes(self, name: str, since: float = 0.0, until: float = 1e9, kind: ProbeKind | None = None) -> list[float]:
        """When probes of an uplink left."""
        return [
            at
            for at, send in self.sent
            if send.uplink == name and since <= at < until and kind in (None, send.target.kind)
        ]

    def chosen(self, table: int, family: Family = V4) -> list[int | None]:
        """Interfaces of a table's routes, best metric first."""
        routes = [route for route in self.facts.routes if (route.table, route.family) == (table, family)]
        return [route.interface for route in sorted(routes, key=lambda route: route.metric)]

    # --- inside ------------------------------------------------------------------------------------------------------

    def _push(self, at: float, what: Event | Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, what))

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendProbe():
                    self._send(effect)
                case Apply():
                    self._apply(effect)
                case ReadKernel():
                    self.read.append(self.now)
                    self.stir()
                case ReadCounters():
                    self._carry_out(self.engine.handle(self.now, Counted(self.counts(self.now), self.weak)))
                case DestroySockets():
                    self._destroy(effect)
                case ForgetFlows():
                    self._forget(effect)
                case AskNames(interfaces) if self.servers is not None:
                    self.tell(NamesTold({name: self.servers.get(name, ()) for name in interfaces}))
                case ActOnModem():
                    self.deeds.append((self.now, effect))
                    self.on_deed(effect)
                case FollowNames():
                    self.wished.append((self.now, effect))
                case KeepEndpoints():
                    self.offered.append((self.now, effect))
                case WithdrawEndpoints():
                    self.withdrawn.append((self.now, effect))
                case Answer():
                    self.answers.append(effect)
                case Notice():
                    self.notices.append((self.now, effect))
                    if effect.kind is NoticeKind.SWITCH:
                        assert effect.fields["reason"]
                        assert effect.text.rstrip(": ").count(":") >= 1, effect.text
        if any(isinstance(effect, Notice | Apply) for effect in effects):
            self._hold()

    def _destroy(self, order: DestroySockets) -> None:
        """Only when the kernel is known to lead new flows elsewhere, or the address not to be held."""
        held = {address.address: address.index for address in self._known.addresses}
        leads = {route.interface for route in self._known.routes if route.leads and route.family is order.family}
        assert leads.isdisjoint(held.get(address) for address in order.addresses)
        self.broken.append((self.now, order))
        self.tell(SocketsDestroyed(order, tcp=1))

    def _forget(self, order: ForgetFlows) -> None:
        """Only when the kernel is known to lead new flows by another table than those with the mark."""
        leads = {route.interface for route in self._known.routes if route.leads and route.family is order.family}
        slot = order.mark // (order.mask & -order.mask) - 1
        marked = {route.interface for route in self._known.routes if route.table == TABLE_UPLINK + slot}
        assert leads.isdisjoint(marked)
        self.forgotten.append((self.now, order))
        self.tell(FlowsForgotten(order, flows=1))

    def _hold(self) -> None:
        snapshot = self.engine.snapshot()
        views = {view.name: view for view in snapshot.uplinks}
        for family, decision in snapshot.decisions.items():
            there = {name for name, view in views.items() if view.families[family].verdict not in WAYLESS}
            assert (decision.active is None) is (not there)
            assert {decision.active, decision.settled} <= there | {None}

    def _send(self, send: SendProbe) -> None:
        assert send.id not in self._ids
        self._ids.add(send.id)
        assert send.interface in {link.name for link in self._known.links}
        assert send.target.family in (None, send.family)
        self.sent.append((self.now, send))
        match self.weather.get(send.uplink, fair)(self.now, send.target):
            case float() | int() as rtt if rtt < PROBE_PATIENCE:
                self._push(self.now + rtt, ProbeResult(send.id, Outcome.ANSWERED, rtt))
            case Outcome() as outcome:
                self._push(self.now + (0 if outcome is Outcome.LOCAL else RTT), ProbeResult(send.id, outcome, RTT))
            case _:
                self._push(self.now + PROBE_PATIENCE, ProbeResult(send.id, Outcome.SILENT))

    def _apply(self, effect: Apply) -> None:
        self.applied.append((self.now, effect))
        results = []
        for operation in effect.operations:
            error = self.blocked(operation)
            if error is None:
                try:
                    self.facts = step(self.facts, operation)
                except (AssertionError, StopIteration) as refusal:
                    error = str(refusal) or "refused"
            self.errors += error is not None
            results.append(OperationResult(operation, error))
        self.tell(Applied(tuple(results)))
        self.stir()


def told(box: Box, since: float, kind: NoticeKind = NoticeKind.VERDICT) -> list[str]:
    """What was said of that kind from then on."""
    return [notice.text for at, notice in box.notices if at >= since and notice.kind is kind]
