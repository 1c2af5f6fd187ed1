"""A scripted outage as a tree, and its unrolling: loops, ramps, holes and bursts into plain stretches of conditions.

Here live the words of a scenario and what they mean in virtual time. No file is read here (`scenario.py`) and no
event is played (`world.py`). All randomness comes from the scenario's seed, so one script has one course.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from failover.model import Command, Family
from failover.modem import Deed, Registration
from failover.sim.flows import Counting
from failover.sim.links import Bursts, Conditions, Nap, Rtt, Timeline, bursts, overlay, windows
from failover.sim.loads import User
from failover.sim.modems import Air, Fit

RAMP_STEPS: Final = 40
"""A loss that grows does so in this many steps."""
EVERYDAY_RTT: Final = Rtt.around(0.05)
ONE_MODEM: Final = "wwan0"
"""The modem that holds all SIMs of a van."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Holes or stalls that come again and again; both in seconds from `every` start to start, and as long as `last`."""

    every: Rtt
    last: Rtt


@dataclass(frozen=True, slots=True)
class Weather:
    """What a phase says of an uplink; the field names are the scenario's keys."""

    rtt: Rtt = EVERYDAY_RTT
    rtt_factor: float = 1.0
    loss: tuple[float, float] = (0.0, 0.0)
    """At the start and at the end of the phase."""
    passes: float = 1.0
    bursts: Bursts | None = None
    holes: Gaps | None = None
    stalls: Gaps | None = None
    stalled: bool = False
    """Replies wait until the phase is over."""
    refused: bool = False
    portal: bool = False
    resolver: bool = True
    one_way: bool = False
    """Packets go up and nothing comes down: the same as loss to whoever waits for an answer."""
    unheard: bool = False
    """Packets come down and nothing goes up."""
    echo: bool = True
    """False: the carrier drops ICMP."""
    sleeps: Nap | None = None
    registered: bool = True
    """False: the modem searches; where there is none, a link that is up and loses everything."""
    registration: Registration | None = None
    """What the modem says, whatever is true; None: the truth."""
    technology: str = "lte"
    attaches: float = 1.0
    """Share of a modem's attempts to register that the network takes."""
    cure: Deed | None = None
    """What brings everyday weather back before the phase is over."""
    link: bool = True
    """False: the interface has no carrier."""
    address: bool = True
    """False: the lease is gone, and with it the address and the default route."""


@dataclass(frozen=True, slots=True)
class Phase:
    """From where the phase before ended until `until`, or for `lasts` seconds."""

    until: float | None = None
    lasts: float | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of Weather that differ from the uplink's everyday ones."""
    families: tuple[Family, ...] | None = None
    """None: all. The others keep their everyday weather."""
    cycle: tuple[Phase, ...] = ()
    """These again and again until the phase ends."""
    text: str = ""
    """The phase as its author wrote it, for the log."""

    def end(self, start: float) -> float:
        return self.until if self.until is not None else start + (self.lasts or 0.0)


@dataclass(frozen=True, slots=True)
class Carrier:
    """The kernel's carrier of an uplink comes or goes."""

    uplink: str
    up: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """An uplink's address and default route of a family come or go."""

    uplink: str
    family: Family
    held: bool


@dataclass(frozen=True, slots=True)
class Operator:
    command: Command


@dataclass(frozen=True, slots=True)
class Crash:
    """The agent is killed, and starts again `lasts` seconds later."""

    lasts: float


@dataclass(frozen=True, slots=True)
class Suspend:
    lasts: float


@dataclass(frozen=True, slots=True)
class ClockJump:
    """The wall clock goes forward by so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class TargetDead:
    host: str
    dead: bool


@dataclass(frozen=True, slots=True)
class Played:
    """A phase begins: for the log only."""

    text: str


@dataclass(frozen=True, slots=True)
class OnAir:
    """What the network does with an uplink's SIM is another thing now."""

    uplink: str
    air: Air


Act = Carrier | Lease | Operator | Crash | Suspend | ClockJump | TargetDead | Played | OnAir


