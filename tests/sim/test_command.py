"""`failover simulate`: what it prints, and what it says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from failover.config import ConfigError
from failover.model import FailoverError
from failover.sim.command import run
from failover.sim.journal import clock
from failover.sim.trace import TraceError

ROWS = "".join(f"{i / 5:.1f},{'' if 100 <= i < 130 else 40},50\n" for i in range(300))


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "drive.csv"
    path.write_text("t_s,rtt_ms_au,rtt_ms_docomo\n" + ROWS)
    return str(path)


def config(tmp_path: Path, text: str) -> str:
    path = tmp_path / "failover.yaml"
    path.write_text(text)
    return str(path)


def test_a_scenario_as_a_story_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(None, "dead_zone", None, None, as_json=False, seed=1) == 0
    printed = capsys.readouterr().out
    assert "au -> docomo: doubt" in printed
    assert "30 seconds in one carrier's dead zone" in printed
    assert [line.split()[0] for line in printed.splitlines()[-2:]] == ["au", "docomo"]
    assert "bad seconds of new flows" in printed


FLAPPING = """
title: a link that flaps
length: 20m
counted: no
uplinks: [{name: au, phases: [{until: 20m, cycle: [{for: 20s}, {for: 20s, loss: 1}]}]}, {name: docomo}]
"""


def test_a_long_story_is_cut_unless_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flap = tmp_path / "flap.yaml"
    flap.write_text(FLAPPING)
    assert run(None, str(flap), None, None, as_json=True, seed=1) == 0
    log = json.loads(capsys.readouterr().out)["log"]
    assert run(None, str(flap), None, None, as_json=False, seed=1) == 0
    short = capsys.readouterr().out.splitlines()
    assert short[:20] == log[:20]
    assert short[20] == f"... {len(log) - 40} more lines; --log prints them"
    assert short[21:41] == log[-20:]
    assert run(None, str(flap), None, None, as_json=False, seed=1, whole_log=True) == 0
    assert capsys.readouterr().out.splitlines() == [*log, *short[41:]]


def test_a_trace_tells_its_story_if_it_is_wanted(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trace, None, None, None, as_json=False, seed=1) == 0
    table = capsys.readouterr().out
    assert table.startswith("ipv4, 0.02 h, per hour")
    assert run(trace, None, None, None, as_json=False, seed=1, whole_log=True) == 0
    told = capsys.readouterr().out
    assert told.endswith(table)
    assert "au -> docomo: doubt" in told


def test_every_row_of_the_table_ends_in_its_columns(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(trace, None, None, None, as_json=False, seed=1)
    rows = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[-1].split() == ["of", "which", "silent", "for", "2", "s", "more", "100%", "-", "-"]


def test_a_trace_as_a_document(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trace, None, None, "docomo", as_json=True, seed=1) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["uplinks"], told["primary"]) == (["docomo", "au"], "docomo")
    family = told["families"]["ipv4"]
    assert family["seconds"] == pytest.approx(60)
    assert family["bad_seconds_per_hour"] == {"agent": 0.0, "never": 0.0, "oracle": 0.0}
    assert told["probes"]["docomo"]["active_bytes_per_720_hours"] > 0
    assert told["probes"]["docomo"]["standby_bytes_per_720_hours"] is None
    assert told["down_count"]["docomo"] == 0
    assert told["log"]


def test_the_first_uplink_is_the_primary(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trace, None, None, None, as_json=True, seed=1) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["primary"] == "au"
    assert told["families"]["ipv4"]["bad_seconds_per_hour"]["never"] == pytest.approx(360)
    assert told["families"]["ipv4"]["convictions"] == 1
    assert told["families"]["ipv4"]["convictions_lasted_ratio"] == 1.0


def test_the_config_is_heeded(trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "uplinks:\n  - {name: docomo, interface: eth0}\n  - {name: au, interface: eth1, metered: true}\n"
    assert run(trace, None, config(tmp_path, text), None, as_json=True, seed=1) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["uplinks"] == ["docomo", "au"]


def test_every_uplink_metered_spares_bytes(trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "uplinks: [{name: au, interface: eth0, metered: {budget: 10MB/month}}, {name: docomo, interface: eth1}]"
    spent = []
    for metered in (False, True):
        run(trace, None, config(tmp_path, text), None, as_json=True, seed=1, metered=metered)
        spent.append(json.loads(capsys.readouterr().out)["probes"]["docomo"]["bytes"])
    assert spent[1] < spent[0]


def test_dithered_packets_are_the_seeds(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for seed, dither in ((2, False), (2, True), (2, True), (3, True)):
        run(trace, None, None, None, as_json=True, seed=seed, dither=dither)
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[1] == outputs[2]
    assert len({tuple(told["log"]) for told in outputs}) == 3
    assert {told["families"]["ipv4"]["seconds"] for told in outputs} == {60.0}
    with pytest.raises(FailoverError, match="--dither goes with --trace"):
        run(None, "tunnel", None, None, as_json=True, seed=1, dither=True)


def test_the_seed_decides(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for seed in (1, 1, 2):
        run(None, "dead_zone", None, None, as_json=True, seed=seed)
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


def test_what_is_not_there(trace: str, tmp_path: Path) -> None:
    with pytest.raises(FailoverError, match=r"nothing\.csv: No such file"):
        run(str(tmp_path / "nothing.csv"), None, None, None, as_json=False, seed=1)
    with pytest.raises(FailoverError, match="no scenario 'deadzone'") as caught:
        run(None, "deadzone", None, None, as_json=False, seed=1)
    assert "dead_zone" in caught.value.hint
    with pytest.raises(FailoverError, match="no uplink 'ua'") as caught:
        run(trace, None, None, "ua", as_json=False, seed=1)
    assert "au" in caught.value.hint
    with pytest.raises(FailoverError, match="the config has no uplink 'au'"):
        run(trace, None, config(tmp_path, "uplinks: [{name: x, interface: y}]"), None, as_json=False, seed=1)


def test_bad_files(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("t_s,rtt_ms_a\n0,x\n")
    with pytest.raises(TraceError, match=r"bad\.csv: line 2: rtt_ms_a: 'x' is not a number"):
        run(str(bad), None, None, None, as_json=False, seed=1)
    with pytest.raises(ConfigError, match="unknown key"):
        run(None, "tunnel", config(tmp_path, "uplink: []"), None, as_json=False, seed=1)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00.000"), (-0.4, "-0:00:00.400"), (219_599.9996, "61:00:00.000"), (3723.0456, "1:02:03.046")],
)
def test_the_logs_clock(seconds: float, shown: str) -> None:
    assert clock(seconds).strip() == shown
    assert len(clock(seconds)) == 13
