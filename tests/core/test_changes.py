"""How a box begins, and what comes, goes and changes under it: uplinks, addresses, the config."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from failover.config import PROFILES, Config, Policy, Reconfigured, Uplink
from failover.core.engine import Engine
from failover.facts import TABLE_ACTIVE, Route, Rule, Verb
from failover.model import (
    NoticeKind,
    Outcome,
    ProbeResult,
    SendProbe,
    Verdict,
)
from failover.seam import KernelRead, WallClock

from .box import NAMES, PINGS, PINGS6, QUICK, RTT, Box, dead, ground, told
from .worlds import V4, V6

# --- the beginning ---------------------------------------------------------------------------------------------------


def test_a_cold_boot_behind_a_dead_preferred_uplink_is_online_within_a_second() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(0)
    box.run(10)
    assert box.switches() == ["1 a>b(a) doubt", "1.53 b>b(b) conviction"]


def test_a_satellite_is_not_doubted_before_its_first_answer() -> None:
    box = Box("a", "b")
    box.weather["a"] = lambda now, _: 0.7
    box.run(600)
    assert box.switches() == []
    assert told(box, 0)[:2] == ["b ipv4 is up: answers", "a ipv4 is up: answers"]


def test_the_first_verdict_comes_with_the_first_answer() -> None:
    box = Box("a", "b").run(1)
    assert [at for at, notice in box.notices if notice.kind is NoticeKind.VERDICT] == [RTT, RTT]


def test_the_kernels_choice_is_adopted() -> None:
    box = Box("a", "b", config=Config(targets=PINGS, uplinks=(Uplink("b", "b"), Uplink("a", "a")))).run(9.9)
    assert (box.active(), box.settled()) == ("a", "a"), "main has a as its best default"
    assert told(box, 0, NoticeKind.READY) == ["2 uplinks, ipv4 by a"]
    box.run(20)
    assert box.switches() == [f"{10 + RTT:g} a>b(b) config"]


def test_a_restart_adopts_what_the_former_agent_left_and_keeps_its_hold_down() -> None:
    before = Box("a", "b")
    before.weather["a"] = dead(50, 80)
    before.run(90)
    assert before.active() == "b"
    after = Box("a", "b", seed=2, start=1000)
    after.facts = before.facts
    after._queue.clear()
    after.stir()
    after.run(1000.5)
    assert (after.active(), after.settled()) == ("b", "b")
    changed = [operation for _, effect in after.applied for operation in effect.operations]
    assert {(o.verb, isinstance(o.item, Route) and o.item.metric > 100) for o in changed} <= {(Verb.REPLACE, True)}
    after.run(1100)
    (back,) = after.switches()
    assert back.endswith("failback")
    assert float(back.split()[0]) == pytest.approx(1060, abs=0.1)


def test_a_config_that_comes_before_the_kernel_was_read_waits_for_it() -> None:
    engine = Engine(QUICK, random.Random(1).random)
    assert engine.handle(0.0, Reconfigured(Config())) == []
    effects = engine.handle(0.1, KernelRead(ground("ab")))
    assert {effect.uplink for effect in effects if isinstance(effect, SendProbe)} == {"a", "b"}
    assert engine.snapshot().decisions[V4].active == "a"


def test_before_anything_is_known_nothing_is_done() -> None:
    engine = Engine(QUICK, random.Random(1).random)
    assert engine.wake(5.0) == []
    assert engine.handle(5.0, ProbeResult(1, Outcome.ANSWERED, 0.1)) == []
    assert engine.handle(5.0, WallClock(1.7e9, trusted=True)) == []
    assert engine.deadline() == float("inf")
    assert engine.snapshot().uplinks == ()


def test_no_uplink_at_all_is_a_normal_state() -> None:
    box = Box().run(300)
    assert box.active() is None
    assert box.read == [60, 120, 180, 240]
    assert box.applied == []
    box.plug("a", 5)
    box.run(310)
    assert box.switches() == ["300 None>a(a) first"]
    box.unplug("a")
    box.run(320)
    assert box.switches(305) == ["310 a>None(None) absent"]


# --- uplinks come and go ---------------------------------------------------------------------------------------------


def test_an_uplink_that_vanishes_and_returns_under_another_index_keeps_its_place() -> None:
    box = Box("a", "b").run(100)
    slot = box.engine.snapshot().uplinks[0].slot
    box.unplug("a")
    box.run(150)
    assert (box.active(), box.verdict("a")) == ("b", Verdict.ABSENT)
    box.plug("a", 17, metric=102)
    box.run(300)
    assert box.active() == "a"
    assert box.chosen(TABLE_ACTIVE)[0] == 17
    view = next(u for u in box.engine.snapshot().uplinks if u.name == "a")
    assert view.slot == slot
    assert box.errors == 0


def test_a_router_advertisement_that_expires_and_returns() -> None:
    config = Config(targets=(*PINGS, *PINGS6))
    box = Box("a", "b", families=(V4, V6), config=config).run(100)
    default = next(r for r in box.facts.routes if r.family is V6 and r.interface == 2 and r.table == 254)
    box.lose_default("a", V6)
    box.run(110)
    assert (box.active(V4), box.active(V6)) == ("a", "b")
    box.facts = replace(box.facts, routes=(*box.facts.routes, default))
    box.stir()
    box.run(180)
    assert box.active(V6) == "a"


def test_a_new_lease_on_the_active_uplink_moves_nothing() -> None:
    box = Box("a", "b").run(100)
    addresses = tuple(replace(a, address="10.0.2.77") if a.index == 2 else a for a in box.facts.addresses)
    box.facts = replace(box.facts, addresses=addresses)
    box.stir()
    box.run(200)
    assert box.switches() == []
    assert told(box, 100) == ["a ipv4 is unknown: not yet probed", "a ipv4 is up: answers"]
    assert Rule(V4, 15510, table=15501, source="10.0.2.77/32") in box.facts.rules


def test_answers_from_before_a_change_of_way_prove_nothing() -> None:
    box = Box("a", "b")
    box.weather["a"] = lambda now, _: 5.0 if now > 99 else RTT
    box.run(101.5)
    box.change("a", carrier=False)
    box.run(102)
    box.change("a", carrier=True)
    box.weather["a"] = dead(0)
    box.run(108)
    assert box.verdict("a") in (Verdict.DOUBTFUL, Verdict.DOWN)


def test_uplinks_are_told_when_they_are_found_and_when_the_config_drops_them() -> None:
    box = Box("a", "b").run(10)
    assert told(box, 0, NoticeKind.UPLINK) == ["a found: a", "b found: b"]
    box.tell(Reconfigured(Config(targets=PINGS, uplinks=(Uplink("docomo", "b"),))))
    box.run(20)
    assert told(box, 1, NoticeKind.UPLINK) == ["docomo found: b", "a is gone", "b is gone"]
    assert box.active() == "docomo"


# --- config ----------------------------------------------------------------------------------------------------------


def test_answers_for_an_uplink_that_the_config_dropped_wake_nobody() -> None:
    box = Box("a", "b")
    box.weather["b"] = lambda *_: 3.0
    box.run(20)
    box.tell(Reconfigured(replace(QUICK, uplinks=(Uplink("a", "a"),))))
    box.run(20.001)
    before = len(box.notices)
    box.run(60)
    assert box.probes("b", 20.001) == []
    assert len(box.notices) == before


def test_another_config_is_in_force_at_once() -> None:
    box = Box("a", "b").run(50)
    other = Config(targets=(NAMES,), policy=Policy(failback_after=5.0), fwmark_mask=0x00F00000)
    box.tell(Reconfigured(other))
    box.run(60)
    assert {send.target for at, send in box.sent if at >= 50} == {NAMES}
    assert {send.mark for at, send in box.sent if at > 50 and send.uplink == "a"} == {0x00100000}
    assert {r.fwmask for r in box.facts.rules if r.priority == 15520} == {0x00F00000}
    box.weather["a"] = dead(100, 160)
    box.run(300)
    up = max(at for at, notice in box.notices if "a ipv4 is up" in notice.text)
    back = float(next(line for line in box.switches() if line.endswith("failback")).split()[0])
    assert back == pytest.approx(up + 5, abs=0.01)


def test_other_thresholds_are_in_force_at_once() -> None:
    box = Box("a", "b").run(50)
    box.tell(Reconfigured(replace(QUICK, detection=PROFILES["frugal"])))
    box.weather["a"] = dead(60)
    box.run(70)
    first = box.probes("a", 60)[0]
    assert [float(line.split()[0]) - first for line in box.switches()] == pytest.approx([0.5, 2.0 + RTT], abs=0.001)


def test_back_to_discovery_leaves_no_ghosts() -> None:
    named = Config(targets=PINGS, uplinks=(Uplink("docomo", "b"), Uplink("nobody", "wlan9"), Uplink("a", "a")))
    box = Box("a", "b", config=named).run(50)
    box.tell(Reconfigured(QUICK))
    box.run(100)
    assert [view.name for view in box.engine.snapshot().uplinks] == ["a", "b"]


def test_an_uplink_without_targets_may_be_returned_to() -> None:
    config = Config(targets=(), uplinks=(Uplink("b", "b"), Uplink("a", "a")))
    box = Box("a", "b", config=config).run(60)
    assert {u.families[V4].verdict for u in box.engine.snapshot().uplinks} == {Verdict.UP}
    assert box.active() == "b", "from a, which the kernel had chosen"
    box.change("b", carrier=False)
    box.run(61)
    assert box.active() == "a"
