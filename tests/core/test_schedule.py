"""Who is probed when: the schedule alone, and the paces of a whole box counted per hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from failover.config import Config, Metered, Uplink
from failover.core.schedule import BURST_LENGTH, METERED_ACTIVE, STANDBY_FACTOR, Due, Schedule
from failover.model import Outcome, ProbeKind, ProbeNow, Target, Verdict
from failover.seam import Resumed

from .box import NAMES, PINGS, QUICK, WEB, Box, Weather, dead
from .story import target
from .worlds import V4

K = ProbeKind


def alive(_: str) -> bool:
    return False


def aimed(letters: str, phase: float = 0.0, factor: float = 1.0) -> Schedule:
    schedule = Schedule(phase)
    schedule.aim(0.0, [target(letter) for letter in letters])
    schedule.pace(0.0, factor)
    return schedule


def play(schedule: Schedule, until: float) -> list[tuple[float, str]]:
    """(second, letter) of everything due before `until`."""
    sends: list[tuple[float, str]] = []
    while schedule.deadline() < until:
        now = max(0.0, schedule.deadline())
        sends += [(round(now, 3), due.target.url[-1]) for due in schedule.due(now, (), alive)]
        assert schedule.deadline() > now
    return sends


def test_all_at_the_start_then_pings_in_turn_every_second() -> None:
    sends = play(aimed("ABD"), 4.5)
    assert sorted(letter for at, letter in sends if at == 0) in (["A", "D"], ["B", "D"])
    turn = "".join(letter for at, letter in sends if letter != "D")
    assert turn in ("ABABA", "BABAB")
    assert [at for at, letter in sends if letter != "D"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("letters", "seconds"), [("A", 1), ("ABC", 1), ("D", 5), ("W", 15), ("DT", 5)])
def test_the_cheapest_kind_leads(letters: str, seconds: float) -> None:
    lead = play(aimed(letters), 60.5)
    assert len([at for at, letter in lead if letter in letters.replace("T", "")]) == 60 // seconds + 1


@pytest.mark.parametrize(("letter", "interval"), [("D", 30), ("T", 300), ("V", 300), ("W", 300)])
@pytest.mark.parametrize("factor", [1, STANDBY_FACTOR, METERED_ACTIVE])
def test_the_other_kinds_keep_their_intervals_times_the_factor(letter: str, interval: float, factor: float) -> None:
    sends = play(aimed("A" + letter, factor=factor), 4 * interval * factor + 1)
    assert [at for at, sent in sends if sent == letter] == pytest.approx([n * interval * factor for n in range(5)])
    assert len([at for at, sent in sends if sent == "A"]) == pytest.approx(4 * interval + 1, abs=1)


def test_where_pings_never_answer_the_next_kind_is_asked_and_each_of_them_now_and_then() -> None:
    schedule = aimed("ABDW")
    schedule.due(0.0, (), alive)
    found = []
    for now in range(1, 17):
        found += [due.target.url[-1] for due in schedule.due(float(now), (), urls("AB").__contains__)]
        schedule.another(urls("AB").__contains__)  # as a burst does in between, whose turns are not these
    assert "".join(found) in ("DDDADDDB" * 2, "DDDBDDDA" * 2)
    assert [due.target.url[-1] for due in schedule.due(17.0, (), urls("ABD").__contains__)] in (["A"], ["B"])


def test_lanes_are_staggered_by_their_phase() -> None:
    moments = [play(aimed("AB", phase), 3.0)[1][0] for phase in (0.0, 0.25, 0.5, 0.99)]
    assert moments == sorted(moments, reverse=True)
    assert moments[0] == 1.0
    assert moments[-1] == pytest.approx(0.505)


def test_a_faster_pace_takes_hold_at_once_and_a_slower_one_after_what_is_due() -> None:
    schedule = aimed("AD", factor=25.0)
    schedule.due(0.0, (), alive)
    schedule.pace(3.0, 1.0)
    assert schedule.deadline() <= 4.0
    play(schedule, 10.0)
    due = schedule.deadline()
    schedule.pace(10.0, 5.0)
    assert schedule.deadline() == due
    schedule.due(due, (), alive)
    assert schedule.deadline() == pytest.approx(due + 5)


def test_a_schedule_that_slept_does_not_catch_up() -> None:
    schedule = aimed("AB")
    schedule.due(0.0, (), alive)
    assert len(schedule.due(5000.0, (), alive)) == 1
    assert schedule.deadline() >= 5000.5


def test_stopped_it_sends_nothing_and_started_everything() -> None:
    schedule = aimed("ABDW")
    schedule.due(0.0, (), alive)
    schedule.stop()
    assert play(schedule, 9999.0) == []
    schedule.others_within(0.0, 0.0)
    schedule.pace(0.0, 5.0)
    assert play(schedule, 9999.0) == []
    schedule.start(9999.0)
    assert sorted(due.target.url[-1] for due in schedule.due(9999.0, (), alive))[1:] == ["D", "W"]


def test_without_targets_there_is_nothing_to_do() -> None:
    schedule = aimed("")
    schedule.burst(0.0)
    schedule.stop()
    schedule.start(1.0)
    assert play(schedule, 9999.0) == []


def steps(schedule: Schedule, start: float, **facts: str) -> list[tuple[float, str]]:
    """The burst that begins at `start`: (seconds from there, letters)."""
    schedule.due(start, (), alive)
    schedule.burst(start)
    found = []
    now = start
    while now < start + 3:
        sends = [due for due in schedule.due(now, urls(facts.get("overdue", "")), dead_ones(facts)) if not due.steady]
        if sends:
            found.append((round(now - start, 3), "".join(due.target.url[-1] for due in sends)))
            assert [due.partner for due in sends] == [len(found) > 1, False][: len(sends)]
        now = max(now + 1e-9, schedule.deadline())
    return found


def urls(letters: str) -> set[str]:
    return {target(letter).url for letter in letters}


def dead_ones(facts: dict[str, str]) -> Callable[[str], bool]:
    return urls(facts.get("dead", "")).__contains__


@pytest.mark.parametrize(
    ("letters", "overdue", "dead_letters", "first", "turn"),
    [
        ("AB", "A", "", "B", "AB"),
        ("ABC", "A", "", "BC", "ABC"),
        ("ABD", "A", "", "B", "ABD"),
        ("ABDTVW", "A", "", "B", "ABD"),
        ("A", "A", "", "A", "A"),
        ("AW", "A", "", "A", "A"),
        ("AB", "AB", "", "AB", "AB"),
        ("AB", "A", "B", "A", "A"),
        ("ABD", "A", "B", "A", "AD"),
        ("ABD", "D", "AB", "D", "D"),
        ("AB", "A", "AB", "B", "AB"),
        ("D", "D", "", "D", "D"),
        ("W", "W", "", "W", "W"),
    ],
)
def test_a_burst(letters: str, overdue: str, dead_letters: str, first: str, turn: str) -> None:
    """First somebody of `first`, on the suspect alone; then those of `turn`."""
    found = steps(aimed(letters), 10.0, overdue=overdue, dead=dead_letters)
    assert len(found[0][1]) == 1
    assert found[0][1] in first
    assert found[0][0] == 0
    assert [at for at, _ in found] == pytest.approx([n / 10 for n in range(len(found))])
    assert found[-1][0] <= BURST_LENGTH < found[-1][0] + 0.11
    assert set("".join(sent for _, sent in found[1:])) == set(turn)
    assert all(len(set(sent)) == len(sent) for _, sent in found), "nobody is asked twice at once"
    pings = [sent[0] for _, sent in found[1:5]]
    assert all(one != other for one, other in pairwise(pings)) or len(set(pings)) == 1


def test_one_burst_per_silence() -> None:
    schedule = aimed("AB")
    assert steps(schedule, 10.0)
    schedule.burst(20.0)
    assert all(due.steady for due in schedule.due(20.0, (), alive))
    schedule.rest()
    assert steps(schedule, 30.0)


def test_an_answer_ends_a_burst() -> None:
    schedule = aimed("AB")
    schedule.due(0.0, (), alive)
    schedule.burst(0.5)
    assert schedule.due(0.5, (), alive) in ([Due(target(letter), steady=False)] for letter in "AB")
    schedule.rest()
    assert schedule.deadline() >= 0.9


# --- in a box --------------------------------------------------------------------------------------------------------

HOUR = 3600.0
RICH = Config(targets=(*PINGS, NAMES, WEB))


def per_hour(box: Box, name: str, start: float = 600.0) -> Counter[ProbeKind]:
    """Probes of an uplink in the hour from `start` on."""
    return Counter(
        {kind: len(box.probes(name, start, start + HOUR, kind)) for kind in K if box.probes(name, kind=kind)}
    )


def metered(*names: str, of: str = "ab") -> Config:
    return Config(
        targets=RICH.targets,
        uplinks=tuple(Uplink(name, name, metered=Metered() if name in names else None) for name in of),
    )


# fmt: off
PACES = {
    "active": ("", "a", 3600, 120, 12),
    "standby": ("", "b", 720, 24, 2.4),
    "active, metered": ("a", "a", 450, 15, 1.5),
    "standby, metered": ("b", "b", 40, 1.3, 0.13),
}
# fmt: on


@pytest.mark.parametrize(("dear", "name", "pings", "questions", "pages"), PACES.values(), ids=PACES)
def test_paces_at_rest(dear: str, name: str, pings: float, questions: float, pages: float) -> None:
    box = Box("a", "b", config=metered(*dear)).run(600 + HOUR)
    counted = per_hour(box, name)
    assert counted[K.ICMP] == pytest.approx(pings, abs=1)
    assert counted[K.DNS] == pytest.approx(questions, abs=1)
    assert counted[K.HTTP] == pytest.approx(pages, abs=1)
    assert set(counted) <= {K.ICMP, K.DNS, K.HTTP}


def test_targets_take_turns() -> None:
    box = Box("a").run(101)
    assert [count for _, count in sorted(Counter(send.target.url for _, send in box.sent).items())] == [51, 51]


def test_all_kinds_at_link_up_at_another_address_after_sleep_and_on_command() -> None:
    box = Box("a", "b", config=RICH).run(100)
    assert box.probes("a", 0, 0.1, K.DNS) == box.probes("a", 0, 0.1, K.HTTP) == [0]
    box.unplug("b")
    box.run(110)
    assert not box.probes("b", 100)
    box.plug("b", 9)
    box.run(110.1)
    assert box.probes("b", 110, 111, K.DNS) == box.probes("b", 110, 111, K.HTTP) == [110]
    box.run(120)
    box.tell(Resumed(7200))
    box.run(120.1)
    assert {name: box.probes(name, 120, kind=K.HTTP) for name in "ab"} == {"a": [120], "b": [120]}
    box.run(130)
    box.ask(ProbeNow("b"))
    assert box.probes("b", 130, kind=K.HTTP) == [130]
    assert not box.probes("a", 130, kind=K.HTTP)


def test_nothing_without_a_way_out_not_even_on_command_or_after_sleep() -> None:
    box = Box("a", "b", config=RICH).run(100)
    box.change("b", carrier=False)
    box.run(101)
    assert box.ask(ProbeNow("b")).error == ""
    box.tell(Resumed(60))
    box.run(500)
    assert box.probes("b", 100) == []
    assert box.verdict("b") is Verdict.DOWN


def test_all_kinds_at_a_conviction_and_before_failback() -> None:
    box = Box("a", "b", config=RICH)
    box.weather["a"] = dead(400, 500)
    box.run(600)
    (convicted,) = [at for at, notice in box.notices if "is down" in notice.text]
    (back,) = [at for at, notice in box.notices if "a ipv4 is up" in notice.text and at > 450]
    assert convicted in box.probes("a", kind=K.HTTP)
    assert back + 55 in box.probes("a", kind=K.HTTP)
    assert any("failback" in switch and switch.startswith(f"{back + 60:g} ") for switch in box.switches())


def test_an_acquittal_costs_no_page() -> None:
    box = Box("a", "b", config=RICH)
    box.weather["a"] = dead(100, 101.5)
    box.run(200)
    assert [text.split()[-1] for text in box.switches()] == ["doubt", "acquittal"]
    assert box.probes("a", 1, 200, K.HTTP) == []


def test_a_portal_is_looked_at_every_half_a_minute() -> None:
    box = Box("a", "b", config=RICH)
    box.weather["b"] = lambda now, t: (Outcome.PORTAL if now < 500 else 0.03) if t.kind is K.HTTP else 0.03
    box.run(700)
    pages = box.probes("b", 1, 500, K.HTTP)
    assert all(25 <= later - earlier <= 40 for earlier, later in pairwise(pages))
    assert len(pages) >= 12
    assert box.verdict("b") is Verdict.UP


def test_a_silent_uplink_is_watched_closely_for_a_minute_and_in_the_end_of_its_hold_down() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 400)
    box.run(600)
    pace = [len(box.probes("a", at, at + 10)) for at in (110, 140, 200, 300)]
    assert pace == [10, 10, 2, 2]
    (back,) = [at for at, notice in box.notices if "a ipv4 is up" in notice.text and at > 200]
    assert len(box.probes("a", back + 10, back + 50)) == pytest.approx(40, abs=1)


def asked_along(box: Box, until: float) -> list[float]:
    """Seconds after the first unanswered probe over `a` at which `b` was asked the same target as `a`."""
    first = box.probes("a", 100)[0]
    burst = {(at, send.target) for at, send in box.sent if send.uplink == "a"}
    along = [at for at, send in box.sent if send.uplink == "b" and 100 <= at < until and (at, send.target) in burst]
    return [round(at - first, 3) for at in along]


def test_a_proven_standby_is_asked_along_once_when_a_silence_lasts() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 160)
    assert asked_along(box.run(104), 103) == [1.05]


def test_a_standby_that_is_not_proven_is_asked_before_there_is_doubt_and_until_it_is_heard() -> None:
    box = Box("a", "b", config=metered("b"))
    box.weather |= {"a": lambda now, _: 0.6 if now < 100 else None, "b": dead(5, 103)}
    box.run(104)
    first = box.probes("a", 100)[0]
    doubtful = next(at for at, notice in box.notices if at > 100 and "a ipv4 is doubtful" in notice.text)
    along = asked_along(box, doubtful)
    assert along == pytest.approx([1.5 + n / 10 for n in range(len(along))])
    assert first + along[-2] < 103 <= first + along[-1] < doubtful
    assert asked_along(box, 104) == along


def test_a_standby_with_targets_of_its_own_is_asked_those() -> None:
    own = Target(K.ICMP, "10.9.9.9", url="icmp://10.9.9.9")
    config = Config(targets=PINGS, uplinks=(Uplink("a", "a"), Uplink("b", "b", targets=(own,))))
    box = Box("a", "b", config=config)
    box.weather["a"] = dead(100, 160)
    box.weather["b"] = lambda _, t: 0.03 if t == own else None
    box.run(110)
    assert {send.target.url for _, send in box.sent if send.uplink == "b"} == {own.url}
    assert box.active() == "b"


def no_pings(start: float = 0.0, end: float = 1e9) -> Weather:
    """A carrier that drops pings; all is silent from `start` to `end`."""
    return lambda now, t: None if t.kind is K.ICMP or start <= now < end else 0.03


@pytest.mark.parametrize("dear", ["", "b"])
def test_a_standby_that_drops_pings_is_proven_all_the_same(dear: str) -> None:
    box = Box("a", "b", config=metered(*dear))
    box.weather |= {"a": dead(900), "b": no_pings(1e9)}
    box.run(899)
    assert (box.engine.snapshot().uplinks[1].families[V4].last_proven or 0) > 899 - 90
    box.run(910)
    doubt, conviction = box.switches()
    first = box.probes("a", 900)[0]
    assert doubt == f"{first + 0.35:g} a>b(a) doubt"
    assert float(conviction.split()[0]) == pytest.approx(first + 1.53, abs=0.1)


def test_an_active_uplink_that_drops_pings_is_doubted_within_seconds() -> None:
    box = Box("a", "b", config=RICH)
    box.weather["a"] = no_pings(900)
    box.run(910)
    doubt, conviction = (float(line.split()[0]) for line in box.switches(20))
    assert 900.35 <= doubt <= 903.4
    assert doubt + 1.1 <= conviction <= doubt + 1.5


# --- bytes do not explode --------------------------------------------------------------------------------------------


# fmt: off
STORMS: dict[str, tuple[Weather, float]] = {
    "all is well": (lambda now, t: 0.03, 1.1),
    "a long way": (lambda now, t: 0.6, 1.2),
    "a second and a half": (lambda now, t: 1.5, 3.5),
    "three seconds": (lambda now, t: 3.0, 3.5),
    "fourteen seconds": (lambda now, t: 14.0, 3.5),
    "a queue that breathes": (lambda now, t: 0.05 + (now * 7 % 20) / 10, 4),
    "one target dead": (lambda now, t: None if t.url.endswith("1") else 0.03, 1.2),
    "one target refuses": (lambda now, t: Outcome.REFUSED if t.url.endswith("1") else 0.03, 1.2),
    "pings filtered": (lambda now, t: None if t.kind is K.ICMP else 0.03, 1.4),
    "silence": (lambda now, t: None, 1.2),
    "refusal": (lambda now, t: Outcome.REFUSED, 1.2),
    "nothing leaves": (lambda now, t: Outcome.LOCAL, 1.2),
    "no name": (lambda now, t: Outcome.NAME if t.kind is K.HTTP else 0.03, 1.1),
    "a third is lost": (lambda now, t: None if int(now * 1000) % 3 == 0 else 0.03, 4),
    "a portal": (lambda now, t: Outcome.PORTAL if t.kind is K.HTTP else 0.03, 1.1),
    "a portal that drops pings": (lambda now, t: Outcome.PORTAL if t.kind is K.HTTP else None, 1.2),
}
# fmt: on


@pytest.mark.parametrize(("weather", "most"), STORMS.values(), ids=STORMS)
@pytest.mark.parametrize("name", ["a", "b"])
def test_no_weather_makes_a_storm_of_probes(name: str, weather: Weather, most: float) -> None:
    box = Box("a", "b", config=RICH)
    box.weather[name] = weather
    box.run(1200)
    assert len(box.sent) / 1200 <= 1.3 + most
    assert max(len(box.probes(name, at, at + 10)) for at in range(0, 1200, 10)) <= 60


def test_a_van_at_rest_sends_what_it_should() -> None:
    box = Box("a", "b", "c", config=QUICK).run(HOUR)
    assert len(box.sent) == pytest.approx(3600 * (1 + 2 / STANDBY_FACTOR), rel=0.01)
