"""A reload with other waits: a running hold-down may end earlier, and is never made longer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.config import Config, Detection, Metrics, Policy, Reconfigured
from failover.core.damping import Standing
from failover.memory import Debt, Memory
from failover.model import Reason

from .box import PINGS, QUICK, Box, dead
from .worlds import V4


def waits(failback: float = 60.0, after_doubt: float = 10.0) -> Config:
    return Config(targets=PINGS, policy=Policy(failback_after=failback), detection=Detection(return_after=after_doubt))


def back_at(silence: float, *reloads: tuple[float, Config]) -> float:
    """When traffic returns to `a`, silent for so long from 100 s; with a reload of each config at its time."""
    box = Box("a", "b", config=waits())
    box.weather["a"] = dead(100, 100 + silence)
    for at, config in reloads:
        box.run(at)
        box.tell(Reconfigured(config))
    box.run(400)
    (line,) = [line for line in box.switches(100) if ">a" in line]
    return float(line.split()[0])


CONVICTED, DOUBTED = 20.0, 1.4
"""Seconds of silence."""


@pytest.mark.parametrize(
    ("silence", "reload", "earlier"),
    [
        (CONVICTED, waits(failback=20.0), 40.0),
        (CONVICTED, waits(failback=600.0), 0.0),
        (CONVICTED, waits(after_doubt=5.0), 0.0),
        (CONVICTED, replace(QUICK, policy=replace(QUICK.policy, failback_moves_flows=True)), 0.0),
    ],
    ids=["shorter", "longer", "that of the other kind", "none"],
)
def test_a_hold_down_after_a_conviction(silence: float, reload: Config, earlier: float) -> None:
    usual = back_at(silence)
    assert back_at(silence, (125, reload)) == pytest.approx(usual - earlier, abs=0.01)


@pytest.mark.parametrize(
    ("reload", "earlier"), [(waits(after_doubt=4.0), 6.0), (waits(after_doubt=40.0), 0.0), (waits(failback=1.0), 0.0)]
)
def test_a_hold_down_after_a_doubt(reload: Config, earlier: float) -> None:
    assert back_at(DOUBTED, (102, reload)) == pytest.approx(back_at(DOUBTED) - earlier, abs=0.01)


def test_what_would_be_over_by_now_is_over_now() -> None:
    assert back_at(CONVICTED, (150, waits(failback=5.0))) == pytest.approx(150, abs=0.01)


def test_a_wait_that_was_shortened_stays_so() -> None:
    usual = back_at(CONVICTED)
    assert back_at(CONVICTED, (125, waits(failback=20.0)), (126, waits())) == pytest.approx(usual - 40, abs=0.01)


@pytest.mark.parametrize(("failback", "owes"), [(60.0, 120.0), (30.0, 30 * 2**0.5)])
def test_what_was_remembered_is_owed_until_a_wait_is_shorter(failback: float, owes: float) -> None:
    """Its relapses are not what they were when it was convicted."""
    box = Box("a", "b", config=waits(), memory=Memory(debts=(Debt("a", V4, 120.0, True, 1.5),)))
    box.run(5)
    box.tell(Reconfigured(replace(waits(failback), metrics=Metrics(listen=""))))
    box.run(6)
    assert box.engine.snapshot().uplinks[0].families[V4].hold_down == pytest.approx(owes)


@pytest.mark.parametrize(("failback", "owed"), [(30.0, 120.0), (60.0, 240.0), (1e6, 240.0), (float("inf"), 240.0)])
def test_relapses_count_as_before(failback: float, owed: float) -> None:
    standing = Standing(wait=240.0, returns=Reason.FAILBACK, relapses=3.0)
    standing.shorten(failback, 1.0)
    assert standing.wait == owed


def test_what_owes_nothing_goes_on_owing_nothing() -> None:
    standing = Standing(wait=0.0, returns=Reason.CONFIG, relapses=3.0)
    standing.shorten(5.0, 1.0)
    assert standing.wait == 0.0
