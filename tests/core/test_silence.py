"""Four kinds of evidence: when each begins a silence, when it says nothing, and when that is forgotten."""

from __future__ import annotations

import pytest

from failover.core.passive import Sample
from failover.core.silence import EXCHANGES, GATE, PATIENCE, PATIENCE_MAX, Silence, Waiting
from failover.facts import Counts, Segments
from failover.model import Verdict

from .story import Story

PROMPT = 0.25


def sample(at: float, received: int = 0, sent: int = 0, fresh: int = 0, *, weak: bool = False) -> Sample:
    return Sample(at - 0.05, at, received, sent, fresh, weak)


def sends(silence: Silence) -> tuple[float | None, float | None]:
    """Since when it is silent, and since when by what convicts."""
    return silence.since, silence.grave_since


@pytest.mark.parametrize(
    ("seen", "since", "grave", "user"),
    [
        (sample(1.0), None, None, False),
        (sample(1.0, sent=1), 1.0, 1.0, True),
        (sample(1.0, sent=5), 0.96, 0.96, True),
        (sample(1.0, fresh=1), 1.0, None, True),
        (sample(1.0, fresh=5, sent=1), 0.96, 1.0, True),
        (sample(1.0, received=1, sent=5, fresh=5), None, None, False),
        (sample(1.0, fresh=1, weak=True), 1.0, None, True),
    ],
)
def test_what_begins_a_silence(seen: Sample, since: float | None, grave: float | None, user: bool) -> None:
    silence = Silence()
    silence.take(seen, PROMPT)
    assert sends(silence) == (since and pytest.approx(since), grave and pytest.approx(grave))
    assert silence.user is user


def test_a_probe_begins_one_that_is_not_the_users() -> None:
    silence = Silence()
    silence.probe_since = 2.0
    assert (sends(silence), silence.user) == ((2.0, 2.0), False)


def test_a_link_that_stands_still_begins_one_that_convicts_nobody() -> None:
    silence = Silence()
    silence.still(3.0, flowing=False)
    silence.still(3.0, flowing=False)
    assert (sends(silence), silence.user) == ((3.0, None), True)
    assert silence.quiet.since(0.0) == 1


def test_anything_received_ends_it_and_a_probe_still_out_begins_it_anew() -> None:
    silence = Silence()
    silence.take(sample(1.0, sent=2, fresh=2), PROMPT)
    silence.probe_since = 0.5
    silence.heard(1.2, waiting=True)
    assert (sends(silence), silence.user) == ((1.2, 1.2), False)
    silence.heard(1.3, waiting=False)
    assert sends(silence) == (None, None)


@pytest.mark.parametrize(("replied", "answered"), [(10.0, True), (10.0 - GATE, True), (9.99 - GATE, False)])
def test_the_gate_asks_for_a_reply_shortly_before(replied: float, answered: bool) -> None:
    silence = Silence()
    silence.take(sample(replied, received=1), PROMPT)
    silence.take(sample(10.0, sent=1), PROMPT)
    assert silence.answered_before() is answered


def test_a_silence_has_to_begin_before_the_gate_can_be_asked() -> None:
    assert not Silence().answered_before()


def test_a_refuted_suspicion_waits_five_seconds_doubling_to_five_minutes() -> None:
    waiting, now, waits = Waiting(), 0.0, []
    for _ in range(9):
        waiting.refuted(now)
        waits.append(waiting.held_until - now)
        waiting.send(waiting.held_until - 0.01, 3)
        assert (waiting.first, waiting.since(0.0)) == (None, 0), "it is held"
        now = waiting.held_until
        waiting.send(now, 3)
        assert (waiting.first, waiting.since(0.0)) == (now, 3)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert (waits[0], waits[-1]) == (PATIENCE, PATIENCE_MAX)


