"""The sentence and the rows that people read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from failover.export.sentence import about, sentence
from failover.export.status import document
from failover.export.table import remarks, rows
from failover.export.words import lasting
from failover.model import Decision, Family, Verdict
from failover.picture import FamilyView, Snapshot, UplinkView
from tests.export.pictures import NOW, family, snapshot, uplink

pytestmark = pytest.mark.usefixtures("utc")

UNIX = 1_790_000_000.0
"""2026-09-21 14:13:20 UTC; the pictures' decisions are of then, their verdicts a minute old."""


def told(**changes: Any) -> Mapping[str, Any]:
    return document(replace(snapshot(), use=None, use_until=None, **changes), NOW)


def by(ipv4: str | None, ipv6: str | None, ago: float = 0.0) -> dict[Family, Decision]:
    return {
        Family.IPV4: Decision(Family.IPV4, ipv4, ipv4, since=NOW - ago),
        Family.IPV6: Decision(Family.IPV6, ipv6, ipv6, since=NOW - ago),
    }


def view(verdict: Verdict, text: str = "because", age: float = 180.0, hold: float | None = None) -> FamilyView:
    until = None if hold is None else NOW + hold
    return replace(family(verdict), text=text, since=NOW - age, hold_until=until)


def both(name: str, view: FamilyView) -> UplinkView:
    return uplink(name, view, view)


UP = view(Verdict.UP)
SILENT = replace(
    view(Verdict.DOWN, "silent for 1.5 s, 6 probes unanswered while another uplink receives"), cause="conviction"
)
REFUSED = replace(view(Verdict.DOWN, "the carrier answers that it refuses"), cause="refused")
NO_LINK = replace(view(Verdict.DOWN, "no carrier"), cause="link-down")
GONE = view(Verdict.ABSENT, "no address")
PULLED = view(Verdict.ABSENT, "interface is down")
PORTAL = view(Verdict.PORTAL, "a portal answers in the target's place")
DOUBT = view(Verdict.DOUBTFUL, "silent for 0.36 s, 2 targets unanswered", 2.0)
LOSSY = view(Verdict.DEGRADED, "7 of 50 probes lost, rtt 300 ms")
NEW = replace(view(Verdict.UNKNOWN, "not yet probed", 4.0), last_proven=None)
LATER = view(Verdict.UP, "answers", hold=600.0)
BACK = view(Verdict.UP, "answers", 120.0, hold=3480.0)

