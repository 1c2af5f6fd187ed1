"""explain, events and probe in words."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from failover.cli import main
from failover.cli.grammar import OUTCOMES, build_parser
from failover.cli.probing import NOTHING
from failover.cli.screen import Screen
from failover.cli.views import event_lines, explain_lines, passage_lines, probe_lines, status_lines
from failover.export import explain
from failover.export.status import document
from failover.model import Outcome, Verdict
from failover.picture import CandidateView, Explanation, Prospect, Snapshot, TargetView
from tests.cli.conftest import EXPLANATION, SWITCH, UNIX, Standin, candidate, entry
from tests.export.pictures import NOW, family, snapshot, uplink

pytestmark = pytest.mark.usefixtures("utc")

Captured = pytest.CaptureFixture[str]


# --- explain ---------------------------------------------------------------------------------------------------------


def explained(*explanations: Explanation, width: int | None = None) -> list[str]:
    return list(explain_lines(explain.document(explanations, NOW), UNIX, Screen(width)))


def test_explain_tells_the_decision_the_rule_everyone_and_the_prospects() -> None:
    assert explained(EXPLANATION) == [
        "ipv4 by docomo",
        "  since 14:03: doubt: au silent (silence 360 ms)",
        "  forwarded traffic by au",
        "  rule now: stay: docomo is up, and au owes its hold-down",
        "   uplink  verdict  standing  owes  why",
        "*  docomo  up       proven    -     because",
        "   au      up       -         42 s  because; not used: it owes 42 s of its hold-down;"
        " flap penalty 1.5, forgiven in 1.2 h (loss 2%, rtt 30 ms, lost 1)",
        "  what would change that:",
        "  - 14:14:02 at the earliest: au has paid its hold-down: new flows go back to it",
        "  - docomo falls silent",
    ]


@pytest.mark.parametrize(
    ("uplink", "state", "head"),
    [
        ("au", "", "a new flow goes by au"),
        ("au", "held", "a new flow is held for au"),
        (None, "refused", "a new flow is refused"),
        (None, "", "a new flow goes by no uplink"),
    ],
)
def test_explain_tells_the_way_of_a_new_flow(uplink: str | None, state: str, head: str) -> None:
    allowed = [{"name": "au", "verdict": "up"}, {"name": "de\x1bpot", "verdict": "down"}]
    found = {"uplink": uplink, "refused": state == "refused", "held": state == "held", "allowed": allowed}
    found["text"] = "rule video (never docomo)"
    assert list(passage_lines(found, Screen(None))) == [
        head,
        "  rule video (never docomo)",
        "  allowed: au (up), de?pot (down)",
    ]
    assert list(passage_lines({**found, "allowed": []}, Screen(None)))[2:] == []


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            {"way": "resolved", "text": "", "asked": [{"uplink": "au", "name_servers": ["10.1.0.53", "9.9.9.9"]}]},
            "names are asked of 10.1.0.53, 9.9.9.9 over au, by systemd-resolved",
        ),
        ({"way": "file", "text": "", "asked": []}, "names are asked of whom the box knows, by a file of ours"),
        (
            {"way": "file", "text": "nobody reads it", "asked": []},
            "names are to be asked of whom the box knows, by a file of ours; but nobody reads it",
        ),
        ({"way": "none", "text": "so it \x1b is", "asked": []}, "names are left as they are: so it ? is"),
        ({"way": "none", "text": "", "asked": []}, "names are left as they are"),
    ],
)
def test_explain_tells_whom_names_are_asked_of(told: dict[str, Any], line: str) -> None:
    document = {**explain.document([EXPLANATION], NOW), "names": told}
    assert list(explain_lines(document, UNIX, Screen(None)))[-2:] == ["", line]


def test_explain_names_the_gateway_whose_clients_go_another_way_than_other_forwarded_traffic() -> None:
    document = {**explain.document([EXPLANATION], NOW), "gateway": {"lan": ["br-lan"]}}
    lines = list(explain_lines(document, UNIX, Screen(None)))
    assert "  other forwarded traffic by au" in lines
    assert lines[-2:] == ["", "gateway of br-lan: new flows of its clients go as this box's own"]


def test_explain_with_nothing_to_tell() -> None:
    assert explained() == ["nothing is decided yet"]
    nothing = replace(EXPLANATION, prospects=(), candidates=())
    assert explained(nothing)[-1] == "  - nothing that is in sight"


def test_explain_says_nothing_twice() -> None:
    down = candidate("au", Verdict.DOWN, text="no carrier", objection="is down: no carrier")
    assert explained(replace(EXPLANATION, candidates=(down,)))[5].endswith("-     not used: is down: no carrier")


def numbered(name: str, **numbers: float) -> CandidateView:
    usual = {"doubt_after_seconds": 0.35, "conviction_after_seconds": 1.5, "hold_down_seconds": 60.0}
    return candidate(name, Verdict.UP, text="answers", numbers=usual | numbers)


def test_explain_leaves_out_what_tells_nothing() -> None:
    rtts = {"rtt_seconds": 0.0301, "rtt_usual_seconds": 0.03}
    plain = numbered("au", silence_seconds=0.03, loss_ratio=0.0, unanswered_probes=0.0, **rtts)
    owing = replace(numbered("docomo", rtt_usual_seconds=0.03), owed_seconds=23.0)
    lines = explained(replace(EXPLANATION, candidates=(plain, owing)))
    assert [line.partition(" answers")[2] for line in lines[5:7]] == [" (rtt 30 ms)", " (hold down 1 min)"]
    slow = numbered("au", rtt_seconds=0.2, rtt_usual_seconds=0.03, loss_ratio=0.02, unanswered_probes=3.0)
    assert (
        "(rtt 200 ms, rtt usual 30 ms, loss 2%, unanswered probes 3)"
        in explained(replace(EXPLANATION, candidates=(slow,)))[5]
    )


def test_explain_tells_no_debt_that_is_paid_and_no_relapse_long_forgotten() -> None:
    paid = replace(numbered("au"), owed_seconds=0.0, relapses=0.05)
    again = replace(numbered("docomo"), owed_seconds=0.0, relapses=0.051, forgiven_seconds=26.0)
    assert explained(replace(EXPLANATION, candidates=(paid, again)))[5:7] == [
        "  au      up       -         -     answers",
        "  docomo  up       -         -     answers; flap penalty 0.1, forgiven in 26 s",
    ]


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        ("flows", ""),
        ("interface", "; only its interface is counted, not its flows"),
        ("no", "; its traffic is not counted"),
    ],
)
def test_explain_tells_how_the_traffic_in_question_is_counted(counted: str, words: str) -> None:
    here = replace(numbered("au"), active=True, counted=counted)
    elsewhere = replace(numbered("docomo"), counted=counted)
    found = explained(replace(EXPLANATION, candidates=(here, elsewhere)))[5:7]
    assert [line.partition(" answers")[2] for line in found] == [words, ""]


def test_explain_tells_the_last_silence_once() -> None:
    stall = "buffered 3.2 s: 5 replies came late"
    back = candidate("au", Verdict.UP, text=f"answers again; {stall}", last_silence=stall)
    worse = candidate("docomo", Verdict.DEGRADED, text="7 of 50 probes lost", last_silence=stall)
    found = explained(replace(EXPLANATION, candidates=(back, worse)))[5:7]
    assert found[0].endswith(f"  answers again; {stall}")
    assert found[1].endswith(f"  7 of 50 probes lost; last silence: {stall}")


def test_explain_tells_the_evidence_with_its_units() -> None:
    numbers = {"user_replied_seconds": 3.2, "held_back_seconds": 40.0, "budget_remaining_bytes": 1_912_345.0}
    assert explained(replace(EXPLANATION, candidates=(numbered("au", **numbers),)))[5].endswith(
        " answers (user replied 3.2 s ago, held back 40 s, budget remaining 1.9 MB)"
    )
    absent = replace(numbered("au", **numbers), verdict=Verdict.ABSENT)
    assert "budget" not in explained(replace(EXPLANATION, candidates=(absent,)))[5]


def test_explain_promises_nothing_for_earlier_than_it_can_be() -> None:
    lines = explained(replace(EXPLANATION, prospects=(Prospect("au has paid", 42.01),)))
    assert lines[-1] == "  - 14:14:03 at the earliest: au has paid"


def test_explain_tells_the_thresholds_once() -> None:
    same = explained(replace(EXPLANATION, candidates=(numbered("au"), numbered("docomo"))))
    assert [line for line in same if "conviction" in line] == [
        "  silence leads to doubt after 350 ms; to conviction after 1.5 s"
    ]
    far = numbered("depot", doubt_after_seconds=1.24)
    apart = explained(replace(EXPLANATION, candidates=(numbered("au"), far, numbered("docomo"))))
    assert "  silence leads to doubt after 350 ms (au, docomo), 1.2 s (depot); to conviction after 1.5 s" in apart


def test_explain_tells_a_silence_as_it_is_now() -> None:
    frozen = "silent for 0.36 s, 2 targets unanswered"
    mute = candidate("au", Verdict.DOUBTFUL, text=frozen, numbers={"silence_seconds": 18.2})
    lines = explained(replace(EXPLANATION, text=f"au is doubtful ({frozen}), and not left", candidates=(mute,)))
    assert "  rule now: stay: au is doubtful (fell silent 18 s ago: 2 targets unanswered), and not left" in lines
    assert lines[5].endswith("  fell silent 18 s ago: 2 targets unanswered")


def test_explain_in_a_pipe_has_lines_that_can_be_read() -> None:
    words = " ".join(f"word{number}" for number in range(60))
    crowded = replace(EXPLANATION, text=words, candidates=(candidate("au", Verdict.UP, text=words, objection=words),))
    assert 120 < max(map(len, explained(crowded))) <= 160


def test_explain_at_80_columns_breaks_no_word() -> None:
    words = " ".join(f"word{number}" for number in range(30))
    crowded = replace(
        EXPLANATION,
        text=words,
        candidates=(candidate("au", Verdict.UP, text=words, objection=words),),
        prospects=(Prospect(words, 60.0),),
    )
    lines = explained(crowded, width=80)
    assert max(map(len, lines)) <= 80
    assert set(" ".join(lines).split()) >= set(words.split())


def test_explain_as_a_command(standin: Standin, capsys: Captured) -> None:
    assert main(["explain", "--socket", str(standin.path)]) == 0
    assert capsys.readouterr().out.startswith("ipv4 by docomo\n")


# --- events ----------------------------------------------------------------------------------------------------------


def test_an_event_tells_when_its_id_its_kind_and_what() -> None:
    shown = [one.document() for one in (SWITCH, replace(SWITCH, trusted=False), replace(SWITCH, unix=UNIX - 86400))]
    assert list(event_lines(shown, UNIX + 60, Screen(None))) == [
        "14:13:20  run-1  switch: ipv4 au -> docomo: doubt: au silent",
        "~14:13:20  run-1  switch: ipv4 au -> docomo: doubt: au silent",
        "2026-09-20 14:13:20  run-1  switch: ipv4 au -> docomo: doubt: au silent",
    ]


# --- probe -----------------------------------------------------------------------------------------------------------


def test_probe_shows_each_target() -> None:
    told: list[Mapping[str, Any]] = [
        {"family": "ipv4", "url": "icmp://1.1.1.1", "outcome": "answered", "rtt_seconds": 0.031},
        {"family": "ipv6", "url": "icmp://[2001:db8::1]", "outcome": "silent", "rtt_seconds": None},
    ]
    assert list(probe_lines(told, Screen(None))) == [
        "outcome   rtt    family  target",
        "answered  31 ms  ipv4    icmp://1.1.1.1",
        "silent    -      ipv6    icmp://[2001:db8::1]",
    ]


def probed(*views: TargetView) -> Snapshot:
    absent = family(Verdict.ABSENT)
    return replace(snapshot(), uplinks=(uplink("au", replace(family(Verdict.UP), targets=views), absent),))


OLD = TargetView("icmp://1.1.1.1", 0.0, 0.030, Outcome.ANSWERED)


def outcomes(
    standin: Standin, capsys: Captured, monkeypatch: pytest.MonkeyPatch, wait: float, status: int = 0
) -> dict[str, Any]:
    monkeypatch.setattr("failover.cli.probing.WAIT", wait)
    assert main(["probe", "au", "--socket", str(standin.path)]) == status
    lines = capsys.readouterr().out.splitlines()[1:]
    return {line.split()[-1]: line.split()[0] for line in lines}


def test_probe_waits_no_longer_than_for_the_last_answer(
    standin: Standin, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.picture, standin.on_probe = probed(OLD), probed(replace(OLD, rtt_seconds=0.031))
    begun = time.monotonic()
    assert outcomes(standin, capsys, monkeypatch, 60.0) == {"icmp://1.1.1.1": "answered"}
    assert time.monotonic() - begun < 30
    assert standin.asked == [("probe", {"name": "au"})]


def test_probe_takes_no_old_answer_for_a_new_one(
    standin: Standin, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = replace(OLD, url="tcp://1.1.1.1:443", last_outcome=Outcome.SILENT)
    never = replace(OLD, url="dns://9.9.9.9/example.com", last_outcome=None)
    standin.picture = standin.on_probe = probed(OLD, mute, never)
    assert outcomes(standin, capsys, monkeypatch, 0.0, 1) == {
        "icmp://1.1.1.1": "nothing",
        "tcp://1.1.1.1:443": "silent",
        "dns://9.9.9.9/example.com": "nothing",
    }


def test_probe_waits_for_every_target_and_tells_no_round_trip_of_another_time(
    standin: Standin, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failover.cli.probing.WAIT", 0.3)
    mute, added = replace(OLD, last_outcome=Outcome.SILENT), replace(OLD, url="icmp://9.9.9.9")
    standin.picture, standin.on_probe = probed(OLD), probed(mute, added)
    assert main(["probe", "au", "--json", "--socket", str(standin.path)]) == 0
    assert json.loads(capsys.readouterr().out)["targets"] == [
        {"family": "ipv4", "url": "icmp://1.1.1.1", "outcome": "silent", "rtt_seconds": None},
        {"family": "ipv4", "url": "icmp://9.9.9.9", "outcome": "answered", "rtt_seconds": 0.03},
    ]
    assert standin.drawn.qsize() > 2  # before, and more than one look


def test_probe_says_why_it_has_nothing_to_ask(standin: Standin, capsys: Captured) -> None:
    standin.picture = probed()
    assert main(["probe", "au", "--socket", str(standin.path)]) == 1
    told = capsys.readouterr().out
    assert told == "no target was probed: ipv4: no target is configured; ipv6: because\n"
    assert main(["probe", "au", "--json", "--socket", str(standin.path)]) == 1
    assert json.loads(capsys.readouterr().out) == {"uplink": "au", "targets": []}


def test_every_outcome_has_its_meaning_in_the_help() -> None:
    assert {name for name, _ in OUTCOMES} == {*Outcome, NOTHING}
    text = build_parser().commands["probe"].format_help()
    for name, meaning in OUTCOMES:
        assert f"\n  {name:<8}  {meaning}\n" in text


def test_probe_of_an_unknown_uplink(standin: Standin, capsys: Captured) -> None:
    assert main(["probe", "nowhere", "--socket", str(standin.path)]) == 1
    assert capsys.readouterr().err.startswith("failover: no uplink is named nowhere (known: au, docomo)")


# --- hostile words ---------------------------------------------------------------------------------------------------

EVIL = "\x1b[31m\n[red]\u202e\x9b2J"


def test_nothing_from_the_agent_reaches_a_screen_as_it_is() -> None:
    foul = replace(family(Verdict.DOWN), text=EVIL)
    status = document(replace(snapshot(), uplinks=(uplink(EVIL, foul, foul),), warnings=(EVIL,)), NOW)
    crowd = (candidate(EVIL, Verdict.DOWN, text=EVIL, objection=EVIL, numbers={EVIL: 1.0}),)
    why = replace(EXPLANATION, rule=EVIL, text=EVIL, candidates=crowd, prospects=(Prospect(EVIL, 1.0),))
    target: Mapping[str, Any] = {"family": EVIL, "url": EVIL, "outcome": EVIL, "rtt_seconds": None}
    from failover.export.words import cleaned

    lines = [
        *status_lines(status, None, UNIX, Screen(None)),
        *status_lines(status, EVIL, UNIX, Screen(None)),
        *explained(why),
        *event_lines([replace(entry(2, EVIL), id=EVIL).document()], UNIX, Screen(None)),
        *probe_lines(cleaned([target]), Screen(None)),
    ]
    assert all(line.isprintable() for line in lines)
    assert sum("[red]" in line for line in lines) > 8


def test_an_answer_of_the_agent_is_cleaned(standin: Standin, capsys: Captured) -> None:
    standin.text = f"one{EVIL}"
    assert main(["auto", "--socket", str(standin.path)]) == 0
    assert capsys.readouterr().out == "one?[31m\n[red]??2J\n"
