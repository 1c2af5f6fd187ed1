"""The asyncio shell around the Engine: one queue, one timer, and whoever carries out an effect. The wiring diagram.

    kernel.Watch ──> read the kernel ─┐                                      ┌─> kernel.Kernel.apply, then read again
    probes.Probes ─> ProbeResult ─────┼─> queue ─> Engine.hear/handle/wake ──┼─> probes.Probes.start
    control socket ─> Asked ──────────┤                  ^                   ├─> answers, log lines, metrics
    clocks ─> WallClock, Resumed ─────┤        timer at Engine.deadline()    ├─> (snapshot: status and gauges)
    resent ─> SocketsRead ────────────┤                  │                   ├─> moving: open flows, and MPTCP's ways
    moving ─> what came of it ────────┤                  │                   ├─> resolving: whom the box asks for names
    resolving ─> NamesTold ───────────┤                  └───── Counted ─────┼─> counting: the user's packets
    radio ─> ModemsTold, ModemActed ──┘                                      └─> radio: what is done to modems

Each notice becomes one entry, and goes to the log, the journal on disk, the metrics, and whoever watches.

No judgement and no protocol here. Whatever happens to this process, routing stays as it is.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count, takewhile
from math import inf
from pathlib import Path
from typing import Any, Final, assert_never

from failover import __version__
from failover.clocks import Clocks
from failover.config import Config, Reconfigured
from failover.config.source import KEPT, ConfigFile, Loaded
from failover.core.diff import is_switch
from failover.core.engine import Engine, Event
from failover.counting import Counting
from failover.desk import Desk, Sources
from failover.export.entries import Numbering
from failover.export.instance import require_capabilities, require_descriptors, sole_instance
from failover.export.log import Log, claim_standard_streams
from failover.export.metrics import Metrics
from failover.export.pulse import Pulse
from failover.export.storage import Storage
from failover.export.supervisor import Supervisor
from failover.facts import Operation
from failover.kernel.endpoints import NOTES
from failover.kernel.kernel import Kernel
from failover.kernel.ledger import LEDGER, Ledger
from failover.kernel.watch import Watch
from failover.model import (
    Answer,
    Command,
    Family,
    Notice,
    NoticeKind,
    ProbeKind,
    ProbeResult,
    SendProbe,
)
from failover.moving import Moving
from failover.probes import Probes
from failover.radio import Ears, Radio
from failover.reader import Reader
from failover.reload import Reload
from failover.resent import Resent
from failover.resolving import Resolving
from failover.seam import (
    ActOnModem,
    Applied,
    Apply,
    Asked,
    AskNames,
    CountFlows,
    DestroySockets,
    Effect,
    FollowNames,
    ForgetFlows,
    KeepEndpoints,
    KernelRead,
    ReadCounters,
    ReadKernel,
    ReadSockets,
    WithdrawEndpoints,
)

TICK: Final = 1.0
"""Seconds; the longest time between two looks at the clocks, and two signs of life to the supervisor."""
MINUTE: Final = 60.0
"""Seconds between two looks at what changes without a word, and between two complaints of the same kind."""
REMEMBERED: Final = 600.0
"""Seconds between two writes of what is to be remembered, when the operator says nothing."""
SHOWN: Final = frozenset((NoticeKind.SWITCH, NoticeKind.VERDICT, NoticeKind.OPERATOR, NoticeKind.UPLINK))
"""Kinds of notices that change how things are in one sentence."""
HEARING: Final = 4
"""Turns of the loop until every answer that the kernel has is heard."""
GIVE_WAY: Final = 0.0005
"""Seconds that a thread which draws a page or writes a journal may hold up the loop; Python's own 5 ms are too long."""
LATE, RECOVERY, RECOVERY_STEP = 0.05, 0.5, 0.01
"""Seconds behind time that make a hold-up; seconds at most, and between two looks, for what it stopped midway."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says: the config, the control socket, the state directory."""

    config: Path | None
    """None: the default place, if there is a file."""
    socket: Path
    state: Path
    """Directory of what outlives a boot."""

    @property
    def ledgers(self) -> tuple[Path, ...]:
        """Where sysctls that were changed are noted, the agent's own place first: a boot is all they outlive, and in
        memory no disk that hangs keeps the agent from setting one. The other is where they once were."""
        return self.socket.parent / LEDGER, self.state / LEDGER


