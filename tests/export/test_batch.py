"""What is written when, in virtual time, and how much of it: a day of flapping is a few megabytes."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.export.batch import DAY_BYTES, LANES, PAGE, PENDING, PERIOD, Batch
from failover.export.entries import Entry, decode, encode
from failover.model import NoticeKind

from .happenings import Happenings

DAY = 86400.0
AT_ONCE = [
    NoticeKind.SWITCH,
    NoticeKind.OPERATOR,
    NoticeKind.READY,
    NoticeKind.STARTED,
    NoticeKind.STOPPED,
    NoticeKind.CONFIG,
    NoticeKind.ERROR,
]
"""Kinds that do not wait."""


def taken(batch: Batch, now: float) -> list[Entry]:
    return [decode(line) for line in batch.take(now)]


@pytest.mark.parametrize("kind", AT_ONCE)
def test_what_matters_is_written_at_once(kind: NoticeKind) -> None:
    batch, entry = Batch(), Happenings().happen(kind)
    batch.note(5.0, entry)
    assert batch.deadline() <= 5.0
    assert taken(batch, 5.0) == [entry]
    assert (batch.deadline(), taken(batch, 999.0)) == (inf, [])


@pytest.mark.parametrize("kind", sorted(set(NoticeKind) - set(AT_ONCE) - {NoticeKind.COUNTED}))
def test_the_rest_waits_for_a_minute_and_goes_out_together(kind: NoticeKind) -> None:
    happened, batch = Happenings(), Batch()
    entries = [happened.happen(kind, uplink="au", family="ipv4", verdict=str(number)) for number in range(3)]
    for number, entry in enumerate(entries):
        batch.note(5.0 + number, entry)
    assert batch.deadline() == 5.0 + PERIOD
    assert taken(batch, 4.9 + PERIOD) == []
    assert taken(batch, 5.0 + PERIOD) == entries


def test_flows_broken_in_a_doubt_are_counted() -> None:
    happened, batch = Happenings(), Batch()
    for unanswered in (True, True, False):
        batch.note(1.0, happened.happen(NoticeKind.FLOWS, uplink="au", family="ipv4", unanswered=unanswered))
    kept, counted = taken(batch, 1.0 + PERIOD)
    assert (kept.kind, kept.fields["unanswered"]) == (NoticeKind.FLOWS, False)
    assert "unanswered_flows 2" in counted.text


def test_what_waits_goes_along_with_what_does_not() -> None:
    happened, batch = Happenings(), Batch()
    entries = [happened.verdict("au", "down"), happened.switch("au", "docomo", "conviction")]
    for entry in entries:
        batch.note(1.0, entry)
    assert taken(batch, 1.0) == entries
    assert batch.deadline() == inf


def test_doubts_and_diverts_are_one_summary_a_minute_for_each_lane() -> None:
    happened, batch = Happenings(), Batch()
    batch.note(0.0, happened.verdict("au", "up"))
    batch.take(PERIOD)
    first = happened.verdict("au", "doubtful")
    batch.note(100.0, first)
    batch.note(100.0, happened.switch("au", "docomo", "doubt"))
    batch.note(105.0, happened.verdict("docomo", "doubtful"))
    batch.note(110.0, happened.verdict("au", "up"))
    batch.note(110.0, last := happened.switch("docomo", "au", "acquittal"))
    assert batch.deadline() == 100.0 + PERIOD
    au, docomo = taken(batch, 100.0 + PERIOD)
    assert (au.kind, au.id, au.fields["first_id"]) == (NoticeKind.COUNTED, last.id, first.id)
    counted = ("doubts", "diverts", "acquittals", "returns")
    assert [au.fields[key] for key in counted] == [1, 1, 1, 1]
    assert (au.fields["uplink"], au.fields["family"], au.fields["verdict"]) == ("au", "ipv4", "up")
    assert au.text == "au ipv4 in 60 s: doubts 1, acquittals 1, diverts 1, returns 1; now up"
    assert docomo.text == "docomo ipv4 in 55 s: doubts 1; now doubtful"


def test_settled_silences_are_counted_by_their_kind() -> None:
    happened, batch = Happenings(), Batch()
    for kind in ("buffered", "lost", "buffered"):
        batch.note(0.0, happened.happen(NoticeKind.UPLINK, "x", uplink="au", family="ipv4", silence=kind))
    batch.note(0.0, gone := happened.happen(NoticeKind.UPLINK, "au is gone", uplink="au"))
    entry, summary = taken(batch, PERIOD)
    assert entry == gone
    assert (summary.fields["buffered"], summary.fields["lost"]) == (2, 1)
    assert "buffered 2, lost 1" in summary.text


def test_out_of_doubt_into_something_new_is_no_mere_acquittal() -> None:
    happened, batch = Happenings(), Batch()
    news = [happened.verdict("au", "up"), happened.verdict("au", "down"), happened.verdict("au", "up")]
    batch.note(0.0, news[0])
    for entry in news[1:]:
        batch.note(1.0, happened.verdict("au", "doubtful"))
        batch.note(2.0, entry)
    written = taken(batch, PERIOD)
    assert written[:3] == news
    assert [entry.fields["doubts"] for entry in written[3:]] == [2]


def test_away_from_a_brownout_and_back_is_written() -> None:
    happened, batch = Happenings(), Batch()
    for entry in (happened.switch("au", "docomo", "degraded"), happened.switch("docomo", "au", "acquittal")):
        batch.note(1.0, entry)
        assert taken(batch, 1.0) == [entry]


def test_a_conviction_after_a_divert_is_written_at_once() -> None:
    happened, batch = Happenings(), Batch()
    batch.note(1.0, happened.switch("au", "docomo", "doubt"))
    conviction = happened.switch("docomo", "docomo", "conviction")
    batch.note(2.0, conviction)
    assert taken(batch, 2.0) == [conviction]
    assert batch.deadline() == 1.0 + PERIOD
    back = happened.switch("docomo", "au", "acquittal")
    batch.note(3.0, back)
    assert taken(batch, 3.0) == [back]


def test_the_end_of_a_run_leaves_nothing_behind() -> None:
    happened, batch = Happenings(), Batch()
    batch.note(1.0, verdict := happened.verdict("au", "down"))
    batch.note(1.0, happened.verdict("docomo", "doubtful"))
    assert [decode(line).id for line in batch.flush(2.0)] == [verdict.id, "run-2"]
    assert batch.flush(2.0) == []


# --- a day of it -----------------------------------------------------------------------------------------------------

Story = Callable[[Happenings], Iterator[tuple[float, Entry]]]


def nervous_carrier(happened: Happenings) -> Iterator[tuple[float, Entry]]:
    """In and out of doubt every five seconds, both families, all day; a conviction now and then."""
    for turn in range(int(DAY / 10)):
        for family in ("ipv4", "ipv6"):
            yield turn * 10.0, happened.verdict("au", "doubtful", family)
            yield turn * 10.0, happened.switch("au", "docomo", "doubt", family)
            if turn % 360 == 0:
                yield turn * 10.0 + 2.0, happened.verdict("au", "down", family)
                yield turn * 10.0 + 2.0, happened.switch("docomo", "docomo", "conviction", family)
            yield turn * 10.0 + 5.0, happened.verdict("au", "up", family)
            yield turn * 10.0 + 5.0, happened.switch("docomo", "au", "acquittal", family)


def loose_plugs(happened: Happenings) -> Iterator[tuple[float, Entry]]:
    """Eight uplinks whose carrier comes and goes every five seconds, and takes all traffic along."""
    for second in range(0, int(DAY), 5):
        for uplink in range(8):
            verdict = ("down", "up")[(second + uplink) % 2]
            yield float(second), happened.verdict(f"wan{uplink}", verdict)
        yield float(second), happened.switch(f"wan{second % 8}", f"wan{(second + 1) % 8}", "link-down")


def thousand_names(happened: Happenings) -> Iterator[tuple[float, Entry]]:
    """Uplinks that nobody has seen before, without end."""
    for number in range(0, int(DAY), 4):
        yield float(number), happened.verdict(f"usb{number}", "doubtful")
        yield float(number), happened.happen(NoticeKind.UPLINK, f"usb{number} is gone", uplink=f"usb{number}")


def play(story: Story) -> tuple[list[tuple[float, int]], Counter[str], int]:
    """Each write (when, its bytes with the page that it costs), what of it was told, and how much was noted."""
    batch, happened = Batch(), Happenings()
    writes, told, noted = list[tuple[float, int]](), Counter[str](), 0

    def write(now: float, lines: list[bytes]) -> None:
        if lines:
            writes.append((now, PAGE + sum(map(len, lines))))
            told.update(number for line in lines for number in _told(decode(line)))

    for now, entry in story(happened):
        while batch.deadline() < now:
            write(batch.deadline(), batch.take(batch.deadline()))
        batch.note(now, entry)
        noted += 1
        write(now, batch.take(now))
    write(DAY, batch.flush(DAY))
    return writes, told, noted


def _told(entry: Entry) -> Iterator[str]:
    """One for each entry that it stands for."""
    if entry.kind is not NoticeKind.COUNTED:
        yield entry.kind
    else:
        for word in ("doubts", "acquittals", "diverts", "returns", "others"):
            number = entry.fields.get(word, 0)
            assert isinstance(number, int)
            yield from [word] * number


@pytest.mark.parametrize("story", [nervous_carrier, loose_plugs, thousand_names])
def test_a_day_of_flapping(story: Story, record_property: Callable[[str, object], None]) -> None:
    writes, told, noted = play(story)
    total = sum(size for _, size in writes)
    record_property("written_bytes", total)
    record_property("writes", len(writes))
    print(f"{story.__name__}: {noted} noted, {len(writes)} writes, {total} bytes with a page for each")
    assert total <= DAY_BYTES
    assert sum(told.values()) == noted, "every entry is written or counted"
    assert 24 <= len(writes) <= 1440 + 50


def test_flapping_verdicts_leave_room_for_a_switch() -> None:
    batch, happened = Batch(), Happenings()
    for second in range(int(DAY / 10)):
        batch.note(float(second), happened.verdict("au", ("down", "up")[second % 2]))
        batch.take(float(second))
    switch = happened.switch("au", "docomo", "conviction")
    batch.note(DAY / 10, switch)
    assert switch in taken(batch, DAY / 10)


def test_what_should_not_wait_may_pile_up_twice_as_high() -> None:
    """Beyond that it is counted."""
    for kind, most in ((NoticeKind.WARNING, PENDING), (NoticeKind.ERROR, 2 * PENDING)):
        happened, batch = Happenings(), Batch()
        entries = [happened.happen(kind, "x" * 1000) for _ in range(60)]
        for entry in entries:
            batch.note(0.0, entry)
        *kept, counted = map(decode, batch.flush(0.0))
        assert kept == entries[: len(kept)]
        assert most <= sum(len(encode(entry)) for entry in kept) < most + 1300
        assert counted.fields["others"] == len(entries) - len(kept)


def test_ten_quiet_days_earn_no_more_than_a_burst() -> None:
    batch, happened, spent = Batch(), Happenings(), 0
    batch.note(0.0, happened.switch("au", "docomo", "conviction"))
    batch.take(0.0)
    for second in range(0, int(DAY), 5):
        for _ in range(20):
            batch.note(10 * DAY + second, happened.switch("au", "docomo", "conviction"))
        lines = batch.take(10 * DAY + second)
        spent += sum(map(len, lines)) + PAGE * bool(lines)
    assert 0.9 * DAY_BYTES < spent <= DAY_BYTES


def test_however_many_uplinks_there_are_so_many_are_counted_apart() -> None:
    """The others are counted together, and nothing is kept of each."""
    batch, happened = Batch(), Happenings()
    tracemalloc.start()
    try:
        for number in range(1500):
            batch.note(number * 120.0, happened.verdict(f"u{number}", "up"))
            batch.note(number * 120.0, happened.verdict(f"u{number}", "doubtful"))
            batch.take(number * 120.0 + PERIOD)
            if number == 500:
                before, _ = tracemalloc.get_traced_memory()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 50_000
    crowd = Batch()
    for number in range(200):
        crowd.note(0.0, happened.verdict(f"u{number}", "doubtful"))
    counted = [decode(line) for line in crowd.flush(PERIOD)]
    assert [entry.fields["uplink"] for entry in counted] == [*(f"u{number}" for number in range(LANES - 1)), ""]
    assert sum(int(str(entry.fields["doubts"])) for entry in counted) == 200


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 400), st.sampled_from(["verdict", "switch", "doubt", "flood"])), max_size=60))
def test_it_never_writes_more_than_it_may(steps: list[tuple[float, str]]) -> None:
    batch, happened, now, spent = Batch(), Happenings(), 0.0, 0
    for pause, step in steps:
        now += pause
        for number in range(200 if step == "flood" else 1):
            doubt = step == "doubt"
            entry = happened.verdict("au", "doubtful" if doubt else str(number))
            batch.note(now, happened.switch("au", "b", "conviction") if step in ("switch", "flood") else entry)
            lines = batch.take(now)
            assert sum(map(len, lines)) <= 2 * 16384 + 8192 + 64 * 512
            spent += sum(map(len, lines)) + PAGE * bool(lines)
            assert spent <= 500_000 + now * DAY_BYTES / DAY + PAGE + 2 * 16384 + 8192 + 64 * 512