def test_only_what_was_waiting_is_refuted() -> None:
    silence = Silence()
    silence.take(sample(1.0, fresh=2), PROMPT)
    silence.refuted(1.3)
    silence.take(sample(2.0, fresh=2, sent=1), PROMPT)
    assert sends(silence) == (2.0, 2.0)
    assert silence.fresh.first is None


def exchange(silence: Silence, at: float, after: float) -> None:
    """A packet leaves and is answered so many seconds later."""
    silence.take(sample(at, sent=1), PROMPT)
    silence.take(sample(at + after, received=1), PROMPT)
    silence.heard(at + after, waiting=False)


@pytest.mark.parametrize(
    ("delays", "forgotten"),
    [
        ([0.1] * (EXCHANGES + 1), True),
        ([0.1] * EXCHANGES, False),
        ([0.1] * EXCHANGES + [0.3], False),
        ([0.3] + [0.1] * EXCHANGES, True),
        ([0.1, 0.1, 0.1, 0.3, 0.1, 0.1], False),
    ],
)
def test_prompt_replies_in_a_row_make_it_forgotten(delays: list[float], forgotten: bool) -> None:
    """The first reply is late in any case: it answers what has waited all the time."""
    silence = Silence()
    silence.take(sample(1.0, sent=1, fresh=1), PROMPT)
    silence.refuted(1.3)
    for number, delay in enumerate(delays):
        exchange(silence, 1.5 + 0.5 * number, delay)
    silence.take(sample(4.5, sent=1), PROMPT)
    assert (silence.since is not None) is forgotten


def test_a_link_that_stood_still_is_forgiven_by_a_steady_flow_only() -> None:
    silence = Silence()
    silence.still(1.0, flowing=False)
    silence.refuted(1.3)
    for number in range(9):
        exchange(silence, 1.5 + number / 10, 0.05)
    silence.still(3.0, flowing=False)
    assert silence.since is None
    silence.still(3.0, flowing=True)
    assert silence.since == 3.0


def test_another_way_remembers_nothing() -> None:
    silence = Silence()
    silence.take(sample(1.0, sent=2, fresh=2), PROMPT)
    silence.still(1.0, flowing=False)
    silence.refuted(1.3)
    silence.replied = 0.9
    silence.clear()
    silence.take(sample(1.4, sent=1), PROMPT)
    assert silence.since == 1.4
    assert not silence.answered_before(), "by another way"


# --- as the verdict of a link ----------------------------------------------------------------------------------------


