"""The event loop: the real engine in virtual time, through crashes, sleep, operators and kernel events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from failover.config import Config, Detection, Uplink
from failover.model import Drain, FailoverError, Family, Reason, Use
from failover.sim.flows import Counting
from failover.sim.script import Act, Actor, ClockJump, Crash, Operator, Phase, Script, Suspend, TargetDead, Weather
from failover.sim.stage import Played, for_uplinks, play_script

DARK: Mapping[str, Any] = {"loss": (1.0, 1.0)}
V4 = Family.IPV4


def script(*au: Phase, acts: tuple[tuple[float, Act], ...] = (), length: float = 300.0, **more: Any) -> Script:
    return Script("t", (Actor("au", phases=au), Actor("docomo")), length, acts=acts, **more)


def play(played: Script, seed: int = 1, config: Config | None = None) -> Played:
    return play_script(played, config or Config(), None, seed)


def said(played: Played, kind: str) -> list[str]:
    return [line.split(None, 2)[2] for line in played.journal.lines if line.split(None, 2)[1] == kind]


def test_a_blackout_is_diverted_convicted_and_failed_back_from() -> None:
    played = play(script(Phase(until=20), Phase(until=60, changes=DARK)))
    meter = played.account.meters[V4]
    assert played.account.switches[V4] == {Reason.DOUBT: 1, Reason.FAILBACK: 1}
    assert (meter.convictions, meter.lasted) == (1, 1)
    assert meter.never.bad == pytest.approx(40, abs=0.3)
    assert meter.agent.bad <= 1.6
    assert meter.agent.silent <= 2.0
    assert meter.oracle.bad == 0


def test_the_same_seed_gives_the_same_log_and_another_one_another() -> None:
    played = script(Phase(until=200, changes={"loss": (0.3, 0.3)}))
    one, same, other = (play(played, seed).journal.lines for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_the_users_rate_does_not_change_what_is_decided_where_nothing_is_counted() -> None:
    lossy = Phase(until=200, changes={"loss": (0.3, 0.3)})
    blind = script(lossy, counted=Counting.NOTHING)
    slow, quick = (play(replace(blind, requests_every=every)).journal.lines for every in (10.0, 0.05))
    assert slow == quick


def test_a_killed_agent_adopts_what_it_left_and_no_packet_is_lost_by_that() -> None:
    played = play(script(Phase(until=20), Phase(until=200, changes=DARK), acts=((100.0, Crash(5.0)),)))
    assert "2 uplinks, ipv4 by docomo" in said(played, "ready")
    assert played.account.switches[V4][Reason.FAILBACK] == 1
    assert played.account.meters[V4].agent.bad <= 1.6


def test_while_the_agent_is_dead_the_kernel_fails_over_by_itself() -> None:
    pulled = Phase(until=60, changes={"link": False})
    played = play(script(Phase(until=20), pulled, acts=((15.0, Crash(30.0)),)))
    assert played.account.meters[V4].never.bad == pytest.approx(40, abs=0.3)
    assert played.account.meters[V4].agent.bad == 0


def test_sleep_costs_nobody_anything_and_convicts_nobody() -> None:
    played = play(script(acts=((100.0, Suspend(7200.0)),), length=7500.0))
    assert played.account.meters[V4].seconds == pytest.approx(300, abs=0.5)
    assert played.account.downs == {"au": 0, "docomo": 0}
    assert not played.account.switches[V4]
    assert any("slept for 7200 s" in line for line in said(played, "warning"))


def test_an_uplink_that_dies_in_its_sleep_is_left_after_waking_up() -> None:
    dark = Phase(until=7400, changes=DARK)
    played = play(script(Phase(until=200), dark, acts=((100.0, Suspend(7200.0)),), length=7500.0))
    assert played.account.switches[V4][Reason.DOUBT] == 1
    assert played.account.meters[V4].agent.bad <= 1.6


def test_the_operator_is_obeyed_and_answered() -> None:
    acts: tuple[tuple[float, Act], ...] = (
        (10.0, Operator(Use("docomo", 60.0))),
        (100.0, Operator(Drain("nobody"))),
    )
    played = play(script(acts=acts))
    assert played.account.switches[V4][Reason.OPERATOR] == 2  # there, and back when its time is over
    assert played.account.meters[V4].active_seconds[1] == pytest.approx(60, abs=15)
    assert any("nobody" in line for line in said(played, "answer"))


def test_a_dead_target_and_a_clock_that_jumps_move_nothing() -> None:
    acts: tuple[tuple[float, Act], ...] = (
        (10.0, TargetDead("1.1.1.1", True)),
        (200.0, TargetDead("1.1.1.1", False)),
        (50.0, ClockJump(1e8)),
    )
    played = play(script(acts=acts))
    assert not played.account.switches[V4]
    assert played.account.downs == {"au": 0, "docomo": 0}


def test_probe_bytes_are_counted_where_they_went() -> None:
    spent = play(script()).account.bytes
    assert spent[0, V4].standby == 0
    assert spent[1, V4].active == 0
    assert spent[0, V4].active > 3 * spent[1, V4].standby > 0


def test_a_lost_lease_is_left_at_once_and_its_probes_with_it() -> None:
    gone = Phase(until=60, changes={"address": False})
    played = play(script(Phase(until=20), gone))
    assert played.account.switches[V4][Reason.ABSENT] == 1
    assert played.account.meters[V4].agent.bad == 0


def test_families_are_played_apart() -> None:
    dark = Phase(until=60, changes=DARK, families=(Family.IPV6,))
    played = play(script(Phase(until=20), dark, families=(V4, Family.IPV6)))
    assert not played.account.switches[V4]
    assert played.account.switches[Family.IPV6][Reason.DOUBT] == 1


def test_open_flows_come_back_only_where_the_operator_wants_it() -> None:
    outage = script(Phase(until=20), Phase(until=60, changes=DARK))
    stays, returns = Config(), Config(policy=replace(Config().policy, failback_moves_flows=True))
    flows = [play(outage, config=config).account.meters[V4].flow_on for config in (stays, returns)]
    assert flows == [1, 0]


def test_other_numbers_other_decisions() -> None:
    outage = script(Phase(until=20), Phase(until=60, changes=DARK))
    patient = Config(detection=Detection(suspicion=3.0, doubt=4.0, conviction=8.0))
    quick, slow = (play(outage, config=config).account.meters[V4].agent.bad for config in (Config(), patient))
    assert slow > quick + 1  # before the doubt it is a brownout


def test_everyday_weather_holds_before_and_after() -> None:
    slow = Script("t", (Actor("au", everyday=Weather(rtt_factor=40.0)), Actor("docomo")), 60.0)
    meter = play(slow).account.meters[V4]
    assert meter.never.bad > 55


@pytest.mark.parametrize("wrong", ["nobody", "au "])
def test_a_primary_that_is_not_there(wrong: str) -> None:
    with pytest.raises(FailoverError, match="no uplink"):
        play_script(script(), Config(), wrong, 1)


def test_the_primary_goes_first_and_the_config_lends_what_it_says() -> None:
    told = Config(uplinks=(Uplink("c", "eth2"), Uplink("b", "eth1", carrier="B"), Uplink("a", "eth0")))
    by_config = for_uplinks(told, ("a", "b"), None, {}, by_config=True).uplinks
    assert [(u.name, u.interface, u.carrier) for u in by_config] == [("b", "b", "B"), ("a", "a", "")]
    assert [u.name for u in for_uplinks(told, ("a", "b"), None, {}, by_config=False).uplinks] == ["a", "b"]
    assert [u.name for u in for_uplinks(Config(), ("a", "b", "c"), "c", {}, by_config=False).uplinks] == ["c", "a", "b"]
    assert for_uplinks(Config(), ("a",), None, {"a": True}, by_config=False).uplinks[0].metered is not None
    with pytest.raises(FailoverError, match="the config has no uplink 'd'"):
        for_uplinks(told, ("d",), None, {}, by_config=True)


def test_the_log_is_in_order_of_time() -> None:
    lines = play(script(Phase(until=20), Phase(until=60, changes=DARK))).journal.lines
    stamps = [line.split()[0] for line in lines if not line.split()[0].startswith("-")]
    assert all(one <= two for one, two in pairwise(stamps))
