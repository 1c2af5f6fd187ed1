"""What a lane does to packets, in pure arithmetic."""

from __future__ import annotations

import itertools
import random

import pytest

from failover.lab.lane import Lane, Shape, Wire
from failover.lab.link import lane_dice


def fates(shape: Shape, seed: int = 1, count: int = 20_000) -> list[bool]:
    """For each packet in turn whether it passed; one a millisecond."""
    lane = Lane(shape, random.Random(seed))
    return [lane.admit(number / 1000, 100) is not None for number in range(count)]


def test_the_same_seed_loses_the_same_packets() -> None:
    assert fates(Shape(loss=0.2)) == fates(Shape(loss=0.2))
    assert fates(Shape(loss=0.2)) != fates(Shape(loss=0.2), seed=2)


def test_each_lane_has_dice_of_its_own() -> None:
    rolls = {lane_dice(1, carrier, way, "ipv4").random() for carrier in ("au", "docomo") for way in ("up", "down")}
    assert len(rolls) == 4
    assert lane_dice(1, "au", "up", "ipv4").random() == lane_dice(1, "au", "up", "ipv4").random()


def test_independent_loss() -> None:
    passed = fates(Shape(loss=0.2))
    followers = [later for now, later in itertools.pairwise(passed) if not now]
    assert 1 - sum(passed) / len(passed) == pytest.approx(0.2, abs=0.015)
    assert 1 - sum(followers) / len(followers) == pytest.approx(0.2, abs=0.03)


def test_bursty_loss() -> None:
    """A Gilbert channel that enters with p and stays with q loses p / (1 + p - q) of all packets."""
    passed = fates(Shape(loss=0.05, stay=0.7))
    followers = [later for now, later in itertools.pairwise(passed) if not now]
    assert 1 - sum(followers) / len(followers) == pytest.approx(0.7, abs=0.04)
    assert 1 - sum(passed) / len(passed) == pytest.approx(0.05 / 0.35, abs=0.02)


def test_all_or_nothing_needs_no_dice() -> None:
    assert not any(fates(Shape(loss=1.0), count=100))
    assert all(fates(Shape(loss=0.0), count=100))


def test_jitter_delays_and_never_reorders() -> None:
    lane = Lane(Shape(delay=0.02, jitter=0.01), random.Random(1))
    sent = [number / 1000 for number in range(1000)]
    due = [lane.admit(moment, 100) for moment in sent]
    waits = [later - moment for later, moment in zip(due, sent, strict=True) if later is not None]
    assert due == sorted(due, key=lambda moment: moment or 0.0)
    assert min(waits) >= 0.02
    assert max(waits) <= 0.03 + 1e-9
    assert max(waits) - min(waits) > 0.008


def test_a_shorter_delay_does_not_overtake() -> None:
    lane = Lane(Shape(delay=1.0), random.Random(1))
    first = lane.admit(0.0, 100)
    lane.shape = lane.shape.changed({"delay": 0.0})
    assert lane.admit(0.1, 100) == first == 1.0


def test_rate_spaces_packets_and_the_queue_is_finite() -> None:
    lane = Lane(Shape(delay=0.0, rate=10_000.0, queue=3_000), random.Random(1))
    due = [lane.admit(0.0, 1000) for _ in range(5)]
    assert due[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert due[3:] == [None, None]
    assert lane.admit(0.25, 1000) == pytest.approx(0.4)
    assert (lane.passed, lane.dropped, lane.bytes) == (4, 2, 4000)


def test_a_radio_sleeps_when_nothing_passes_for_a_while() -> None:
    """The first packet wakes it, the next one waits behind, and while it is awake none takes longer."""
    lane = Lane(Shape(delay=0.02, wake=0.3), random.Random(1))
    sent = [0.0, 0.1, 0.4, 10.39, 21.0]
    assert [lane.admit(moment, 100) for moment in sent] == pytest.approx([0.32, 0.32, 0.42, 10.41, 21.32])


def test_lanes_on_one_wire_wait_for_each_other() -> None:
    wire, shape = Wire(), Shape(delay=0.0, rate=10_000.0, queue=3_000)
    one, other = Lane(shape, random.Random(1), wire), Lane(shape, random.Random(1), wire)
    due = [lane.admit(0.0, 1000) for lane in (one, other, one)]
    assert due == pytest.approx([0.1, 0.2, 0.3])
    assert other.admit(0.05, 1000) is None
    assert other.admit(0.15, 1000) == pytest.approx(0.4)


@pytest.mark.parametrize("changes", [{"los": 0.1}, {"loss": -0.1}])
def test_a_wrong_shape_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no such shape"):
        Shape().changed(changes)