TWO = by("docomo", "docomo", 780.0)
SENTENCES = [
    # all is well
    (by("au", "au", 3600), [both("au", UP)], "online by au since 13:13"),
    (by("au", "au", 60), [both("au", UP)], "online by au since 14:12:20"),
    (by("au", "au", 86400 * 3), [both("au", UP)], "online by au since 2026-09-18 14:13"),
    (by("au", None, 780), [uplink("au", UP, GONE)], "online by au (ipv4 only) since 14:00"),
    (by("au", "au", 780), [both("au", UP), both("docomo", SILENT)], "online by au since 14:00"),
    # on a backup, and why
    (
        TWO,
        [both("au", SILENT), both("docomo", UP)],
        "online by docomo since 14:00: au silent upstream for 3 min",
    ),
    (
        TWO,
        [both("au", replace(SILENT, hold_down=3480.0)), both("docomo", UP)],
        "online by docomo since 14:00: au silent upstream for 3 min; back to au not before 15:11",
    ),
    (
        TWO,
        [both("au", replace(GONE, hold_down=3480.0)), both("docomo", UP)],
        "online by docomo since 14:00: au with no address for 3 min",
    ),
    (
        TWO,
        [both("au", BACK), both("docomo", UP)],
        "online by docomo since 14:00: au answering again for 2 min; back to au not before 15:11",
    ),
    (
        TWO,
        [both("au", REFUSED), both("docomo", UP)],
        "online by docomo since 14:00: au refused by its carrier for 3 min",
    ),
    (TWO, [both("au", NO_LINK), both("docomo", UP)], "online by docomo since 14:00: au without a link for 3 min"),
    (TWO, [both("au", GONE), both("docomo", UP)], "online by docomo since 14:00: au with no address for 3 min"),
    (TWO, [both("au", PULLED), both("docomo", UP)], "online by docomo since 14:00: au absent for 3 min"),
    (TWO, [both("au", PORTAL), both("docomo", UP)], "online by docomo since 14:00: au behind a portal for 3 min"),
    (TWO, [both("au", DOUBT), both("docomo", UP)], "online by docomo since 14:00: au in doubt for 2 s"),
    (TWO, [both("au", LOSSY), both("docomo", UP)], "online by docomo since 14:00: au degraded for 3 min"),
    (TWO, [both("au", NEW), both("docomo", UP)], "online by docomo since 14:00: au not proven yet for 4 s"),
    (TWO, [both("au", UP), both("docomo", UP)], "online by docomo since 14:00"),
    (
        TWO,
        [uplink("au", SILENT, GONE), both("docomo", UP)],
        "online by docomo since 14:00: au silent upstream (ipv4) for 3 min, au with no address (ipv6) for 3 min",
    ),
    (
        TWO,
        [uplink("au", SILENT, UP), both("docomo", UP)],
        "online by docomo since 14:00: au silent upstream (ipv4) for 3 min",
    ),
    (
        TWO,
        [*(both(name, SILENT) for name in "abcde"), both("docomo", UP)],
        "online by docomo since 14:00: a silent upstream for 3 min, b silent upstream for 3 min,"
        " c silent upstream for 3 min, 2 more",
    ),
    (
        TWO,
        [*(both(name, NO_LINK) for name in "abcd"), both("docomo", UP)],
        "online by docomo since 14:00: a without a link for 3 min, b without a link for 3 min,"
        " c without a link for 3 min, 1 more",
    ),
    (
        TWO,
        [both("au", replace(LATER, hold_until=NOW + 100.4)), both("docomo", UP)],
        "online by docomo since 14:00: au answering again for 3 min; back to au not before 14:15:01",
    ),
    (
        by("depot", "depot", 780),
        [uplink("au", BACK, LATER), uplink("docomo", LATER, UP), both("depot", UP)],
        "online by depot since 14:00: au answering again for 3 min, docomo answering again (ipv4) for 3 min;"
        " back to au not before 14:23",
    ),
    # in use though it is not well
    (
        by("au", "au", 780),
        [both("au", LOSSY), both("docomo", SILENT)],
        "online by au since 14:00: degraded for 3 min: 7 of 50 probes lost, rtt 300 ms",
    ),
    (
        by("au", "au"),
        [both("au", DOUBT), both("docomo", UP)],
        "in doubt: no answer by au for 0.5 s, docomo answered 0.5 s ago",
    ),
    (
        by("au", "au"),
        [both("au", DOUBT), both("docomo", UP), both("depot", LOSSY)],
        "in doubt: no answer by au for 0.5 s, docomo answered 0.5 s ago, depot answered 0.5 s ago",
    ),
    (
        by("au", "au"),
        [both("au", DOUBT), uplink("docomo", replace(UP, last_proven=NOW - 19), UP)],
        "in doubt: no answer by au for 0.5 s, docomo answered 0.5 s ago",
    ),
    (by("au", "au"), [both("au", NEW)], "not proven yet: no answer by au so far"),
    # nothing answers
    (
        by("au", "au"),
        [both("au", replace(DOUBT, last_proven=NOW - 780)), both("docomo", SILENT)],
        "silent: no uplink has answered since 14:13:19; traffic stays on au",
    ),
    (
        by("au", "au"),
        [both("au", replace(DOUBT, last_proven=None)), both("docomo", NEW)],
        "silent: no uplink has answered yet; traffic stays on au",
    ),
    (
        by("au", "au"),
        [both("au", SILENT), both("docomo", PORTAL)],
        "offline: au silent upstream for 3 min, docomo behind a portal for 3 min",
    ),
    (
        by("au", "au"),
        [both("au", SILENT), both("docomo", UP)],
        "offline: au silent upstream for 3 min, docomo answered 0.5 s ago",
    ),
    (by("au", "au"), [both("docomo", SILENT)], "offline: docomo silent upstream for 3 min"),
    (by("au", "au"), [], "offline: au is gone"),
    (by(None, None), [both("au", GONE)], "offline: no uplink can be used: au with no address for 3 min"),
    (by(None, None), [], "offline: no uplink has a default route"),
    ({}, [], "starting: nothing is decided yet"),
    # the families fare differently
    (
        by("docomo", "au", 780),
        [uplink("au", SILENT, UP), both("docomo", UP)],
        "online by docomo (ipv4) since 14:00: au silent upstream for 3 min; online by au (ipv6) since 14:00",
    ),
    (
        by("au", "au", 780),
        [uplink("au", UP, replace(DOUBT, last_proven=NOW - 600))],
        "online by au (ipv4) since 14:00; silent (ipv6): no uplink has answered since 14:03; traffic stays on au",
    ),
    (
        by("au", "au", 780),
        [uplink("au", DOUBT, DOUBT), uplink("docomo", SILENT, replace(UP, last_proven=NOW - 19))],
        "in doubt (ipv6): no answer by au for 0.5 s, docomo answered 19 s ago;"
        " silent (ipv4): no uplink has answered since 14:13:19; traffic stays on au",
    ),
    (
        by("au", "docomo", 780),
        [uplink("au", NEW, GONE), uplink("docomo", UP, SILENT)],
        "not proven yet (ipv4): no answer by au so far, docomo answered 0.5 s ago;"
        " offline (ipv6): au with no address for 3 min, docomo silent upstream for 3 min",
    ),
]


