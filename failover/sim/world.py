"""One box in virtual time: the real Engine, a virtual kernel, virtual uplinks, and whatever a script does to them.

Here lives the event loop: what happens when, and what carries out the engine's effects. What becomes of a packet is
`links.py`'s, what the user felt `account.py`'s, what must never happen `invariants.py`'s business. No wall clock and
no dice of its own.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop
from typing import Final, Protocol, assert_never

from failover.core.engine import Event
from failover.facts import Counts, Operation, Segments
from failover.model import PROBE_PATIENCE, Answer, Family, Notice, NoticeKind, Outcome, ProbeResult, SendProbe
from failover.modem import Deed
from failover.picture import Snapshot
from failover.seam import (
    ActOnModem,
    Applied,
    Apply,
    Asked,
    AskNames,
    Counted,
    CountFlows,
    DestroySockets,
    Effect,
    FollowNames,
    ForgetFlows,
    KeepEndpoints,
    KernelRead,
    ModemActed,
    ModemsTold,
    ReadCounters,
    ReadKernel,
    ReadSockets,
    Resumed,
    SocketsDestroyed,
    SocketsRead,
    WallClock,
    WithdrawEndpoints,
)
from failover.sim.account import Account
from failover.sim.agenda import Agenda, Happening, Later, Reply, Restart, Wakeup
from failover.sim.flows import Counting, Flows
from failover.sim.garage import Garage
from failover.sim.ground import Ground
from failover.sim.invariants import Watch
from failover.sim.journal import Journal
from failover.sim.links import Lane
from failover.sim.script import Act, Carrier, ClockJump, Crash, Lease, OnAir, Operator, Played, Suspend, TargetDead
from failover.weights import wire_bytes

BOOTED: Final = 1000.0
"""Monotonic seconds at the start of a world: the box has been up for a while, and nobody may take 0 for never."""
UNIX_START: Final = 1_750_000_000.0


class Brain(Protocol):
    """The seam of `core.engine.Engine`."""

    def handle(self, now: float, event: Event) -> list[Effect]: ...
    def wake(self, now: float) -> list[Effect]: ...
    def deadline(self) -> float: ...
    def snapshot(self) -> Snapshot: ...


class World:
    """Runs from `start` on; all times outside the engine are the script's, the engine's own are monotonic."""

    def __init__(
        self,
        brain: Callable[[], Brain],
        ground: Ground,
        lanes: Mapping[tuple[str, Family], Lane],
        flows: Flows,
        account: Account,
        journal: Journal,
        watch: Watch,
        garage: Garage,
        *,
        start: float,
        trusted_clock: bool = True,
    ) -> None:
        """`brain` makes a fresh engine."""
        self.now = start
        self._garage = garage
        garage.box = self
        self._orders: list[ActOnModem] = []
        """Under way, of the present agent."""
        self.account = account
        self._journal = journal
        self._watch = watch
        self._make_brain = brain
        self._ground = ground
        self._lanes = lanes
        self._flows = flows
        self._counts: Mapping[tuple[str, Family], Counts] = {}
        """As they were counted last."""
        self._places = {name: place for place, name in enumerate(account.uplinks)}
        self._trusted_clock = trusted_clock
        self._unix = UNIX_START - start
        self._shift = BOOTED - start
        """Monotonic minus script time; time slept is missing from it."""
        self._monotonic = BOOTED
        """The engine's now: to the last bit what it asked for when it is woken."""
        self._agenda = Agenda()
        self._deaf = False
        """The agent is dead or the machine sleeps."""
        self._ready: deque[Event] = deque()
        self._stirred = False
        """Something else than probing went on, and the kernel has not been looked at since."""
        self._dead_targets: set[str] = set()
        self._asked = 0
        self.snapshot: Snapshot | None = None
        """The agent's picture when it last said or did something."""
        self._brain = brain()
        self._deadline = math.inf
        """When the engine wants to be woken, as it said last."""
        self._follow_kernel()
        self._boot()

    # --- time --------------------------------------------------------------------------------------------------------

    def schedule(self, at: float, act: Act) -> None:
        self._agenda.push(at, act)

    def run(self, until: float) -> None:
        """Play everything that falls before `until`."""
        heap = self._agenda.heap
        while True:
            due = math.inf if self._deaf else self._deadline - self._shift
            head = heap[0][0] if heap else math.inf
            if min(due, head) >= until:
                break
            if head <= due:
                self.now, _, what = heappop(heap)
                self._monotonic = max(self._monotonic, self.now + self._shift)
                self._happen(what)
            else:
                self.now, self._monotonic = max(due, self.now), self._deadline
                self._wake()
        self.now = until
        self.account.play(until)

    def _happen(self, what: Happening) -> None:
        if isinstance(what, Reply):
            self._arrive(what)
        elif isinstance(what, Restart):
            self._brain = self._make_brain()
            self._journal.write(self.now, "world", "the agent starts")
            self._boot()
        elif isinstance(what, Wakeup):
            self._wake_up(what.slept)
        elif isinstance(what, Later):
            what.action()
            self._drain()
        else:
            self._act(what)
            self._drain()

    # --- the agent ---------------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        self._deaf = False
        self.snapshot = None
        self._watch.born()
        self._orders.clear()
        self._look_around()

    def _look_around(self) -> None:
        self._ready.append(WallClock(self._unix + self.now, self._trusted_clock))
        self._garage.tell()
        self._ready.append(KernelRead(self._ground.facts()))
        self._drain()

    def _drain(self) -> None:
        """Hand over what is ready, and what comes of that, until nothing is left at this moment."""
        if self._deaf:
            self._ready.clear()
            return
        rounds = 0
        while self._ready:
            rounds += 1
            self._watch.rounds(self.now, rounds)
            event = self._ready.popleft()
            self._watch.saw(self.now, event)
            self._carry_out(self._brain.handle(self._monotonic, event))
            self._stirred = True
        if self._stirred and self.snapshot is not None:
            self._watch.at_rest(self.now, self.snapshot)
        self._stirred = False
        self._handled()

    def _arrive(self, reply: Reply) -> None:
        result, probe = reply.result, reply.probe
        self._watch.saw(self.now, result)
        if result.outcome is Outcome.ANSWERED:
            self._watch.heard(self.now, probe.uplink, probe.family)
        effects = self._brain.handle(self._monotonic, result)
        if effects:
            self._carry_out(effects)
            self._drain()
        else:
            self._handled()

    def _handled(self) -> None:
        self._deadline = self._brain.deadline()
        self._watch.handled(self.now, self._deadline - self._monotonic)

    def _wake(self) -> None:
        self._carry_out(self._brain.wake(self._monotonic))
        if self._ready or self._stirred:
            self._drain()
        self._deadline = self._brain.deadline()
        self._watch.woken(self.now, self._deadline - self._monotonic)

    def _carry_out(self, effects: list[Effect]) -> None:
        """Effects in their order; afterwards the decisions are looked at if anything but probing went on."""
        stirred = counting = False
        orders: list[DestroySockets | ActOnModem] = []
        for effect in effects:
            if isinstance(effect, SendProbe):
                self._send(effect)
                continue
            if isinstance(effect, ReadCounters):
                counting = True
                continue
            if isinstance(effect, AskNames | FollowNames):
                continue  # nobody looks names up here
            stirred = stirred or not (isinstance(effect, Notice) and effect.kind is NoticeKind.UPLINK)
            self._watch.saw(self.now, effect)
            match effect:
                case Apply(operations):
                    self._apply(operations)
                case ReadKernel():
                    self._ready.append(KernelRead(self._ground.facts()))
                case CountFlows(taps):
                    self._flows.count(self._garage.uplinks([tap.interface for tap in taps]))
                case ReadSockets():
                    self._ready.append(SocketsRead(self._segments()))
                case DestroySockets() | ActOnModem():
                    orders.append(effect)
                case ForgetFlows() | KeepEndpoints() | WithdrawEndpoints():
                    pass  # nothing is forwarded here, and nobody speaks MPTCP
                case Notice():
                    self._journal.note(self.now, effect)
                case Answer():
                    self._journal.answer(self.now, effect)
                case _:
                    assert_never(effect)
        if stirred:
            self._stirred = True
            self._observe()
        for order in orders:  # a conviction comes before what it breaks
            if isinstance(order, DestroySockets):
                self._destroy(order)
            else:
                self._order(order)
        if counting:
            self._count()

    def _observe(self) -> None:
        before, self.snapshot = self.snapshot, self._brain.snapshot()
        self._watch.decided(self.now, before, self.snapshot)
        self.account.play(self.now)
        self.account.decided(self.now, before, self.snapshot)

    # --- effects -----------------------------------------------------------------------------------------------------

    def _send(self, probe: SendProbe) -> None:
        """A probe leaves by the way the kernel knows for its device and mark."""
        self._watch.saw(self.now, probe)
        way, plugged = self._ground.probe_way(probe.family, probe.mark, probe.interface)
        rtt: float | None = None
        if way is None:
            outcome, rtt = Outcome.LOCAL, 0.0
        elif probe.target.host in self._dead_targets or not plugged:
            outcome = Outcome.SILENT
        else:
            outcome, rtt = self._lanes[self._garage.uplink(way), probe.family].probe(self.now, probe.target.kind)
        sent, received = wire_bytes(probe.target, probe.family, outcome)
        if way is not None:
            uplink = self._garage.uplink(way)
            self.account.probed(self._places[uplink], probe.family, sent + received)
            self._flows.probe((uplink, probe.family), self.now, rtt)
        result = ProbeResult(probe.id, outcome, rtt, sent_bytes=sent, received_bytes=received)
        self._agenda.push(self.now + (PROBE_PATIENCE if rtt is None else rtt), Reply(probe, result))

    def _count(self) -> None:
        """The counters are read; the engine hears of them before anything else."""
        self.account.play(self.now)
        flows = self._flows
        counts = flows.counts(self.now)
        weak = flows.counting is Counting.PACKETS
        if counts is not self._counts and not weak:
            self._hear(counts)
        counted = Counted(self._garage.by_interface(counts), weak)
        effects = self._brain.handle(self._monotonic, counted)
        if effects:
            self._watch.saw(self.now, counted)
            self._carry_out(effects)

    def _hear(self, counts: Mapping[tuple[str, Family], Counts]) -> None:
        """A reply to the user is an answer too."""
        for place, now in counts.items():
            before = self._counts.get(place)
            if before is not None and now.received > before.received:
                self._watch.heard(self.now, *place)
        self._counts = counts

    def _segments(self) -> dict[str, Segments]:
        """By source address, where there is one."""
        self.account.play(self.now)
        told: dict[str, Segments] = {}
        for (uplink, family), wire in self._flows.wires.items():
            segments = wire.segments(self.now)
            told |= dict.fromkeys(self._garage.addresses(uplink, family), segments)
        return told

    def _destroy(self, order: DestroySockets) -> None:
        """Of what is open, everything is answered."""
        places = [self._places[uplink] for uplink in self._garage.owners(order)]
        broken = 0 if order.unanswered else sum(self.account.broke(order.family, place) for place in places)
        self._ready.append(SocketsDestroyed(order, tcp=broken))

    def _apply(self, operations: tuple[Operation, ...]) -> None:
        """One operation at a time, each of them looked at."""
        self.account.play(self.now)
        self._watch.before()
        given_up = [self._garage.interface(o.uplink) for o in self._orders if o.deed is Deed.SELECT_SLOT]
        results = []
        for operation in operations:
            results.append(self._ground.apply(operation))
            self._watch.changed(self.now, operation, given_up)
        self._follow_kernel()
        self._ready.append(Applied(tuple(results)))
        self._ready.append(KernelRead(self._ground.facts()))

    def _follow_kernel(self) -> None:
        for family in self.account.meters:
            way = self._ground.new_way(family)
            self.account.active[family] = None if way is None else self._places[self._garage.uplink(way)]

    # --- modems (garage.Box) -----------------------------------------------------------------------------------------

    def _order(self, order: ActOnModem) -> None:
        self._watch.ordered(self.now, order, self._orders)
        self._orders.append(order)
        self.account.ordered(self.now, order)
        self._garage.act(order)

    def acted(self, event: ModemActed) -> None:
        """What comes of an order reaches the agent that gave it."""
        if event.order in self._orders:
            self._orders.remove(event.order)
            self._ready.append(event)

    def told(self, event: ModemsTold) -> None:
        self._ready.append(event)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self._agenda.push(self.now + seconds, Later(action))

    def write(self, text: str) -> None:
        self._journal.write(self.now, "world", text)

    # --- acts of the script ------------------------------------------------------------------------------------------

    def _act(self, act: Act) -> None:
        match act:
            case Carrier(uplink, up):
                self.change_kernel(lambda: self._ground.carrier(uplink, up))
            case Lease(uplink, family, held):
                self.change_kernel(lambda: self._ground.lease(uplink, family, held=held))
            case Operator(command):
                self._asked += 1
                self._watch.asked(command)
                self._journal.write(self.now, "world", f"the operator asks: {command}")
                self._ready.append(Asked(self._asked, command))
            case Crash() | Suspend() if self._deaf:
                self._journal.write(self.now, "world", f"{act}: asleep or dead already")
            case Crash(lasts):
                self._crash(lasts)
            case Suspend(lasts):
                self._suspend(lasts)
            case ClockJump(seconds):
                self._unix += seconds
                self._journal.write(self.now, "world", f"the wall clock jumps by {seconds:g} s")
                self._ready.append(WallClock(self._unix + self.now, self._trusted_clock))
            case TargetDead(host, dead):
                self._journal.write(self.now, "world", f"target {host} {'dies' if dead else 'is back'}")
                (self._dead_targets.add if dead else self._dead_targets.discard)(host)
            case OnAir(uplink, air):
                self._garage.breathe(uplink, air)
            case Played(text):
                self._journal.write(self.now, "world", text)
            case _:
                assert_never(act)

    def change_kernel(self, change: Callable[[], None]) -> None:
        """The kernel's part in the script; the agent hears of it at once."""
        self.account.play(self.now)
        change()
        self._follow_kernel()
        self._ready.append(KernelRead(self._ground.facts()))

    def _crash(self, lasts: float) -> None:
        """Killed: whatever was on its way to the agent reaches nobody."""
        self._journal.write(self.now, "world", f"the agent is killed, and starts again after {lasts:g} s")
        self._agenda.forget_replies()
        self._deaf = True
        self._agenda.push(self.now + lasts, Restart())

    def _suspend(self, lasts: float) -> None:
        """Asleep: replies pass unheard; the prober gives their probes up when its patience ends, some time after."""
        self._journal.write(self.now, "world", f"the machine sleeps for {lasts:g} s")
        self.account.play(self.now)
        self.account.sleep(self.now + lasts)
        self._flows.forget()
        for probe in self._agenda.forget_replies():
            sent, _ = wire_bytes(probe.target, probe.family, Outcome.SILENT)
            silent = ProbeResult(probe.id, Outcome.SILENT, sent_bytes=sent)
            self._agenda.push(self.now + lasts + PROBE_PATIENCE, Reply(probe, silent))
        self._deaf = True
        self._agenda.push(self.now + lasts, Wakeup(lasts))

    def _wake_up(self, slept: float) -> None:
        self._deaf = False
        self._shift -= slept
        self._monotonic = self.now + self._shift
        self._journal.write(self.now, "world", "the machine wakes up")
        self._ready.append(Resumed(slept))
        self._look_around()
