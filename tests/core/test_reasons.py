"""Why traffic comes (back) to a preferred uplink: health that lasted, the operator's word, another order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.config import Config, Reconfigured, Uplink
from failover.model import Drain, NoticeKind, Outcome, Reason, Undrain, Verdict

from .box import PINGS, Box, dead
from .worlds import V4


def ordered(names: str) -> Config:
    return Config(targets=PINGS, uplinks=tuple(Uplink(name, name) for name in names))


def reload(box: Box, names: str) -> Box:
    box.tell(Reconfigured(ordered(names)))
    return box


def last_switch(box: Box) -> str:
    """With its text."""
    return [f"{at:g} {notice.text}" for at, notice in box.notices if notice.kind is NoticeKind.SWITCH][-1]


@pytest.mark.parametrize("after", [15.0, 300.0])
def test_another_order_moves_new_flows_and_says_so(after: float) -> None:
    box = reload(Box("a", "b", config=ordered("ab")).run(after), "ba").run(after + 60)
    assert box.switches() == [f"{after:g} a>b(a) config"]
    assert last_switch(box) == f"{after:g} ipv4 a -> b: config: b comes first now"
    reload(box, "ab").run(after + 120)
    assert last_switch(box) == f"{after + 60:g} ipv4 b -> a: config: a comes first now"
    [told] = [one for one in box.engine.explain(box.now) if one.family is V4]
    assert (told.rule, told.decision.reason) == ("stay", Reason.CONFIG)
    assert told.text == "a is up, and none is preferred to it"


def test_so_does_another_metric_where_uplinks_are_discovered() -> None:
    box = Box("a", "b").run(100)
    box.facts = replace(
        box.facts,
        routes=tuple(replace(r, metric=1 if r.interface == 3 else 9) for r in box.facts.routes if r.table == 254),
    )
    box.stir()
    box.run(200)
    assert last_switch(box) == "100 ipv4 a -> b: config: b comes first now"


@pytest.mark.parametrize(("outage", "reason"), [(1.3, "acquittal"), (20.0, "failback")])
def test_in_another_order_a_hold_down_is_waited_for_and_named(outage: float, reason: str) -> None:
    box = Box("a", "b", config=ordered("ab"))
    box.weather["b"] = dead(100, 100 + outage)
    up = max(
        at for at, n in reload(box.run(101.5 + outage), "ba").run(300).notices if n.text == "b ipv4 is up: answers"
    )
    wait = 10 if reason == "acquittal" else 60
    assert box.switches() == [f"{up + wait:g} a>b(a) {reason}"]
    assert last_switch(box).endswith("b has answered without a gap for its hold-down")


def test_after_a_drain_traffic_returns_at_the_operators_word_whatever_came_between() -> None:
    box = Box("a", "b", "c", config=ordered("abc")).run(50)
    box.ask(Drain("a"))
    box.weather["b"] = dead(100, 100.9)
    box.run(200)
    assert [line.split()[-1] for line in box.switches()] == ["drain", "doubt", "acquittal"]
    box.ask(Undrain("a"))
    box.run(201)
    assert last_switch(box) == "200 ipv4 b -> a: operator: the operator's choice is over"
    assert box.settled() == "a"


def test_of_what_is_all_drained_the_first_carries_everything() -> None:
    box = Box("a", "b", config=ordered("ab")).run(50)
    box.ask(Drain("a"))
    box.ask(Drain("b", force=True))
    box.run(60)
    assert box.switches() == ["50 a>b(b) drain", "50 b>a(a) drain"]
    assert last_switch(box).endswith("b is drained too")


def test_a_standby_whose_hold_down_is_over_owes_nothing_and_one_that_is_waited_for_does() -> None:
    box = Box("a", "b", config=ordered("ab"))
    box.weather["a"] = dead(100, 110)
    box.run(130)
    waits = {view.name: view.families[V4].hold_down for view in box.engine.snapshot().uplinks}
    assert waits == {"a": 60.0, "b": 0.0}


def test_who_may_return_and_has_to_wait_for_the_active_one_returns_for_the_same_reason() -> None:
    box = Box("a", "b", config=ordered("ab"))
    box.weather["a"] = dead(100, 110)
    box.run(160)
    box.weather["b"] = lambda *_: Outcome.LOCAL
    addresses = tuple(replace(a, address="10.9.9.9") if a.index == 3 else a for a in box.facts.addresses)
    box.facts = replace(box.facts, addresses=addresses)
    box.stir()
    box.run(300)
    assert (box.verdict("b"), box.active()) == (Verdict.UNKNOWN, "b")
    del box.weather["b"]
    box.run(320)
    assert last_switch(box).endswith("b -> a: failback: a has answered without a gap for its hold-down")


def test_a_drain_pays_no_hold_down() -> None:
    box = Box("a", "b", config=ordered("ab"))
    box.weather["a"] = dead(100, 110)
    box.run(105)
    up = max(at for at, notice in box.run(130).notices if notice.text == "a ipv4 is up: answers")
    box.ask(Drain("a"))
    box.run(150)
    box.ask(Undrain("a"))
    box.run(300)
    assert box.switches()[-1].split()[:2] == [f"{up + 60:g}", "b>a(b)"]
