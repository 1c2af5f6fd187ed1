"""Faults told apart by the real engine with the user's traffic as evidence: what each costs, and what it is called.

The preferred uplink au (30 ms) is hit at two minutes; docomo stands by. Both are metered. The lab plays the same
on real routes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from failover.config import Config
from failover.model import Family, Reason
from failover.sim.scenario import parse
from failover.sim.stage import Played, play_script
from failover.sim.traffic import Meter

SCRIPT = """
title: "{weather}"
length: {length}
counted: {counted}
requests_every: {every}
user: {{{user}}}
uplinks:
  - name: au
    metered: yes
    chatter: {chatter}
    everyday: {{rtt: 30ms}}
    phases:
      - {{until: 2m}}
      - {{{weather}}}
  - name: docomo
    metered: yes
    everyday: {{rtt: 35ms, {standby}}}
events: [{events}]
"""
UNSEEN = "requests: no, open: no"
"""The measured packets are a gauge only."""
MINUTE = "for: 1m, loss: 1"
V4 = Family.IPV4


@dataclass
class Told:
    """What a run brought."""

    played: Played

    @property
    def meter(self) -> Meter:
        return self.played.account.meters[V4]

    @property
    def switches(self) -> dict[Reason, int]:
        return dict(self.played.account.switches[V4])

    @property
    def convictions(self) -> int:
        return sum(self.played.account.downs.values())


def play(weather: str, *, length: str = "5m", counted: str = "yes", user: str = "", seed: int = 1, **more: str) -> Told:
    """Requests and an open flow with 10 packets a second each, unless something else is said."""
    words = {"every": "100ms", "chatter": "1h", "standby": "loss: 0", "events": ""} | more
    text = SCRIPT.format(weather=weather, length=length, counted=counted, user=user, **words)
    return Told(play_script(parse(text, "fault"), Config(), None, seed))


LEFT = {Reason.DOUBT: 1, Reason.FAILBACK: 1}


@pytest.mark.parametrize(
    ("weather", "user", "bad"),
    [
        (MINUTE, "", 0.6),
        (MINUTE, "open: no", 0.6),
        (MINUTE, f"download: 5ms, {UNSEEN}", 0.8),
        (MINUTE, f"upload: 10ms, {UNSEEN}", 0.8),
        (MINUTE, UNSEEN, 10.0),
        ("for: 1m, one_way: yes", "", 0.6),
        ("for: 1m, unheard: yes", "", 0.6),
        ("for: 1m, unheard: yes", "download: 5ms", 1.5),
        ("for: 1m, refused: yes", "", 0.6),
    ],
)
def test_a_dead_uplink_is_left_at_once_and_convicted_once(weather: str, user: str, bad: float) -> None:
    told = play(weather, user=user)
    assert (told.switches, told.convictions, told.meter.passed) == (LEFT, 1, 0)
    assert told.meter.agent.bad <= bad
    assert told.meter.never.bad == pytest.approx(60, abs=1)


@pytest.mark.parametrize("every", ["100ms", "33ms"])
@pytest.mark.parametrize(("counted", "bad"), [("yes", 0.6), ("weak", 10.0)])
def test_gateway_chatter_hides_nothing(every: str, counted: str, bad: float) -> None:
    """Interface counters are deceived, so probes must tell; the flows' own replies are not."""
    told = play(MINUTE, counted=counted, chatter=every)
    assert (told.switches, told.convictions) == (LEFT, 1)
    assert told.meter.agent.bad <= bad


@pytest.mark.parametrize(("counted", "bad"), [("weak", 0.8), ("no", 10.0)])
def test_without_nftables_a_blackout_is_found_all_the_same(counted: str, bad: float) -> None:
    told = play(MINUTE, counted=counted)
    assert (told.switches, told.convictions) == (LEFT, 1)
    assert told.meter.agent.bad <= bad


