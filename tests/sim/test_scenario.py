"""Scenario files: what is read, what is said about a bad one, and that every shipped one is sound."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from failover.config import ConfigError
from failover.model import Drain, FailoverError, Family, Use
from failover.modem import Deed, Registration
from failover.sim.flows import Counting
from failover.sim.links import Bursts, Nap, Rtt
from failover.sim.loads import User
from failover.sim.modems import Air, Fit
from failover.sim.scenario import find_script, load, parse, shipped
from failover.sim.script import Crash, Gaps, OnAir, Operator, Suspend, TargetDead, Van, unroll

OUTAGES = {"kddi2022": 61, "softbank2018": 6, "docomo2021": 29, "att2024": 12}
EVERYDAY = {
    "bus_handover", "bufferbloat_stall", "tunnel", "dead_zone", "own_upload", "dead_target", "portal", "dns_dead",
    "v6_blackhole", "one_way", "flap", "cold_boot", "all_dead_one_back", "clock_jump",
}  # fmt: skip

FULL = """
title: everything a scenario can say
length: 1h
families: [ipv4, ipv6]
settle: 10s
requests_every: 1s
trusted_clock: no
apart: yes
counted: weak
van: modems
user: {requests: no, open: no, download: 10ms, upload: 20ms, one_way: 30ms, dead_server: 1s}
uplinks:
  - name: au
    metered: true
    chatter: 100ms
    everyday: {rtt: {p50: 60ms, p90: 95ms, p99: 240ms}, bursts: {enter: 0.0027, stay: 0.64}}
    phases:
      - {until: 1m, loss: 0.05..0.2, note: worse and worse}
      - {for: 2m, families: [ipv6], one_way: yes}
      - for: 10m
        cycle:
          - {for: 5s, registered: no}
          - {for: 15s, rtt: 600ms..3s, passes: 0.5}
      - {until: 20m, holes: {every: 4s..7s, last: 1s..3s}, stalls: {every: 60s, last: 2s}}
      - {for: 1m, unheard: yes, echo: no, sleeps: {after: 10s, wakes: 300ms}}
      - {for: 1m, stalls: {every: 5m, last: {p50: 2s, p90: 3s, p99: 4s}}, rtt: {p50: 1s, p90: 2s, p99: 3s, memory: 0.5}}
      - {for: 1m, registered: no, registration: denied, attaches: 0.2}
      - {for: 1m, technology: umts, cure: reset}
  - name: docomo
    network: "44010"
    modem: {name: wwan0, slot: 2, reset: 45s, switch: 8s, registers: 3s, dials: no}
  - name: povo
    modem: wwan0
events:
  - {at: 1m, use: docomo, for: 1h}
  - {at: 2m, drain: au}
  - {at: 3m, crash: 5s}
  - {at: 4m, suspend: 10m}
  - {at: 5m, dead_target: 1.1.1.1, for: 1m}
