"""Outage arithmetic, on recorded exchanges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from failover.lab.outage import (
    PATIENCE,
    RUN,
    Exchange,
    first_answer,
    longest_gap,
    median_rtt,
    new_flow_outage,
    open_flow_outage,
    since,
    waits,
)

RTT = 0.03
Measure = Callable[[Sequence[Exchange], float], float | None]


def steady(first: float, count: int, interval: float = 0.01, dead: tuple[float, float] = (0.0, 0.0)) -> list[Exchange]:
    """Exchanges at a steady pace, unanswered while sent within `dead`."""
    moments = [first + number * interval for number in range(count)]
    return [Exchange(moment, None if dead[0] <= moment < dead[1] else moment + RTT) for moment in moments]


def test_new_flows_are_out_until_the_first_lasting_send() -> None:
    record = steady(100.0, 300, dead=(101.0, 101.45))
    assert new_flow_outage(record, 101.0) == pytest.approx(0.45, abs=0.011)


def test_without_a_fault_new_flows_show_at_most_one_interval() -> None:
    outage = new_flow_outage(steady(100.0, 300), 101.004)
    assert outage is not None
    assert 0.0 <= outage <= 0.01


def test_open_flows_are_out_until_the_echo() -> None:
    record = steady(100.0, 300, interval=0.02, dead=(101.0, 101.5))
    assert open_flow_outage(record, 101.0) == pytest.approx(0.5 + RTT, abs=0.021)


def test_a_stalled_tcp_counts_until_its_echoes_come() -> None:
    record = [Exchange(100.0 + n * 0.05, max(102.2, 100.0 + n * 0.05 + RTT)) for n in range(80)]
    assert open_flow_outage(record, 100.0) == pytest.approx(2.2)


def test_a_new_flow_answered_after_the_users_patience_has_failed() -> None:
    late = [Exchange(100.0 + n * 0.01, 100.0 + n * 0.01 + PATIENCE + 0.1) for n in range(50)]
    assert new_flow_outage(late, 100.0) is None
    assert open_flow_outage(late, 100.0) == pytest.approx(PATIENCE + 0.1)


@pytest.mark.parametrize("measure", [new_flow_outage, open_flow_outage])
def test_a_lucky_run_is_no_service(measure: Measure) -> None:
    lucky = steady(100.0, RUN)
    dead = [Exchange(100.0 + (RUN + n) * 0.01) for n in range(20)]
    assert measure([*lucky, *dead], 100.0) is None
    assert measure([*lucky, *dead, *steady(101.0, RUN + 1)], 100.0) is not None
    assert measure([*lucky, *dead, *steady(101.0, RUN)], 100.0) is None


def test_nothing_recorded_is_no_service() -> None:
    assert new_flow_outage([], 0.0) is None
    assert median_rtt([]) is None
    assert median_rtt([Exchange(1.0)]) is None


def test_since_keeps_order_and_the_boundary() -> None:
    record = steady(100.0, 5, interval=1.0)
    assert [exchange.sent for exchange in since(record, 102.0)] == [102.0, 103.0, 104.0]


def test_median_rtt_ignores_what_was_lost() -> None:
    assert median_rtt([Exchange(0.0, 0.1), Exchange(1.0), Exchange(2.0, 2.2), Exchange(3.0, 3.9)]) == pytest.approx(0.2)


def test_a_first_answer_need_not_last_nor_be_to_the_first_question() -> None:
    record = [Exchange(99.0, 100.5), Exchange(100.0), Exchange(100.2, 101.0), Exchange(100.4, 100.9)]
    assert first_answer(record, 100.0) == pytest.approx(0.9)
    assert first_answer(record, 100.5) is None


def test_who_got_no_answer_waits_for_ever() -> None:
    assert waits([Exchange(1.0, 1.5), Exchange(2.0)]) == [0.5, math.inf]


def test_the_longest_gap_is_between_answers_and_the_ends_count() -> None:
    record = [Exchange(100.0, 100.1), Exchange(100.1, 100.6), Exchange(100.2, 100.5), Exchange(100.7)]
    assert longest_gap(record, 100.0, 100.7) == pytest.approx(0.4)
    assert longest_gap(record, 100.0, 102.0) == pytest.approx(1.4)
    assert longest_gap([*record, Exchange(100.8, 105.0)], 100.0, 100.7) == pytest.approx(0.4), "later ones do not"
    assert longest_gap([], 100.0, 102.0) == pytest.approx(2.0)
