"""What an agent remembers over a restart: the operator's will, what each uplink owes, and how often it fell."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.config import Config, Reconfigured, Uplink
from failover.core.damping import LONGEST
from failover.facts import SLOTS_MAX
from failover.memory import Debt, Memory
from failover.model import Auto, Drain, Family, NoticeKind, ProbeNow, Undrain, Use, Verdict

from .box import PINGS, PINGS6, Box, dead, fair, lossy
from .worlds import V4, V6

BOTH = Config(targets=(*PINGS, *PINGS6))


def said(box: Box, kind: NoticeKind, since: float = 0.0) -> list[str]:
    return [notice.text for at, notice in box.notices if notice.kind is kind and at >= since]


def memory(box: Box, age: float = 0.0) -> Memory:
    return replace(box.engine.memory(box.now), age=age)


def upgraded(box: Box, pause: float = 2.0) -> Box:
    """Another agent takes over from the one that was told to stop."""
    box.restart(memory(box, pause), pause=pause)
    return box


def debt(told: Memory, uplink: str) -> Debt:
    (found,) = [debt for debt in told.debts if (debt.uplink, debt.family) == (uplink, V4)]
    return found


# --- debts -----------------------------------------------------------------------------------------------------------


def in_hold_down(lasted: float) -> Box:
    """`a` was out from 100 to 200 s, and has answered since for so long."""
    box = Box("a", "b")
    box.weather["a"] = dead(100, 200)
    (up,) = (at for at, n in box.run(260).notices if n.text == "a ipv4 is up: answers" and at >= 200)
    box = Box("a", "b")
    box.weather["a"] = dead(100, 200)
    return box.run(up + lasted)


def test_a_doubt_is_remembered_too_though_it_is_no_relapse() -> None:
    box = Box("a", "b").run(100)
    box.weather["a"] = dead(100)
    while box.verdict("a") is Verdict.UP:
        box.run(box.now + 0.1)
    del box.weather["a"]
    box.run(box.now + 2)
    owed = debt(memory(box), "a")
    assert (owed.convicted, owed.relapses) == (False, 0.0)
    assert 5 < owed.owed < 10


def test_who_was_convicted_is_remembered_while_it_is_away() -> None:
    box = Box("a", "b").run(100)
    box.lose_default("a")
    box.run(110)
    owed = debt(memory(box), "a")
    assert (owed.owed, owed.convicted) == (60.0, True)


def test_who_has_paid_and_is_kept_waiting_is_convicted_of_nothing_but_its_relapses_count() -> None:
    box = in_hold_down(17.0)
    box.ask(Use("b"))
    box.run(500)
    owed = debt(memory(box), "a")
    assert (owed.owed, owed.convicted) == (0.0, False)
    assert 0.5 < owed.relapses < 1


def test_an_upgrade_in_mid_hold_down_goes_on_where_it_was() -> None:
    box = in_hold_down(17.0)
    found = debt(memory(box), "a")
    assert found.convicted
    assert found.owed == pytest.approx(43)
    assert found.relapses == pytest.approx(1, rel=0.15)
    box = upgraded(box)
    start = box.now
    box.run(start + 100)
    (back,) = box.switches(start)
    assert back.endswith("b>a(b) failback")
    assert float(back.split()[0]) == pytest.approx(start + 43, abs=0.1)


def test_without_memory_all_of_it_is_owed_again() -> None:
    box = in_hold_down(17.0)
    box.restart(None)
    start = box.now
    box.run(start + 100)
    assert float(box.switches(start)[0].split()[0]) == pytest.approx(start + 60, abs=0.1)


def test_a_memory_older_than_the_conviction_does_not_make_it_cheaper() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 110)
    old = memory(box.run(90), age=30.0)
    assert old.debts == ()
    box.run(120)
    assert box.active() == "b"
    box.restart(old)
    start = box.now
    box.run(start + 100)
    assert float(box.switches(start)[0].split()[0]) == pytest.approx(start + 60, abs=0.1)


def test_what_is_owed_does_not_shrink_while_nobody_looks() -> None:
    box = upgraded(in_hold_down(17.0), pause=500.0)
    start = box.now
    box.run(start + 100)
    assert float(box.switches(start)[0].split()[0]) == pytest.approx(start + 43, abs=0.1)


def test_an_outage_across_a_restart_is_one_outage_and_the_next_one_doubles() -> None:
    box = Box("a", "b")
    box.weather["a"] = lambda now, _: None if 100 <= now < 200 or 215 <= now < 230 else 0.03
    box.run(150)
    box = upgraded(box)
    box.run(210)
    assert debt(memory(box), "a").relapses == pytest.approx(1.0, rel=0.1), "the same outage counts once"
    box.run(213)
    box = upgraded(box)
    box.run(229)
    found = debt(memory(box), "a")
    assert found.relapses == pytest.approx(1.9, rel=0.05)
    assert found.owed == pytest.approx(115, rel=0.05)
    box.run(400)
    (back,) = box.switches(214)
    assert float(back.split()[0]) == pytest.approx(230 + found.owed, abs=2.0)


def test_an_hour_of_restarts_forgives_relapses_as_an_hour_without() -> None:
    stood, fell = Box("a", "b"), Box("a", "b")
    for box in (stood, fell):
        box.weather["a"] = dead(100, 110)
        box.run(300)
    for _ in range(6):
        fell.run(fell.now + 290)
        fell = upgraded(fell, pause=10.0)
    stood.run(fell.now)
    assert debt(memory(fell), "a").relapses == pytest.approx(debt(memory(stood), "a").relapses, rel=1e-6)
    assert 0.2 < debt(memory(fell), "a").relapses < 0.3


def test_a_conviction_of_the_same_outage_owes_no_less_than_was_remembered() -> None:
    told = Memory(debts=(Debt("a", V4, 120.0, True, 1.5),), age=1.0)
    box = Box("a", "b", memory=told)
    box.weather["a"] = dead(0, 30)
    box.run(30)
    assert box.verdict("a") is Verdict.DOWN
    assert debt(memory(box), "a").owed == 120


@pytest.mark.parametrize("convicted", [True, False])
def test_a_standby_that_owes_is_not_gone_to_from_a_brownout_if_it_was_convicted(convicted: bool) -> None:
    box = Box("a", "b").run(30)
    told = Memory(debts=(Debt("b", V4, 500.0, convicted, 1.0),))
    box.restart(told)
    box.weather["a"] = lossy(0.4)
    box.run(120)
    reasons = {line.split()[-1] for line in box.switches(31)}
    assert ("degraded" in reasons) is not convicted


def test_of_whom_nothing_is_remembered_nothing_is_owed() -> None:
    """A standby is there for a brownout soon after an upgrade; without memory, nobody knows what it owes."""
    taken = []
    for told in (Memory(), None):
        box = Box("a", "b").run(30)
        box.restart(told)
        box.weather["a"] = lossy(0.4)
        box.run(85)
        taken.append("degraded" in {line.split()[-1] for line in box.switches(31)})
    assert taken == [True, False]


def test_an_uplink_that_comes_later_still_owes() -> None:
    told = Memory(debts=(Debt("a", V4, 43.0, True, 2.0), Debt("b", V4, 7.0, False, 0.0)))
    box = Box("b", memory=told).run(20)
    assert {one.uplink for one in memory(box).debts} == {"a"}
    assert (debt(memory(box), "a").owed, debt(memory(box), "a").convicted) == (43, True), "and is not forgotten"
    box.run(600)
    box.plug("a", 7, metric=1)
    box.run(700)
    assert [line.split()[1] for line in box.switches()] == ["b>a(b)"]
    (back,) = box.switches()
    assert float(back.split()[0]) == pytest.approx(643, abs=0.1)
    assert debt(memory(box), "a").relapses == pytest.approx(2 * 0.5 ** (700 / 900))


def test_debts_of_who_never_comes_are_forgotten_in_the_end() -> None:
    told = Memory(debts=(Debt("ghost", V4, 43.0, True, 1.0),))
    box = Box("a", memory=told).run(LONGEST - 1)
    assert [debt.uplink for debt in memory(box).debts] == ["ghost"]
    box.run(LONGEST + 10)
    assert memory(box).debts == ()


def test_debts_of_whom_the_config_does_not_name_are_forgotten_at_once() -> None:
    told = Memory(debts=(Debt("ghost", V4, 43.0, True, 1.0), Debt("au", V4, 43.0, True, 1.0)))
    config = Config(targets=PINGS, uplinks=(Uplink("au", "a"), Uplink("late", "z")))
    box = Box("a", config=config, memory=told).run(1)
    assert {debt.uplink for debt in memory(box).debts if debt.owed > 10} == {"au"}


def test_families_owe_apart() -> None:
    told = Memory(debts=(Debt("a", V6, 43.0, True, 1.0),))
    box = Box("a", "b", config=BOTH, families=(V4, V6)).run(30)
    box.restart(told)
    box.run(50)
    owed = {(d.uplink, d.family): d.owed for d in memory(box).debts}
    assert owed == {("a", V6): pytest.approx(43 - 19, abs=0.5)}


# --- the operator's will ---------------------------------------------------------------------------------------------


def test_use_lasts_over_a_restart_for_the_time_that_is_left() -> None:
    box = Box("a", "b").run(60)
    box.ask(Use("b", seconds=100))
    box.run(90)
    assert (memory(box).use, memory(box).use_strict) == ("b", False)
    assert memory(box).use_seconds == pytest.approx(70)
    box = upgraded(box, pause=10.0)
    box.run(101)
    assert said(box, NoticeKind.OPERATOR, 100) == ["still using b for 1m more"]
    snapshot = box.engine.snapshot()
    assert (box.active(), snapshot.use) == ("b", "b")
    assert snapshot.use_until == pytest.approx(160)
    box.run(300)
    assert [line.split()[0] for line in box.switches(100)] == ["160"]
    assert (box.active(), box.engine.snapshot().use) == ("a", None)


def test_strict_use_stays_strict_and_one_without_end_goes_on() -> None:
    told = Memory(use="b", use_seconds=None, use_strict=True, age=1e7)
    box = Box("a", "b", memory=told)
    box.weather["b"] = dead(50)
    box.run(90)
    assert (box.active(), box.verdict("b")) == ("b", Verdict.DOWN)
    assert memory(box) == Memory("b", None, True, (), memory(box).debts)


def test_use_that_ended_meanwhile_is_over_and_that_is_said() -> None:
    box = Box("a", "b").run(60)
    box.ask(Use("b", seconds=100))
    box = upgraded(box, pause=200.0)
    start = box.now
    box.run(start + 100)
    assert said(box, NoticeKind.OPERATOR, start) == ["the time to use b is over"]
    assert (box.active(), memory(box).use) == ("a", None)


def test_use_of_an_uplink_that_is_gone_is_kept_until_its_time_is_over() -> None:
    box = Box("a", memory=Memory(use="b", use_seconds=100.0)).run(50)
    assert (box.active(), memory(box).use) == ("a", "b")
    assert memory(box).use_seconds == pytest.approx(50)
    box.plug("b", 9)
    box.run(60)
    assert box.active() == "b"
    box.run(200)
    assert (box.active(), memory(box).use) == ("a", None)


def test_drained_stays_drained_also_what_comes_later() -> None:
    box = Box("a", "b").run(60)
    box.ask(Drain("a"))
    told = replace(memory(box), drained=("a", "late"))
    box.restart(told)
    box.run(200)
    assert (box.active(), memory(box).drained) == ("b", ("a", "late"))
    assert said(box, NoticeKind.OPERATOR, 61) == ["a is still drained; late is still drained"]
    box.plug("late", 9, metric=1)
    box.run(300)
    assert box.active() == "b"
    for name in ("late", "a"):
        assert not box.ask(Undrain(name)).error
    box.run(400)
    assert memory(box).drained == ()


def test_who_is_drained_and_not_there_can_be_undrained() -> None:
    box = Box("a", memory=Memory(drained=("ghost",))).run(10)
    assert not box.ask(Undrain("ghost")).error
    assert memory(box).drained == ()
    assert box.ask(Undrain("ghost")).error == "no uplink is named ghost"


@pytest.mark.parametrize("command", [Auto(), Drain("a"), Use("a"), Undrain("a")])
def test_before_the_kernel_was_read_nobody_can_unsay_what_is_remembered(command: Auto | Drain | Use | Undrain) -> None:
    box = Box("a", "b", memory=Memory(use="b", use_seconds=50.0, drained=("a",), age=20.0))
    assert box.ask(command).error == "the kernel has not been read yet"
    assert box.engine.memory(3.0) == Memory(use="b", use_seconds=30.0, drained=("a",))
    box.run(10)
    assert box.active() == "b"


def test_every_change_of_the_will_is_said_and_nothing_else_is_called_so() -> None:
    box = Box("a", "b").run(30)
    commands = (Use("b", 5), None, Use("b"), Auto(), Drain("b"), Undrain("b"), Use("nobody"), ProbeNow("a"))
    for command in commands:
        told, before = memory(box), len(said(box, NoticeKind.OPERATOR))
        if command:
            box.ask(command)
        else:
            box.run(box.now + 10)  # the five seconds are over
        now = memory(box)
        same = (told.use, told.use_strict, told.drained) == (now.use, now.use_strict, now.drained)
        assert (len(said(box, NoticeKind.OPERATOR)) == before) is same, command
    assert len(said(box, NoticeKind.OPERATOR)) == 6


# --- whatever a memory says ------------------------------------------------------------------------------------------

odd = st.sampled_from((0.0, -1.0, nan, inf, -inf, 1e308, 5e-324, 3.0, 1e5))
names = st.sampled_from(("a", "b", "ghost", ""))
debts = st.builds(Debt, names, st.sampled_from(Family), odd, st.booleans(), odd)
memories = st.builds(
    Memory,
    use=st.none() | names,
    use_seconds=st.none() | odd,
    use_strict=st.booleans(),
    drained=st.lists(names, max_size=4).map(tuple),
    debts=st.lists(debts, max_size=6).map(tuple),
    age=odd,
)


@settings(deadline=None, max_examples=40)
@given(memories)
def test_odd_numbers_do_no_harm(told: Memory) -> None:
    box = Box("a", "b", memory=told)
    box.weather["a"] = dead(5, 12)
    box.run(40)
    again = memory(box)
    assert again.use_seconds is None or 0 <= again.use_seconds < inf
    for one in again.debts:
        assert 0 <= one.owed <= LONGEST
        assert 0 <= one.relapses < 70
    box.weather["a"] = fair
    box.restart(again)
    box.run(80)
    assert {box.verdict("a"), box.verdict("b")} == {Verdict.UP}
    holds = [view.families[V4].hold_until for view in box.engine.snapshot().uplinks]
    assert all(until is not None and until <= 41 + LONGEST + 1 for until in holds)


def test_a_memory_of_a_thousand_uplinks_is_cut() -> None:
    told = Memory(
        drained=tuple(f"n{n}" for n in range(1000)),
        debts=tuple(Debt(f"n{n}", family, 5.0, True, 1.0) for n in range(1000) for family in Family),
    )
    box = Box("a", memory=told).run(10)
    assert len(memory(box).debts) <= 2 * SLOTS_MAX + 2
    assert len(memory(box).drained) <= SLOTS_MAX


def test_a_reload_neither_gives_back_twice_nor_forgets() -> None:
    box = in_hold_down(17.0)
    box = upgraded(box)
    start = box.now
    box.run(start + 5)
    box.tell(Reconfigured(Config(targets=PINGS, uplinks=(Uplink("a", "a"), Uplink("b", "b")))))
    box.run(start + 100)
    assert float(box.switches(start)[0].split()[0]) == pytest.approx(start + 43, abs=0.1)
