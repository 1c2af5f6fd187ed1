"""A radio that sleeps when nothing passes, and a tunnel that silences every uplink at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.config import Config, Metered, Uplink
from failover.model import Target, Verdict

from .box import PINGS, Box, Fate, Weather, dead, fair


class Sleepy:
    """A link whose first packet after `doze` seconds of rest takes `wake` seconds more."""

    def __init__(self, rtt: float, doze: float = 4.0, wake: float = 0.3) -> None:
        self.rtt, self.doze, self.wake = rtt, doze, wake
        self._last = -100.0

    def __call__(self, now: float, _: Target) -> Fate:
        slept, self._last = now - self._last >= self.doze, now
        return self.rtt + (self.wake if slept else 0.0)


@pytest.mark.parametrize("rtt", [0.02, 0.06, 0.1, 0.2])
def test_a_standby_that_sleeps_between_its_probes_is_never_in_doubt(rtt: float) -> None:
    box = Box("a", "b")
    box.weather["b"] = Sleepy(rtt)
    box.run(600)
    assert box.verdict("b") is Verdict.UP
    assert not [notice.text for at, notice in box.notices if at > 30 and "b ipv4" in notice.text]


def test_what_did_not_rest_has_no_time_to_wake_up() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100)
    box.run(110)
    first = box.probes("a", 100)[0]
    assert box.switches()[0].startswith(f"{first + 0.35:g} a>b(a) doubt")


@pytest.mark.parametrize("entered", [100.0, 100.4, 101.7, 103.3])
def test_in_a_tunnel_traffic_moves_at_most_once_and_comes_back(entered: float) -> None:
    box = Box("a", "b", "c")
    tunnel: Weather = dead(entered, entered + 23)
    box.weather = dict.fromkeys("abc", tunnel)
    box.run(entered + 22)
    assert len(box.switches(entered)) <= 1
    box.weather = dict.fromkeys("abc", fair)
    box.run(entered + 60)
    assert box.active() == "a"
    assert all("conviction" not in line for line in box.switches())


def test_of_three_the_one_that_is_alive_is_asked_at_once_where_two_fall_silent() -> None:
    """Two carriers on one mast: the proof of the third is older than the silence, so it is asked for another."""
    config = Config(uplinks=tuple(Uplink(name, name, metered=Metered() if name == "c" else None) for name in "abc"))
    box = Box("a", "b", "c", config=replace(config, targets=PINGS))
    box.weather["a"] = box.weather["b"] = dead(100)
    box.run(160)
    first = box.probes("a", 100)[0]
    assert box.active() == "c"
    left = next(at for at, notice in box.notices if at > 100 and notice.fields.get("to") == "c")
    assert left <= first + 0.6
