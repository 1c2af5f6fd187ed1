"""A web target that changed is not taken for a portal over every uplink, and a portal not for a target that changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.config import Config, Reconfigured
from failover.core.blame import Blame
from failover.core.lane import Lane
from failover.model import Family, NoticeKind, Outcome, ProbeKind, Target, Verdict

from .box import NAMES, PINGS, RTT, WEB, Box, Fate, Weather
from .worlds import V4, V6

RICH = Config(targets=(*PINGS, NAMES, WEB))
NEWS = Target(ProbeKind.HTTP, "news.example", 80, "/", status=200, url="http://news.example/?status=200")
CHANGED = 1000.0


def strange(start: float = 0.0, end: float = 1e9, url: str = WEB.url) -> Weather:
    """Another status than expected, in a page's place."""
    return lambda now, target: Outcome.PORTAL if target.url == url and start <= now < end else RTT


def only_web(now: float, target: Target) -> Fate:
    """A portal that lets nothing else pass."""
    return Outcome.PORTAL if target.kind.is_web else None


def box(**weather: Weather) -> Box:
    made = Box(*weather, config=RICH)
    made.weather = dict(weather)
    return made


def warned(box: Box) -> list[tuple[float, str]]:
    return [(at, notice.text) for at, notice in box.notices if notice.kind is NoticeKind.WARNING]


def verdicts(box: Box, name: str) -> list[str]:
    """`1200.03 portal`."""
    told = [(at, n.fields) for at, n in box.notices if n.kind is NoticeKind.VERDICT and n.fields["uplink"] == name]
    return [f"{at:g} {fields['verdict']}" for at, fields in told]


def lane(box: Box, name: str) -> Lane:
    return next(lane for lane in box.engine._fleet if (lane.uplink.name, lane.family) == (name, V4))


def test_a_site_that_changes_takes_the_traffic_away_for_ten_seconds_and_no_longer() -> None:
    van = box(a=strange(CHANGED), b=strange(CHANGED)).run(9000)
    assert van.switches() == ["1200.03 a>b(b) portal", "1210.06 b>a(b) acquittal"]
    assert verdicts(van, "a") == ["0.03 up", "1200.03 portal", "1200.06 up"], "b was asked at once"
    assert verdicts(van, "b") == ["0.03 up"]


def test_who_is_to_blame_is_said_once_and_shown_as_long_as_it_lasts() -> None:
    van = box(a=strange(CHANGED, 5000), b=strange(CHANGED, 5000)).run(4000)
    [(at, text)] = warned(van)
    assert at == pytest.approx(1200.06)
    assert text.startswith(f"{WEB.url} is not answered as expected over any uplink")
    assert "?status=" in text
    assert van.engine.snapshot().warnings == (text,)
    van.run(5000 + 1500)
    assert van.engine.snapshot().warnings == ()
    assert len(warned(van)) == 1


def test_a_portal_over_one_uplink_of_several_is_one_at_once() -> None:
    van = box(a=strange(CHANGED), b=strange(9e9), c=strange(9e9)).run(4000)
    assert van.switches() == ["1200.03 a>b(b) portal"]
    assert verdicts(van, "a") == ["0.03 up", "1200.03 portal"]
    assert warned(van) == []


def test_a_portal_over_two_uplinks_is_one_as_long_as_the_page_comes_over_a_third() -> None:
    van = box(a=strange(CHANGED), b=strange(CHANGED), c=strange(9e9)).run(4000)
    assert (van.verdict("a"), van.verdict("b"), van.active()) == (Verdict.PORTAL, Verdict.PORTAL, "c")
    assert warned(van) == []


def test_what_was_heard_over_a_dead_uplink_blames_no_portal() -> None:
    van = box(a=strange(CHANGED), b=strange(CHANGED), c=lambda now, _: None if now > 500 else RTT).run(4000)
    assert (van.verdict("a"), van.verdict("b"), van.verdict("c")) == (Verdict.UP, Verdict.UP, Verdict.DOWN)
    assert len(warned(van)) == 1
    assert van.switches()[-1] == "1210.06 b>a(b) acquittal"
    van.weather["c"] = strange()
    van.run(6000)
    assert van.verdict("c") is Verdict.UP
    assert verdicts(van, "a")[-1] == "1200.06 up", "what c had heard before was void"


def test_uplinks_that_answer_nothing_but_strange_pages_are_behind_portals() -> None:
    van = box(a=only_web, b=only_web).run(4000)
    assert (van.verdict("a"), van.verdict("b")) == (Verdict.PORTAL, Verdict.PORTAL)
    assert warned(van) == []


def test_alone_a_portal_and_a_changed_site_are_the_same() -> None:
    van = box(a=strange(CHANGED)).run(4000)
    assert van.verdict("a") is Verdict.PORTAL
    assert warned(van) == []


