"""`use` against a hold-down: the operator's word counts now, and pays nothing in advance."""

from __future__ import annotations

import pytest

from failover.config import Config
from failover.core.lane import Lane
from failover.core.uplinks import Path, Uplink
from failover.model import FAMILIES, Family, Verdict


def convicted(now_up: bool) -> Lane:
    """A lane that was lost at 100 s and, if so asked, is up again since 110 s."""
    uplink = Uplink("au", "wwan0", 0, 2, "", False, (), {family: Path() for family in FAMILIES})
    lane = Lane.open(0.0, uplink, Family.IPV4, Config(), lambda: 0.5)
    for at, verdict in [(1.0, Verdict.UP), (100.0, Verdict.DOWN)] + ([(110.0, Verdict.UP)] if now_up else []):
        lane.health.verdict = verdict
        lane.turned(at, Config())
    return lane


@pytest.mark.parametrize(("now_up", "waits"), [(True, False), (False, True)])
def test_the_operators_word_ends_a_hold_down_only_where_it_can_be_carried_out(now_up: bool, waits: bool) -> None:
    lane = convicted(now_up)
    lane.pardon()
    lane.health.verdict = Verdict.UP
    lane.turned(200.0, Config())
    assert (lane.standing.until() > 200.0) is waits
