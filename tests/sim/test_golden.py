"""Each shipped scenario gives its golden decision log, to the last character, and what its story promises."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Final

import pytest

from failover.config import Config
from failover.model import Family, Reason
from failover.sim.scenario import find_script, shipped
from failover.sim.stage import Played, play_script
from failover.sim.traffic import Meter
from tests.sim.golden_logs import SEED, condensed, path_of, play

CPU_SECONDS_KDDI: Final = 150.0
"""Beside other tests, on whatever machine: the same code was seen to take 32 s and 80 s on one. The promise of 60 s is
held by `python -m tests.bench --only kddi`, beside which nothing runs."""
CALLS_KDDI: Final = 2_900_000
"""Function calls of its first hour, of Python's and of C's: the same on every machine. 2.22 million of them went with
46 s of CPU for all 61 hours on an idle one, so these with 60."""
CACHE: dict[str, tuple[Played, float]] = {}


def played(name: str) -> tuple[Played, float]:
    """A run of the scenario and the CPU seconds it took; each is played once."""
    if name not in CACHE:
        began = time.process_time()
        run = play(name)
        CACHE[name] = run, time.process_time() - began
    return CACHE[name]


def meter(name: str, family: Family = Family.IPV4) -> Meter:
    return played(name)[0].account.meters[family]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", shipped())
def test_the_log_is_the_golden_one(name: str) -> None:
    assert condensed(played(name)[0].journal.lines) == path_of(name).read_text(encoding="utf-8").splitlines()


@pytest.mark.timeout(600)
def test_kddi_takes_no_more_cpu_than_any_machine_has() -> None:
    run, seconds = played("kddi2022")
    assert run.account.meters[Family.IPV4].seconds == pytest.approx(61 * 3600, abs=1)
    assert seconds <= CPU_SECONDS_KDDI


def test_an_hour_of_kddi_takes_no_more_calls_than_60_s_have_room_for() -> None:
    script = find_script("kddi2022")
    play_script(replace(script, length=60.0), Config(), None, SEED)  # what is made once is made
    made = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        play_script(replace(script, length=3600.0), Config(), None, SEED)
    finally:
        sys.setprofile(None)
    assert made <= CALLS_KDDI


def blackout(name: str, family: Family = Family.IPV4) -> None:
    """One uplink dies for minutes: new flows are back in 1.6 s, open ones convicted once, rightly."""
    told = meter(name, family)
    assert told.agent.bad <= 1.6
    assert told.agent.silent <= 2.6
    assert told.never.bad > 20
    assert (told.convictions, told.passed) == (1, 0)


def test_dead_zone() -> None:
    blackout("dead_zone")


def test_one_way() -> None:
    blackout("one_way")


def test_flap() -> None:
    blackout("flap")
    assert played("flap")[0].account.switches[Family.IPV4].total() <= 3


def test_v6_blackhole() -> None:
    blackout("v6_blackhole", Family.IPV6)
    assert meter("v6_blackhole").agent.bad == 0
    assert not played("v6_blackhole")[0].account.switches[Family.IPV4]


def test_cold_boot_is_online_in_five_seconds() -> None:
    assert meter("cold_boot").agent.bad <= 5.0
    assert meter("cold_boot").never.bad > 200


@pytest.mark.parametrize("name", ["clock_jump", "dead_target"])
def test_nothing_happens(name: str) -> None:
    account = played(name)[0].account
    assert not account.switches[Family.IPV4]
    assert not any(account.downs.values())
    assert account.meters[Family.IPV4].agent.bad == 0


def test_dead_name_servers_move_new_flows_and_break_nothing() -> None:
    account = played("dns_dead")[0].account
    assert account.switches[Family.IPV4] == {Reason.DEGRADED: 1, Reason.ACQUITTAL: 1}
    assert not any(account.downs.values())


def test_tunnel_convicts_nobody() -> None:
    account = played("tunnel")[0].account
    assert not any(account.downs.values())
    assert account.meters[Family.IPV4].agent.bad <= account.meters[Family.IPV4].oracle.bad + 0.5


def test_portal_is_left_for_the_next_until_somebody_logs_in() -> None:
    account = played("portal")[0].account
    assert account.switches[Family.IPV4] == {Reason.PORTAL: 1, Reason.FAILBACK: 1}
    assert account.meters[Family.IPV4].agent.bad <= 5.0


def test_our_own_upload_convicts_nobody() -> None:
    assert meter("own_upload").convictions == 0


def test_all_dead_and_one_back() -> None:
    told = meter("all_dead_one_back")
    assert told.agent.bad <= told.oracle.bad + 3


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "share"), [("kddi2022", 0.05), ("softbank2018", 0.05), ("docomo2021", 0.05), ("att2024", 0.02)]
)
def test_an_outage_of_hours_is_lived_through(name: str, share: float) -> None:
    told = meter(name)
    assert told.agent.bad <= share * told.never.bad
    assert told.agent.silent <= 5.0


def test_a_handover_is_better_than_staying() -> None:
    told = meter("bus_handover")
    assert told.oracle.bad <= 0.5 * told.seconds / 3600
    assert told.agent.bad < told.never.bad
