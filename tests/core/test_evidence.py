"""A box whose user has traffic: how soon it notices, and what it does not take for a blackout."""

from __future__ import annotations

from math import inf

import pytest

from failover.config import Config, Metered, Uplink
from failover.core.passive import BUSY_REPLIES
from failover.model import Verdict

from .box import PINGS, QUICK, RTT, Box, dead, fair
from .traffic import Traffic, every
from .worlds import V4

DENSE = every(0.02, 50, 130)
METERED_STANDBY = Config(targets=PINGS, uplinks=(Uplink("a", "a"), Uplink("b", "b", metered=Metered())))
METERED = Config(targets=PINGS, uplinks=(Uplink("a", "a", metered=Metered()), Uplink("b", "b")))


def box_with(traffic: Traffic, died: float = inf, config: Config = QUICK) -> Box:
    box = Box("a", "b", config=config)
    box.counts, box.weather["a"] = traffic.told, dead(died)
    return box


def moved(box: Box) -> dict[str, float]:
    """When traffic moved for the first time, by reason."""
    found: dict[str, float] = {}
    for line in box.switches():
        at, _, reason = line.split()
        found.setdefault(reason, float(at))
    return found


@pytest.mark.parametrize("phase", [0.0, 0.013, 0.21, 0.6, 0.9])
def test_a_blackout_under_dense_traffic(phase: float) -> None:
    died = 100 + phase
    box = box_with(Traffic().talk(DENSE, dead=died), died).run(110)
    when = moved(box)
    assert died + 0.3 <= when["doubt"] <= died + RTT + 0.05 + 0.35
    assert died + 1.5 <= when["conviction"] <= died + RTT + 0.05 + 1.5 + RTT
    assert box.verdict("a") is Verdict.DOWN


def test_flows_that_were_answered_need_no_probe_and_no_budget() -> None:
    box = box_with(Traffic().talk(DENSE, dead=100), 100, METERED).run(90)
    box.engine._fleet.budgets["a"].spend(90, 10**9)
    when = moved(box.run(110))
    assert box.probes("a", 90) == []
    assert when["doubt"] == pytest.approx(100.4, abs=0.1)
    assert when["conviction"] == pytest.approx(101.6, abs=0.1)


def test_new_flows_without_a_budget_move_and_convict_nobody() -> None:
    traffic = Traffic().talk(every(0.02, 50, 100)).add("fresh", every(0.1, 100.1, 200))
    box = box_with(traffic, 100, METERED).run(90)
    box.engine._fleet.budgets["a"].spend(90, 10**9)
    box.run(200)
    assert (box.switches(), box.verdict("a")) == ([], Verdict.UP)


def test_a_download_that_stops() -> None:
    per_second = 4 * BUSY_REPLIES
    traffic = Traffic().add("received", every(1 / per_second, 50, 100)).add("sent", every(2 / per_second, 50, 100))
    when = moved(box_with(traffic, 100).run(110))
    assert 100.3 <= when["doubt"] <= 100.55
    assert 101.5 <= when["conviction"] <= 102.0


ENDLESS = {
    "a dead server retried each second": Traffic().add("fresh", every(1.0, 50, 1250)),
    "a one-way upload": Traffic().add("fresh", every(0.02, 50, 1250)),
    "a one-way flow that was answered once": Traffic().talk([50.0]).add("sent", every(0.02, 50.1, 1250)),
    "a one-way upload beside requests": Traffic().add("fresh", every(0.02, 50, 1250)).talk(every(2.0, 50, 1250)),
}


@pytest.mark.parametrize("traffic", ENDLESS.values(), ids=ENDLESS)
def test_who_never_hears_anything_moves_nothing_in_twenty_minutes(traffic: Traffic) -> None:
    box = box_with(traffic).run(1250)
    assert box.switches() == []
    assert {notice.text for at, notice in box.notices if at > 10} == set()
    bursts = len(box.probes("a", 50)) - len(Box("a", "b").run(1250).probes("a", 50))
    assert 1 <= bursts <= 15, "5 s doubling to 300 s"


