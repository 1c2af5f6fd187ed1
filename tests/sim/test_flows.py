"""What the virtual counters and sockets show of the user's packets, and when."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from failover.config import Config
from failover.core.engine import Engine, Event
from failover.facts import Counts, Segments
from failover.model import Family
from failover.seam import Counted, Effect, ReadCounters, ReadSockets, SocketsRead
from failover.sim.flows import Counting, Flows, Wire
from failover.sim.script import Act, Actor, Crash, Phase, Script, Suspend
from failover.sim.stage import Played, play_script, play_trace
from failover.sim.trace import Trace

V4 = Family.IPV4
BEAT = 0.05
"""Seconds between two samples while there is traffic."""


class Listener:
    """The real engine, with an ear for what it is told of the user's packets, and a read of the sockets each second."""

    def __init__(self, config: Config, dice: Callable[[], float]) -> None:
        self._engine = Engine(config, random=dice)
        self.snapshot = self._engine.snapshot
        self._read: deque[float] = deque()
        """When the counters were asked for, and nothing was told yet."""
        self._sockets = math.inf
        self.counted: list[tuple[float, Counted]] = []
        self.sockets: list[tuple[float, SocketsRead]] = []

    def handle(self, now: float, event: Event) -> list[Effect]:
        if isinstance(event, Counted):
            assert self._read.popleft() == now, "told in the moment it was asked for"
            self.counted.append((now, event))
        assert not self._read, "told before anything else"
        if isinstance(event, SocketsRead):
            self.sockets.append((now, event))
        self._sockets = min(self._sockets, now + 1.0)
        return self._note(now, self._engine.handle(now, event))

    def wake(self, now: float) -> list[Effect]:
        effects = self._engine.wake(now) if now >= self._engine.deadline() else []
        if now >= self._sockets:
            self._sockets = now + 1.0
            effects = [*effects, ReadSockets()]
        return self._note(now, effects)

    def _note(self, now: float, effects: list[Effect]) -> list[Effect]:
        self._read.extend(now for effect in effects if isinstance(effect, ReadCounters))
        return effects

    def deadline(self) -> float:
        return min(self._engine.deadline(), self._sockets)


def sampled(script: Script) -> tuple[Listener, Played]:
    """The (last) agent's ear."""
    born: list[Listener] = []

    def brain(config: Config, dice: Callable[[], float]) -> Listener:
        born.append(Listener(config, dice))
        return born[-1]

    played = play_script(script, Config(), None, 1, brain)
    return born[-1], played


def script(*au: Phase, acts: tuple[tuple[float, Act], ...] = (), length: float = 60.0) -> Script:
    return Script("t", (Actor("au", phases=au), Actor("docomo")), length, acts=acts)


def last(sampler: Listener, uplink: str) -> Counts:
    return sampler.counted[-1][1].counts[uplink, V4]


def test_a_packet_is_seen_when_it_leaves_and_its_reply_when_it_comes() -> None:
    wire = Wire()
    wire.leaves(1.0, 0.3, answered=False, sizes=(60, 50))
    assert wire.counts(1.0) == Counts(0, 0, 1, 60, 0)
    assert wire.counts(1.29) is wire.counts(1.1)
    assert wire.counts(1.3) == Counts(1, 0, 1, 60, 50)
    wire.leaves(1.4, None, answered=True, sizes=(1500, 50))
    wire.leaves(1.5, 0.1, answered=True, sizes=(1500, 50))
    assert wire.counts(99.0) == Counts(2, 2, 1, 3060, 100)


def test_replies_that_waited_arrive_together() -> None:
    wire = Wire()
    for sent in range(10):
        wire.leaves(sent / 10, 2.0 - sent / 10, answered=True)
    assert [wire.counts(at).received for at in (1.9, 2.0)] == [0, 10]


def test_a_segment_without_its_acknowledgement_counts_as_sent_again_once_and_late() -> None:
    wire = Wire()
    for at in (0.0, 0.2, 0.4):
        wire.segment(at, 0.15)
    assert wire.segments(0.5) == Segments(3, 0)
    wire.segment(0.6, None)
    assert wire.segments(0.89) == Segments(1, 0)
    assert wire.segments(0.91) == Segments(1, 1)
    assert wire.segments(9.0) == Segments(0, 0)
    wire.segment(10.0, 0.29)
    wire.segment(11.0, 0.35)
    assert wire.segments(20.0) == Segments(3, 1)