@pytest.mark.parametrize(("decisions", "uplinks", "words"), SENTENCES, ids=[words[:60] for _, _, words in SENTENCES])
def test_one_sentence_says_how_things_are(decisions: Any, uplinks: Any, words: str) -> None:
    assert sentence(told(decisions=decisions, uplinks=tuple(uplinks)), UNIX) == words


def test_what_both_families_have_in_common_began_with_the_later_one() -> None:
    decisions = {Family.IPV4: TWO[Family.IPV4], Family.IPV6: by(None, "docomo", 180)[Family.IPV6]}
    assert sentence(told(decisions=decisions, uplinks=(both("docomo", UP),)), UNIX) == "online by docomo since 14:10"


def test_a_doubt_is_never_called_online() -> None:
    """Whatever the others do: nobody knows whether anything gets through."""
    for other in (UP, SILENT, REFUSED, GONE, PORTAL, DOUBT, NEW):
        words = sentence(told(decisions=by("au", "au"), uplinks=(both("au", DOUBT), both("docomo", other))), UNIX)
        assert words.startswith(("in doubt", "silent"))
        assert "online" not in words


def test_without_a_clock_nothing_is_told_that_grows_old() -> None:
    uplinks = (both("au", BACK), both("docomo", UP))
    picture = replace(snapshot(), decisions=TWO, uplinks=uplinks, use="au")
    status, later = document(picture, NOW), document(picture, NOW + 100)
    assert sentence(status) == sentence(later) == "online by docomo: au answering again; told to use au"
    silent = told(decisions=by("au", "au"), uplinks=(both("au", DOUBT),))
    assert sentence(silent) == "silent: no uplink answers; traffic stays on au"
    doubt = told(decisions=by("au", "au"), uplinks=(both("au", DOUBT), both("docomo", UP)))
    assert sentence(doubt) == "in doubt: no answer by au, docomo answers"


def test_the_operators_word_is_in_it() -> None:
    picture = replace(snapshot(), decisions=by("docomo", "docomo", 780), uplinks=(both("docomo", UP), both("au", UP)))
    assert sentence(document(picture, NOW), UNIX) == "online by docomo since 14:00; told to use docomo until 15:13"
    long = replace(picture, use_until=NOW + 86400, use_strict=True)
    assert sentence(document(long, NOW), UNIX).endswith("; told to use docomo until 2026-09-22 14:13, strictly")
    endless = replace(picture, use_until=None)
    assert sentence(document(endless, NOW), UNIX).endswith("; told to use docomo")


def test_use_makes_an_uplink_the_preferred_one() -> None:
    uplinks = (both("au", UP), both("docomo", SILENT), both("depot", SILENT))
    picture = replace(snapshot(), decisions=by("au", "au", 780), uplinks=uplinks)
    assert sentence(document(picture, NOW), UNIX) == (
        "online by au since 14:00: docomo silent upstream for 3 min; told to use docomo until 15:13"
    )


def test_drained_uplinks_are_named_and_no_trouble() -> None:
    uplinks = (replace(both("au", SILENT), drained=True), both("docomo", UP))
    assert sentence(told(decisions=TWO, uplinks=uplinks), UNIX) == "online by docomo since 14:00; drained: au"
    uplinks = (replace(both("au", SILENT), drained=True), replace(both("docomo", UP), drained=True))
    assert sentence(told(decisions=TWO, uplinks=uplinks), UNIX) == "online by docomo since 14:00; drained: au, docomo"


FORWARDED = [
    (("docomo", "au"), ("au", "au"), "forwarded traffic by docomo (ipv4)"),
    (("docomo", "docomo"), ("au", "au"), "forwarded traffic by docomo"),
    (("docomo", None), ("au", None), "forwarded traffic by docomo"),
    (("docomo", "depot"), ("au", "au"), "forwarded traffic by docomo (ipv4); forwarded traffic by depot (ipv6)"),
    ((None, None), ("au", "au"), ""),
]