class Van(enum.StrEnum):
    """What the uplinks are of which a scenario does not say it; the values are its words."""

    LINKS = "links"
    """Links, whatever lies behind them."""
    MODEMS = "modems"
    """A modem each."""
    SIMS = "sims"
    """The SIMs of one modem."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One uplink of a scenario, most preferred first."""

    name: str
    metered: bool = False
    everyday: Weather = field(default_factory=Weather)
    phases: tuple[Phase, ...] = ()
    chatter: float | None = None
    """Its gateway says something to everybody every so many seconds, whatever lies beyond."""
    modem: Fit | None = None
    """None: as the van has it."""
    network: str = ""
    """MCC and MNC; empty: one of its own."""


@dataclass(frozen=True, slots=True)
class Script:
    title: str
    actors: tuple[Actor, ...]
    length: float
    families: tuple[Family, ...] = (Family.IPV4,)
    acts: tuple[tuple[float, Act], ...] = ()
    settle: float = 120.0
    """Seconds of everyday weather before the script's zero, not measured; 0: a cold boot."""
    requests_every: float = 0.2
    apart: bool = False
    """Bursts of loss never fall on two uplinks at once."""
    trusted_clock: bool = True
    counted: Counting = Counting.FLOWS
    user: User = field(default_factory=User)
    van: Van = Van.LINKS

    @property
    def fits(self) -> dict[str, Fit]:
        """Where each SIM sits, by uplink; links have none."""
        fits = [actor.modem or _usual(self.van, place, actor) for place, actor in enumerate(self.actors, 1)]
        return {actor.name: fit for actor, fit in zip(self.actors, fits, strict=True) if fit is not None}

    @property
    def networks(self) -> dict[str, str]:
        """MCC and MNC of each uplink; 001 is nobody's country (ITU-T E.212)."""
        return {actor.name: actor.network or f"001{place:02}" for place, actor in enumerate(self.actors, 1)}


def _usual(van: Van, place: int, actor: Actor) -> Fit | None:
    match van:
        case Van.LINKS:
            return None
        case Van.MODEMS:
            return Fit(actor.name)
        case Van.SIMS:
            return Fit(ONE_MODEM, place)


@dataclass(frozen=True, slots=True)
class Course:
    """A script unrolled."""

    timelines: Mapping[tuple[str, Family], Timeline]
    acts: tuple[tuple[float, Act], ...]
    """In order of time."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A flat piece of a script: no loop and no default left in it."""

    start: float
    end: float
    weather: Weather


def unroll(script: Script, seed: int) -> Course:
    """The course of a script; the same seed gives the same course."""
    timelines: dict[tuple[str, Family], Timeline] = {}
    acts: list[tuple[float, Act]] = list(script.acts)
    taken: list[tuple[float, float]] = []
    for actor in script.actors:
        acts += _announcements(actor)
        for family in script.families:
            spans = _flatten(actor, family, script)
            dice = Random(f"{seed}/{actor.name}/{family}/course")
            usual = _conditions(actor.everyday, actor.everyday.loss[0], math.inf)
            timelines[actor.name, family] = _timeline(spans, usual, dice, taken if script.apart else None)
            first = family is script.families[0]
            if actor.name not in script.fits:
                acts += _kernel_acts(actor.name, family, spans, first=first)
            elif first:
                acts += _air_acts(actor.name, spans)
    return Course(timelines, tuple(sorted(acts, key=lambda act: act[0])))


def _announcements(actor: Actor) -> list[tuple[float, Act]]:
    found: list[tuple[float, Act]] = []
    at = 0.0
    for phase in actor.phases:
        found.append((at, Played(f"{actor.name}: {phase.text}")))
        at = phase.end(at)
    if actor.phases:
        found.append((at, Played(f"{actor.name}: as every day")))
    return found