"""


def test_every_word_of_a_scenario() -> None:
    script = parse(FULL, "full.yaml")
    assert (script.length, script.settle, script.requests_every) == (3600, 10, 1)
    assert (script.families, script.apart, script.trusted_clock) == ((Family.IPV4, Family.IPV6), True, False)
    au, docomo, povo = script.actors
    assert (au.metered, au.everyday.bursts) == (True, Bursts(0.0027, 0.64))
    assert au.everyday.rtt == Rtt.around(0.06, 0.095, 0.24)
    worse, one_way, flapping, holey, odd, swaying, denied, fallen = au.phases
    assert denied.changes == {"registered": False, "registration": Registration.DENIED, "attaches": 0.2}
    assert fallen.changes == {"technology": "umts", "cure": Deed.RESET}
    assert (script.van, au.modem, povo.modem) == (Van.MODEMS, None, Fit("wwan0"))
    assert docomo.modem == Fit("wwan0", 2, 45.0, 8.0, 3.0, dials=False)
    assert script.networks == {"au": "00101", "docomo": "44010", "povo": "00103"}
    assert script.counted is Counting.PACKETS
    assert script.user == User(False, False, 0.01, 0.02, 0.03, 1.0)
    assert (au.chatter, docomo.chatter) == (0.1, None)
    assert odd.changes == {"unheard": True, "echo": False, "sleeps": Nap(10.0, 0.3)}
    assert swaying.changes["rtt"] == Rtt.around(1, 2, 3, 0.5)
    assert swaying.changes["stalls"].last == Rtt.around(2, 3, 4)
    assert (worse.until, worse.changes["loss"], worse.text) == (60, (0.05, 0.2), "worse and worse; loss 0.05..0.2")
    assert (one_way.lasts, one_way.families, one_way.changes) == (120, (Family.IPV6,), {"one_way": True})
    assert [part.lasts for part in flapping.cycle] == [5, 15]
    assert flapping.cycle[1].changes == {"rtt": Rtt.between(0.6, 3), "passes": 0.5}
    assert holey.changes["holes"] == Gaps(Rtt.between(4, 7), Rtt.between(1, 3))
    assert docomo.phases == ()
    assert script.acts == (
        (60, Operator(Use("docomo", 3600))),
        (120, Operator(Drain("au"))),
        (180, Crash(5)),
        (240, Suspend(600)),
        (300, TargetDead("1.1.1.1", True)),
        (360, TargetDead("1.1.1.1", False)),
    )


HEAD = "title: x\nlength: 10m\nuplinks:\n  - name: au\n"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["no length", "no title", "no uplinks"]),
        ("- x\n", ["bad.yaml:1: a list where a mapping should be"]),
        (HEAD + "lenght: 5m\n", ["bad.yaml:5: lenght: unknown key; did you mean 'length'?"]),
        (HEAD.replace("10m", "10"), ["bad.yaml:2: length: '10' has no unit"]),
        (
            HEAD + "    everyday: {rtt: {p50: 80, p90: 1s, p99: 2s}}\n",
            ["everyday.rtt: no ladder of quantiles", "uplinks[0].everyday.rtt.p50: '80' has no unit; write 80ms"],
        ),
        (HEAD + "    phases: [{until: 5m, los: 1}]\n", ["uplinks[0].phases[0].los: unknown key; did you mean 'loss'?"]),
        (HEAD + "    phases: [{loss: 1}]\n", ["uplinks[0].phases[0]: when does it end?"]),
        (HEAD + "    phases: [{until: 1m, for: 1m}]\n", ["uplinks[0].phases[0]: when does it end?"]),
        (HEAD + "    phases: [{until: 2m}, {until: 1m}]\n", ["phases[1]: ends at 1m, the phase before at 2m"]),
        (HEAD + "    phases: [{until: 11m}]\n", ["phases[0]: ends at 11m, the scenario at 10m"]),
        (HEAD + "    phases: [{for: 1m, cycle: [{until: 1s}]}]\n", ["until: a loop has no moments"]),
        (HEAD + "    phases: [{for: 1m, cycle: [{for: 1ms}]}]\n", ["cycle: the loop takes no second"]),
        (HEAD + "    phases: [{for: 1m, loss: 2}]\n", ["loss: the number '2' is no loss; a ratio from 0 to 1"]),
        (HEAD + "    phases: [{for: 1m, loss: lots}]\n", ["loss: 'lots' is not a number"]),
        (HEAD + "    phases: [{for: 1m, rtt: 3s..1s}]\n", ["rtt: the text '3s..1s' is no range"]),
        (HEAD + "    phases: [{for: 1m, rtt: {p50: 60ms}}]\n", ["rtt: no ladder of quantiles"]),
        (HEAD + "    phases: [{for: 1m, holes: {every: 4s}}]\n", ["holes: how often, and how long?"]),
        (HEAD + "    phases: [{for: 1m, bursts: {enter: 0.9, stay: 0.1}}]\n", ["bursts: no burst process"]),
        (HEAD + "    phases: [{for: 1m, portal: perhaps}]\n", ["portal: 'perhaps' is not true or false"]),
        (HEAD + "    phases: [{for: 1m, families: [ipv5]}]\n", ["families[0]: 'ipv5' is not a family"]),
        (HEAD + "  - name: au\n", ["uplinks[1]: uplink 'au' is there twice"]),
        (HEAD.replace("name: au", "metered: yes"), ["uplinks[0]: no name"]),
        (HEAD + "events: [{use: au}]\n", ["events[0]: no moment"]),
        (HEAD + "events: [{at: 1m}]\n", ["events[0]: one thing happens in an event; one of use, auto"]),
        (HEAD + "events: [{at: 1m, use: au, crash: 1s}]\n", ["events[0]: one thing happens in an event"]),
        (HEAD + "events: [{at: 1m, crash: 1s, for: 5s}]\n", ["events[0]: 'for' says nothing about crash"]),
        (HEAD + "events: [{at: 11m, crash: 1s}]\n", ["events[0]: comes at 11m, the scenario ends at 10m"]),
        (HEAD + "events: [{at: 1m, drain: ua}]\n", ["events[0]: no uplink 'ua'; there is au"]),
        (HEAD.replace("au", "au\n    modem: {slot: 2}"), ["uplinks[0].modem: which modem?; give its name"]),
        (HEAD.replace("au", "au\n    modem: {name: x, slot: 0}"), ["uplinks[0].modem.slot: '0' is out of range"]),
        (HEAD.replace("au", "au\n    network: docomo"), ["network: the text 'docomo' is no network; its MCC and MNC"]),
        (HEAD + "    phases: [{for: 1m, cure: slap}]\n", ["cure: 'slap' is not a cure"]),
        (HEAD + "    phases: [{for: 1m, registration: no}]\n", ["registration: 'no' is not a registration"]),
        (HEAD + "    phases: [{for: 1m, technology: 3g}]\n", ["technology: '3g' is not a technology"]),
        ("van: sins\n" + HEAD, ["van: 'sins' is not a van; did you mean 'sims'?"]),
        (
            HEAD + "    modem: w\n  - {name: docomo, modem: w}\n",
            ["uplinks[1]: slot 1 of modem 'w' holds 'au'; give it another slot"],
        ),
        (HEAD + "  - {name: docomo, modem: au}\n", ["uplinks[1]: modem 'au' is named as a link"]),
        ("title: [\n", ["bad.yaml:1: not YAML"]),
    ],
)
def test_what_is_wrong_and_where(text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "bad.yaml")
    told = caught.value.problems
    assert len(told) == len(problems)
    for line, problem in zip(told, problems, strict=True):
        assert problem in str(line)


def test_every_problem_at_once() -> None:
    text = "title: x\nlength: never\nuplinks:\n  - {name: au, phases: [{for: 1m, loss: 2, rtt: soon}]}\nevent: []\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, "bad.yaml")
    assert [problem.line for problem in caught.value.problems] == [2, 4, 4, 5]


def test_the_shipped_ones_are_all_there() -> None:
    assert set(shipped()) >= OUTAGES.keys() | EVERYDAY


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_one_is_sound(name: str) -> None:
    script = find_script(name)
    assert script.title
    assert len(script.actors) >= 2
    if name in OUTAGES:
        assert script.length == OUTAGES[name] * 3600


@pytest.mark.parametrize(
    ("van", "fits"),
    [
        (Van.LINKS, {}),
        (Van.MODEMS, {"docomo": Fit("docomo"), "au": Fit("au")}),
        (Van.SIMS, {"docomo": Fit("wwan0", 1), "au": Fit("wwan0", 2)}),
    ],
)
def test_a_van_of_links_of_modems_and_of_sims(van: Van, fits: dict[str, Fit]) -> None:
    script = replace(find_script("docomo2021"), van=van)
    airs = [(at, act.air) for at, act in unroll(script, 1).acts if isinstance(act, OnAir)]
    assert script.fits == fits
    fallen = Air(technology="umts", cure=Deed.RESET, ends=24 * 3600.0)
    assert airs == (
        [(2520.0, Air(registered=False)), (10800.0, Air()), (43200.0, fallen), (86400.0, Air())] if fits else []
    )


def test_kddi_is_played_at_full_length() -> None:
    au = find_script("kddi2022").actors[0]
    ends, at = [], 0.0
    for phase in au.phases:
        at = phase.end(at)
        ends.append(at / 3600)
    assert ends == [0.25, 5.5, 11, 40, 53, 54, 54.5, 60]
    assert [part.lasts for part in au.phases[1].cycle] == [60, 20]
    assert au.phases[2].changes["holes"] == Gaps(Rtt.between(4, 7), Rtt.between(1, 3))


def test_a_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tunnel").write_text(HEAD)
    assert find_script("tunnel").title == "x"
    assert load("tunnel").length == 600


def test_a_wrong_name_is_told_the_near_one_or_all() -> None:
    with pytest.raises(FailoverError, match="no scenario 'tunel'") as caught:
        find_script("tunel")
    assert "tunnel" in caught.value.hint
    with pytest.raises(FailoverError) as caught:
        find_script("?")
    assert all(name in caught.value.hint for name in shipped())


def test_a_bus_has_the_silences_of_the_drives() -> None:
    """About 17 over a second per carrier and hour, never on both carriers at once."""
    script = find_script("bus_handover")
    silences = 0
    for seed in range(20):
        dark = []
        for timeline in unroll(script, seed).timelines.values():
            ends = [*timeline.starts[1:], script.length]
            dark += [span for *span, here in zip(timeline.starts, ends, timeline.conditions, strict=True) if here.dead]
        assert all(one[1] <= two[0] for one, two in pairwise(sorted(dark)))
        silences += sum(end - start > 1 and start >= 0 for start, end in dark)
    assert 15 <= silences / (20 * 2 * script.length / 3600) <= 21