@pytest.mark.parametrize(("settled", "active", "words"), FORWARDED, ids=["one", "both", "only", "apart", "nowhere"])
def test_forwarded_traffic_is_told_where_it_goes_another_way(
    settled: tuple[str | None, ...], active: tuple[str, ...], words: str
) -> None:
    decisions = {
        family: Decision(family, now, before) for family, now, before in zip(Family, active, settled, strict=True)
    }
    uplinks = tuple(both(name, UP) for name in ("au", "docomo", "depot"))
    said = sentence(told(decisions=decisions, uplinks=uplinks)).split("; ", 1)[1:]
    assert said == ([words] if words else [])
    guests = sentence(told(decisions=decisions, uplinks=uplinks, lan=("br-lan",))).split("; ", 1)[1:]
    assert guests == ([words.replace("forwarded", "other forwarded")] if words else [])


# --- one uplink ------------------------------------------------------------------------------------------------------

ONE = [
    ([both("au", UP), both("depot", UP)], "depot is up, a standby; online by au since 14:00"),
    ([both("depot", UP), both("au", UP)], "depot is up, a standby; online by au since 14:00"),
    ([both("au", UP), uplink("depot", UP, GONE)], "depot (ipv4 only) is up, a standby; online by au since 14:00"),
    (
        [both("au", UP), both("depot", SILENT)],
        "depot is down: silent upstream for 3 min; online by au since 14:00",
    ),
    (
        [both("au", UP), both("depot", view(Verdict.DOWN, "the modem said so"))],
        "depot is down for 3 min; online by au since 14:00",
    ),
    (
        [both("au", UP), uplink("depot", SILENT, LOSSY)],
        "depot (ipv4) is down: silent upstream for 3 min;"
        " depot (ipv6) is degraded for 3 min: 7 of 50 probes lost, rtt 300 ms, a standby; online by au since 14:00",
    ),
    ([both("au", UP), both("depot", GONE)], "depot is absent for 3 min: no address; online by au since 14:00"),
    ([both("au", UP), both("depot", DOUBT)], "depot is in doubt for 2 s; online by au since 14:00"),
    (
        [both("depot", BACK), both("au", UP)],
        "depot is up, a standby, back not before 15:11; online by au since 14:00",
    ),
    (
        [both("au", UP), replace(both("depot", UP), drained=True)],
        "depot is up; online by au since 14:00; drained: depot",
    ),
    (
        [both("au", replace(DOUBT, last_proven=NOW - 780)), both("depot", PORTAL)],
        "depot is behind a portal for 3 min; silent: no uplink has answered since 14:13:19; traffic stays on au",
    ),
]


@pytest.mark.parametrize(("uplinks", "words"), ONE, ids=[words[:60] for _, words in ONE])
def test_of_one_uplink_the_sentence_begins_with_that_and_goes_on_with_the_box(uplinks: Any, words: str) -> None:
    assert about(told(decisions=by("au", "au", 780), uplinks=tuple(uplinks)), "depot", UNIX) == words


def test_an_uplink_in_use_says_so() -> None:
    status = told(decisions=by("au", "depot", 780), uplinks=(both("au", UP), both("depot", UP)))
    assert about(status, "au", UNIX) == (
        "au (ipv4) is up, in use; au (ipv6) is up, a standby;"
        " online by au (ipv4) since 14:00; online by depot (ipv6) since 14:00"
    )
    assert [row[:4] for row in rows(status, UNIX, "depot")] == [
        ("", "depot", "wwan-depot", "ipv4"),
        ("*", "depot", "wwan-depot", "ipv6"),
    ]


# --- rows ------------------------------------------------------------------------------------------------------------


def test_rows_say_it_in_order() -> None:
    assert list(rows(told(), UNIX))[:3] == [
        ("", "au", "wwan-au", "ipv4", "doubtful", "1 min", "25%", "30 ms", "0.5 s ago", "because"),
        ("", "au", "wwan-au", "ipv6", "absent", "1 min", "-", "-", "never", "because"),
        ("*", "docomo", "wwan-docomo", "ipv4", "up", "1 min", "25%", "30 ms", "0.5 s ago", "because"),
    ]


def whys(status: Mapping[str, Any]) -> dict[str, str]:
    return {row[1]: row[-1] for row in rows(status, UNIX) if row[3] == "ipv4"}


HELD = view(Verdict.UP, hold=8.2)
BOTH_HELD = (uplink("au", HELD, GONE), uplink("docomo", HELD, GONE), uplink("depot", HELD, GONE))


def test_a_preferred_uplink_in_its_hold_down_says_how_long_and_a_mere_standby_does_not() -> None:
    status = told(uplinks=BOTH_HELD)
    held = "because; may take traffic in 9 s, at 14:13:29"
    assert whys(status) == {"au": held, "docomo": "because", "depot": "because"}


