"""The demo: what it plays, what it shows, and that it fails when a promise is broken."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from failover.lab.acts import DEFAULT, LINK_DOWN, MORE, NEW_FLOWS, STREAM, UNDISTURBED, Act
from failover.lab.demo import Teller, UsageError, as_json, choose, digest, perform, play, show_table
from failover.lab.live import Screen
from failover.lab.namespaces import LabError
from failover.lab.pattern import STREAMING
from failover.lab.stage import Played, Said, Stage
from failover.lab.user import Seen
from failover.lab.world import World
from failover.model import FAMILIES


def silent(who: str, text: str) -> None:
    """Shows nothing."""


def test_the_acts() -> None:
    assert [act.name for act in choose((), all_=False)] == ["blackout", "failback", "link-down", "kill"]
    assert choose((), all_=True) == (*DEFAULT, *MORE)
    assert [act.name for act in choose(("kill", "blackout"), all_=True)] == ["kill", "blackout"]
    with pytest.raises(UsageError, match="no act is called nonsense"):
        choose(("nonsense",), all_=False)


def test_a_wrong_name_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as caught:
        play(["blackout", "nonsense"])
    assert caught.value.hint.startswith("there are blackout, failback")
    assert capsys.readouterr().out == ""


def test_the_list_names_every_act(capsys: pytest.CaptureFixture[str]) -> None:
    assert play([], list=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [act.name for act in (*DEFAULT, *MORE)]
    assert [line.endswith("(--all)") for line in lines] == [False] * len(DEFAULT) + [True] * len(MORE)


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert play([], list=True, json=True) == 0
    acts = json.loads(capsys.readouterr().out)["acts"]
    assert [(act["name"], act["title"]) for act in acts] == [(act.name, act.title) for act in (*DEFAULT, *MORE)]
    assert [act["default"] for act in acts] == [True] * len(DEFAULT) + [False] * len(MORE)


def test_what_was_said_is_shown_by_family() -> None:
    said = [
        Said(0.0, "uplink", "au found: wwan0"),
        Said(0.41, "verdict", "au ipv4 is doubtful: silent for 0.35 s"),
        Said(0.42, "switch", "ipv4 au -> docomo: doubt: au silent for 0.35 s"),
        Said(0.63, "switch", "ipv6 au -> docomo: doubt: au silent for 0.36 s"),
        Said(0.70, "switch", "ipv6 au -> docomo: doubt: again"),
        Said(1.6, "flows", "au ipv4: open flows of this box broken, to connect anew: 2 TCP, 42 UDP"),
        Said(1.61, "flows", "au ipv6: open flows of this box broken, to connect anew: 1 TCP, 0 UDP"),
        Said(1.7, "flows", "au ipv4: 229 forwarded flows take the present way with their next packet"),
        Said(1.7, "flows", "au ipv6: 226 forwarded flows take the present way with their next packet"),
        Said(2.0, "warning", "the machine slept for 3 s"),
        Said(3.0, "ready", "2 uplinks, ipv4 by au, ipv6 by docomo"),
    ]
    assert digest(said) == [
        "0.41 / - verdict au is doubtful",
        "0.42 / 0.63 switch au -> docomo: doubt",
        "1.60 / 1.61 flows au: open flows of this box broken",
        "1.70 / 1.70 flows au: forwarded flows take the present way with their next packet",
        "2.00 warning the machine slept for 3 s",
        "3.00 ready 2 uplinks, ipv4 by au, ipv6 by docomo",
    ]


def test_a_broken_promise_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def break_it(stage: Stage) -> None:
        stage.mark(time.monotonic())
        stage.expect(True, "not this")
        stage.expect(False, "the promise was broken")

    act = Act("broken", "nothing works", break_it, warm=False)
    played = perform(act, Teller(io.StringIO()))
    assert as_json(act, played)["ok"] is False
    assert played.failures == ["the promise was broken"]
    show_table([(act, played)])
    shown = capsys.readouterr().out
    assert "broken: the promise was broken" in shown
    assert "0 of 1 acts came out as promised" in shown


SWITCH = Said(0.42, "switch", "ipv4 au -> docomo: doubt: au silent")
SEEN = {
    (family, kind): Seen(family, kind, 0.5, 0.03, sent=10, answered=9, reconnects=0)
    for family in FAMILIES
    for kind in STREAMING.intervals
}
GUEST = {key: replace(seen, outage_seconds=None) for key, seen in SEEN.items() if seen.kind != "mptcp"}
PLAYED = Played(SEEN, GUEST, 5.0, [SWITCH], {"au": 1000, "docomo": 2000})


@pytest.mark.parametrize("columns", [72, 80, 99])
def test_on_a_narrow_terminal_what_was_said_stands_below_its_row(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    show_table([(DEFAULT[0], PLAYED), (DEFAULT[1], PLAYED)])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[-10:] == [
        "act           new flows      open UDP       open TCP       MPTCP",
        "blackout      0.50 / 0.50    0.50 / 0.50    0.50 / 0.50    0.50 / 0.50",
        "  in the LAN  > 5.0 / > 5.0  > 5.0 / > 5.0  > 5.0 / > 5.0  - / -",
        "    0.42 / - switch au -> docomo: doubt",
        "    probe bytes: au 1000, docomo 2000",
        "failback      0.50 / 0.50    0.50 / 0.50    0.50 / 0.50    0.50 / 0.50",
        "  in the LAN  > 5.0 / > 5.0  > 5.0 / > 5.0  > 5.0 / > 5.0  - / -",
        "    0.42 / - switch au -> docomo: doubt",
        "    probe bytes: au 1000, docomo 2000",
        "2 of 2 acts came out as promised",
    ]


def test_where_there_is_room_it_has_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([(DEFAULT[0], PLAYED)])
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "blackout" in line]
    assert "0.42 / - switch au -> docomo: doubt" in row


def test_where_nobody_is_in_the_lan_there_is_no_row_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([(DEFAULT[0], replace(PLAYED, guest={}))])
    assert "in the LAN" not in capsys.readouterr().out
    assert as_json(DEFAULT[0], replace(PLAYED, guest={}))["lan"] == {}


def test_a_long_line_of_the_story_is_told_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = " ".join(f"word{number}" for number in range(30))
    shown = io.StringIO()
    Screen(shown).say("agent", told)
    first, *rest = shown.getvalue().splitlines()
    assert max(map(len, (first, *rest))) <= 80
    assert first.split()[:3] == ["0.00", "s", "agent"]
    assert all(line.startswith(" " * 18 + "word") for line in rest)
    assert " ".join(" ".join([first.partition("agent")[2], *rest]).split()) == told


def test_nothing_is_played_on_a_link_that_delays_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = World(delay=0.025)
    monkeypatch.setattr("failover.lab.stage.World", lambda *_, **__: slow)
    with Stage(silent) as stage, pytest.raises(LabError, match=r"round trip 0\.05"):
        stage.check_traffic()


def test_an_agent_that_ends_is_told() -> None:
    with Stage(silent) as stage:
        stage.start_agent()
        stage.ready()
        os.kill(stage.agent_pid, signal.SIGKILL)
        with pytest.raises(LabError, match="the agent has ended with status -9"):
            stage.watch(5.0)


def test_the_demo_as_everybody_runs_it_keeps_what_it_promises_and_prints_json_only() -> None:
    argv = [sys.executable, "-m", "failover", "demo", "--json"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=100)
    acts = json.loads(done.stdout)["acts"]
    assert [(act["name"], act["ok"], act["failures"]) for act in acts] == [(act.name, True, []) for act in DEFAULT]
    assert done.returncode == 0
    for act in acts:
        limit = LINK_DOWN if act["name"] == "link-down" else NEW_FLOWS
        for family in ("ipv4", "ipv6"):
            outage = act["flows"][family]["new"]["outage_seconds"]
            assert outage <= (UNDISTURBED if act["name"] == "failback" else limit)
            line = f"{family} docomo -> au: failback: " if act["name"] == "failback" else f"{family} au -> docomo: "
            assert any(said["text"].startswith(line) for said in act["said"])
            assert set(act["flows"][family]) == {"new", "udp", "tcp", "mptcp"}
            assert all(act["lan"][family][kind]["answered"] for kind in ("new", "udp", "tcp"))
            if act["name"] == "blackout":
                assert act["flows"][family]["mptcp"]["outage_seconds"] <= STREAM
        assert set(act["probe_bytes"]) == {"au", "docomo", "depot"}
    assert " play " in done.stderr
    assert " agent " in done.stderr