def _flatten(actor: Actor, family: Family, script: Script) -> list[_Span]:
    """From before the settling until after the script's end, without a gap."""
    spans = [_Span(-script.settle, 0.0, actor.everyday)]
    at = 0.0
    for phase in actor.phases:
        end = min(phase.end(at), script.length)
        spans += _phase_spans(phase, family, actor.everyday, at, end)
        at = max(at, end)
    spans.append(_Span(at, script.length, actor.everyday))
    return [span for span in spans if span.end > span.start]


def _phase_spans(phase: Phase, family: Family, everyday: Weather, start: float, end: float) -> list[_Span]:
    if phase.families is not None and family not in phase.families:
        return [_Span(start, end, everyday)]
    weather = replace(everyday, **phase.changes)
    if not phase.cycle:
        return [_Span(start, end, weather)]
    spans: list[_Span] = []
    at = start
    while at < end:
        for part in phase.cycle:
            stop = min(end, part.end(at))
            spans += _phase_spans(part, family, weather, at, stop)
            at = stop
    return spans


def _timeline(
    spans: Sequence[_Span], usual: Conditions, dice: Random, taken: list[tuple[float, float]] | None
) -> Timeline:
    stretches: list[tuple[float, Conditions]] = []
    for span in spans:
        stretches += _stretches(span, dice, taken)
    return Timeline(stretches, usual)


def _stretches(span: _Span, dice: Random, taken: list[tuple[float, float]] | None) -> list[tuple[float, Conditions]]:
    weather, start, end = span.weather, span.start, span.end
    found = _ramp(span)
    if weather.bursts is not None:
        lost = bursts(start, end, weather.bursts, dice)
        if taken is not None:
            lost = [one for one in lost if not any(one[0] < stop and begin < one[1] for begin, stop in taken)]
            taken += lost
        found = overlay(found, end, lost)
    if weather.stalls is not None:
        gaps = windows(start, end, weather.stalls.every, weather.stalls.last, dice)
        found = overlay(found, end, gaps, held=True)
    if weather.holes is not None:
        found = overlay(found, end, windows(start, end, weather.holes.every, weather.holes.last, dice))
    return found


def _ramp(span: _Span) -> list[tuple[float, Conditions]]:
    """The span's conditions; in steps where its loss grows."""
    first, last = span.weather.loss
    base = _conditions(span.weather, first, span.end)
    if first == last:
        return [(span.start, base)]
    length = (span.end - span.start) / RAMP_STEPS
    growth = (last - first) / (RAMP_STEPS - 1)
    return [(span.start + i * length, replace(base, loss=first + i * growth)) for i in range(RAMP_STEPS)]


def _conditions(weather: Weather, loss: float, end: float) -> Conditions:
    gone = weather.one_way or weather.unheard or not (weather.registered and weather.link and weather.address)
    return Conditions(
        rtt=weather.rtt,
        factor=weather.rtt_factor,
        loss=1.0 if gone else loss,
        passes=weather.passes,
        refused=weather.refused,
        portal=weather.portal,
        resolver=weather.resolver,
        echo=weather.echo,
        unheard=weather.unheard,
        sleeps=weather.sleeps,
        held_until=end if weather.stalled else None,
    )


def _kernel_acts(uplink: str, family: Family, spans: Sequence[_Span], *, first: bool) -> list[tuple[float, Act]]:
    """What the kernel sees of the spans; the carrier is told once, with the `first` family."""
    acts: list[tuple[float, Act]] = []
    link = address = True
    for span in spans:
        if first and span.weather.link is not link:
            link = span.weather.link
            acts.append((span.start, Carrier(uplink, link)))
        if span.weather.address is not address:
            address = span.weather.address
            acts.append((span.start, Lease(uplink, family, address)))
    return acts


def _air_acts(uplink: str, spans: Sequence[_Span]) -> list[tuple[float, Act]]:
    """What the spans say to the uplink's modem."""
    acts: list[tuple[float, Act]] = []
    before = Air()
    for span in spans:
        here, ends = span.weather, span.end if span.weather.cure else None
        air = Air(here.registered, here.registration, here.technology, here.attaches, here.cure, ends)
        if air != before:
            acts.append((span.start, OnAir(uplink, air)))
        before = air
    return acts
