"""The engine pays for the probes of metered uplinks, and goes on without them when nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from failover.config import Config, Metered, Reconfigured, Uplink
from failover.core.budget import DEPTH, MONTH, RESERVE
from failover.core.engine import Event
from failover.memory import Allowance, Memory
from failover.model import NoticeKind, ProbeNow, ProbeResult, Verdict
from failover.picture import UplinkView
from failover.seam import Resumed
from failover.weights import wire_bytes

from .box import PINGS, PINGS6, RTT, Box, dead
from .worlds import V4, V6

HOUR = 3600.0
SCARCE = Metered(1_000_000, 1_000_000)
FULL = 1_000_000 / MONTH * DEPTH
RESERVED = RESERVE * FULL


class Weighed(Box):
    """Its probes weigh what they do on the wire; `spent` sums them up when the engine hears of them."""

    spent = 0

    def _push(self, at: float, what: Event | Callable[[], None]) -> None:
        if isinstance(what, ProbeResult):
            send = next(send for _, send in reversed(self.sent) if send.id == what.id)
            sent, received = wire_bytes(send.target, send.family, what.outcome)
            self.spent += sent + received
            what = replace(what, sent_bytes=sent, received_bytes=received)
        super()._push(at, what)


def config(**metered: Metered | None) -> Config:
    return Config(targets=PINGS, uplinks=tuple(Uplink(name, name, metered=told) for name, told in metered.items()))


def left(**bytes_left: float) -> Memory:
    return Memory(allowances=tuple(Allowance(name, value) for name, value in bytes_left.items()))


def seen(box: Box, name: str) -> UplinkView:
    return next(view for view in box.engine.snapshot().uplinks if view.name == name)


def warned(box: Box) -> list[str]:
    return [notice.text for _, notice in box.notices if notice.kind is NoticeKind.WARNING]


def test_what_was_spent_is_gone_and_what_was_not_comes_back() -> None:
    box = Weighed("a", "b", config=config(a=Metered(), b=None)).run(600)
    probes = len(box.probes("a"))
    spent = 2_000_000 - 56 * probes + 600 * 30_000_000 / MONTH
    assert seen(box, "a").budget_left == pytest.approx(min(spent, 2_000_000), abs=150)
    assert (seen(box, "a").budget, seen(box, "b").budget, seen(box, "b").budget_left) == (2_000_000, None, None)


def test_a_silent_probe_costs_half_of_an_answered_one() -> None:
    found = []
    for weather in (dead(0.0), dead(1e9)):
        box = Weighed("a", config=config(a=SCARCE), memory=left(a=50_000.0))
        box.weather["a"] = weather
        box.run(60)
        filled = 50_000 + 60 * 1_000_000 / MONTH
        found.append((filled - (seen(box, "a").budget_left or 0)) / len([at for at in box.probes("a") if at < 45]))
    silent, answered = found
    assert silent < 0.75 * answered


def test_when_only_the_reserve_is_left_it_is_probed_as_it_refills_and_that_is_said_once() -> None:
    box = Weighed("a", "b", config=config(a=SCARCE, b=None), memory=left(a=RESERVED)).run(6 * HOUR)
    rate = len(box.probes("a", HOUR)) * 56 / (5 * HOUR)
    assert rate == pytest.approx(1_000_000 / MONTH, rel=0.02)
    used_up = [text for text in warned(box) if "budget" in text]
    assert len(used_up) == 1
    assert used_up[0].startswith("a: the probe budget of 1MB/month")
    assert used_up[0] in box.engine.snapshot().warnings
    assert (box.active(), box.verdict("a")) == ("a", Verdict.UP)


def test_two_hours_of_trouble_costs_what_there_is() -> None:
    box = Weighed("a", "b", config=config(a=SCARCE, b=SCARCE))
    box.weather["a"] = box.weather["b"] = lambda now, _: None if int(now / 7) % 2 else 0.03
    box.run(2 * HOUR)
    there = 2 * (FULL + 2 * HOUR * 1_000_000 / MONTH)
    over = sum(seen(box, name).budget_left or 0 for name in ("a", "b"))
    assert box.spent <= there
    assert box.spent == pytest.approx(there - over, abs=20 * 56), "but for what is under way"


def test_both_families_are_paid_out_of_one_budget() -> None:
    both = replace(config(a=SCARCE), targets=(*PINGS, *PINGS6))
    box = Weighed("a", config=both, families=(V4, V6), memory=left(a=RESERVED)).run(6 * HOUR)
    families = [sum(1 for at, send in box.sent if send.family is family and at > HOUR) for family in (V4, V6)]
    assert min(families) > 0
    assert sum(families) * 56 / (5 * HOUR) < 1.02 * 1_000_000 / MONTH


def test_what_is_left_outlives_a_restart() -> None:
    box = Weighed("a", "b", config=config(a=Metered(), b=None)).run(600)
    told = box.engine.memory(box.now)
    assert [one.uplink for one in told.allowances] == ["a"]
    box.restart(replace(told, allowances=(Allowance("a", 1_000_000.0),), age=HOUR))
    box.run(box.now + 0.5)
    assert seen(box, "a").budget_left == pytest.approx(1_000_000 + HOUR * 5_000_000 / MONTH, abs=500)


def test_a_reload_brings_a_budget_and_takes_it() -> None:
    box = Weighed("a", "b", config=config(a=None, b=None)).run(60)
    assert seen(box, "a").budget is None
    for metered, full in ((SCARCE, FULL), (Metered(3_000_000, 1_000_000), 3 * FULL), (None, None)):
        box.tell(Reconfigured(config(a=metered, b=None)))
        box.run(box.now + 60)
        assert seen(box, "a").budget == full
    assert seen(box, "a").budget_left is None


def test_a_new_name_keeps_what_is_left() -> None:
    box = Weighed("a", config=config(a=SCARCE), memory=left(a=30_000.0)).run(10)
    was = seen(box, "a").budget_left
    box.tell(Reconfigured(Config(targets=PINGS, uplinks=(Uplink("au", "a", metered=SCARCE),))))
    box.run(11)
    assert was is not None
    assert seen(box, "au").budget_left == pytest.approx(was, abs=500)


def test_sleep_refills() -> None:
    box = Weighed("a", config=config(a=SCARCE), memory=left(a=30_000.0)).run(60)
    was = seen(box, "a").budget_left or 0
    box.tell(Resumed(HOUR))
    box.run(box.now + 0.2)
    assert seen(box, "a").budget_left == pytest.approx(was + HOUR * 1_000_000 / MONTH, abs=500)


def test_the_operator_s_word_is_obeyed_though_nothing_is_left() -> None:
    box = Weighed("a", "b", config=config(a=SCARCE, b=None), memory=left(a=0.0)).run(60)
    assert box.probes("a") == []
    box.ask(ProbeNow("a"))
    assert len(box.probes("a")) == len(PINGS)
    assert seen(box, "a").budget_left == pytest.approx(60 * 1_000_000 / MONTH), "what is kept for doubt is none of his"
    box.run(120)
    assert len(box.probes("a")) == len(PINGS), "and what it cost is owed"


def test_whoever_waits_for_the_return_of_a_lost_uplink_asks_it_out_of_the_reserve_now_and_then() -> None:
    both = config(a=SCARCE, b=None)
    box = Weighed("a", "b", config=both, memory=left(a=RESERVED))
    box.weather["a"] = dead(100)
    box.run(100 + HOUR)
    late = box.probes("a", 100 + HOUR / 2)
    assert len(late) == pytest.approx(60, abs=2)
    assert (seen(box, "a").budget_left or 0) > RESERVED / 10
    box.weather["a"] = lambda *_: RTT
    box.run(100 + HOUR + 61)
    assert box.verdict("a") is Verdict.UP


def test_who_has_nothing_left_for_steady_probes_is_asked_before_traffic_returns_there() -> None:
    """It answered once and is dead again."""
    box = Weighed("a", "b", config=config(a=SCARCE, b=None), memory=left(a=RESERVED))
    box.weather["a"] = lambda now, _: None if 100 <= now < 400 or now > 430 else RTT
    box.run(100 + HOUR)
    assert box.active() == "b"
    assert [line for line in box.switches(300) if ">a" in line] == []


def test_a_target_that_limits_its_rate_takes_no_more_than_half_of_what_there_is() -> None:
    """Four of ten pings are lost there and none elsewhere: it is asked more for a while, and not for ever."""
    dice = Random(3)
    box = Weighed("a", "b", config=config(a=Metered(), b=None))
    box.weather["a"] = lambda _, target: None if target == PINGS[0] and dice.random() < 0.4 else RTT
    box.run(8 * HOUR)
    assert seen(box, "a").budget_left == pytest.approx(1_000_000, rel=0.01)
    assert (box.active(), box.switches()) == ("a", [])
