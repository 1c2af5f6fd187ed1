"""The verdict of one uplink and family, told as stories: every line is a second, a word, and what it is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.config import PROFILES
from failover.core.flight import PENDING_MAX
from failover.model import Outcome, ProbeResult, Verdict

from .story import OUTCOMES, Lines, Story, stories, target

RTT = 0.03
"""Seconds: of every target in `Story.up`."""
NEAR = 1e-6
BURST: Lines = ("0 send A", "0.25 burst B", "0.35 burst A", "0.45 burst B", "0.55 burst A", "0.65 burst B")
"""Six sends; the last is overdue at 0.75."""
OFTEN_LOCAL: Lines = tuple(f"{n / 10} {word}" for n in range(40) for word in ("send AB", "local AB"))


# fmt: off
SILENCE: dict[str, Lines] = {
    "two targets unanswered are doubt at 0.35 s": ("AB",
        "0 send A", "0.2499 calm", "0.25 suspicious", "0.25 burst B", "0.3499 up", "0.35 doubtful"),
    "one of two is none": ("AB", "0 send A", "0.25 burst B", "0.28 answer B", "0.35 up", "1.2 up", "9 up"),
    "the same one twice of two is none": ("AB", "0 send A", "0.25 burst A", "0.45 burst A", "9 up"),
    "the only target once is none": ("A", "0 send A", "0.35 up", "9 up"),
    "the only target twice is doubt": ("A", "0 send A", "0.25 burst A", "0.3499 up", "0.35 doubtful"),
    "a burst cannot ask the web: of one target and a web one, the one twice": ("AW",
        "0 send A", "0.25 burst A", "0.3499 up", "0.35 doubtful"),
    "two web targets are two": ("WV", "0 send WV", "0.9999 up", "1 doubtful"),
    "a web target has a second": ("W", "0 send W", "0.9999 calm", "1 suspicious"),
    "a name server is a target": ("AD", "0 send A", "0.25 burst D", "0.35 doubtful"),
    "without a burst it takes the second steady probe": ("AB", "0 send A", "1 send B", "1.2499 up", "1.25 doubtful"),
    "it counts from the first send": ("AB", "0 send A", "0.3 send B", "0.5499 up", "0.55 doubtful"),
    "an answer restarts it": ("AB", "0 send AB", "0.2 answer A", "0.25 calm", "0.45 suspicious", "0.45 burst A",
        "0.5499 up", "0.55 doubtful"),
    "nothing is doubted while nothing is asked": ("AB", "60 up", "3600 calm"),
    "doubt ends with any answer": ("AB", "0 send A", "0.25 burst B", "0.35 doubtful", "0.9 answer B", "0.9 up"),
    "after an answer the late ones raise no suspicion": ("AB", "0 send AB", "0.3 answer A", "0.5 calm", "9 calm"),
}
# fmt: on


@stories(SILENCE)
def test_silence_is_doubt(letters: str, lines: Lines) -> None:
    Story(letters).up().play(*lines)


def test_what_never_answered_is_doubted_as_well() -> None:
    Story().play("0 unknown", "0 send AB", "0.9999 unknown", "1 doubtful", "3 answer A", "3 up")


@pytest.mark.parametrize("profile", ["fast", "balanced", "frugal"])
def test_the_thresholds_are_the_profiles(profile: str) -> None:
    wants = PROFILES[profile]
    story = Story(detection=wants).up().play("0 witness -10", "0 send A")
    story.until(wants.suspicion - 0.001)
    story.play(f"{wants.suspicion - 0.001} calm", f"{wants.suspicion} suspicious", f"{wants.suspicion} burst BBBBB")
    story.play(f"{wants.doubt - 0.001} up", f"{wants.doubt} doubtful")
    story.play(f"{wants.conviction + RTT - 0.001} doubtful", f"{wants.conviction + RTT + NEAR} down")


@pytest.mark.parametrize(
    ("rtt", "suspicion", "burst", "doubt"),
    [(0.03, 0.25, 0.1, 0.35), (0.08, 0.25, 0.12, 0.35), (0.2, 0.4, 0.3, 0.5), (0.4, 0.9, 0.6, 1.0), (3, 1.4, 1.5, 1.5)],
)
def test_patience_follows_the_round_trip_to_a_cap(rtt: float, suspicion: float, burst: float, doubt: float) -> None:
    story = Story()
    for number in range(10):
        story.play(f"{10 * number} send A", f"{10 * number + rtt} answer A")
    assert story.health.suspicion_after() == pytest.approx(suspicion)
    assert story.health.doubt_after() == pytest.approx(doubt)
    story.play("200 burst A", f"{200 + burst - 0.001} calm")
    assert not story.health.flight.late
    story.play(f"{200 + burst} up")
    assert list(story.health.flight.late) == [target("A").url]


# fmt: off
CONVICTION: dict[str, Lines] = {
    "six unanswered and 1.5 s and a round trip while another one receives": (
        "-10", *BURST, "1.5299 doubtful", "1.5301 down"),
    "five are too few": ("-10", *BURST[:5], "1.5 doubtful", "9 doubtful", "9 send B", "9.2499 doubtful", "9.25 down"),
    "while nobody receives it may be a tunnel": ("", *BURST, "1.5 doubtful", "600 doubtful"),
    "what was silent before the other one received does not count": ("0.9",
        *BURST, "0.9 burst ABABAB", "2.4299 doubtful", "2.4301 down"),
    "nor what was asked before": ("0.9", *BURST, "2.5 doubtful", "9 doubtful"),
    "an answer in time acquits": ("-10", *BURST, "1.4 answer A", "1.4 up", "1.6 up", "9 up"),
    "a convicted one is up with the first answer": ("-10", *BURST, "1.6 down", "8 answer A", "8 up"),
}
# fmt: on


@stories(CONVICTION)
def test_conviction(letters: str, lines: Lines) -> None:
    Story().up().play(f"-1 witness {letters}", *lines)


# fmt: off
LATE: dict[str, Lines] = {
    "a late answer acquits": ("AB", "0 send AB", "0.35 doubtful", "9 late A", "9 up"),
    "a buffer that drains convicts nobody": ("AB",
        "0 send AB", "0.25 burst AB", "1 send AB", "1.3 late A", "1.3 up", "1.4 late BABAB", "1.5 up", "2 up",
        "2 send AB", "2.2 late A", "2.2 up", "2.3 late B", "9 up"),
    "silence restarts at the answer, not at the oldest probe still out": ("AB",
        "0 send ABABABAB", "0.35 doubtful", "1.4 send AB", "1.45 answer A", "1.45 up", "1.6999 calm",
        "1.7 suspicious", "1.7 burst A", "1.7999 up", "1.8 doubtful", "2.95 doubtful", "9 doubtful"),
    "what was overdue before the answer is no evidence after it": ("AB",
        "0 send ABABABAB", "0.35 doubtful", "0.4 late A", "0.4 up", "9 calm"),
    "even after fifteen seconds": ("AB", "0 send ABABAB", "0.35 doubtful", "1.6 down", "14.9 late A", "14.9 up"),
    "but not after more": ("AB", "0 send ABABAB", "1.6 down", "15 down", "99 down"),
}
# fmt: on


@stories(LATE)
def test_late_answers(letters: str, lines: Lines) -> None:
    Story(letters).up().play("-1 witness -10", *lines)


def test_a_late_answer_repairs_the_record_and_keeps_its_round_trip() -> None:
    story = Story().up().play("0 send A", "1 send B")
    story.play("1.2 answer B", "1.3 up", "5 up")
    assert story.health.record.loss() == (1, 4)
    story.until(9.0)
    assert story.hear("A", Outcome.ANSWERED, oldest=True) is Outcome.LATE
    assert story.health.record.loss() == (0, 4)
    view = story.health.record.views()[0]
    assert (view.rtt_seconds, view.last_outcome) == (9.0, Outcome.LATE)
    assert story.health.last_heard == 9.0


def test_a_late_answer_hardly_slows_the_next_detection() -> None:
    story = Story().up().play("0 send A", "9 late A")
    assert story.health.doubt_after() < 0.4


def test_an_outcome_counts_once() -> None:
    story = Story().up().play("0 send A", "0.1 answer A")
    health = story.health
    before = health.record.loss()
    for again in (Outcome.ANSWERED, Outcome.REFUSED, Outcome.SILENT, Outcome.PORTAL):
        assert health.result(0.2, ProbeResult(3, again, 0.1)) is None
        assert health.result(0.2, ProbeResult(99, again, 0.1)) is None
    assert (health.record.loss(), health.verdict, health.last_heard) == (before, Verdict.UP, 0.1)


# fmt: off
CERTAIN: dict[str, Lines] = {
    "two targets refuse": ("AB", "0 send AB", "0.05 refuse A", "0.05 up", "0.06 refuse B", "0.06 down"),
    "one of two refuses twice": ("AB", "0 send AA", "0.05 refuse A", "0.1 refuse A", "0.2 up", "9 up"),
    "the only target refuses twice": ("A",
        "0 send A", "0.05 refuse A", "0.05 up", "1 send A", "1.05 refuse A", "1.05 down"),
    "an answer in between takes it back": ("AB",
        "0 send AB", "0.05 refuse A", "0.06 answer B", "1 send B", "1.05 refuse B", "1.05 up"),
    "a refused link is up with the first answer": ("AB",
        "0 send AB", "0.1 refuse AB", "0.1 down", "1 send A", "1.03 answer A", "1.03 up"),
    "one refuses, one is silent: silence": ("AB", "0 send AB", "0.1 refuse A", "0.2 up", "0.35 doubtful"),
    "no carrier": ("AB", "0 path uncarried", "0 down", "9 down", "10 path there", "10 unknown"),
    "no route": ("AB", "0 path lost", "0 absent", "9 absent", "10 path there", "10 unknown"),
    "no carrier, then no route": ("AB", "0 path uncarried", "0 down", "6 path lost", "6 absent"),
    "no route, then no carrier": ("AB", "0 path lost", "1 path uncarried", "1 down"),
    "an answer without carrier means nothing": ("AB", "0 send A", "0.1 path uncarried", "0.2 answer A", "0.2 down"),
}
# fmt: on


@stories(CERTAIN)
def test_what_is_certain_needs_no_witness(letters: str, lines: Lines) -> None:
    Story(letters).up().play(*lines)


# fmt: off
NO_EVIDENCE: dict[str, Lines] = {
    "a send that failed here": ("AB", *OFTEN_LOCAL, "4 up", "9 up", "9 calm"),
    "a name that was not found": ("AB", "0 send AB", "0.2 noname AB", "9 up", "9 calm"),
    "a name not found when it was overdue": ("AW", "0 send W", "1 suspicious", "3 noname W", "3 calm", "9 calm"),
    "one of two overdue probes": ("A", "0 send A", "0.01 send A", "0.3 local A", "0.4 up", "0.9 late A", "9 up"),
    "a date while the clock is wrong is an answer": ("AW", "0 send A", "0.1 send W", "0.2 clock W", "0.4 up"),
}
# fmt: on


@stories(NO_EVIDENCE)
def test_what_is_no_evidence_against_the_link(letters: str, lines: Lines) -> None:
    story = Story(letters).up().play(*lines)
    assert story.health.record.loss()[0] == 0


# fmt: off
ANEW: dict[str, Lines] = {
    "another address": ("AB", "0 path readdressed", "0 unknown"),
    "another gateway": ("AB", "0 path rerouted", "0 unknown"),
    "another index": ("AB", "0 path reindexed", "0 unknown"),
    "one more address, another metric": ("AB", "0 path doubled", "0 up"),
    "the same again": ("AB", "0 path there", "0 up"),
    "what was asked before is forgotten": ("AB",
        "0 send AB", "0.1 path readdressed", "0.5 unknown", "0.5 answer AB", "0.5 unknown"),
    "asleep: open probes are unknown, not lost": ("AB", "0 send AB", "0.1 sleep", "0.1 unknown", "9 unknown", "9 calm"),
    "asleep in doubt": ("AB", "0 send AB", "0.35 doubtful", "5 sleep", "5 unknown"),
    "awake": ("AB", "0 sleep", "0 unknown", "1 send A", "1.1 answer A", "1.1 up"),
    "dead, asleep": ("AB", "-1 witness -10", *BURST, "1.6 down", "9 sleep", "9 down"),
    "absent, asleep": ("AB", "0 path lost", "1 sleep", "1 absent"),
}
# fmt: on


@stories(ANEW)
def test_another_way_out_and_sleep_begin_anew(letters: str, lines: Lines) -> None:
    Story(letters).up().play(*lines)


def test_a_new_way_out_owes_nothing_to_the_old_ones_record() -> None:
    story = Story().up()
    end = story.rhythm(0.0, [True, True, False] * 17, "AB", rtt=0.3)
    assert story.health.verdict is Verdict.DEGRADED
    story.play(f"{end} path readdressed", f"{end} unknown", f"{end} send A", f"{end + 0.1} answer A", f"{end + 2} up")
    assert story.health.record.loss() == (0, 1)
    assert story.health.record.srtt == pytest.approx(0.1)


def test_after_sleep_nothing_is_proven_and_nothing_degraded() -> None:
    story = Story().up()
    end = story.rhythm(0.0, [True, True, False] * 17, "AB")
    story.play(f"{end} degraded")
    assert story.health.proven(end, 90)
    story.play(f"{end} sleep", f"{end} unknown")
    assert not story.health.proven(end, 90)
    story.play(f"{end} send A", f"{end + 0.1} answer A", f"{end + 0.1} up")
    assert story.health.proven(end + 0.1, 90)


# fmt: off
UNAIMED: dict[str, Lines] = {
    "a path is enough": ("", "0 up", "999 up"),
    "no carrier is not": ("", "0 path uncarried", "0 down", "9 path there", "9 up"),
    "no route is not": ("", "0 path lost", "0 absent", "9 path there", "9 up"),
    "sleep changes nothing": ("", "0 sleep", "0 up"),
    "the last target goes in doubt": ("AB", "0 send AB", "0.35 doubtful", "1 aim -", "1 up", "9 calm"),
    "the last target goes without carrier": ("AB", "0 path uncarried", "1 aim -", "1 down"),
    "the first target comes": ("", "0 aim AB", "0 up", "0 send AB", "1 doubtful"),
    "late probes of a target that went count no more": ("ABC", "0 send AB", "0.3 aim BC", "0.35 up", "9 calm"),
}
# fmt: on


@stories(UNAIMED)
def test_without_a_target_the_kernel_is_believed(letters: str, lines: Lines) -> None:
    Story(letters).up().play(*lines)


def test_an_uplink_without_targets_is_always_proven() -> None:
    assert Story("").health.proven(1e6, 90)


@pytest.mark.parametrize(("at", "proven"), [(0.0, True), (90.0, True), (90.1, False)])
def test_proof_is_the_newest_probe_and_ages(at: float, proven: bool) -> None:
    story = Story("A").play("-0.1 send A", "0 answer A")
    assert story.health.proven(at, 90.0) is proven
    story.play("0.1 send A")
    assert story.health.proven(0.1, 90.0)
    story.play("0.36 up")
    assert not story.health.proven(0.36, 90.0)


# --- brownout --------------------------------------------------------------------------------------------------------


def test_loss_degrades_and_recovers_without_a_doubt() -> None:
    story = Story("ABC").up()
    end = story.rhythm(0.0, [number % 4 != 0 for number in range(50)], "ABC")
    story.play(f"{end} degraded")
    assert "6 of 21 probes lost" in story.health.text
    assert story.health.receiving_since == -1.97, "it receives all along"
    end = story.rhythm(end, [True] * 100, "ABC")
    story.play(f"{end} up")


def test_latency_degrades_and_recovers() -> None:
    story = Story().up()
    end = story.rhythm(0.0, [True] * 20, "AB", rtt=0.05)
    end = story.rhythm(end, [True] * 10, "AB", rtt=0.21)
    story.play(f"{end} degraded")
    end = story.rhythm(end, [True] * 10, "AB", rtt=0.11)
    story.play(f"{end} degraded")
    end = story.rhythm(end, [True] * 10, "AB", rtt=0.05)
    story.play(f"{end} up")


def test_a_brownout_outlives_a_doubt() -> None:
    story = Story("ABC").up()
    end = story.rhythm(0.0, [number % 5 != 0 for number in range(50)], "ABC")
    story.play(f"{end} degraded", f"{end} send AB", f"{end + 0.35} doubtful", f"{end + 0.5} answer B")
    story.play(f"{end + 0.5} degraded")


def test_what_was_out_when_doubt_fell_is_not_lost_though_doubt_ends() -> None:
    story = Story().up().play("0 send AB", "0.35 doubtful", "0.5 burst A", "0.6 answer A", "0.6 up", "9 up")
    assert story.health.record.loss() == (0, 2)


def test_silence_is_not_loss() -> None:
    story = Story().up()
    end = story.rhythm(0.0, [True] * 20, "AB")
    story.play(f"{end} send AB", f"{end + 0.35} doubtful")
    story.play(*(f"{end + number} send AB" for number in range(1, 30)))
    end = story.rhythm(end + 30, [True] * 5, "AB")
    story.play(f"{end} up")
    assert story.health.record.loss()[0] == 0


@pytest.mark.parametrize("letters", ["AB", "ABC", "ABD"])
@pytest.mark.parametrize("seconds", [2, 5, 20, 60, 300])
def test_a_target_that_dies_and_returns_never_changes_a_verdict(letters: str, seconds: int) -> None:
    story = Story(letters).up()
    pattern = [True] * 30 + [letters[n % len(letters)] != "B" for n in range(30, 30 + seconds)] + [True] * 60
    for number, answered in enumerate(pattern):
        letter = letters[number % len(letters)]
        story.play(f"{number} send {letter}")
        story.play(*[f"{number}.03 answer {letter}"] if answered else [f"{number}.25 burst A", f"{number}.28 answer A"])
        story.play(f"{number}.9 up")
    assert story.health.record.loss()[0] == 0 or seconds < 9


def test_with_a_dead_target_the_other_one_twice_is_doubt_and_once_is_not() -> None:
    story = Story().up()
    end = story.rhythm(0.0, [True, False] * 6, "AB")
    assert story.health.record.dead_target(target("B").url)
    story.play(f"{end} send A", f"{end + 0.3} suspicious", f"{end + 0.5} burst B", f"{end + 5} up")
    story.play(f"{end + 6} burst A", f"{end + 6.1} doubtful")


def test_silence_counts_from_the_first_probe_of_a_live_target() -> None:
    story = Story().up()
    end = story.rhythm(0.0, [True, False] * 6, "AB")
    story.play(f"{end} witness -10", f"{end} send A", f"{end + 0.03} answer A", f"{end + 1} send BBBBBB")
    story.play(f"{end + 2} send A", f"{end + 2.2499} calm", f"{end + 2.25} suspicious", f"{end + 2.25} burst AAAABB")
    story.play(f"{end + 2.35} doubtful", f"{end + 3.5} doubtful", f"{end + 3.5} burst A", f"{end + 3.61} down")


def test_a_dead_target_raises_no_suspicion() -> None:
    story = Story().up()
    end = story.rhythm(0.0, [True, False] * 6, "AB")
    story.play(f"{end - 0.01} send B", f"{end - 0.01} send A", f"{end - 0.005} answer A")
    assert story.health.silent_for(end) == 0
    story.play(f"{end} send A", f"{end + 0.03} answer A", f"{end + 1} send B", f"{end + 1.3} calm")
    assert story.health.proven(end + 1.3, 90.0)


def test_a_target_that_always_refuses_is_a_dead_target() -> None:
    story = Story().up()
    for number in range(6):
        story.play(f"{2 * number} send A", f"{2 * number}.03 answer A")
        story.play(f"{2 * number + 1} send B", f"{2 * number + 1}.03 refuse B", f"{2 * number + 1}.5 up")
    story.play("12 send A", "12.03 answer A", "13 send B", "13.03 refuse B", "13.5 calm", "14 send A", "14.03 refuse A")
    story.play("14.03 up", "15 send A", "15.03 refuse A", "15.03 down")


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_open_probes_are_bounded() -> None:
    story = Story()
    for _ in range(3 * PENDING_MAX):
        story.send("A")
    assert story.health.result(0.0, ProbeResult(2 * PENDING_MAX - 1, Outcome.ANSWERED, 0.1)) is None
    assert story.health.result(0.0, ProbeResult(2 * PENDING_MAX + 1, Outcome.ANSWERED, 0.1)) is Outcome.ANSWERED


def test_a_miss_of_what_never_left_the_box_is_taken_back() -> None:
    story = Story().up()
    for second in range(0, 20, 2):
        story.play(f"{second} send AB", f"{second}.03 answer B", f"{second + 1.2} local A")
    record = story.health.record
    assert record.loss() == (0, 12)
    assert not record.dead_target("icmp://A")


WORDS = ("send", "burst", *OUTCOMES)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(WORDS), st.sampled_from("ABDW")),
            st.tuples(st.just("path"), st.sampled_from(("lost", "uncarried", "there", "readdressed", "rerouted"))),
            st.tuples(st.just("aim"), st.sampled_from(("-", "A", "AB", "ABDW", "W"))),
            st.tuples(st.sampled_from(("sleep", "witness")), st.just("")),
            st.tuples(st.just("wait"), st.sampled_from(("0.05", "0.3", "2", "20"))),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_verdict_fits_the_path_and_the_deadline_lies_ahead(steps: list[tuple[str, str]]) -> None:
    story, now = Story("ABDW"), 0.0
    for word, what in steps:
        if word == "wait":
            now += float(what)
            story.until(now)
        elif word == "witness":
            story.play(f"{now} witness {now - 1}")
        elif word not in OUTCOMES or story.waits(what):
            story.play(f"{now} {word} {what}")
        health = story.health
        assert (health.verdict is Verdict.ABSENT) is (bool(health.path.fault) and not health.path.certain)
        assert (health.receiving_since is not None) is (health.verdict in (Verdict.UP, Verdict.DEGRADED))
        assert health.text
        assert health.since <= now
        assert health.silent_for(now) >= 0
        lost, count = health.record.loss()
        assert 0 <= lost <= count
