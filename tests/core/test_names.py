"""A name server that dies alone: traffic goes where names resolve, and nowhere when they do so nowhere."""

from __future__ import annotations

from itertools import pairwise

import pytest

from failover.config import Config
from failover.model import NoticeKind, ProbeKind, Target, Verdict

from .box import NAMES, PINGS, RTT, Box, Fate, Weather, dead

CONFIG = Config(targets=(*PINGS, NAMES))


def mute(start: float, end: float = 1e9) -> Weather:
    """Packets pass, and no question is answered from `start` to `end`."""

    def weather(now: float, target: Target) -> Fate:
        return None if target.kind is ProbeKind.DNS and start <= now < end else RTT

    return weather


def box_with(**weather: Weather) -> Box:
    box = Box("a", "b", config=CONFIG)
    box.weather |= weather
    return box


def reasons(box: Box) -> list[str]:
    return [line.rsplit(maxsplit=1)[-1] for line in box.switches()]


def test_new_flows_go_where_names_resolve_and_come_back() -> None:
    box = box_with(a=mute(100, 400)).run(150)
    (switch,) = [notice for _, notice in box.notices if notice.kind is NoticeKind.SWITCH]
    assert "names do not resolve, though packets pass" in switch.text
    assert (box.verdict("a"), box.active(), box.settled()) == (Verdict.DEGRADED, "b", "a")
    box.run(450)
    assert (box.verdict("a"), box.active()) == (Verdict.UP, "a")
    assert reasons(box) == ["degraded", "acquittal"]


def test_a_second_question_follows_the_first_unanswered_one_soon() -> None:
    box = box_with(a=mute(100)).run(150)
    first, second, *later = box.probes("a", 100, kind=ProbeKind.DNS)
    assert 0.9 <= second - first <= 4.2
    assert [after - before for before, after in pairwise(later)] == pytest.approx(
        [10.0] * (len(later) - 1), abs=0.3
    )


def test_where_nothing_resolves_anywhere_nothing_moves() -> None:
    box = box_with(a=mute(100, 400), b=mute(100, 400)).run(390)
    assert box.switches() == []
    assert box.verdict("a") is Verdict.UP


def test_the_standbys_dead_name_server_moves_nothing() -> None:
    box = box_with(b=mute(100)).run(300)
    assert box.switches() == []
    assert (box.verdict("a"), box.verdict("b")) == (Verdict.UP, Verdict.DEGRADED)


def test_one_lost_question_is_nothing() -> None:
    box = box_with(a=mute(119, 121.5)).run(300)
    assert box.switches() == []
    assert all("names" not in notice.text for _, notice in box.notices)


def test_a_blackout_is_no_matter_of_names() -> None:
    box = box_with(a=dead(100)).run(160)
    assert reasons(box)[:2] == ["doubt", "conviction"]
    assert all("names" not in notice.text for _, notice in box.notices)


def test_a_name_server_of_the_way_before_says_nothing_of_a_new_one() -> None:
    """The Wi-Fi's resolver was dead; the next network's takes a moment to answer."""
    box = box_with(a=mute(100, 159.9)).run(160)
    assert box.verdict("a") is Verdict.DEGRADED
    box.unplug("a")
    box.run(161)
    box.plug("a", 9)
    told = len(box.notices)
    box.run(200)
    assert not [notice.text for _, notice in box.notices[told:] if "do not resolve" in notice.text]
