"""Since when new flows go where they go: nothing but their own move changes that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.config import Reconfigured, Uplink
from failover.model import Decision, Drain

from .box import QUICK, Box, dead
from .worlds import V4


def decision(box: Box) -> Decision:
    return box.engine.snapshot().decisions[V4]


def diverted() -> Box:
    """New flows have left `a` in doubt, and all else when it was convicted."""
    box = Box("a", "b")
    box.weather["a"] = dead(100)
    return box.run(200)


def test_a_conviction_takes_the_rest_along_and_changes_no_since() -> None:
    box = diverted()
    doubt, conviction = (float(line.split()[0]) for line in box.switches(100))
    assert (decision(box).since, decision(box).at) == pytest.approx((doubt, conviction), abs=0.01)
    assert doubt < conviction


def test_a_switch_begins_anew() -> None:
    box = diverted()
    box.weather["a"] = dead(100, 200)
    box.run(400)
    assert decision(box).active == "a"
    assert decision(box).since == decision(box).at > 250


def test_another_name_for_the_same_uplink_is_no_switch() -> None:
    box = diverted()
    before = decision(box)
    named = replace(QUICK, uplinks=(Uplink("au", "a"), Uplink("docomo", "b")))
    box.tell(Reconfigured(named))
    box.run(210)
    assert (decision(box).active, decision(box).since) == ("docomo", before.since)


def test_another_order_of_the_fallbacks_is_no_switch() -> None:
    box = Box("a", "b", "c").run(60)
    before = decision(box)
    box.ask(Drain("b"))
    assert decision(box).order != before.order
    assert decision(box).since == before.since


@pytest.mark.parametrize("start", [0.0, 70.0])
def test_what_is_found_in_the_kernel_is_so_since_it_was_found(start: float) -> None:
    box = Box("a", "b", start=start).run(start + 5)
    assert decision(box).since == start
    box.restart(box.engine.memory(box.now), pause=3.0)
    box.run(start + 20)
    assert decision(box).since == start + 8
