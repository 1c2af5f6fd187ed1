"""Puts a run together: a config for the uplinks played, a virtual van, lanes, an engine, an account; and plays it.

The wiring diagram of `sim/`. The only file here that knows the real Engine by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from failover.config import Config, Metered, Uplink
from failover.config.values import quoted
from failover.core.engine import Engine
from failover.model import FailoverError, Family
from failover.picture import Snapshot
from failover.sim.account import Account
from failover.sim.flows import Counting, Flows
from failover.sim.garage import Garage
from failover.sim.ground import Ground
from failover.sim.invariants import Watch
from failover.sim.journal import Journal
from failover.sim.kernel import VirtualKernel
from failover.sim.links import SLOT, Lane, SampledLane, ScriptedLane
from failover.sim.loads import Load, loads
from failover.sim.modems import Fit, choices
from failover.sim.script import Course, Script, unroll
from failover.sim.trace import Step, Trace
from failover.sim.traffic import Drawn, Meter, Requests
from failover.sim.world import Brain, World
from failover.wording import suggest

TRACE_SETTLE: Final = 30.0
"""Seconds of flawless uplinks before each segment of a trace, in which a fresh engine proves all of them."""
TRACE_RTT: Final = 0.05
"""Round trip of an uplink in seconds, before the trace has told one."""

WARMING: Final = 5.0
"""Seconds for which the user's packets leave before they are measured, where they are counted."""

BrainMaker = Callable[[Config, Callable[[], float]], Brain]


@dataclass(frozen=True, slots=True)
class Played:
    """A run that is over."""

    title: str
    names: tuple[str, ...]
    """Most preferred first."""
    account: Account
    journal: Journal
    last: Snapshot | None
    """The agent's last picture; None where the run had several agents one after the other (a trace)."""


def play_script(
    script: Script, config: Config, primary: str | None, seed: int, brain: BrainMaker = Engine, *, metered: bool = False
) -> Played:
    """Play a script from start to end, if `metered` with every uplink so.

    Raises InvariantError when the agent does what it must not.
    """
    costs = {actor.name: metered or actor.metered for actor in script.actors}
    config = for_uplinks(config, [actor.name for actor in script.actors], primary, costs, by_config=False)
    config = with_modems(config, script.fits)
    names = tuple(uplink.name for uplink in config.uplinks)
    course = unroll(script, seed)
    lanes = _scripted_lanes(course, seed)
    chatter = {actor.name: actor.chatter for actor in script.actors if actor.chatter is not None}
    flows = Flows(names, script.families, script.counted, chatter)
    account = _script_account(script, names, lanes, flows)
    journal = Journal()
    start = -script.settle - Random(f"{seed}/phase").random() if script.settle else 0.0
    world = _world(config, script, lanes, flows, account, journal, seed, start, brain)
    for at, act in course.acts:
        world.schedule(at, act)
    world.run(0.0)
    account.counting = True
    world.run(script.length)
    return Played(script.title, names, account, journal, world.snapshot)


def play_trace(
    trace: Trace,
    config: Config,
    primary: str | None,
    seed: int,
    brain: BrainMaker = Engine,
    *,
    dither: bool = False,
    metered: bool = False,
) -> Played:
    """Replay a trace, segment after segment, each with a fresh engine to which the uplinks are proven.

    `dither`: the user's packets leave at random moments of their rows' time. `metered`: every uplink is.
    """
    config = for_uplinks(config, trace.names, primary, dict.fromkeys(trace.names, metered), by_config=True)
    names = tuple(uplink.name for uplink in config.uplinks)
    columns = [trace.names.index(name) for name in names]
    account = Account(names, {Family.IPV4: Meter(len(names))})
    journal = Journal()
    replay = _Replay(config, account, journal, columns, seed, brain, Random(f"{seed}/user") if dither else None)
    for step in trace.steps():
        replay.play(step)
    replay.finish()
    return Played("", names, account, journal, None)


