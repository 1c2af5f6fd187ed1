"""The bench of detection, small: each kind of run is played once in the lab and held to bounds that any machine keeps.

The limits of the figures themselves are held to by hand, on a quiet machine.
"""

from __future__ import annotations

from failover.lab.pattern import IDLE
from failover.model import Family
from tests.bench import calm, detection, expense
from tests.bench.scene import Setting, side_by_side

SECONDS = 5.0
IPV4 = (Family.IPV4,)


def test_a_blackout_of_dense_traffic_and_one_of_connections() -> None:
    cases = [detection.USUAL, next(case for case in detection.CASES["sparse"] if "connection" in case.name)]
    for case, values in zip(cases, side_by_side(lambda run: detection.run(cases[run % 2], run), 2, 2), strict=True):
        assert len(values) == len(case.setting.families)
        assert all(0.2 <= value <= 3.0 for value in values), (case, values)
        assert case.figure(values).row()


def test_nothing_is_convicted_that_is_alive() -> None:
    for played in calm.everything(Setting(IDLE, families=IPV4), SECONDS):
        assert (played.convictions, played.late) == (0, 0), played
        assert played.early <= 1, played


def test_what_it_costs() -> None:
    rest, busy = side_by_side(lambda run: expense.spent(run == 1, 3.0, settle=0.0), 2, 2)
    assert 0 <= rest.cpu_percent <= busy.cpu_percent < 40
    assert 10 < rest.memory_mb < 80
    assert 0 <= rest.kb_per_minute < 10
    assert 0.3 < expense.parked(hours=0.5).values[0] < 0.7


def test_a_case_of_another_profile_promises_nothing_else() -> None:
    assert {case.setting.profile for case in detection.chosen(detection.CASES, "fast")} == {"fast"}
    assert not any(case.reach for case in detection.chosen(["sparse"], "fast"))
    assert detection.chosen(["sparse"]) == list(detection.CASES["sparse"])
    (unmetered, metered) = sorted(detection.chosen(["dense"], "fast", 0.03), key=lambda case: case.setting.metered)
    assert metered.reach == unmetered.reach == {"median": 0.35, "p95": 0.45}