@pytest.mark.parametrize(
    ("weather", "user"),
    [
        ("for: 20m", f"one_way: 10ms, {UNSEEN}"),
        ("for: 20m, rtt: 1s..2s", f"upload: 10ms, {UNSEEN}"),
        ("for: 20m", f"dead_server: 1s, {UNSEEN}"),
        ("for: 20m", "dead_server: 1s"),
    ],
)
def test_what_only_looks_like_silence_convicts_nobody_and_diverts_once_at_most(weather: str, user: str) -> None:
    """Twenty minutes of each: one divert in the first five seconds, if at all."""
    told = play(weather, length="22m", user=user)
    assert told.convictions == 0
    assert told.switches.get(Reason.DOUBT, 0) <= 1
    for line in told.played.journal.lines:
        if "doubt" in line and "switch" in line:
            assert "0:02:00" <= line.split()[0] <= "0:02:05"


@pytest.mark.parametrize(("host", "moves"), [("1.1.1.1", 0), ("8.8.8.8", 0), ("9.9.9.9", 2)])
def test_one_dead_target_convicts_nobody(host: str, moves: int) -> None:
    """The only name server there is may be missed on one uplink first: there and back again, at most."""
    told = play("for: 20m", length="22m", events=f"{{at: 2m, dead_target: {host}}}")
    assert told.convictions == 0
    assert sum(told.switches.values()) <= moves


@pytest.mark.parametrize(("stall", "diverts"), [("300ms", 0), ("500ms", 1), ("1s", 1)])
def test_a_stall_diverts_at_most_and_breaks_nothing(stall: str, diverts: int) -> None:
    told = play(f"for: {stall}, stalled: yes")
    assert told.convictions == 0
    assert told.switches.get(Reason.DOUBT, 0) <= diverts
    assert told.meter.agent.bad <= 0.5


def test_a_long_stall_cannot_be_told_from_a_blackout() -> None:
    told = play("for: 3s, stalled: yes")
    assert (told.convictions, told.meter.passed) == (1, 1)
    assert told.meter.agent.bad <= 0.6


@pytest.mark.parametrize(("loss", "bad"), [("0.2", 8.0), ("0.5", 4.0)])
def test_a_brownout_moves_new_flows_and_convicts_nobody(loss: str, bad: float) -> None:
    for seed in range(1, 4):
        told = play(f"for: 2m, loss: {loss}", seed=seed, length="4m")
        assert told.convictions == 0, seed
        assert told.switches.get(Reason.DEGRADED, 0) + told.switches.get(Reason.DOUBT, 0) >= 1, seed
        assert told.meter.agent.bad <= bad < told.meter.never.bad, seed


@pytest.mark.parametrize("weather", ["loss: 0.05", "rtt: 330ms", "rtt_factor: 5", "echo: no", "passes: 0.5"])
def test_what_still_works_convicts_nobody(weather: str) -> None:
    told = play(f"for: 2m, {weather}")
    assert told.convictions == 0
    assert told.meter.agent.bad <= told.meter.never.bad


def test_refused_new_flows_are_noticed_under_running_ones() -> None:
    """Half of them get nowhere while an open flow goes on, which says that all is well; probes are new flows too."""
    for seed in range(1, 5):
        told = play("for: 20m, passes: 0.5", length="24m", seed=seed)
        assert told.convictions == 0
        assert any("au new flows get nowhere while running ones pass" in line for line in told.played.journal.lines)
        assert told.meter.agent.bad <= 0.3 * told.meter.never.bad, seed


@pytest.mark.parametrize("user", ["", UNSEEN])
def test_a_carrier_that_drops_icmp_is_kept(user: str) -> None:
    told = play("for: 10m, echo: no", length="15m", user=user)
    assert told.convictions == 0
    assert told.switches.get(Reason.DOUBT, 0) <= 1
    assert told.meter.active_seconds[1] <= 20


def test_a_portal_is_left() -> None:
    told = play("for: 5m, portal: yes", length="8m")
    assert told.meter.agent.bad <= 6 < told.meter.never.bad


def test_a_standby_that_sleeps_is_neither_doubted_nor_slow_to_take_over() -> None:
    told = play(MINUTE, length="10m", standby="sleeps: {after: 10s, wakes: 300ms}")
    assert (told.switches, told.convictions) == (LEFT, 1)
    assert told.meter.agent.bad <= 0.6
    assert not any("docomo ipv4 is doubtful" in line for line in told.played.journal.lines)