@pytest.mark.parametrize("active", ["gone", None])
def test_where_no_known_uplink_is_in_use_none_is_said_to_wait_for_its_place(active: str | None) -> None:
    status = told(uplinks=BOTH_HELD, decisions=by(active, None))
    assert set(whys(status).values()) == {"because"}


def test_of_an_uplink_that_is_well_there_is_nothing_to_say() -> None:
    well = view(Verdict.UP, "answers")
    assert whys(told(uplinks=(both("au", well), replace(both("docomo", well), drained=True)))) == {
        "au": "",
        "docomo": "drained",
    }


def test_a_silence_goes_on() -> None:
    """What it had lasted when the verdict fell is of no use to whoever reads of it later."""
    late = replace(DOUBT, since=NOW - 18.0)
    assert whys(told(uplinks=(both("au", late),)))["au"] == "fell silent 18 s ago: 2 targets unanswered"
    assert whys(told(uplinks=(both("au", SILENT),)))["au"] == (
        "fell silent 3 min ago: 6 probes unanswered while another uplink receives"
    )
    assert lasting(DOUBT.text, None) == DOUBT.text


@pytest.mark.parametrize("verdict", [Verdict.DOWN, Verdict.ABSENT])
def test_of_an_uplink_that_is_not_there_nothing_is_measured(verdict: Verdict) -> None:
    (measured, *_) = rows(told(uplinks=(both("au", view(verdict)),)), UNIX)
    assert measured[6:8] == ("-", "-")


def test_what_the_operator_wants_is_preferred() -> None:
    status = document(replace(snapshot(), decisions=by("docomo", None), uplinks=BOTH_HELD), NOW)
    assert set(whys(status).values()) == {"because"}
    wanted = document(replace(snapshot(), decisions=by("docomo", None), uplinks=BOTH_HELD, use="depot"), NOW)
    assert [name for name, why in whys(wanted).items() if "may take traffic" in why] == ["au", "depot"]


def test_a_drained_uplink_says_so_and_waits_for_nothing() -> None:
    au, *others = BOTH_HELD
    status = told(uplinks=(replace(au, drained=True), *others))
    assert whys(status) == {"au": "drained; because", "docomo": "because", "depot": "because"}


# --- remarks ---------------------------------------------------------------------------------------------------------


def test_what_stands_in_the_way_is_a_warning() -> None:
    assert list(remarks(document(replace(snapshot(), warnings=("rule 7 is in the way",)), NOW))) == [
        "warning: rule 7 is in the way"
    ]


@pytest.mark.parametrize(
    ("problems", "words"),
    [
        (["f.yaml:1: one"], "f.yaml:1: one"),
        (["f.yaml:1: one", "f.yaml:2: two"], "f.yaml:1: one (and 1 more)"),
        ([], "f.yaml: refused"),
    ],
)
def test_a_config_that_is_not_in_force_is_a_warning(problems: list[str], words: str) -> None:
    refused = {"path": "f.yaml", "ok": False, "problems": problems}
    said = list(remarks({**told(), "config": refused}))
    assert said == [f"warning: the config file is not in force, the one before it is: {words}"]
    assert list(remarks({**told(), "config": {"path": "f.yaml", "ok": True, "problems": []}})) == []


# --- hostile words ---------------------------------------------------------------------------------------------------

EVIL = "\x1b[31m\n[red]\u202e\x9b2J\u2028"


def test_no_string_of_the_document_reaches_a_screen_as_it_is() -> None:
    bad = replace(SILENT, text=EVIL)
    hostile = replace(uplink(EVIL, bad, replace(LOSSY, text=EVIL)), interface=EVIL, carrier=EVIL)
    worst = Snapshot(by(EVIL, EVIL), (hostile, both("z" + EVIL, bad)), EVIL, NOW + 60, True, (EVIL,))
    status = {**document(worst, NOW), "config": {"path": EVIL, "ok": False, "problems": [EVIL]}}
    shown = [sentence(status, UNIX), sentence(status), about(status, EVIL, UNIX), *remarks(status)]
    shown += [cell for row in rows(status, UNIX) for cell in row]
    assert all(text.isprintable() for text in shown)
    assert "?[31m?[red]??2J?" in shown[0]


def test_an_endless_text_has_an_end() -> None:
    status = told(uplinks=(both("docomo", replace(LOSSY, text="x" * 100_000)),), decisions=TWO)
    assert len(sentence(status, UNIX)) < 1000
