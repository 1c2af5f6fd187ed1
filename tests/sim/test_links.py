"""Fates on virtual links: conditions over time, loss processes, stalls, and what a sample of a trace means."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random
from statistics import correlation

import pytest

from failover.model import Outcome, ProbeKind
from failover.sim.links import (
    SLOT,
    Bursts,
    Conditions,
    Rtt,
    SampledLane,
    ScriptedLane,
    Timeline,
    bursts,
    overlay,
    windows,
)

PLAIN = Conditions(Rtt.around(0.05))
FITTED = {"att": (0.0027, 0.640), "tmo": (0.0038, 0.755), "vzw": (0.0031, 0.736)}


def lane(*stretches: tuple[float, Conditions], seed: str = "seed") -> ScriptedLane:
    return ScriptedLane(Timeline(stretches), seed)


def test_a_cursor_reads_forward_backward_and_before_the_first_start() -> None:
    cursor = Timeline([(0.0, PLAIN), (5.0, replace(PLAIN, loss=1.0)), (6.0, replace(PLAIN, loss=0.5))]).cursor()
    assert [cursor.at(t).loss for t in (0.0, 4.999, 5.0, 6.0, 99.0, 5.5, -3.0)] == [0.0, 0.0, 1.0, 0.5, 0.5, 1.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "kind", "outcome"),
    [
        ({}, ProbeKind.ICMP, Outcome.ANSWERED),
        ({"loss": 1.0}, ProbeKind.ICMP, Outcome.SILENT),
        ({"passes": 0.0}, ProbeKind.TCP, Outcome.SILENT),
        ({"refused": True}, ProbeKind.ICMP, Outcome.REFUSED),
        ({"portal": True}, ProbeKind.HTTP, Outcome.PORTAL),
        ({"portal": True}, ProbeKind.ICMP, Outcome.ANSWERED),
        ({"resolver": False}, ProbeKind.DNS, Outcome.SILENT),
        ({"resolver": False}, ProbeKind.ICMP, Outcome.ANSWERED),
        ({"factor": 400.0}, ProbeKind.ICMP, Outcome.SILENT),
    ],
)
def test_what_comes_back_to_a_probe(changes: dict[str, float], kind: ProbeKind, outcome: Outcome) -> None:
    assert lane((0.0, replace(PLAIN, **changes))).probe(1.0, kind)[0] is outcome  # type: ignore[arg-type]


def test_a_running_flow_passes_where_a_new_one_does_not() -> None:
    dammed = lane((0.0, replace(PLAIN, passes=0.35)))
    fates = [dammed.packet(float(i)) for i in range(4000)]
    assert all(rtt is not None for rtt, _ in fates)
    assert sum(passes for _, passes in fates) / 4000 == pytest.approx(0.35, abs=0.03)


@pytest.mark.parametrize("changes", [{"refused": True}, {"portal": True}, {"loss": 1.0}])
def test_nothing_of_the_user_passes(changes: dict[str, float]) -> None:
    assert lane((0.0, replace(PLAIN, **changes))).packet(1.0) == (None, False)  # type: ignore[arg-type]


def test_held_replies_arrive_together() -> None:
    stalled = lane((0.0, replace(PLAIN, held_until=8.0)))
    arrivals = []
    for sent in (1.0, 3.5, 7.9):
        _, rtt = stalled.probe(sent, ProbeKind.ICMP)
        assert rtt is not None
        arrivals.append(sent + rtt)
    assert all(8.0 < arrival < 8.1 for arrival in arrivals)


def test_the_users_rate_never_changes_what_probes_meet() -> None:
    quiet, busy = (lane((0.0, replace(PLAIN, loss=0.3))) for _ in range(2))
    for i in range(1000):
        busy.packet(i / 10)
    assert [quiet.probe(i, ProbeKind.ICMP) for i in range(100)] == [busy.probe(i, ProbeKind.ICMP) for i in range(100)]


@pytest.mark.parametrize(("enter", "stay"), FITTED.values(), ids=FITTED.keys())
def test_a_burst_process_shows_the_fitted_probabilities_when_sampled(enter: float, stay: float) -> None:
    length = 400_000 * SLOT
    lost = bursts(0.0, length, Bursts(enter, stay), Random("fit"))
    stretches = overlay([(0.0, PLAIN)], length, lost)
    cursor = Timeline(stretches).cursor()
    seen = [cursor.at(i * SLOT).dead for i in range(400_000)]
    after_ok = [then for now, then in pairwise(seen) if not now]
    after_lost = [then for now, then in pairwise(seen) if now]
    assert sum(after_ok) / len(after_ok) == pytest.approx(enter, rel=0.1)
    assert sum(after_lost) / len(after_lost) == pytest.approx(stay, rel=0.05)


def test_windows_come_as_often_and_last_as_long_as_told() -> None:
    found = windows(0.0, 5000.0, Rtt.between(4, 7), Rtt.between(1, 3), Random(1))
    assert all(4 <= later[0] - sooner[0] <= 7 for sooner, later in pairwise(found))
    assert all(0.99 <= stop - begin <= 3 for begin, stop in found[:-1])
    assert 5000 / 7 - 1 <= len(found) <= 5000 / 4


def test_holes_are_cut_across_the_borders_of_stretches() -> None:
    lossy = replace(PLAIN, loss=0.2)
    cut = overlay([(0.0, PLAIN), (10.0, lossy)], 20.0, [(0.0, 1.0), (9.0, 12.0), (19.0, 20.0)])
    assert [(start, here.loss) for start, here in cut] == [
        (0.0, 1.0),
        (1.0, 0.0),
        (9.0, 1.0),
        (10.0, 1.0),
        (12.0, 0.2),
        (19.0, 1.0),
    ]


def test_a_hole_may_swallow_a_whole_stretch() -> None:
    cut = overlay([(0.0, PLAIN), (2.0, PLAIN), (4.0, PLAIN)], 9.0, [(1.0, 5.0)])
    assert [(start, here.loss) for start, here in cut] == [(0.0, 0.0), (1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (5.0, 0.0)]


def test_the_rtt_ladder_keeps_its_quantiles() -> None:
    ladder = Rtt.around(0.055, 0.104, 0.269)
    assert [ladder.draw(share) for share in (0.5, 0.9, 0.99)] == pytest.approx([0.055, 0.104, 0.269])
    assert ladder.draw(1.0) == ladder.longest
    dice = Random(3)
    drawn = sorted(ladder.draw(dice.random()) for _ in range(20_000))
    assert drawn[10_000] == pytest.approx(0.055, rel=0.02)
    assert Rtt.between(0.6, 3.0).draw(0.5) == pytest.approx(1.8)


def test_a_sample_is_what_probe_and_packet_meet() -> None:
    sampled = SampledLane(0.05)
    assert sampled.probe(0.0, ProbeKind.ICMP) == (Outcome.ANSWERED, 0.05)
    sampled.sample = None
    assert sampled.probe(0.0, ProbeKind.DNS) == (Outcome.SILENT, None)
    assert sampled.packet(0.0) == (None, True)
    sampled.sample = 15.0
    assert sampled.probe(0.0, ProbeKind.ICMP) == (Outcome.SILENT, None)


def test_round_trips_with_a_memory_hang_together_and_whoever_sends_then_meets_them() -> None:
    def swaying(memory: float) -> ScriptedLane:
        return lane((0.0, Conditions(Rtt.around(0.06, 0.095, 0.24, memory))))

    def together(one: ScriptedLane) -> float:
        rtts = [one.packet(i * SLOT)[0] or 0.0 for i in range(5000)]
        return correlation(rtts[:-1], rtts[1:])

    assert abs(together(swaying(0.0))) < 0.05
    assert together(swaying(0.8)) > 0.5
    both = swaying(0.8)
    probes = [both.probe(i * SLOT + 0.01, ProbeKind.ICMP)[1] for i in range(100)]
    assert probes == [both.packet(i * SLOT + 0.19)[0] for i in range(100)]


def test_what_is_cured_is_as_every_day_until_the_phase_would_have_ended() -> None:
    dark = replace(PLAIN, loss=1.0)
    timeline = Timeline([(0.0, PLAIN), (10.0, dark), (20.0, dark), (30.0, replace(PLAIN, factor=2.0))], PLAIN)
    cursor = timeline.cursor()
    assert cursor.at(12.0).dead
    timeline.cure(12.0, 25.0)
    assert [cursor.at(moment).dead for moment in (11.9, 12.0, 24.9, 25.0, 30.0)] == [True, False, False, True, False]


def test_nothing_goes_through_a_gate_that_is_shut_but_for_what_only_asks_how_it_would_be() -> None:
    gauge = lane((0.0, PLAIN))
    user = gauge.beside("download")
    gauge.gate.shut = True
    assert gauge.probe(1.0, ProbeKind.ICMP) == (Outcome.SILENT, None)
    assert (user.packet(1.0), user.push(1.0)) == ((None, False), (None, False))
    assert gauge.packet(1.0)[0] is not None
