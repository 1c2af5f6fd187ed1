"""When the kernel is changed and when it is read."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest

from failover.core.reconcile import PERIOD, REPAIRS, SLOWLY, Reconciler
from failover.core.uplinks import resolve
from failover.facts import Facts, Operation, OperationResult, Route, Rule, Verb
from failover.model import FAMILIES, Decision
from failover.seam import Apply

from .box import QUICK, ground
from .worlds import MASK, V4, V6, steps, way


class Bench:
    """A reconciler with its kernel, which refuses what `blocked` names."""

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts or ground("ab")
        self.reconciler = Reconciler()
        self.blocked: set[int] = set()
        """Priorities of rules."""
        self.applied: list[float] = []

    def turn(self, now: float, *, decided: bool = False, active: str = "a") -> Apply | None:
        """The kernel was read, or something was decided; what comes of it is carried out and read again."""
        reconciler = self.reconciler
        if not decided:
            reconciler.read(now, self.facts)
        uplinks = resolve(self.facts, QUICK, {"a": 0, "b": 1})
        wants = {family: Decision(family, active, active, ("a", "b")) for family in FAMILIES}
        reconciler.want(now, uplinks, wants, MASK)
        applied = reconciler.apply(now, decided=decided)
        assert len(applied) <= 1
        for effect in applied:
            self.applied.append(now)
            reconciler.applied([self.carry_out(operation) for operation in effect.operations])
            self.turn(now, active=active)
        return applied[0] if applied else None

    def carry_out(self, operation: Operation) -> OperationResult:
        if isinstance(operation.item, Rule) and operation.item.priority in self.blocked:
            return OperationResult(operation, "not permitted")
        *_, self.facts = steps(self.facts, [operation])
        return OperationResult(operation)

    def spoil(self) -> None:
        """Somebody deletes a rule of ours."""
        self.facts = replace(self.facts, rules=tuple(r for r in self.facts.rules if r.priority != 15587))

    def run(self, start: float, end: float) -> None:
        """Read whenever the reconciler wants to."""
        now = start
        while now < end:
            if self.reconciler.due(now):
                self.turn(now)
            now = max(now + 1e-6, min(self.reconciler.deadline(), end))


def test_what_is_there_is_left_alone() -> None:
    bench = Bench()
    assert bench.turn(0.0) is not None
    assert bench.turn(0.1) is None
    assert bench.turn(0.2, decided=True) is None


def test_what_follows_a_switch_is_no_repair_even_if_nothing_is_decided_meanwhile() -> None:
    bench = Bench()
    bench.turn(0.0)
    for n in range(2 * REPAIRS):
        bench.spoil()
        bench.turn(1 + n / 1000)
    uplinks = resolve(bench.facts, QUICK, {"a": 0, "b": 1})
    wants = {family: Decision(family, "b", "b", ("b", "a")) for family in FAMILIES}
    (head,) = bench.reconciler.switch(1.1, uplinks, [wants[V4]])
    assert bench.reconciler.switch(1.1, uplinks, []) == []
    bench.reconciler.applied([bench.carry_out(operation) for operation in head.operations])
    bench.reconciler.read(1.1, bench.facts)
    bench.reconciler.want(1.1, uplinks, wants, MASK)
    assert bench.reconciler.apply(1.1, decided=False), "the fallback order must not wait with the repairs"


def test_a_decision_is_one_replace_and_never_waits() -> None:
    bench = Bench()
    bench.turn(0.0)
    for n in range(50):
        effect = bench.turn(1 + n / 1000, decided=True, active="ab"[1 - n % 2])
        assert effect is not None
        first = effect.operations[0]
        assert (first.verb, isinstance(first.item, Route) and first.item.table) == (Verb.REPLACE, 15500)


def test_the_kernel_is_read_once_a_minute() -> None:
    reconciler = Reconciler()
    assert reconciler.deadline() == inf
    reconciler.read(100.0, ground("ab"))
    assert reconciler.deadline() == 100 + PERIOD
    assert not reconciler.due(159.9)
    assert reconciler.due(160.0)
    assert reconciler.deadline() == 160 + PERIOD, "asked once"


def test_a_lifetime_is_refreshed_long_before_it_ends() -> None:
    facts = ground("a", (V6,))
    bench = Bench(replace(facts, routes=(way(2, V6, expires=90.0),)))
    bench.turn(0.0)
    assert bench.reconciler.deadline() == pytest.approx(30.0)


def test_repairs_are_immediate_then_slow() -> None:
    bench = Bench()
    bench.turn(0.0)
    for n in range(30):
        bench.spoil()
        bench.turn(1 + n / 100)
    assert bench.applied[1:REPAIRS] == pytest.approx([1 + n / 100 for n in range(REPAIRS - 1)])
    assert bench.applied[REPAIRS:] == pytest.approx([bench.applied[REPAIRS - 1] + SLOWLY])
    assert bench.reconciler.deadline() == pytest.approx(bench.applied[-1] + SLOWLY)
    bench.run(1.3, 2.5)
    assert bench.applied[-1] == pytest.approx(bench.applied[-2] + SLOWLY)


def test_after_a_while_repairs_are_immediate_again() -> None:
    bench = Bench()
    bench.turn(0.0)
    for n in range(REPAIRS):
        bench.spoil()
        bench.turn(1 + n / 100)
    bench.spoil()
    assert bench.turn(30.0) is not None


def test_what_the_kernel_refuses_is_tried_ever_more_slowly() -> None:
    bench = Bench()
    bench.blocked = {15587}
    bench.turn(0.0)
    bench.run(0.0, 600.0)
    pauses = [later - earlier for earlier, later in pairwise(bench.applied)]
    assert pauses[:7] == pytest.approx([0, *(SLOWLY * 2**n for n in range(6))], abs=0.01), "the first try changed much"
    assert all(later > earlier - 0.01 for earlier, later in pairwise(pauses))
    assert pauses[-1] == pytest.approx(PERIOD, abs=0.01)


def test_but_at_once_when_the_kernels_state_changes() -> None:
    bench = Bench()
    bench.blocked = {15587}
    bench.turn(0.0)
    bench.run(0.0, 600.0)
    bench.blocked = set()
    address = bench.facts.addresses[0]
    bench.facts = replace(bench.facts, addresses=(replace(address, address="10.0.2.7"), *bench.facts.addresses[1:]))
    assert bench.turn(600.5) is not None
    assert bench.turn(600.6) is None


def test_a_decision_takes_what_was_refused_along() -> None:
    bench = Bench()
    bench.blocked = {15587}
    bench.turn(0.0)
    bench.run(0.0, 100.0)
    effect = bench.turn(100.1, decided=True, active="b")
    assert effect is not None
    assert {type(operation.item) for operation in effect.operations} == {Route, Rule}


def test_nothing_foreign_is_ever_touched() -> None:
    theirs = (Rule(V4, 15587, table=15500, iif="lo", protocol=4), Rule(V4, 15533, table=254, protocol=0))
    facts = ground("ab")
    bench = Bench(replace(facts, rules=(*facts.rules, *theirs)))
    bench.turn(0.0)
    assert set(theirs) <= set(bench.facts.rules)


def test_what_was_adopted_once_stays_so_though_the_kernel_refuses_something_later() -> None:
    former = Bench()
    former.turn(0.0)
    bench = Bench(former.facts)
    assert bench.turn(0.0) is None
    assert bench.reconciler.adopted
    bench.spoil()
    bench.blocked.add(15587)
    bench.turn(1.0)
    assert bench.reconciler.adopted