def test_only_what_is_tapped_is_counted_and_nothing_without_counters() -> None:
    flows = Flows(("a", "b"), (V4,), Counting.FLOWS)
    assert flows.counts(0.0) == {}
    flows.count(["b"])
    assert set(flows.counts(0.0)) == {("b", V4)}
    assert flows.counts(1.0) is flows.counts(2.0)
    deaf = Flows(("a", "b"), (V4,), Counting.NOTHING)
    deaf.count(["a", "b"])
    assert deaf.counts(0.0) == {}


def test_a_minute_of_the_users_traffic_is_counted_where_it_goes() -> None:
    sampler, _ = sampled(script())
    au, docomo = last(sampler, "au"), last(sampler, "docomo")
    assert docomo == Counts()
    assert au.fresh == pytest.approx(5 * 65, abs=3)
    assert au.sent == pytest.approx(5 * 65, abs=3)
    assert au.received == pytest.approx(10 * 65, abs=5)
    steps = Counter(round(b - a, 3) for (a, _), (b, _) in pairwise(sampler.counted[-400:]))
    assert steps.most_common(1)[0][0] == BEAT


def test_in_a_blackout_new_flows_move_and_the_open_one_goes_on_into_the_dark_until_it_is_convicted() -> None:
    sampler, played = sampled(script(Phase(until=20), Phase(until=50, changes={"loss": (1.0, 1.0)})))
    au, docomo = last(sampler, "au"), last(sampler, "docomo")
    assert played.account.meters[V4].convictions == 1
    assert docomo.received == pytest.approx(10 * 38, abs=15)
    dark = [counted.counts["au", V4] for at, counted in sampler.counted if 20.2 < at - 1120.0 - _phase() < 49.8]
    assert dark[0].received == dark[-1].received
    assert dark[-1].sent > dark[0].sent
    assert au.received >= dark[-1].received


def _phase() -> float:
    """How long before its zero the script began, beyond the settling."""
    return Random("1/phase").random()


def test_the_sockets_tell_of_loss() -> None:
    clean, _ = sampled(script())
    lossy, _ = sampled(script(Phase(until=60, changes={"loss": (0.2, 0.2)})))
    ratios = []
    for sampler in (clean, lossy):
        told = [segments for _, read in sampler.sockets for segments in read.segments.values()]
        ratios.append(sum(s.resent for s in told) / sum(s.sent for s in told))
    assert ratios[0] == 0
    assert ratios[1] == pytest.approx(0.2 / 1.2, abs=0.05)
    assert set(lossy.sockets[-1][1].segments) == {"10.1.0.2", "10.2.0.2"}


def test_a_box_without_counters_says_so_and_a_weak_one_too() -> None:
    sampler, _ = sampled(replace(script(), counted=Counting.NOTHING))
    assert {tuple(counted.counts) for _, counted in sampler.counted} == {()}
    sampler, _ = sampled(replace(script(), counted=Counting.PACKETS))
    assert all(counted.weak for _, counted in sampler.counted)


def test_what_is_under_way_when_the_machine_sleeps_reaches_nobody() -> None:
    stall = Phase(until=30, changes={"stalled": True})
    lost = []
    for sleep in ((), ((10.0, Suspend(100.0)),)):
        sampler, _ = sampled(script(Phase(until=9.5), stall, acts=sleep, length=170.0))
        au = last(sampler, "au")
        lost.append(au.sent + au.fresh - au.received)
    assert lost[0] <= 1
    assert 3 <= lost[1] <= 6


def test_a_killed_agent_finds_the_counters_as_they_are() -> None:
    sampler, _ = sampled(script(acts=((30.0, Crash(5.0)),)))
    assert last(sampler, "au").fresh == pytest.approx(5 * 65, abs=3)


def test_a_trace_is_counted_from_before_its_first_row() -> None:
    born: list[Listener] = []

    def brain(config: Config, dice: Callable[[], float]) -> Listener:
        born.append(Listener(config, dice))
        return born[-1]

    rows = ["t_s,rtt_ms_au,rtt_ms_docomo\n", *(f"{i / 5:.1f},40,{'' if i % 2 else 30}\n" for i in range(100))]
    for dither in (False, True):
        play_trace(Trace(rows, "t"), Config(), None, 1, brain, dither=dither)
        assert last(born[-1], "au").fresh == pytest.approx(125, abs=2)
        assert last(born[-1], "au").received == pytest.approx(250, abs=3)