def test_pieces_of_a_film_cost_few_probes() -> None:
    traffic = Traffic()
    for start in range(50, 1250, 10):
        traffic.add("received", every(0.005, start, start + 3)).add("sent", every(0.01, start, start + 3))
    box = box_with(traffic).run(1250)
    assert box.switches() == []
    assert len(box.probes("a", 50)) - len(Box("a", "b").run(1250).probes("a", 50)) <= 15


def test_a_reply_right_before_the_switch_acquits() -> None:
    """The counters are read once more in the very moment."""
    doubt = moved(box_with(Traffic().talk(DENSE, dead=100), 100).run(101))["doubt"]
    traffic = Traffic().talk(DENSE, dead=100).add("received", [doubt - 0.0005])
    box = box_with(traffic, 100).run(doubt - 0.001)
    assert doubt - 0.051 < traffic.reads[-1] < doubt - 0.001
    box.run(doubt + 0.3)
    assert box.switches() == []
    assert min(at for at in traffic.reads if at > doubt - 0.001) == pytest.approx(doubt, abs=2e-3)


def test_traffic_both_ways_is_proof_on_a_metered_uplink() -> None:
    box = box_with(Traffic().talk(every(0.5, 50, 500)), config=METERED).run(600)
    assert len(box.probes("a", 60, 500)) <= 2
    assert len(box.probes("a", 520, 600)) == pytest.approx(10, abs=1)
    assert box.engine._fleet.by_family[V4][0].health.last_heard == pytest.approx(600, abs=9)


def test_late_replies_end_a_doubt_without_harm() -> None:
    """A stall of a second: what was held back comes at once."""
    kept = [at for at in DENSE if not 100 <= at < 101]
    traffic = Traffic().talk(kept).add("sent", every(0.02, 100, 101)).add("received", [101.03] * 50)
    box = box_with(traffic)
    box.weather["a"] = lambda now, _: RTT if not 100 <= now < 101 else 101.03 - now
    box.run(130)
    assert [line.split()[-1] for line in box.switches()] == ["doubt", "acquittal"]
    assert box.verdict("a") is Verdict.UP


def test_an_uplink_without_targets_is_not_judged_by_its_traffic() -> None:
    """Nobody could ask whether it is back."""
    box = box_with(Traffic().talk(DENSE, dead=100), 100, Config(targets=())).run(200)
    assert (box.switches(), box.verdict("a"), box.sent) == ([], Verdict.UP, [])


def test_all_silent_convicts_nobody_however_much_is_sent() -> None:
    box = box_with(Traffic().talk(DENSE, dead=100), 100)
    box.weather["b"] = lambda now, target: fair(now, target) if now < 96 else None
    box.run(130)
    assert "conviction" not in moved(box)


def test_what_servers_send_again_down_a_link_whose_way_up_is_dead_acquits_no_conviction() -> None:
    traffic = Traffic().talk(DENSE, dead=100).add("received", every(0.1, 104, 120))
    box = box_with(traffic, 100)
    box.weather["a"] = dead(100, 115)
    box.run(130)
    said = [notice.text for _, notice in box.notices if notice.text.startswith("a ipv4 is down")]
    assert len(said) == 1
    assert len(box.probes("a", 106, 115)) <= 15, "no burst for each of them"
    assert box.engine._fleet.by_family[V4][0].health.since == pytest.approx(115, abs=1.1)
    assert box.verdict("a") is Verdict.UP


def test_replies_over_a_lost_standby_have_it_asked() -> None:
    """Somebody's flows are bound to it; else nobody would wait for its return."""
    traffic = {("a", V4): Traffic(), ("b", V4): Traffic().talk(DENSE, dead=100).add("received", [180.0])}
    box = Box("a", "b", config=METERED_STANDBY)
    box.counts = lambda now: {lane: flows.counts(now) for lane, flows in traffic.items()}
    box.weather["b"] = dead(100, 179)
    box.run(179.9)
    assert box.verdict("b") is Verdict.DOWN
    box.run(180 + 5.1)
    assert box.verdict("b") is Verdict.UP