class Counted(Story):
    """A story whose traffic is counted each 50 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.up()
        self.seen = Counts()
        self.health.counted(-0.05, self.seen, weak=False)

    def traffic(
        self, start: float, end: float, *, received: int = 0, sent: int = 0, fresh: int = 0, weak: bool = False
    ) -> Counted:
        """So many packets of each kind in each sample."""
        self.until(start - 0.05)
        self.health.counted(self.now, self.seen, weak=weak)
        for number in range(round((end - start) / 0.05)):
            self.until(start + number * 0.05)
            self.seen = Counts(self.seen.received + received, self.seen.sent + sent, self.seen.fresh + fresh)
            self.health.counted(self.now, self.seen, weak=weak)
            self.health.judge(self.now, self.witness)
        return self

    def verdict(self) -> Verdict:
        return self.health.verdict


def test_flows_that_were_answered_are_enough_without_any_probe() -> None:
    story = Counted()
    story.play("-0.05 witness -10")
    story.traffic(0.0, 0.5, received=1, sent=1).traffic(0.5, 0.9, sent=1)
    assert story.verdict() is Verdict.DOUBTFUL
    assert story.health.text.startswith("silent for 0.35 s, 8 packets unanswered")
    story.traffic(0.9, 2.2, sent=1)
    assert story.verdict() is Verdict.DOWN
    assert "packets unanswered while another uplink receives" in story.health.text


def test_one_packet_is_no_doubt() -> None:
    story = Counted().traffic(0.0, 0.5, received=1, sent=1).traffic(0.5, 0.55, sent=1)
    assert story.traffic(0.55, 3.0).health.verdict is Verdict.UP
    assert story.health.suspicious(3.0)


@pytest.mark.parametrize(("sent", "fresh"), [(3, 0), (0, 3)])
def test_a_flow_that_never_hears_anything_says_nothing_without_a_probe(sent: int, fresh: int) -> None:
    story = Counted()
    story.play("-0.05 witness -10")
    story.traffic(3.0, 4.0, sent=sent, fresh=fresh)
    assert (story.health.verdict, story.health.suspicious(4.0)) == (Verdict.UP, True)
    story.play("4 burst A", "4.05 up")
    story.traffic(4.1, 4.2, sent=sent, fresh=fresh)
    assert story.health.verdict is Verdict.DOUBTFUL


def test_new_flows_alone_never_convict() -> None:
    story = Counted()
    story.play("-0.05 witness -10")
    story.traffic(0.0, 0.5, received=1, sent=1).play("0.6 burst A").traffic(0.65, 60.0, fresh=3)
    assert story.health.verdict is Verdict.DOUBTFUL
    assert story.health.silence.grave_since == 0.6, "by the probe, which is one of six"


def test_an_answered_probe_refutes_it() -> None:
    story = Counted().traffic(2.0, 2.5, fresh=1)
    story.play("2.5 suspicious", "2.5 burst A", "2.53 answer A", "2.53 calm")
    assert not story.traffic(2.55, 7.5, fresh=1).health.suspicious(7.5)
    assert story.traffic(7.55, 8.4, fresh=1).health.suspicious(8.4)


def test_an_answer_to_what_was_asked_before_refutes_nothing() -> None:
    story = Counted()
    story.play("2.9 send A")
    story.traffic(3.0, 3.5, fresh=1).play("3.5 answer A")
    story.traffic(3.55, 4.0, fresh=1).play("4 suspicious")


def test_a_busy_link_that_stands_still_is_asked_and_silent_since_it_was_heard_last() -> None:
    story = Counted().traffic(0.0, 1.0, received=10, sent=5)
    story.play("1.1 burst A", "1.13 answer A")
    story.traffic(1.15, 1.35)
    assert not story.health.suspicious(1.35)
    assert story.health.silent_for(1.35) == pytest.approx(0.22)
    story.traffic(1.35, 1.45).play("1.4 suspicious")


def test_weak_counters_raise_suspicion_and_acquit_nobody() -> None:
    story = Counted().traffic(2.0, 2.5, weak=True, fresh=1)
    story.play("2.5 suspicious", "2.5 burst A")
    story.traffic(2.6, 2.65, weak=True, fresh=1)
    assert story.health.verdict is Verdict.DOUBTFUL
    heard = story.health.last_heard
    story.traffic(2.65, 4.0, weak=True, received=9)
    assert (story.health.verdict, story.health.last_heard) == (Verdict.DOUBTFUL, heard)


def test_what_is_due_waits_for_a_new_reading_of_the_counters() -> None:
    story = Counted().traffic(0.0, 0.5, received=1, sent=1).traffic(0.5, 0.85, sent=1)
    health, at = story.health, 0.5 + 0.35
    health.judge(at + 0.001, None)
    assert health.verdict is Verdict.UP
    assert health.deadline() <= at + 0.01
    health.counted(at + 0.001, Counts(story.seen.received + 1, story.seen.sent), weak=False)
    health.judge(at + 0.001, None)
    assert (health.verdict, health.silent_for(at + 0.001)) == (Verdict.UP, 0.0)


def test_segments_that_had_to_be_sent_again_are_a_brownout() -> None:
    story = Counted()
    for number in range(20):
        story.health.segments(Segments(sent=10, resent=3))
        story.health.segments(Segments())
        story.play(f"{number} send A", f"{number + 0.03} answer A")
    assert story.health.verdict is Verdict.DEGRADED
