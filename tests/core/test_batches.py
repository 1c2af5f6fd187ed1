"""One batch at a time: while it is out, what is known of the kernel is older than what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from failover.core.reconcile import PATIENCE, REPAIRS, Reconciler
from failover.core.uplinks import resolve
from failover.facts import Operation, OperationResult, Route
from failover.model import FAMILIES, Decision
from failover.seam import Apply

from .box import QUICK, ground
from .worlds import MASK, steps


class Desk:
    """A reconciler, and a kernel that carries out a batch when the test says so."""

    def __init__(self) -> None:
        self.facts = ground("ab")
        self.reconciler = Reconciler()
        self.reconciler.read(0.0, self.facts)

    def decide(self, now: float, active: str) -> tuple[Operation, ...]:
        uplinks = resolve(self.facts, QUICK, {"a": 0, "b": 1})
        wants = {family: Decision(family, active, active, ("a", "b")) for family in FAMILIES}
        self.reconciler.want(now, uplinks, wants, MASK)
        return operations(self.reconciler.apply(now, decided=True))

    def read(self, now: float) -> tuple[Operation, ...]:
        """The kernel is read, and the plan is as it was."""
        self.reconciler.read(now, self.facts)
        return operations(self.reconciler.apply(now, decided=False))

    def carry_out(self, batch: tuple[Operation, ...]) -> None:
        *_, self.facts = steps(self.facts, batch)
        self.reconciler.applied([OperationResult(operation) for operation in batch])

    def spoil(self) -> None:
        """Somebody deletes a rule of ours."""
        self.facts = replace(self.facts, rules=tuple(r for r in self.facts.rules if r.priority != 15587))


def operations(effects: Sequence[Apply]) -> tuple[Operation, ...]:
    return tuple(operation for effect in effects for operation in effect.operations)


def chosen(batch: Sequence[Operation]) -> set[int | None]:
    """Interfaces at the head of the active table."""
    return {o.item.interface for o in batch if isinstance(o.item, Route) and o.item.leads}


def test_while_a_batch_is_out_nothing_more_is_sent() -> None:
    desk = Desk()
    first = desk.decide(0.0, "a")
    assert chosen(first) == {2}
    assert desk.decide(0.1, "b") == ()
    assert desk.read(0.2) == (), "what was read may be from before the batch"
    desk.carry_out(first)
    assert desk.decide(0.3, "b") == (), "carried out, but not read yet"
    second = desk.read(0.4)
    assert chosen(second) == {3}
    desk.carry_out(second)
    assert desk.read(0.5) == ()


def test_a_batch_that_nobody_acknowledges_is_forgotten() -> None:
    desk = Desk()
    first = desk.decide(0.0, "a")
    assert desk.reconciler.deadline() == PATIENCE
    assert desk.read(PATIENCE - 0.01) == ()
    assert desk.read(PATIENCE) == first


def test_what_was_decided_meanwhile_does_not_wait_with_the_repairs() -> None:
    desk = Desk()
    desk.carry_out(desk.decide(0.0, "a"))
    for n in range(REPAIRS):
        desk.spoil()
        desk.carry_out(desk.read(1 + n / 1000))
    desk.read(1.1)
    desk.spoil()
    assert desk.read(1.1) == (), "a repair more than there may be"
    batch = desk.decide(1.1, "b")
    assert desk.decide(1.1, "a") == ()
    desk.carry_out(batch)
    late = desk.read(1.1)
    assert chosen(late) == {2}
    desk.carry_out(late)
    desk.spoil()
    assert desk.read(1.1) == (), "and no repair goes before its time for it"
