"""A metered uplink saves bytes except where it is not known what it is worth."""

from __future__ import annotations

import pytest

from failover.config import Config, Metered, Uplink
from failover.model import Family, Outcome, ProbeKind, Verdict

from .box import NAMES, PINGS, PINGS6, RTT, Box, Weather, dead
from .worlds import V4, V6

DEAR = Config(targets=PINGS, uplinks=(Uplink("a", "a", metered=Metered()),))


def pace(weather: Weather) -> tuple[Verdict, int]:
    """The verdict on a metered uplink without a rival, and its probes in the minute from 100 s to 160 s."""
    box = Box("a", config=DEAR)
    box.weather["a"] = weather
    box.run(160)
    return box.verdict("a"), len(box.probes("a", 100, 160))


# fmt: off
PACES: dict[str, tuple[Weather, Verdict, int]] = {
    "known": (lambda *_: RTT, Verdict.UP, 7),
    "never heard of": (lambda *_: Outcome.LOCAL, Verdict.UNKNOWN, 12),
    "silent for long": (dead(20), Verdict.DOUBTFUL, 12),
    "refused": (lambda *_: Outcome.REFUSED, Verdict.DOWN, 12),
}
# fmt: on


@pytest.mark.parametrize(("weather", "verdict", "probes"), PACES.values(), ids=PACES)
def test_the_pace_of_a_metered_uplink(weather: Weather, verdict: Verdict, probes: int) -> None:
    found, counted = pace(weather)
    assert found is verdict
    assert counted == pytest.approx(probes, abs=1)


def test_what_nobody_has_heard_of_is_asked_each_second_for_a_minute() -> None:
    box = Box("a", config=DEAR)
    box.weather["a"] = lambda *_: Outcome.LOCAL
    box.run(120)
    assert len(box.probes("a", 0, 60)) == pytest.approx(60, abs=1)
    assert len(box.probes("a", 60, 120)) == pytest.approx(12, abs=1)


SILENT = ((2, 5, 0.3), (5, 60, 1.0), (60, 160, 5.0))
"""From so many seconds of silence to so many, so many seconds from one probe to the next."""


@pytest.mark.parametrize("dear", [(), ("a",)], ids=["free", "metered"])
def test_the_longer_the_left_uplink_is_silent_the_less_it_is_asked(dear: tuple[str, ...]) -> None:
    uplinks = tuple(Uplink(name, name, metered=Metered() if name in dear else None) for name in "ab")
    box = Box("a", "b", config=Config(targets=PINGS, uplinks=uplinks))
    box.weather["a"] = dead(100)
    box.run(280)
    first = box.probes("a", 100)[0]
    assert [len(box.probes("a", first + start, first + end)) for start, end, _ in SILENT] == pytest.approx(
        [(end - start) / interval for start, end, interval in SILENT], abs=2.5
    )


def test_a_standby_that_falls_silent_is_watched_less_closely_and_its_burst_is_slower() -> None:
    box = Box("a", "b")
    box.weather["b"] = dead(100)
    box.run(300)
    first = box.probes("b", 100)[0]
    burst = [round(at - first, 3) for at in box.probes("b", first, first + 2)]
    assert set(burst) >= {0.0, 0.65, 0.9, 1.15, 1.4, 1.65, 1.9}, "after a rest it has 0.4 s to wake up"
    assert len(box.probes("b", first + 11, first + 61)) == pytest.approx(10, abs=1)
    assert len(box.probes("b", first + 62, first + 162)) == pytest.approx(20, abs=1)
    assert box.switches() == []


def test_a_silent_metered_standby_is_soon_asked_as_seldom_as_one_that_answers() -> None:
    box = Box("a", "b", config=Config(targets=PINGS, uplinks=(Uplink("a", "a"), Uplink("b", "b", metered=Metered()))))
    box.weather["b"] = dead(100)
    box.run(1400)
    first = box.probes("b", 100)[0]
    assert len(box.probes("b", first + 160, first + 160 + 900)) == pytest.approx(10, abs=1)


@pytest.mark.parametrize(("families", "share"), [((V4,), 1), ((V4, V6), 2)])
@pytest.mark.parametrize(("name", "interval"), [("a", 8), ("b", 90)])
def test_the_families_of_a_metered_uplink_share_its_probes(
    families: tuple[Family, ...], share: int, name: str, interval: int
) -> None:
    uplinks = tuple(Uplink(one, one, metered=Metered()) for one in "ab")
    box = Box("a", "b", config=Config(targets=(*PINGS, *PINGS6), uplinks=uplinks), families=families).run(3800)
    sent = [at for at, send in box.sent if send.uplink == name and send.family is V4 and at >= 200]
    assert len(sent) == pytest.approx(3600 / interval / share, abs=1.5)


def test_a_family_without_targets_has_no_turn() -> None:
    one = Box("a", config=DEAR, families=(V4, V6)).run(400)
    assert len(one.probes("a", 100, 400)) == pytest.approx(300 / 8, abs=2)


@pytest.mark.parametrize("rtt", [0.1, 0.6])
def test_where_no_ping_is_answered_a_server_tells_the_round_trip(rtt: float) -> None:
    """A satellite whose carrier drops pings: each answer is late by the figures of a quick link."""
    box = Box("a", "b", config=Config(targets=(*PINGS, NAMES)))
    box.weather["a"] = lambda _, target: None if target.kind is ProbeKind.ICMP else rtt
    box.run(60)
    told = len(box.notices)
    box.run(600)
    assert not [notice.text for _, notice in box.notices[told:] if "a ipv4" in notice.text]
    assert box.active() == "a"
