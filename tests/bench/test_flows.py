"""The bench of flows, small: one blackout in the lab, held to bounds that any machine keeps.

The limits of the figures themselves are held to by hand, on a quiet machine.
"""

from __future__ import annotations

from math import inf

from tests.bench import flows
from tests.bench.scene import side_by_side


def test_open_flows_and_those_just_begun_outlast_a_blackout() -> None:
    """Whoever is open is broken at a conviction, 1.5 s of silence; who is begun never waits for that."""
    case = next(iter(flows.CASES["box"]))
    (values,) = side_by_side(lambda seed: flows.run(case, seed), 1, 1)
    for row, found in zip(case.rows, values, strict=True):
        assert found, row.name
        least, most = (0.01, 4.0) if "begun" in row.name else (1.2, 5.0)
        assert all(least <= one <= most for one in found), (row.name, found)
        assert case.figure(row, found).row()


def test_each_case_promises_what_its_profile_does() -> None:
    balanced, fast = flows.chosen(["box"])
    reach = {case.setting.profile: case.figure(case.rows[0], [1.0]).reach for case in (balanced, fast)}
    assert reach == {"balanced": {"median": 1.8, "p95": 2.6}, "fast": {"median": 1.3, "p95": 2.2}}
    assert flows.chosen(["box"], "fast") == [fast]
    (frugal,) = flows.chosen(["box"], "frugal", 0.1)
    assert (frugal.setting.round_trip, frugal.figure(frugal.rows[0], [inf]).reach) == (0.1, {})