def test_an_uplink_that_comes_later_is_not_convicted_for_it() -> None:
    van = box(a=strange(CHANGED), b=strange(CHANGED)).run(2000)
    van.weather["c"] = strange()
    van.plug("c", 9, metric=999)
    van.run(4000)
    assert verdicts(van, "c") == ["2000.03 up"]
    assert len(warned(van)) == 1


def test_nor_is_one_that_finds_another_way_out_nor_the_last_that_is_left() -> None:
    van = box(a=strange(CHANGED), b=strange(CHANGED)).run(2000)
    van.unplug("b")
    van.unplug("a")
    van.plug("a", 7)
    van.run(4000)
    assert verdicts(van, "a")[-1] == "2000.03 up"


def test_when_the_site_is_right_again_what_was_heard_before_convicts_nobody() -> None:
    van = box(a=strange(CHANGED, 3000), b=strange(CHANGED, 3000)).run(9000)
    assert verdicts(van, "a")[-1] == "1200.06 up"
    assert len(van.switches()) == 2
    van.weather["a"] = strange(9000)
    van.run(12000)
    assert verdicts(van, "a")[-1].endswith(" portal")
    assert van.active() == "b"


def test_when_the_page_comes_over_one_the_others_are_asked_at_once() -> None:
    van = box(a=strange(), b=strange()).run(2000)
    assert (van.verdict("a"), van.verdict("b")) == (Verdict.UP, Verdict.UP)
    van.weather["b"] = strange(9e9)
    van.run(4000)
    freed = next(at for at in van.probes("b", 2000, kind=ProbeKind.HTTP))
    assert verdicts(van, "a")[-1] == f"{freed + 2 * RTT:g} portal"
    assert van.active() == "b"


def test_of_two_pages_one_that_changed_is_no_portal() -> None:
    van = Box("a", config=replace(RICH, targets=(*RICH.targets, NEWS)))
    van.weather["a"] = strange(CHANGED)
    van.run(9000)
    assert verdicts(van, "a") == ["0.03 up", "1200.03 portal", "1200.03 up"], "both are asked together"


def test_a_mistake_costs_as_much_as_a_doubt_and_is_no_relapse() -> None:
    van = box(a=strange(CHANGED), b=strange(CHANGED)).run(1205)
    standing = lane(van, "a").standing
    assert (standing.wait, standing.convicted, standing.relapses_now(1205)) == (10.0, False, 0.0)
    van.run(3000)
    van.weather["a"] = lambda *_: None
    van.run(3010)
    assert (standing.wait, standing.relapses) == (60.0, 1.0), "the first true one"


def test_a_portal_that_goes_owes_the_whole_hold_down() -> None:
    van = box(a=strange(0, 100), b=strange(9e9)).run(300)
    assert verdicts(van, "a") == ["0.03 up", "0.03 portal", "120.09 up"]
    assert van.switches() == ["0.03 a>b(b) portal", "180.09 b>a(b) failback"]
    assert lane(van, "a").standing.relapses == 1.0


@pytest.mark.parametrize("targets", [(*PINGS, NAMES), (*PINGS, NEWS)])
def test_a_target_that_is_asked_no_more_is_no_longer_warned_of(targets: tuple[Target, ...]) -> None:
    van = box(a=strange(), b=strange()).run(100)
    assert van.engine.snapshot().warnings
    van.tell(Reconfigured(Config(targets=targets)))
    van.run(101)
    assert van.engine.snapshot().warnings == ()


def test_each_family_finds_its_own_and_the_warning_is_one() -> None:
    van = Box("a", "b", config=RICH, families=(V4, V6))
    van.weather = {"a": strange(), "b": strange()}
    van.run(4000)
    assert len(van.engine.snapshot().warnings) == 1
    at_fault: dict[Family, frozenset[str]] = van.engine._fleet.blame.at_fault
    assert at_fault == {V4: frozenset({WEB.url}), V6: frozenset()}, "in IPv6 nothing else is asked"
    assert van.verdict("a", V6) is Verdict.PORTAL


@pytest.mark.parametrize("verdict", Verdict)
def test_what_an_uplink_has_heard_counts_while_something_comes_over_it(verdict: Verdict) -> None:
    van = box(a=strange(9e9), b=strange(9e9), c=strange(9e9)).run(10)
    lanes = van.engine._fleet.by_family[V4]
    for one in lanes[:2]:
        one.health.pages.void(frozenset(), {WEB.url})
        one.health.pages.strange[WEB.url] = 10.0
    lanes[2].health.verdict = verdict
    blame = Blame()
    blame.weigh(10.0, V4, lanes)
    counts = verdict in (Verdict.UP, Verdict.DEGRADED, Verdict.UNKNOWN, Verdict.PORTAL)
    assert bool(blame.at_fault[V4]) is not counts
