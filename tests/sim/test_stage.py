"""Whole runs from files: recorded drives, scenarios recorded as drives, and quiet hours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from failover.config import Config
from failover.model import Family, Reason
from failover.sim.flows import Counting
from failover.sim.links import Rtt
from failover.sim.record import record
from failover.sim.scenario import find_script
from failover.sim.script import Actor, Gaps, Script, Weather
from failover.sim.stage import Played, play_script, play_trace
from failover.sim.trace import Trace

V4 = Family.IPV4


def replay(lines: Iterable[str], primary: str | None = None, seed: int = 1) -> Played:
    return play_trace(Trace(lines, "trace"), Config(), primary, seed)


def hourly(played: Played) -> dict[str, float]:
    meter = played.account.meters[V4]
    tallies = {"agent": meter.agent, "never": meter.never, "oracle": meter.oracle}
    return {way: round(tally.bad * 3600 / meter.seconds, 1) for way, tally in tallies.items()}


def test_a_scenario_recorded_and_replayed_shows_the_same_weather() -> None:
    script = replace(find_script("drive"), length=1800.0)
    played = play_script(script, Config(), None, 3)
    replayed = replay(record(script, 3))
    assert replayed.names == played.names
    for way in ("never", "oracle"):
        assert hourly(replayed)[way] == pytest.approx(hourly(played)[way], rel=0.05, abs=1.0)
    assert hourly(replayed)["agent"] < hourly(replayed)["never"]


def test_a_trace_gives_the_same_log_twice() -> None:
    script = replace(find_script("drive"), length=900.0)
    lines = list(record(script, 5))
    assert replay(lines).journal.lines == replay(lines).journal.lines


def test_every_segment_starts_anew_with_the_primary_active_and_all_proven() -> None:
    dark = [f"{100 + i / 5:.1f},one,,30\n" for i in range(50)]
    bright = [f"{500 + i / 5:.1f},two,30,30\n" for i in range(50)]
    played = replay(["t_s,segment,rtt_ms_a,rtt_ms_b\n", *dark, *bright])
    meter = played.account.meters[V4]
    assert meter.seconds == pytest.approx(20)
    assert played.account.switches[V4] == {Reason.DOUBT: 1}
    assert played.account.active == {V4: 0}
    assert meter.never.bad == pytest.approx(10)
    assert meter.agent.bad <= 1.6
    first_divert = next(line for line in played.journal.lines if "switch" in line)
    assert first_divert.split()[0] <= "0:01:41.600"


def test_a_probe_meets_the_sample_at_or_before_it() -> None:
    """Between two rows the earlier one holds: one lost row is 0.2 s of silence, and no doubt comes of it."""
    rows = [f"{i / 5:.1f},{'' if i == 51 else 40},30\n" for i in range(200)]
    played = replay(["t_s,rtt_ms_a,rtt_ms_b\n", *rows])
    assert not played.account.switches[V4]
    assert played.account.meters[V4].never.bad == pytest.approx(0.2)


def test_independent_loss_convicts_nobody() -> None:
    lossy = Weather(loss=(0.01, 0.01))
    script = Script("1 h at 1 %", (Actor("a", everyday=lossy), Actor("b", everyday=lossy)), 3600.0)
    played = play_script(script, Config(), None, 7)
    assert played.account.downs == {"a": 0, "b": 0}
    assert played.account.meters[V4].never.bad == pytest.approx(36, rel=0.3)


def test_holes_shorter_than_a_conviction_convict_nobody_on_a_slow_link() -> None:
    """At 0.4 s a round trip, answers from after the hole are under way when 1.5 s of silence are over."""
    far = Weather(rtt=Rtt.around(0.4))

    def played(hole: float) -> tuple[int, int]:
        holes = replace(far, holes=Gaps(Rtt.between(15, 25), Rtt.between(hole, hole)))
        actors = (Actor("a", everyday=holes), Actor("b", everyday=far))
        script = Script("half an hour", actors, 1800.0, counted=Counting.NOTHING)
        account = play_script(script, Config(), None, 2).account
        return account.downs["a"], account.switches[V4][Reason.DOUBT]

    convictions, doubts = played(1.3)
    assert (convictions, doubts >= 10) == (0, True)
    assert played(1.8)[0] > 0
