"""The measures, on courses short enough to count by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from failover.sim.links import Conditions, Lane, Rtt, ScriptedLane, Timeline
from failover.sim.trace import Trace
from failover.sim.traffic import Meter, OpenFlow, Requests

TRACE = Path(__file__).parents[3] / "shared" / "traces" / "pam25_sync2_att_vzw.csv"
STEP = 0.2
Packets = list[tuple[float | None, bool]]


def play(meter: Meter, packets: list[Packets], active: int | None = 0) -> None:
    for place, sent in enumerate(packets):
        meter.tick(place * STEP, STEP, sent, active)


def test_a_request_is_bad_without_a_reply_within_a_second() -> None:
    meter = Meter(2)
    play(meter, [[(0.05, True), (None, True)], [(1.5, True), (0.05, True)], [(0.05, False), (None, True)]])
    assert meter.never.bad == pytest.approx(0.4)
    assert meter.agent.bad == pytest.approx(0.4)
    assert meter.oracle.bad == pytest.approx(0.2)
    assert meter.seconds == pytest.approx(0.6)


def test_the_agent_is_measured_on_the_uplink_it_chose() -> None:
    meter = Meter(2)
    play(meter, [[(None, True), (0.05, True)]] * 10, active=1)
    play(meter, [[(None, True), (0.05, True)]] * 5, active=None)
    assert meter.agent.bad == pytest.approx(1.0)
    assert meter.never.bad == pytest.approx(3.0)
    assert meter.oracle.bad == 0
    assert meter.active_seconds == pytest.approx([0.0, 2.0])


def test_silence_counts_from_the_first_unanswered_packet() -> None:
    flow = OpenFlow()
    rtts = [0.05] + [None] * 10 + [0.05, 0.05]
    silent = [flow.send(place * STEP, rtt) for place, rtt in enumerate(rtts)]
    assert silent == [False] * 6 + [True] * 6 + [False]


def test_a_late_reply_ends_a_silence_when_it_arrives() -> None:
    flow = OpenFlow()
    rtts = [2.0 - 0.2 * place for place in range(10)] + [0.05] * 3
    silent = [flow.send(place * STEP, rtt) for place, rtt in enumerate(rtts)]
    assert silent == [False] * 5 + [True] * 5 + [False] * 3


def test_a_conviction_moves_the_open_flow_and_its_wait_goes_on() -> None:
    meter = Meter(2)
    dark: Packets = [(None, True), (0.05, True)]
    bright: Packets = [(0.05, True), (0.05, True)]
    play(meter, [bright] + [dark] * 8)
    assert meter.flow_on == 0
    meter.convicted(0, 1.7)
    assert [meter.broke(place) for place in (1, 0, 0)] == [False, True, False]
    for place in range(9, 30):
        meter.tick(place * STEP, STEP, dark, 1)
    assert meter.flow_on == 1
    assert meter.agent.silent == pytest.approx(0.8)
    assert meter.never.silent == pytest.approx(4.8)
    assert (meter.convictions, meter.lasted, meter.passed) == (1, 1, 0)


def test_a_conviction_just_before_the_replies_did_not_last() -> None:
    meter = Meter(2)
    play(meter, [[(None, True), (0.05, True)]] * 9)
    meter.convicted(0, 1.7)
    for place in range(9, 40):
        meter.tick(place * STEP, STEP, [(0.05, True), (0.05, True)], 1)
    assert (meter.convictions, meter.lasted, meter.passed) == (1, 0, 1)


def test_a_conviction_of_an_uplink_without_flows_costs_nothing() -> None:
    meter = Meter(2)
    meter.convicted(1, 0.0)
    assert (meter.convictions, meter.flow_on) == (0, 0)


def test_requests_played_late_are_played_once() -> None:
    def requests() -> Requests:
        lanes: list[Lane] = [
            ScriptedLane(Timeline([(0.0, Conditions(Rtt.around(0.05), loss=0.3))]), f"uplink {n}") for n in range(2)
        ]
        return Requests(Meter(2), lanes, STEP, 0.0)

    one, many = requests(), requests()
    one.play(100.0, 0)
    for stop in range(0, 1001, 7):
        many.play(stop / 10, 0)
    many.play(100.0, 0)
    assert one.meter.seconds == pytest.approx(100.0)
    assert (many.meter.agent, many.meter.oracle) == (one.meter.agent, one.meter.oracle)


def test_nobody_asks_while_the_machine_sleeps() -> None:
    lane = ScriptedLane(Timeline([(0.0, Conditions(Rtt.around(0.05)))]), "x")
    requests = Requests(Meter(1), [lane], STEP, 0.0)
    requests.play(10.0, 0)
    requests.skip(7210.0)
    requests.play(7220.0, 0)
    assert requests.meter.seconds == pytest.approx(20.0)


@pytest.mark.skipif(not TRACE.exists(), reason="the recorded drives are not there")
@pytest.mark.parametrize(("primary", "never"), [(0, 22.8), (1, 48.4)])
def test_the_baselines_of_the_recorded_drive(primary: int, never: float) -> None:
    meter = Meter(2)
    with TRACE.open(newline="") as lines:
        for step in Trace(lines, TRACE.name).steps():
            if step.first:
                meter.restart()
            meter.tick(step.row.at, step.lasts, [(step.row.rtts[place], True) for place in (primary, 1 - primary)], 0)
    per_hour = 3600 / meter.seconds
    assert round(meter.never.bad * per_hour, 1) == never
    assert meter.oracle.bad == 0.0
    assert meter.agent == meter.never
