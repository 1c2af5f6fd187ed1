"""Who goes down with whom, while others live: told from outages alone, and not where it may be chance."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.config import Config, Reconfigured, Uplink
from failover.core.deaths import CHANCE, CROWD, KEPT, KEPT_MAX, TOGETHER, Deaths
from failover.core.engine import Engine
from failover.memory import Memory, Outage
from failover.model import NoticeKind, Verdict
from failover.seam import KernelRead

from .box import PINGS, Box, dead, told

V = Verdict
HOUR = 3600.0


class Van:
    """Uplinks that are up until told."""

    def __init__(self, *names: str, past: Iterable[Outage] = ()) -> None:
        self.deaths = Deaths(past)
        self.verdicts = {name: [V.UP] for name in names}
        self.now = 0.0
        self.set()

    def set(self, *names: str, to: Verdict = V.UP, after: float = 0.0) -> None:
        self.now += after
        for name in names:
            self.verdicts[name] = [to]
        self.deaths.seen(self.now, self.verdicts)

    def outage(self, *names: str, apart: float = 5.0, lasts: float = 300.0, rest: float = HOUR) -> None:
        """These are convicted, one after the other, and come back together."""
        self.now += rest
        for name in names:
            self.set(name, to=V.DOUBTFUL)
            self.set(name, to=V.DOWN, after=apart)
        self.set(*names, after=lasts)

    def observed(self) -> list[str]:
        self.deaths.close(self.now + TOGETHER)
        return [f"{one} {other}: {what}" for one, other, what in self.deaths.observed()]


def test_three_outages_of_two_while_the_third_lives() -> None:
    van = Van("a", "b", "c")
    for count in range(3):
        assert van.observed() == [], count
        van.outage("a", "b")
    assert van.observed() == ["a b: 3 of the last 3 outages of a"]


def test_an_outage_that_nobody_lived_through_tells_nothing() -> None:
    """A tunnel, or the box's own antenna."""
    van = Van("a", "b", "c")
    for _ in range(9):
        van.outage("a", "b", "c")
    assert van.observed() == []
    assert van.deaths.past(van.now) == ()


def test_nor_does_one_whose_witness_was_silent_too() -> None:
    """At the end of a tunnel one comes back first, and the others are convicted for that."""
    van = Van("a", "b", "c")
    for _ in range(9):
        van.set("a", "b", "c", to=V.DOUBTFUL, after=HOUR)
        van.set("c", after=20)
        van.set("a", "b", to=V.DOWN, after=1.5)
        van.set("a", "b", after=100)
    assert van.observed() == []
    for _ in range(9):  # and going in, the last one dies of the tunnel, too
        van.set("a", "b", to=V.DOWN, after=HOUR)
        van.set("c", to=V.DOUBTFUL, after=TOGETHER - 1)
        van.set("a", "b", "c", after=100)
    assert van.observed() == []


def test_later_ones_are_outages_of_their_own() -> None:
    van = Van("a", "b", "c")
    for _ in range(9):
        van.outage("a", "b", apart=TOGETHER + 1)
    assert van.observed() == []


@pytest.mark.parametrize("verdict", [V.ABSENT, V.COLD, V.PORTAL, V.UNKNOWN, V.DOUBTFUL, V.DEGRADED])
def test_only_a_conviction_is_a_death(verdict: Verdict) -> None:
    van = Van("a", "b", "c")
    for _ in range(9):
        van.set("a", "b", to=verdict, after=HOUR)
        van.set("a", "b", after=HOUR)
    assert van.observed() == []


def test_while_one_family_receives_it_lives() -> None:
    van = Van("a", "b", "c")
    for _ in range(9):
        van.verdicts |= {"a": [V.DOWN, V.UP], "b": [V.DOWN, V.UP]}
        van.set(after=HOUR)
        van.set("a", "b", after=HOUR)
    assert van.observed() == []


def test_an_outage_counts_once_however_often_it_is_judged() -> None:
    van = Van("a", "b", "c")
    van.now += HOUR
    for _ in range(9):
        van.set("a", "b", to=V.DOWN, after=HOUR)
        van.set("a", "b", to=V.DOUBTFUL, after=10)
    assert van.observed() == []
    assert [one.uplinks for one in van.deaths.past(van.now)] == [("a", "b")]


def test_one_that_dies_alone_as_well_still_brings_the_other_down() -> None:
    """A mast of the host alone, and each time the host's network fails, both."""
    van = Van("a", "b", "c")
    for _ in range(4):
        van.outage("a", "b")
        van.outage("a", rest=5 * HOUR)
    assert van.observed() == ["a b: 4 of the last 4 outages of b"]
    for _ in range(2):
        van.outage("b", rest=5 * HOUR)
    assert van.observed() == [], "both die alone too often"


def test_it_is_forgotten_when_they_die_alone() -> None:
    van = Van("a", "b", "c")
    for _ in range(4):
        van.outage("a", "b")
    assert van.observed()
    for _ in range(KEPT):
        van.outage("a")
        van.outage("b")
    assert van.observed() == []


def test_one_that_flaps_pushes_nobody_out() -> None:
    van = Van("a", "b", "c", "d")
    for _ in range(3):
        van.outage("a", "b")
    for _ in range(5 * KEPT):
        van.outage("c", rest=TOGETHER)
    assert van.observed() == ["a b: 3 of the last 3 outages of a"]
    assert len(van.deaths.past(van.now)) == 3 + KEPT


