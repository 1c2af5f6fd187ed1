"""The sentence and the table that people read."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any

import pytest

from failover.export.status import document
from failover.export.words import COLUMNS, draw, rows, sentence, span
from failover.model import Decision, Family, Verdict
from failover.picture import Snapshot
from tests.export.pictures import NOW, family, snapshot, uplink


def told(**changes: Any) -> Mapping[str, Any]:
    return document(replace(snapshot(), use=None, **changes), NOW)


def by(ipv4: str | None, ipv6: str | None) -> dict[Family, Decision]:
    return {
        Family.IPV4: Decision(Family.IPV4, ipv4, ipv4),
        Family.IPV6: Decision(Family.IPV6, ipv6, ipv6),
    }


UP, DOWN, UNKNOWN, ABSENT = (family(verdict) for verdict in (Verdict.UP, Verdict.DOWN, Verdict.UNKNOWN, Verdict.ABSENT))

SENTENCES = [
    (by("au", "au"), (uplink("au", UP, UP),), "online: ipv4 and ipv6 by au (up)"),
    (by("au", None), (uplink("au", UP, ABSENT),), "online: ipv4 by au (up)"),
    (
        by("docomo", "au"),
        (uplink("au", DOWN, UP), uplink("docomo", UP, UNKNOWN)),
        "online: ipv4 by docomo (up), ipv6 by au (up)",
    ),
    (by("au", None), (uplink("au", UNKNOWN, ABSENT),), "not proven online: ipv4 by au (unknown)"),
    (by("au", None), (uplink("au", DOWN, ABSENT),), "not proven online: ipv4 by au (down)"),
    (by(None, None), (uplink("au", ABSENT, ABSENT),), "offline: no uplink can be used"),
    (by(None, None), (), "offline: no uplink has a default route"),
    (
        by("au", None),
        (uplink("au", UP, ABSENT), replace(uplink("depot", UP, ABSENT), drained=True)),
        "online: ipv4 by au (up); drained: depot",
    ),
]


@pytest.mark.parametrize(("decisions", "uplinks", "words"), SENTENCES, ids=[words for _, _, words in SENTENCES])
def test_one_sentence_says_how_things_are(decisions: Any, uplinks: Any, words: str) -> None:
    assert sentence(told(decisions=decisions, uplinks=uplinks)) == words


def test_the_operators_word_is_in_it() -> None:
    assert sentence(document(snapshot(), NOW)) == (
        "online: ipv4 by docomo (up); forwarded ipv4 traffic by au; told to use docomo for 1 h"
    )
    endless = replace(snapshot(), use_until=None)
    assert sentence(document(endless, NOW)).endswith("; told to use docomo")


def test_rows_say_it_in_order() -> None:
    assert list(rows(told()))[:3] == [
        ("", "au", "wwan-au", "ipv4", "doubtful", "1 min", "25%", "30 ms", "0.5 s", "because"),
        ("", "au", "wwan-au", "ipv6", "absent", "1 min", "25%", "30 ms", "-", "because"),
        ("*", "docomo", "wwan-docomo", "ipv4", "up", "1 min", "25%", "30 ms", "0.5 s", "because"),
    ]


def whys(status: Mapping[str, Any]) -> dict[str, str]:
    return {row[1]: row[-1] for row in rows(status) if row[3] == "ipv4"}


HELD = replace(UP, hold_until=NOW + 8.2)
BOTH_HELD = (uplink("au", HELD, ABSENT), uplink("docomo", HELD, ABSENT), uplink("depot", HELD, ABSENT))


def test_a_preferred_uplink_in_its_hold_down_says_how_long_and_a_mere_standby_does_not() -> None:
    status = told(uplinks=BOTH_HELD)
    assert whys(status) == {"au": "because; may take traffic in 9 s", "docomo": "because", "depot": "because"}


def test_what_the_operator_wants_is_preferred() -> None:
    status = document(replace(snapshot(), decisions=by("docomo", None), uplinks=BOTH_HELD), NOW)
    assert set(whys(status).values()) == {"because"}
    wanted = document(replace(snapshot(), decisions=by("docomo", None), uplinks=BOTH_HELD, use="depot"), NOW)
    assert [name for name, why in whys(wanted).items() if "may take traffic" in why] == ["au", "depot"]


def test_a_drained_uplink_says_so_and_waits_for_nothing() -> None:
    au, *others = BOTH_HELD
    status = told(uplinks=(replace(au, drained=True), *others))
    assert whys(status) == {"au": "drained; because", "docomo": "because", "depot": "because"}


FORWARDED = [
    (("docomo", "au"), ("au", "au"), "forwarded ipv4 traffic by docomo"),
    (("docomo", "docomo"), ("au", "au"), "forwarded ipv4 and ipv6 traffic by docomo"),
    (("docomo", "depot"), ("au", "au"), "forwarded ipv4 traffic by docomo; forwarded ipv6 traffic by depot"),
    ((None, None), ("au", "au"), ""),
]


@pytest.mark.parametrize(("settled", "active", "words"), FORWARDED, ids=["one", "both", "apart", "nowhere"])
def test_forwarded_traffic_is_told_where_it_goes_another_way(
    settled: tuple[str | None, ...], active: tuple[str, ...], words: str
) -> None:
    decisions = {
        family: Decision(family, now, before) for family, now, before in zip(Family, active, settled, strict=True)
    }
    uplinks = tuple(uplink(name, UP, UP) for name in ("au", "docomo", "depot"))
    said = sentence(told(decisions=decisions, uplinks=uplinks)).split("; ", 1)[1:]
    assert said == ([words] if words else [])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0.0, "0 s"), (0.44, "0.4 s"), (12.3, "12 s"), (90, "1.5 min"), (5400, "1.5 h"), (3e5, "3.5 d")],
)
def test_spans(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


def test_the_table_is_whole_and_takes_no_markup() -> None:
    odd = replace(uplink("au", replace(UP, text="[bold]odd[/bold] " + "x" * 300), ABSENT), carrier="au")
    out = io.StringIO()
    draw(told(uplinks=(odd,)), out)
    lines = out.getvalue().splitlines()
    assert lines[1].split() == [name for name in COLUMNS if name]
    assert "[bold]odd[/bold] " + "x" * 300 in lines[2]
    assert len(lines) == 4
    assert "\x1b" not in out.getvalue()


def test_without_uplinks_there_is_no_table() -> None:
    out = io.StringIO()
    draw(document(Snapshot({}, (), None, None, False), NOW), out)
    assert out.getvalue() == "offline: no uplink has a default route\n"


def test_what_stands_in_the_way_is_said_before_the_table() -> None:
    out = io.StringIO()
    draw(document(replace(snapshot(), warnings=("rule 7 is in the way",)), NOW), out)
    assert out.getvalue().splitlines()[1] == "warning: rule 7 is in the way"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    """The table as a terminal of that width shows it, without its colours."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    down = replace(DOWN, text=WHY)
    draw(told(uplinks=(uplink("rakuten", down, ABSENT), uplink("docomo", UP, UP))), out)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()[1:]


WHY = "silent for 8.2 s: 41 probes to 5 targets unanswered while docomo heard 12 answers, the last one 0.3 s ago"


def test_a_wide_terminal_has_the_reason_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 200)
    assert len(lines) == 5
    at = lines[0].index("why")
    assert [line[at:] for line in lines] == ["why", WHY, "because", "because", "because"]


def test_a_narrow_terminal_has_the_reason_below_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 80)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == [name for name in COLUMNS if name not in ("", "why")]
    assert lines[1].split()[:4] == ["rakuten", "wwan-rakuten", "ipv4", "down"]
    below = list(takewhile(lambda line: line.startswith("     "), lines[2:]))
    assert len(below) == 2
    assert " ".join(line.strip() for line in below) == WHY
    rest = lines[2 + len(below) :]
    assert [line.strip() for line in rest[1::2]] == ["because"] * 3
    assert [line[:11].split() for line in rest[::2]] == [["rakuten"], ["*", "docomo"], ["docomo"]]


def test_a_reason_that_fits_stays_in_the_row_to_the_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = max(map(len, drawn(monkeypatch, 200)))
    assert len(drawn(monkeypatch, exact)) == 5
    assert len(drawn(monkeypatch, exact - 1)) > 5