class _Replay:
    """A trace under way: one row at a time, nothing kept of the rows before."""

    def __init__(
        self,
        config: Config,
        account: Account,
        journal: Journal,
        columns: Sequence[int],
        seed: int,
        brain: BrainMaker,
        dice: Random | None,
    ) -> None:
        self._config = config
        self._account = account
        self._journal = journal
        self._columns = columns
        self._seed = seed
        self._brain = brain
        self._usual = [TRACE_RTT] * len(columns)
        """Last round trip heard of each uplink."""
        self._lanes: list[SampledLane] = []
        self._rows = Drawn(account.meters[Family.IPV4], dice)
        self._world: World | None = None
        self._end = 0.0

    def play(self, step: Step) -> None:
        """Everything up to the row meets the one before it; from the row on, all that is sent meets this one."""
        at = step.row.at
        if step.first or self._world is None:
            self.finish()
            self._world = self._open(at, step.row.segment)
        else:
            self._world.run(at)
        packets: list[tuple[float | None, bool]] = []
        for place, column in enumerate(self._columns):
            rtt = step.row.rtts[column]
            self._lanes[place].sample = rtt
            self._usual[place] = self._usual[place] if rtt is None else rtt
            packets.append((rtt, True))
        self._rows.row(at, step.lasts, packets)
        self._end = at + step.lasts

    def finish(self) -> None:
        """The last row of a segment lasts as long as it stands for."""
        if self._world is not None:
            self._world.run(self._end)

    def _open(self, at: float, segment: str) -> World:
        account, names, meter = self._account, self._account.uplinks, self._account.meters[Family.IPV4]
        account.counting = False
        meter.restart()
        families = (Family.IPV4,)
        flows = Flows(names, families, Counting.FLOWS)
        meter.wires = [flows.wires[name, Family.IPV4] for name in names]
        self._lanes = [SampledLane(rtt) for rtt in self._usual]
        lanes: dict[tuple[str, Family], Lane] = {
            (name, Family.IPV4): lane for name, lane in zip(names, self._lanes, strict=True)
        }
        if segment:
            self._journal.write(at, "world", f"segment {segment}")
        start = at - TRACE_SETTLE
        account.requests = {Family.IPV4: Requests(meter, self._lanes, SLOT, at - WARMING, at)}
        journal, brain = self._journal, self._brain
        seed = f"{self._seed}/{at:g}"  # when its probes leave is another matter in each segment
        script = Script("", (), 0.0, families)
        world = _world(self._config, script, lanes, flows, account, journal, seed, start, brain)
        world.run(at)
        account.requests = {Family.IPV4: self._rows}
        account.counting = True
        return world


def for_uplinks(
    config: Config, names: Sequence[str], primary: str | None, metered: Mapping[str, bool], *, by_config: bool
) -> Config:
    """The config with exactly these uplinks, each on an interface of its name.

    A config that has uplinks must have these; it lends them what it says of them, and its order if `by_config`. The
    primary goes first. `metered`: those that have the usual budget where the config gives them none.
    """
    told = {uplink.name: uplink for uplink in config.uplinks}
    for name in names:
        if told and name not in told:
            mend = suggest(name, told) or f"it has {', '.join(told)}"
            raise FailoverError(f"the config has no uplink {quoted(name)}", mend)
    if primary is not None and primary not in names:
        mend = suggest(primary, names) or f"there is {', '.join(names)}"
        raise FailoverError(f"no uplink {quoted(primary)} to be the primary", mend)
    order = [name for name in told if name in names] if told and by_config else list(names)
    order.sort(key=lambda name: name != primary)
    uplinks = []
    for name in order:
        uplink = told.get(name, Uplink(name, name))
        budget = uplink.metered or (Metered() if metered.get(name) else None)
        uplinks.append(replace(uplink, interface=name, metered=budget, modem=None))
    return replace(config, uplinks=tuple(uplinks))


def with_modems(config: Config, fits: Mapping[str, Fit]) -> Config:
    """The config with these uplinks as modems."""
    known = choices(fits)
    uplinks = [replace(u, interface="", modem=known[u.name]) if u.name in known else u for u in config.uplinks]
    return replace(config, uplinks=tuple(uplinks))


def _scripted_lanes(course: Course, seed: int) -> dict[tuple[str, Family], ScriptedLane]:
    return {
        (name, family): ScriptedLane(timeline, f"{seed}/{name}/{family}")
        for (name, family), timeline in course.timelines.items()
    }


def _script_account(
    script: Script,
    names: Sequence[str],
    lanes: Mapping[tuple[str, Family], ScriptedLane],
    flows: Flows,
) -> Account:
    meters: dict[Family, Meter] = {}
    requests: dict[Family, Requests] = {}
    extra: dict[Family, Sequence[Load]] = {}
    user, counted = script.user, flows.counting is not Counting.NOTHING
    start = -min(WARMING, script.settle) if counted else 0.0
    for family in script.families:
        ways = [lanes[name, family] for name in names]
        wires = [flows.wires[name, family] for name in names] if counted else ()
        gates = [lane.gate for lane in ways] if script.fits else ()
        meters[family] = Meter(len(names), wires, user.requests, user.open, gates)
        requests[family] = Requests(meters[family], ways, script.requests_every, start, 0.0)
        extra[family] = loads(user, ways, wires, start) if counted else ()
    return Account(names, meters, requests, extra)


def _world(
    config: Config,
    script: Script,
    lanes: Mapping[tuple[str, Family], Lane],
    flows: Flows,
    account: Account,
    journal: Journal,
    seed: int | str,
    start: float,
    brain: BrainMaker,
) -> World:
    dice = Random(f"{seed}/agent")
    fits = script.fits
    interfaces = dict.fromkeys(fits[name].modem if name in fits else name for name in account.uplinks)
    ground = Ground(VirtualKernel(), interfaces, script.families)
    return World(
        lambda: brain(config, dice.random),
        ground,
        lanes,
        flows,
        account,
        journal,
        Watch(ground, config, {name: fit.modem for name, fit in fits.items()}),
        Garage(fits, script.networks, ground, lanes, f"{seed}"),
        start=start,
        trusted_clock=script.trusted_clock,
    )