def test_who_dies_all_the_time_dies_with_everybody() -> None:
    """Three of three, by chance: the other one is down every few minutes."""
    van = Van("a", "b", "c")
    for count in range(40):
        van.outage("a", *(["b"] if count % 13 == 5 else []), lasts=60, rest=120)
    assert sum("b" in one.uplinks for one in van.deaths.past(van.now)) == 3
    assert van.observed() == []


def test_a_crowd_is_no_pair() -> None:
    names = [f"u{n}" for n in range(CROWD + 1)]
    van = Van(*names, "z")
    for _ in range(5):
        van.outage(*names, apart=1.0)
    assert van.deaths.past(van.now) == ()
    for _ in range(5):
        van.outage(*names[1:], apart=1.0)
    assert len(van.observed()) == CROWD * (CROWD - 1) / 2


def test_it_outlives_a_restart_and_a_new_name() -> None:
    van = Van("a", "b", "c")
    for _ in range(2):
        van.outage("a", "b")
    past = van.deaths.past(van.now)
    assert [round(one.ago) for one in past] == [round(van.now - HOUR - 5), 305]
    then = Van("a", "x", "c", past=past)
    then.deaths.rename({"b": "x"})
    assert [one.uplinks for one in then.deaths.past(then.now)] == [("a", "x")] * 2
    then.outage("a", "x")
    assert then.observed() == ["a x: 3 of the last 3 outages of a"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((V.UP, V.DOUBTFUL, V.DOWN)), st.floats(0, 1e5))))
def test_it_stays_bounded_and_symmetric(steps: list[tuple[str, Verdict, float]]) -> None:
    van = Van("a", "b", "c", "d")
    for name, verdict, after in steps:
        van.set(name, to=verdict, after=after)
    past = van.deaths.past(van.now)
    assert len(past) <= KEPT_MAX
    assert all(one.ago >= 0 and one.uplinks for one in past)
    assert [one.ago for one in past] == sorted((one.ago for one in past), reverse=True)
    pairs = [tuple(told.split(":")[0].split(" ")) for told in van.observed()]
    assert len(set(map(frozenset, pairs))) == len(pairs)


@pytest.mark.parametrize("seed", range(3))
def test_those_that_fail_independently_are_hardly_ever_told(seed: int) -> None:
    """Four uplinks, each down 4 times an hour for a day: of 100 vans and six pairs each, how many are told?"""
    dice, wrong = random.Random(seed), 0
    for _ in range(100):
        van = Van("a", "b", "c", "d")
        events = sorted((dice.uniform(100, 24 * HOUR), name) for name in "abcd" for _ in range(96))
        for at, name in events:
            van.now = at
            van.set(name, to=V.DOWN)
            van.now = at + 1.0
            van.set(name)
        wrong += len(van.observed())
    assert wrong <= 100 * 6 * CHANCE / 10


# --- the whole box ---------------------------------------------------------------------------------------------------


def box_of_three() -> Box:
    config = Config(uplinks=tuple(Uplink(n, n) for n in "abc"), targets=PINGS)
    return Box(*"abc", config=config).run(100.0)


def failing_together(box: Box, count: int) -> None:
    """`a` and `b` fall silent together for a minute, every 20 minutes; `c` lives."""
    for _ in range(count):
        start = box.now + 1140.0
        box.weather |= dict.fromkeys("ab", dead(start, start + 60.0))
        box.run(start + 120.0)


def fates(box: Box) -> list[tuple[str, str]]:
    return [(view.name, one.what) for view in box.engine.snapshot().uplinks for one in view.fate]


def test_what_dies_together_is_told_and_passed_over() -> None:
    box = box_of_three()
    failing_together(box, 3)
    box.run(box.now + 120.0)
    what = "3 of the last 3 outages of a"
    assert fates(box) == [("a", what), ("b", what)]
    start = box.now + 600.0
    box.weather |= {"a": dead(start), "b": lambda _, __: 0.03}
    box.run(start + 3.0)
    assert box.active() == "c"
    assert f"b shares {what} with a" in told(box, start, NoticeKind.SWITCH)[0]


def test_a_restart_forgets_none_of_it() -> None:
    box = box_of_three()
    failing_together(box, 3)
    box.run(box.now + 120.0)
    memory = box.engine.memory(box.now)
    assert [one.uplinks for one in memory.outages] == [("a", "b")] * 3
    fresh = Engine(box.engine.config, lambda: 0.5, replace(memory, age=1000.0))
    assert [round(one.ago) for one in fresh.memory(5.0).outages] == [round(one.ago + 1000) for one in memory.outages]
    fresh.handle(5.0, KernelRead(box.facts))
    assert [one.what for one in fresh.snapshot().uplinks[0].fate] == ["3 of the last 3 outages of a"]
    assert fresh.memory(5.0).outages == fresh.memory(5.0).outages != ()


def test_a_memory_of_too_many_outages_is_cut() -> None:
    engine = Engine(Config(), lambda: 0.5, Memory(outages=tuple(Outage(("a", "b"), float(n)) for n in range(10**4))))
    assert len(engine.memory(1.0).outages) == KEPT_MAX
    engine.handle(1.0, Reconfigured(Config()))
