"""Loss, latency and their dead bands, outcome by outcome."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.core.record import Record
from failover.model import Outcome, ProbeKind


def record(*urls: str) -> Record:
    fresh = Record()
    fresh.keep_targets(urls or ("A", "B"))
    return fresh


def feed(to: Record, outcomes: Iterable[bool], urls: str = "AB") -> list[bool]:
    """Steady outcomes (True: lost) over the targets in turn; whether it is a brownout after each."""
    seen = []
    for number, lost in enumerate(outcomes):
        url = urls[number % len(urls)]
        if lost:
            to.missed(url)
        else:
            to.heard(url, Outcome.ANSWERED, 0.03)
        to.add(url, lost)
        to.judge()
        seen.append(to.brownout)
    return seen


def every(nth: int, count: int) -> list[bool]:
    return [number % nth == nth - 1 for number in range(count)]


# fmt: off
LOSS = [
    ([False] * 60, False),
    (every(13, 400), False),                          # under the 9.2 % from which evidence grows
    (every(8, 200), True),
    ([True, False] * 4 + [False] * 40, False),        # 4 lost, though of few
    ([True, False] * 5, True),                        # 5 of 10
    ([True] * 30 + [False] * 10 + [True] * 30, False),  # silences, which have their own rules
    ([True, True, False] * 3, True),
]
# fmt: on


@pytest.mark.parametrize(("outcomes", "brownout"), LOSS)
def test_loss_is_a_brownout_when_the_evidence_is_there(outcomes: list[bool], brownout: bool) -> None:
    assert feed(record("A", "B", "C"), outcomes, "ABC")[-1] is brownout


@pytest.mark.parametrize(("others", "brownout"), [(0, False), (1, True), (2, True)])
def test_a_target_that_alone_loses_is_no_lossy_link(others: int, brownout: bool) -> None:
    """A loses 8 of 25, as one that limits its rate does; a brownout shows in B as well."""
    lost_by_a, lost_by_b = set(range(0, 48, 6)), set(range(5, 5 + 10 * others, 10))
    outcomes = [number in lost_by_a | lost_by_b for number in range(50)]
    assert feed(record("A", "B"), outcomes, "AB")[-1] is brownout


def test_few_outcomes_of_others_do_not_excuse_a_lossy_link() -> None:
    seen = record("A", "B")
    for number in range(50):
        seen.add("B" if number % 10 == 9 else "A", lost=number % 5 == 0)
        seen.judge()
    assert seen.brownout


@given(st.sampled_from((0.085, 0.09, 0.1)), st.booleans(), st.integers(0, 12))
def test_steady_loss_near_where_evidence_stands_still_changes_nothing(loss: float, from_above: bool, at: int) -> None:
    seen = record()
    feed(seen, every(5, 60) if from_above else [False] * 60)
    assert seen.brownout is from_above
    assert set(feed(seen, [int((n + at) * loss) > int((n + at - 1) * loss) for n in range(150)])) == {from_above}


def test_a_target_that_misses_a_few_by_chance_does_not_end_a_brownout() -> None:
    """Three in a row of one target come about by chance on a link that loses half, and are loss; ten are not."""
    seen = record()
    feed(seen, [True, True, False, False] * 6)
    assert seen.brownout
    level, lost = seen.walk.stand.level, seen.loss()[0]
    assert all(feed(seen, [True, False] * 4, "AB"))
    assert seen.dead_target("A")
    assert (seen.walk.stand.level, seen.loss()[0]) >= (level, lost)
    feed(seen, [True, False] * 90, "AB")
    assert not seen.brownout


def test_what_was_out_when_doubt_fell_is_evidence_but_no_loss_that_is_shown() -> None:
    seen = record()
    for _ in range(3):
        seen.add("A", lost=False)
        for _ in range(5):
            seen.add("A", lost=True, shown=False)
    seen.judge()
    assert (seen.brownout, seen.loss()) == (True, (0, 3))


def test_the_users_own_requests_are_evidence_that_no_probe_excuses() -> None:
    seen = record()
    feed(seen, [False] * 50)
    for _ in range(5):
        seen.outcomes(4, 4)
        feed(seen, [False] * 4)
    assert seen.lossy
    assert seen.brownout_text() == "20 of 40 segments sent again"


def test_the_text_of_a_brownout_tells_what_was_met_since_it_began() -> None:
    seen = record()
    feed(seen, [False] * 60)
    latencies(seen, 0.05, 10)
    feed(seen, [True, True, False] * 4)
    seen.outcomes(2, 3)
    assert seen.brownout_text() == "8 of 12 probes lost, 3 of 5 segments sent again, rtt 50 ms (usually 50 ms)"
    seen.clear()
    latencies(seen, 0.25, 10)
    assert seen.brownout_text() == "rtt 250 ms (usually 50 ms)"


def test_signs_are_told_as_far_as_there_are_any() -> None:
    seen = record()
    assert seen.signs() == {}
    feed(seen, [False] * 5 + [True])
    seen.silence_over(3.0, 4, 0)
    assert seen.signs() == {
        "loss_evidence_ratio": pytest.approx(math.log(0.2 / 0.03) / 8),
        "silences_buffered_count": 1,
    }
    feed(seen, [True, False] * 20, "AB")
    seen.silence_over(3.0, 0, 4)
    seen.clear()
    assert seen.signs() == {"silences_buffered_count": 1, "silences_lost_count": 1}


def test_nothing_reported_is_no_evidence() -> None:
    seen = record()
    seen.outcomes(0, 0)
    assert seen.walk.stand.level == 0.0


def latencies(to: Record, rtt: float, count: int) -> list[bool]:
    seen = []
    for _ in range(count):
        to.latency(rtt)
        to.judge()
        seen.append(to.brownout)
    return seen


# fmt: off
LATENCY = [
    (0.05, 0.199, False),   # under 0.2 s it is never a brownout
    (0.05, 0.2, True),      # four times the usual
    (0.02, 0.199, False),
    (0.1, 0.399, False),
    (0.1, 0.41, True),
]
# fmt: on


@pytest.mark.parametrize(("usual", "now", "brownout"), LATENCY)
def test_latency_is_a_brownout_from_four_times_the_usual_and_200_ms(usual: float, now: float, brownout: bool) -> None:
    seen = record()
    latencies(seen, usual, 20)
    assert latencies(seen, now, 10)[-1] is brownout


def test_latency_counts_from_ten_outcomes_on_and_by_its_median() -> None:
    seen = record()
    assert not any(latencies(seen, 0.05, 10))
    assert latencies(seen, 3.0, 5) == [False] * 4 + [True], "half of ten"
    assert latencies(seen, 0.05, 6) == [True] * 5 + [False]


def test_the_usual_latency_follows_slowly_and_not_into_a_brownout() -> None:
    seen = record()
    latencies(seen, 0.05, 20)
    latencies(seen, 0.09, 600)
    assert 0.07 < (seen.baseline or 0) < 0.08
    latencies(seen, 1.0, 10)
    before = seen.baseline
    assert all(latencies(seen, 1.0, 600))
    assert seen.baseline == before


@given(st.floats(0.005, 0.5), st.floats(0.5, 0.999), st.booleans())
def test_steady_latency_between_the_thresholds_changes_nothing(usual: float, share: float, from_above: bool) -> None:
    seen = record()
    latencies(seen, usual, 20)
    limit = max(0.2, 4 * usual)
    if from_above:
        latencies(seen, 1.5 * limit, 20)
    assert seen.brownout is from_above
    assert set(latencies(seen, max(share * limit, limit / 2 * 1.001), 200)) == {from_above}


def test_latency_in_its_dead_band_does_not_hold_up_the_end_of_a_loss() -> None:
    seen = record()
    latencies(seen, 0.05, 20)
    latencies(seen, 0.15, 20)
    feed(seen, every(5, 50))
    assert seen.brownout
    feed(seen, [False] * 84)
    assert not seen.brownout


def dead_for(outcomes: int, seen: Record) -> None:
    """B answers nothing while A answers all."""
    feed(seen, [False, True] * outcomes)


def test_a_target_is_dead_once_it_missed_three_while_others_answered_three_times() -> None:
    seen = record()
    dead_for(2, seen)
    assert not seen.dead_target("B")
    dead_for(2, seen)
    assert seen.dead_target("B")
    assert not seen.dead_target("A")
    seen.heard("B", Outcome.ANSWERED, 0.03)
    assert not seen.dead_target("B")


def test_where_all_are_silent_none_is_dead_however_unevenly_they_were_asked() -> None:
    seen = record("A", "B", "C")
    feed(seen, [False] * 30, "ABC")
    for _ in range(500):
        seen.missed("A")
    seen.missed("B")
    assert not any(map(seen.dead_target, "ABC"))


@pytest.mark.parametrize("outcome", [Outcome.ANSWERED, Outcome.LATE, Outcome.CLOCK, Outcome.PORTAL])
def test_any_answer_is_a_sign_of_life(outcome: Outcome) -> None:
    seen = record()
    dead_for(5, seen)
    seen.heard("B", outcome, 0.1)
    assert not seen.dead_target("B")


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.LOCAL, Outcome.NAME, Outcome.SILENT])
def test_anything_else_is_not(outcome: Outcome) -> None:
    seen = record()
    dead_for(5, seen)
    seen.heard("B", outcome, None)
    assert seen.dead_target("B")


@pytest.mark.parametrize("urls", ["AB", "ABC"])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 10, 25, 26, 60])
def test_a_target_that_dies_and_returns_is_no_loss_of_the_link(urls: str, length: int) -> None:
    seen = record(*urls)
    feed(seen, [False] * 60, urls)
    pattern = [url == "B" for url in urls] * length
    assert not any(feed(seen, pattern, urls))
    assert not any(feed(seen, [False] * 60, urls))
    assert seen.loss()[0] == 0 or length < 3


def test_the_silence_of_a_dead_target_is_no_evidence() -> None:
    seen = record()
    dead_for(3, seen)
    assert seen.walk.stand.level > 0
    dead_for(1, seen)
    assert seen.walk.stand.level == 0
    dead_for(10, seen)
    assert seen.walk.losers() == set()


def test_what_a_target_met_that_is_asked_no_more_is_no_evidence() -> None:
    seen = record()
    feed(seen, [True, True, False, False] * 6)
    seen.keep_targets("C")
    seen.judge()
    assert (seen.brownout, seen.walk.stand.level) == (False, 0.0)


def test_a_new_path_starts_afresh() -> None:
    seen = record()
    latencies(seen, 0.05, 10)
    latencies(seen, 0.5, 10)
    feed(seen, [True, True, False, False] * 6)
    assert seen.lossy
    assert seen.slow
    seen.clear()
    assert not seen.brownout
    assert not any(feed(seen, [True]) + latencies(seen, 0.5, 9))


def test_the_loss_of_a_link_is_not_excused_by_a_dead_target() -> None:
    seen = record("A", "B")
    dead_for(20, seen)
    assert seen.loss()[0] == 0
    assert feed(seen, [number % 2 == 1 or number % 8 == 0 for number in range(60)])[-1]


def test_what_a_target_lost_before_it_died_stays_lost() -> None:
    seen = record()
    feed(seen, [False, True, False, False, False, True, False, False])
    dead_for(5, seen)
    assert seen.loss() == (2, 13)
    seen.heard("B", Outcome.ANSWERED, 0.1)
    assert seen.loss() == (2, 13)


def test_what_came_late_is_no_loss() -> None:
    seen = record()
    entries = [seen.add("A", lost=number % 2 == 0) for number in range(40)]
    seen.judge()
    assert seen.brownout
    for entry in entries:
        seen.repair(entry)
        seen.repair(entry)
    seen.judge()
    assert seen.loss() == (0, 40)
    assert not seen.brownout


# --- the user's own load ---------------------------------------------------------------------------------------------


def test_under_the_users_own_load_nothing_is_raised() -> None:
    seen = record()
    latencies(seen, 0.05, 20)
    usual = seen.baseline
    seen.loaded = True
    assert not any(latencies(seen, 2.0, 100))
    assert not any(feed(seen, every(3, 102)))
    for _ in range(50):
        seen.outcomes(5, 5)
    seen.judge()
    assert not seen.brownout
    assert seen.baseline == usual
    assert seen.rtt() == 2.0, "it is shown as it is"
    assert seen.loss_ratio() == pytest.approx(0.33, abs=0.02)
    seen.loaded = False
    assert not any(latencies(seen, 0.05, 20)), "and leaves nothing behind"
    assert not any(feed(seen, [False] * 20))


@pytest.mark.parametrize("kind", ["lossy", "slow"])
def test_under_the_users_own_load_nothing_is_over(kind: str) -> None:
    seen = record()
    latencies(seen, 0.05, 20)
    feed(seen, every(3, 60)) if kind == "lossy" else latencies(seen, 0.5, 20)
    assert getattr(seen, kind)
    seen.loaded = True
    latencies(seen, 0.05, 100)
    feed(seen, [False] * 200)
    seen.outcomes(100, 0)
    seen.judge()
    assert getattr(seen, kind)
    seen.loaded = False
    latencies(seen, 0.05, 20)
    feed(seen, [False] * 84)
    assert not seen.brownout


# --- the smoothed round trip -----------------------------------------------------------------------------------------

# fmt: off
SMOOTHED = [
    ([0.3], 0.3),
    ([0.3, 0.03], 0.03),
    ([0.03, 0.3], 0.03),
    ([0.3, 0.05, 0.03], 0.03),
    ([0.3, 0.3, 0.3, 0.3], 0.3),
    ([0.3, 0.3, 0.3, 0.03], 0.3 - 0.27 / 8),
    ([0.3, 0.03, 0.04, 0.11], 0.04),
]
# fmt: on


@pytest.mark.parametrize("before", [(), (0.6, 0.6, 0.6, 0.6)], ids=["first path", "another path"])
@pytest.mark.parametrize(("rtts", "smoothed"), SMOOTHED)
def test_smoothing_starts_from_the_least_of_three(
    before: tuple[float, ...], rtts: list[float], smoothed: float
) -> None:
    seen = record()
    for rtt in before:
        seen.smooth(rtt, ProbeKind.ICMP)
    seen.another_path()
    for rtt in rtts:
        seen.smooth(rtt, ProbeKind.ICMP)
    assert seen.srtt == pytest.approx(smoothed)


def test_servers_tell_the_round_trip_until_a_ping_is_answered_and_pages_never_do() -> None:
    seen = record()
    seen.smooth(2.0, ProbeKind.HTTP)
    assert seen.srtt is None
    for kind in (ProbeKind.DNS, ProbeKind.TCP):
        seen.smooth(0.6, kind)
        assert seen.srtt == 0.6
    seen.smooth(0.7, ProbeKind.ICMP)
    seen.smooth(0.1, ProbeKind.DNS)
    assert seen.srtt == 0.7
    seen.another_path()
    seen.smooth(0.1, ProbeKind.DNS)
    assert seen.srtt == 0.1


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(("lost", "ok", "repair", "heard", "drop", "clear")))))
def test_the_count_of_losses_is_the_count_of_lost_entries(steps: list[tuple[str, str]]) -> None:
    seen = record("A", "B", "C")
    entries = []
    for url, step in steps:
        if step == "lost":
            seen.missed(url)
            entries.append(seen.add(url, lost=True))
        elif step == "ok":
            seen.heard(url, Outcome.ANSWERED, 0.1)
            seen.add(url, lost=False)
        elif step == "repair" and entries:
            entry = entries.pop(0)
            seen.heard(entry.target, Outcome.LATE, 3.0)
            seen.repair(entry)
        elif step == "heard":
            seen.heard(url, Outcome.ANSWERED, 0.1)
        elif step == "drop":
            seen.keep_targets("AB" if "C" in seen.targets else "ABC")
        elif step == "clear":
            seen.clear()
        lost, count = seen.loss()
        assert 0 <= lost <= count <= 50
        ratio = seen.loss_ratio()
        assert ratio is None or 0 <= ratio <= 1
        for view in seen.views():
            assert view.loss_ratio is None or 0 <= view.loss_ratio <= 1
