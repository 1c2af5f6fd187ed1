"""What an agent that starts takes over from the kernel, where the one before died at a bad moment."""

from __future__ import annotations

from failover.config import Config
from failover.facts import TABLE_SETTLED
from failover.model import Family

from .box import PINGS, PINGS6, Box, Weather, dead, fair
from .worlds import V4, V6

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
