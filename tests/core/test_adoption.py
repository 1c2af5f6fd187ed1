"""What an agent that starts takes over from the kernel, where the one before died at a bad moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from failover.config import Config
from failover.core.engine import Engine
from failover.facts import TABLE_SETTLED, Facts, OperationResult, Rule
from failover.model import Family, Notice, NoticeKind
from failover.seam import Applied, Apply, Effect, KernelRead

from .box import PINGS, PINGS6, QUICK, Box, Weather, dead, fair, ground
from .worlds import V4, V6, steps

A, B = 2, 3
"""Interface indexes."""
BOTH = Config(targets=(*PINGS, *PINGS6))


def restarted_in_doubt(weather: Weather) -> Box:
    """New flows have left `a`, all else has not, for the agent died before it could convict; the next one starts."""
    before = Box("a", "b", config=BOTH, families=(V4, V6))
    before.weather["a"] = dead(100)
    before.run(before_conviction := 101.9)
    for family in Family:
        assert (before.active(family), before.settled(family)) == ("b", "a")
    after = Box("a", "b", config=BOTH, seed=2, start=before_conviction + 1)
    after.facts, after.weather["a"] = before.facts, weather
    after._queue.clear()
    after.stir()
    return after


def ways(box: Box, table: int) -> list[int | None]:
    return [box.chosen(table, family)[0] for family in Family]


def test_what_follows_the_settled_uplink_stays_there_until_that_is_convicted() -> None:
    box = restarted_in_doubt(dead(100))
    box.run(box.now + 0.2)
    for family in Family:
        assert (box.active(family), box.settled(family)) == ("b", "a")
    assert ways(box, TABLE_SETTLED) == [A, A]
    box.run(box.now + 5)
    assert [box.settled(family) for family in Family] == ["b", "b"]
    assert ways(box, TABLE_SETTLED) == [B, B]


def test_and_for_good_where_it_answers_again() -> None:
    box = restarted_in_doubt(fair)
    box.run(box.now + 300)
    settled = [line for line in box.switches() if "(b)" in line]
    assert settled == []
    for family in Family:
        assert (box.active(family), box.settled(family)) == ("a", "a")
    assert ways(box, TABLE_SETTLED) == [A, A]


# --- when it is ready ------------------------------------------------------------------------------------------------


def ready(effects: Sequence[Effect]) -> list[str]:
    return [e.text for e in effects if isinstance(e, Notice) and e.kind is NoticeKind.READY]


class Kernel:
    """What it takes to make an agent ready, step by step; `refuses`: so many batches not in whole."""

    def __init__(self, facts: Facts, refuses: int = 0) -> None:
        self.engine = Engine(QUICK, lambda: 0.5)
        self.facts, self.refuses = facts, refuses

    def read(self, now: float) -> tuple[list[str], list[Apply]]:
        effects = self.engine.handle(now, KernelRead(self.facts))
        return ready(effects), [effect for effect in effects if isinstance(effect, Apply)]

    def apply(self, now: float, batch: Apply) -> list[str]:
        """All but the first rule, while it refuses."""
        rule = next((o for o in batch.operations if isinstance(o.item, Rule)), None)
        refused = {rule} if self.refuses and rule else set()
        self.refuses -= 1
        *_, self.facts = self.facts, *steps(self.facts, [o for o in batch.operations if o not in refused])
        results = [OperationResult(o, "not permitted" if o in refused else None) for o in batch.operations]
        return ready(self.engine.handle(now, Applied(tuple(results))))


def test_it_is_ready_when_the_first_batch_is_carried_out_and_says_so_once() -> None:
    kernel = Kernel(ground("ab"))
    said, (batch,) = kernel.read(0.0)
    assert said == []
    assert kernel.apply(0.0, batch) == ["2 uplinks, ipv4 by a"]
    assert kernel.read(0.1) == ([], [])


def test_it_is_ready_at_once_where_there_is_nothing_to_do() -> None:
    before = Kernel(ground("ab"))
    _, (batch,) = before.read(0.0)
    before.apply(0.0, batch)
    assert Kernel(before.facts).read(50.0) == (["2 uplinks, ipv4 by a"], [])
    assert Kernel(Facts()).read(50.0) == (["0 uplinks, no default route yet"], [])


@pytest.mark.parametrize("refuses", [1, 9])
def test_what_the_kernel_refuses_is_tried_once_more_before_it_is_ready(refuses: int) -> None:
    kernel = Kernel(ground("ab"), refuses)
    _, (batch,) = kernel.read(0.0)
    assert kernel.apply(0.0, batch) == []
    said, (again,) = kernel.read(0.1)
    assert said == []
    assert kernel.apply(0.1, again) == ["2 uplinks, ipv4 by a"]


def test_a_switch_at_the_start_is_not_the_whole_plan() -> None:
    """The new agent finds the way of the old one without carrier: one replace at once, then the rest."""
    before = Kernel(ground("ab"))
    _, (batch,) = before.read(0.0)
    before.apply(0.0, batch)
    links = tuple(replace(link, carrier=link.name != "a") for link in before.facts.links)
    kernel = Kernel(replace(before.facts, links=links))
    said, (switch,) = kernel.read(50.0)
    assert (said, len(switch.operations)) == ([], 1)
    assert kernel.apply(50.0, switch) == []
    _, (rest,) = kernel.read(50.1)
    assert kernel.apply(50.1, rest) == ["2 uplinks, ipv4 by b"]
