"""What a row of counter readings tells: differences, busy links, load, and counters that begin anew."""

from __future__ import annotations

from math import inf

import pytest

from failover.core.passive import BUSY_REPLIES, LOAD_LINGERS, LOAD_RECEIVED, LOAD_SENT, Passive, Sample
from failover.facts import Counts


def test_the_first_reading_tells_nothing_and_each_later_one_what_is_new() -> None:
    passive = Passive()
    assert passive.take(1.0, Counts(7, 5, 3), weak=False) is None
    assert passive.take(1.05, Counts(9, 5, 4), weak=False) == Sample(1.0, 1.05, 2, 0, 1, False)
    assert passive.take(1.3, Counts(9, 6, 4), weak=True) == Sample(1.05, 1.3, 0, 1, 0, True)
    assert passive.replied == 1.05


@pytest.mark.parametrize("fewer", [(6, 5, 3, 9, 9), (7, 4, 3, 9, 9), (7, 5, 2, 9, 9), (7, 5, 3, 8, 9), (7, 5, 3, 9, 8)])
def test_counters_that_begin_anew_are_a_first_reading(fewer: tuple[int, ...]) -> None:
    passive = Passive()
    passive.take(1.0, Counts(7, 5, 3, 9, 9), weak=False)
    assert passive.take(2.0, Counts(*fewer), weak=False) is None
    assert passive.take(3.0, Counts(8, 6, 4, 10, 10), weak=False) is not None


def test_what_is_not_counted_any_more_begins_anew() -> None:
    passive = Passive()
    passive.take(1.0, Counts(7), weak=False)
    assert passive.stale(2.0)
    assert passive.take(2.0, None, weak=False) is None
    assert not passive.stale(3.0)
    assert passive.take(3.0, Counts(9), weak=False) is None
    assert passive.take(4.0, Counts(9), weak=False) == Sample(3.0, 4.0, 0, 0, 0, False)


@pytest.mark.parametrize(("count", "first"), [(1, 2.0), (2, 1.5), (4, 1.25), (0, 2.0)])
def test_the_first_send_lies_where_an_even_spread_puts_it(count: int, first: float) -> None:
    assert Sample(1.0, 2.0, 0, count, 0, False).first(count) == first


def stream(passive: Passive, start: float, samples: int, *, received: int = 0, sent: int = 0) -> float:
    """A reading each 50 ms with so many packets more; returns the time of the last."""
    last = passive._last
    for number in range(samples):
        last = Counts(last.received + received, last.sent + sent)
        passive.take(start + number * 0.05, last, weak=False)
    return start + (samples - 1) * 0.05


@pytest.mark.parametrize(("per_sample", "busy"), [(BUSY_REPLIES // 10 + 1, True), (BUSY_REPLIES // 10 - 1, False)])
def test_a_link_is_quiet_when_it_was_busy_and_both_directions_stop(per_sample: int, busy: bool) -> None:
    passive = Passive()
    end = stream(passive, 10.0, 20, received=per_sample, sent=1)
    stream(passive, end + 0.05, 5)
    assert passive.still is busy


def test_a_link_that_still_sends_is_not_quiet_and_does_not_become_it() -> None:
    passive = Passive()
    end = stream(passive, 10.0, 20, received=10, sent=5)
    end = stream(passive, end + 0.05, 1, sent=1)
    assert not passive.still
    stream(passive, end + 0.05, 9)
    assert not passive.still


def test_replies_flow_until_a_sample_has_none() -> None:
    passive = Passive()
    end = stream(passive, 10.0, 20, received=1)
    assert passive.flowing_since == 10.0
    stream(passive, end + 0.05, 1, sent=1)
    assert passive.flowing_since == inf


@pytest.mark.parametrize(
    ("up", "down", "loaded"),
    [(LOAD_SENT, 0, True), (0, LOAD_RECEIVED, True), (LOAD_SENT - 1, LOAD_RECEIVED - 1, False)],
)
def test_own_load_is_so_many_bytes_within_a_second_and_lingers(up: int, down: int, loaded: bool) -> None:
    passive = Passive()
    passive.take(0.0, Counts(), weak=False)
    passive.take(0.5, Counts(sent_bytes=up // 2, received_bytes=down // 2), weak=False)
    assert not passive.loaded(0.5)
    passive.take(1.4, Counts(sent_bytes=up, received_bytes=down), weak=False)
    assert passive.loaded(1.4) is loaded
    passive.take(3.0, Counts(sent_bytes=up, received_bytes=down), weak=False)
    assert passive.loaded(1.39 + LOAD_LINGERS) is loaded
    assert not passive.loaded(1.4 + LOAD_LINGERS)


def test_what_is_older_than_a_second_is_no_load() -> None:
    passive = Passive()
    passive.take(0.0, Counts(), weak=False)
    for number in range(1, 10):
        passive.take(number * 1.1, Counts(sent_bytes=number * (LOAD_SENT - 1)), weak=False)
        assert not passive.loaded(number * 1.1)


def test_weak_counts_make_nothing_busy_and_are_no_reply_but_fill_a_queue() -> None:
    passive = Passive()
    for number in range(20):
        passive.take(number * 0.05, Counts(received=100 * number, sent_bytes=LOAD_SENT * number), weak=True)
    assert (passive.replied, passive.busy_at, passive.loaded(1.0)) == (-inf, -inf, True)