def run(options: Options) -> int:
    """The agent in the foreground until SIGTERM or SIGINT; returns the exit status."""
    claim_standard_streams()
    sys.setswitchinterval(GIVE_WAY)
    source = ConfigFile(options.config)
    loaded = source.begin(options.state / KEPT)
    require_capabilities()
    require_descriptors()
    with sole_instance(options.socket):
        log = Log()
        return asyncio.run(_serve(options, source, loaded, log))


async def _serve(options: Options, source: ConfigFile, loaded: Loaded, log: Log) -> int:
    with closing(Kernel(Ledger(options.ledgers[0]))) as kernel, closing(Watch(kernel.port)) as watch:
        agent = Agent(options, source, loaded, log, kernel, watch)
        try:
            await agent.open()
            return await agent.pump()
        finally:
            await agent.close()


class Agent:
    """One Engine and its surroundings: `open`, `pump` until the end, `close`."""

    def __init__(
        self, options: Options, source: ConfigFile, loaded: Loaded, log: Log, kernel: Kernel, watch: Watch
    ) -> None:
        """To be made in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._source, self._log, self._kernel = source, log, kernel
        self._numbering = Numbering(os.urandom(4).hex())
        self._supervisor = Supervisor()
        self._tick = min(TICK, self._supervisor.interval or TICK)
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        """None: the timer, or what was heard. As bounded as probes and clients are."""
        self._put = self._queue.put_nowait
        self._clocks = Clocks()
        self._storage = Storage(options.state, self._clocks.stamp(), self._say)
        self._past = self._storage.past()
        self._engine = Engine(loaded.config, random.random, self._past.memory)
        self._probes = Probes(self._loop, self._probed, self._resolvers)
        self._metrics = Metrics()
        self._reader = Reader(kernel, watch, self._put, self._probes.forget, self._say, self._guarded)
        self._reloads = Reload(source, loaded, self._take, self._reloaded, self._say)
        self._resolving = Resolving(options.socket.parent, self._put, self._say)
        self._moving = Moving(options.socket.parent / NOTES, self._put, self._say, self._resolving.settled)
        self._counting = Counting(self._moving.carry_out, self._say)
        self._resent = Resent(self._put, self._say)
        ears = Ears(
            put=self._put,
            notice=self._notice,
            received=lambda kept: self._metrics.received(kept.uplink, kept.matters),
            uplinks=lambda: self._engine.snapshot().uplinks,
            trusted=lambda: self._clocks.trusted,
            say=self._say,
        )
        self._radio = Radio(options.state, loaded.config, ears)
        self._pulse = Pulse()
        sources = Sources(
            self._engine,
            self._metrics,
            self._storage,
            self._pulse,
            self._past.entries,
            self._about,
            self._counting,
            self._resolving,
            self._radio,
        )
        self._desk = Desk(options.socket, sources, self._ask, self._reload, self._say)
        self._ended: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf
        self._flying: dict[int, SendProbe] = {}
        self._heard: list[ProbeResult] = []
        """Not yet told to the engine."""
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._ids = count(1)
        self._news = False
        """The supervisor does not know yet how things are."""
        self._minute_due = self._remember_due = 0.0
        self._complained = -inf

    # --- start and end -----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take up all the ends; the first things in the queue are the clock and the state of the kernel."""
        self._loop.set_exception_handler(self._unexpected)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        await self._desk.open(self._engine.config.metrics.listen)
        self._say("started", f"failover {__version__}, pid {os.getpid()}")
        self._reloads.begin()
        self._resolving.begin(self._engine.config.dns.way)
        for complaint in self._past.complaints:
            self._say("warning", complaint)
        self._remember_due = time.monotonic() + REMEMBERED
        self._look_around(time.monotonic())  # before any probe leaves
        self._reader.open()
        gc.freeze()  # what is loaded now stays: a full collection over it would cost 25 ms in the middle of a switch

    async def close(self) -> None:
        """Let go of everything but the routes."""
        self._reader.close()
        self._counting.close()
        self._resent.close()
        self._moving.close()
        if self._timer is not None:
            self._timer.cancel()
        self._probes.close()
        await self._resolving.close()
        await self._radio.close()
        await self._desk.close()
        self._remember()
        self._storage.close(time.monotonic())

    async def pump(self) -> int:
        """Event after event until the end; 0 after a signal, 1 after an error that nobody expected."""
        while self._ended is None:
            event, now = await self._queue.get(), await self._hear()
            if self._ended is None:  # what is heard may end it
                self._guarded(self._turn, now, event)
            if self._queue.empty():
                self._report()
        return self._ended

    async def _hear(self) -> float:
        """The moment until which everything that came in is heard: what is silent then is silent, however long we were
        held up before, or are from now on."""
        now = time.monotonic()
        late = now - self._due
        self._metrics.turned(late)
        recovered = now + min(late, RECOVERY) if late > LATE else now
        while self._flying and now < recovered:
            await asyncio.sleep(RECOVERY_STEP)
            now = time.monotonic()
        for _ in range(HEARING):
            await asyncio.sleep(0)
        return now

    def _report(self) -> None:
        """All is done: the supervisor hears that, and how things are when that may have changed."""
        if self._news:
            self._news = False
            self._supervisor.status(self._desk.sentence())
        self._supervisor.alive()
        self._pulse.turned()

    def _stop(self) -> None:
        self._supervisor.stopping()
        self._say("stopped", "told to stop; routing stays as it is")
        self._end(0)

    def _end(self, status: int) -> None:
        self._ended = status
        self._put(None)

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Run a step of the agent's own; an error that nobody expected ends the agent, and systemd starts it anew."""
        try:
            step(*arguments)
        except Exception as error:
            self._log.traceback(error)
            self._say("error", "the agent ends; routing stays as it is")
            self._end(1)

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error in a callback, of a client or a probe: said, and the agent goes on."""
        error, said = context.get("exception"), str(context["message"])
        if isinstance(error, OSError):  # the machine is short of something: once a minute is enough
            if time.monotonic() >= self._complained + MINUTE:
                self._complained = time.monotonic()
                self._say("error", f"{said}: {error.strerror or error}")
            return
        if isinstance(error, BaseException):
            self._log.traceback(error)
        self._say("error", said)

    # --- the turn ----------------------------------------------------------------------------------------------------

    def _turn(self, now: float, event: Event | None) -> None:
        """What was heard, then one event, through the engine and its effects into the world; the timer is set anew."""
        self._look_around(now)
        if isinstance(event, KernelRead):
            self._reader.taken()
        heard, self._heard = self._heard, []
        self._carry_out(now, self._engine.hear(now, heard))
        self._carry_out(now, self._engine.wake(now) if event is None else self._engine.handle(now, event))
        self._reader.catch_up()
        if now >= self._remember_due:
            self._remember()
        if self._timer is not None:
            self._timer.cancel()
        self._due = max(now, min(self._engine.deadline(), now + self._tick))
        self._timer = self._loop.call_at(self._due, self._put, None)

    def _look_around(self, now: float) -> None:
        """What nobody tells us."""
        for event in self._clocks.look(now):  # before what was heard: a sleep is no silence
            self._carry_out(now, self._engine.handle(now, event))
        self._storage.tick(now)
        if now >= self._minute_due:
            self._minute_due = now + MINUTE
            self._news = True
            self._desk.keep()
            self._radio.look()

    def _remember(self) -> None:
        now = time.monotonic()
        self._remember_due = now + REMEMBERED
        self._storage.remember(self._engine.memory(now), self._clocks.stamp())

    def _carry_out(self, now: float, effects: Sequence[Effect]) -> None:
        """In the engine's order: a switch comes before its log line. `now`: when the engine decided on them."""
        decided = time.monotonic()
        switches = any(isinstance(effect, Notice) and effect.kind is NoticeKind.SWITCH for effect in effects)
        for effect in effects:
            match effect:
                case Apply(operations):
                    self._apply(operations, decided if switches else None)
                case SendProbe(id=number):
                    self._flying[number] = effect
                    self._probes.start(effect)
                case ReadKernel():
                    self._reader.read()
                case CountFlows():
                    self._counting.follow(effect)
                    if effect.gateways != self._kernel.gateways:
                        self._kernel.gateways = effect.gateways
                        self._reader.read()
                case ReadCounters():
                    self._carry_out(now, self._engine.handle(now, self._counting.read()))
                case ReadSockets():
                    self._resent.read(effect)
                case DestroySockets() | ForgetFlows() | KeepEndpoints() | WithdrawEndpoints():
                    self._moving.carry_out(effect)
                case AskNames() | FollowNames():
                    self._resolving.carry_out(effect)
                case ActOnModem():
                    self._radio.carry_out(effect)
                case Answer(id=number):
                    self._asked.pop(number).set_result(effect)
                case Notice():
                    self._notice(effect)
                case _:
                    assert_never(effect)

    def _resolvers(self, uplink: str, family: Family) -> Sequence[str]:
        """Names are asked of the uplink's own DNS targets, over that uplink."""
        config = self._engine.config
        own = next((config.targets_of(known) for known in config.uplinks if known.name == uplink), config.targets)
        return [target.host for target in own if target.kind is ProbeKind.DNS and target.family is family]

    def _say(self, kind: str, text: str) -> None:
        self._notice(Notice(NoticeKind(kind), text))

    def _notice(self, notice: Notice) -> None:
        """One entry: said, counted, shown to whoever watches."""
        entry = self._numbering.entry(notice, time.time(), trusted=self._clocks.trusted)
        self._log.say(notice.kind, notice.text, entry.id)
        self._storage.note(time.monotonic(), entry)
        self._metrics.noticed(notice)
        self._desk.publish(entry)
        if notice.kind is NoticeKind.OPERATOR or (notice.kind is NoticeKind.MODEM and "step" in notice.fields):
            self._remember_due = 0.0
        if notice.kind is NoticeKind.READY:
            self._pulse.ready()
            self._supervisor.ready(self._desk.sentence())
        self._news = self._news or notice.kind in SHOWN

    def _probed(self, result: ProbeResult) -> None:
        self._metrics.probed(self._flying.pop(result.id), result)
        if not self._heard:
            self._put(None)
        self._heard.append(result)

    # --- the kernel --------------------------------------------------------------------------------------------------

    def _apply(self, operations: Sequence[Operation], decided: float | None) -> None:
        """`decided`: when, if that was a switch."""
        first = list(takewhile(is_switch, operations))
        results = self._kernel.apply(first)
        if decided is not None and first:
            self._metrics.switch_applied(time.monotonic() - decided)
        results += self._kernel.apply(operations[len(first) :])
        self._metrics.operated(results)
        self._put(Applied(results))
        self._reader.read()

    # --- people and machines -----------------------------------------------------------------------------------------

    def _ask(self, command: Command) -> asyncio.Future[Answer]:
        number = next(self._ids)
        self._asked[number] = self._loop.create_future()
        self._put(Asked(number, command))
        return self._asked[number]

    def _about(self) -> dict[str, object]:
        problems = list(self._reloads.problems)
        config = {"path": str(self._reloads.path), "ok": not problems, "problems": problems}
        agent = {"version": __version__, "pid": os.getpid()}
        return {"agent": agent, "config": config, "names": self._resolving.about()}

    # --- the config --------------------------------------------------------------------------------------------------

    def _reload(self) -> asyncio.Task[Answer]:
        self._supervisor.reloading()
        self._desk.keep()
        reload = self._reloads.ask()
        reload.add_done_callback(lambda _: self._supervisor.reloaded())
        return reload

    def _reloaded(self, ok: bool) -> None:
        self._metrics.reloaded(ok)
        if ok:
            self._storage.keep(KEPT, self._source.keepsake())

    async def _take(self, config: Config) -> str:
        """Put it in force; what could not be had is the answer."""
        self._put(Reconfigured(config))
        self._resolving.begin(config.dns.way)
        self._radio.follow(config)
        return await self._desk.serve_metrics(config.metrics.listen)
