"""`probe`: every target of an uplink now. And what this box cannot ask at all: no evidence, but said."""

from __future__ import annotations

import pytest

from failover.config import Config, Metered, Uplink
from failover.core.engine import Engine
from failover.core.schedule import Schedule
from failover.model import Family, Outcome, ProbeKind, ProbeNow, ProbeResult, Target, Verdict

from .box import NAMES, PINGS, WEB, Box
from .story import Story, target

ALL = (*PINGS, NAMES, WEB)
METERED = Config(
    uplinks=(Uplink("au", interface="au"), Uplink("docomo", interface="docomo", metered=Metered())), targets=ALL
)


def asked(box: Box, name: str, since: float, until: float) -> list[str]:
    return sorted(send.target.url for at, send in box.sent if send.uplink == name and since <= at < until)


def test_every_target_of_a_metered_standby_is_asked_at_once_and_once() -> None:
    box = Box("au", "docomo", config=METERED).run(61)
    box.ask(ProbeNow("docomo"))
    box.run(61.2)
    assert asked(box, "docomo", 61, 61.2) == sorted(one.url for one in ALL)
    assert asked(box, "au", 61, 61.2) == [], "nobody asked for that one"


def test_what_leads_keeps_its_pace() -> None:
    """The pings that follow leave when they would have left, and no target is asked twice for its turn."""
    undisturbed = Box("au", "docomo", config=METERED).run(1000).probes("docomo", 61.2, kind=ProbeKind.ICMP)
    box = Box("au", "docomo", config=METERED).run(61)
    box.ask(ProbeNow("docomo"))
    assert box.run(1000).probes("docomo", 61.2, kind=ProbeKind.ICMP) == undisturbed
    assert len(undisturbed) >= 9


def test_a_turn_that_falls_due_in_that_moment_is_not_taken_twice() -> None:
    schedule = Schedule(0.0)
    schedule.aim(0.0, [target(letter) for letter in "ABD"])
    schedule.everything(0.0)
    assert schedule.deadline() <= 0.0
    assert sorted(due.target.url[-1] for due in schedule.due(0.0, (), lambda _: False)) == ["A", "B", "D"]
    assert schedule.due(0.5, (), lambda _: False) == []
    assert len(schedule.due(1.0, (), lambda _: False)) == 1


def test_a_stopped_schedule_asks_nobody() -> None:
    schedule = Schedule(0.0)
    schedule.aim(0.0, [target("A")])
    schedule.everything(0.0)
    schedule.stop()
    assert schedule.deadline() == float("inf")


def test_without_a_way_out_nobody_is_asked() -> None:
    box = Box("au", "docomo").run(60)
    box.lose_default("docomo")
    box.run(70)
    box.ask(ProbeNow("docomo"))
    assert asked(box, "docomo", 70, 80) == []


# --- what this box cannot ask ----------------------------------------------------------------------------------------


class Hindered(Engine):
    """Told by every socket of `docomo` what the kernel says against it."""

    said = "No such\x1b device"

    def handle(self, now: float, event: object) -> list[object]:  # type: ignore[override]
        if isinstance(event, ProbeResult) and event.outcome is Outcome.LOCAL:
            event = ProbeResult(event.id, Outcome.LOCAL, detail=self.said)
        return list(super().handle(now, event))  # type: ignore[arg-type]


def blocked() -> Box:
    box = Box("au", "docomo", config=Config(targets=ALL), brain=Hindered)
    box.weather["docomo"] = lambda _, __: Outcome.LOCAL
    return box


def view_text(box: Box, name: str) -> str:
    return next(u for u in box.engine.snapshot().uplinks if u.name == name).families[Family.IPV4].text


def test_a_box_that_cannot_probe_says_so_and_blames_nobody() -> None:
    box = blocked().run(30)
    why = "this box cannot probe: No such? device"
    assert (box.verdict("docomo"), view_text(box, "docomo")) == (Verdict.UNKNOWN, why)
    assert box.engine.snapshot().warnings == (f"docomo ipv4: {why}",)
    assert [notice.text for _, notice in box.notices if "cannot probe" in notice.text] == [f"docomo ipv4: {why}"]
    assert box.engine.explain(30)[0].candidates[1].text == why


def test_it_is_over_with_the_first_answer() -> None:
    box = blocked().run(30)
    del box.weather["docomo"]
    box.run(90)
    assert (box.verdict("docomo"), view_text(box, "docomo")) == (Verdict.UP, "answers")
    assert box.engine.snapshot().warnings == ()


def test_an_uplink_that_answered_stays_up_and_the_warning_comes() -> None:
    box = Box("au", "docomo", brain=Hindered).run(60)
    box.weather["docomo"] = lambda _, __: Outcome.LOCAL
    box.run(120)
    assert box.verdict("docomo") is Verdict.UP
    assert box.engine.snapshot().warnings == ("docomo ipv4: this box cannot probe: No such? device",)


@pytest.mark.parametrize("kind", ProbeKind)
def test_one_kind_that_gets_out_is_enough(kind: ProbeKind) -> None:
    """A firewall that shuts pings in leaves the rest."""
    targets = [one for one in ALL if one.kind is kind]
    box = Box("au", "docomo", config=Config(targets=ALL), brain=Hindered)

    def weather(_: float, one: Target) -> float | Outcome:
        return 0.03 if one in targets else Outcome.LOCAL

    box.weather["docomo"] = weather
    box.run(120)
    assert ("cannot probe" in " ".join(n.text for _, n in box.notices)) is not bool(targets)


STORIES = {
    "while others are out, nothing is said": (["0 send AB", "0 local A"], ""),
    "not before all are back": (["0 send AB", "0 local A", "0.6 local B"], "no reason given"),
    "a name that cannot be asked for is no way out": (["0 send AW", "0 local A", "0.6 noname W"], "no reason given"),
    "all at one moment is a device that went away": (["0 send AB", "0.1 local A", "0.1 local B"], ""),
    "a moment may be long on a busy machine": (["0 send AB", "0.1 local A", "0.4 local B"], ""),
    "and again is not": (
        ["0 send AB", "0.1 local A", "0.1 local B", "0.7 send A", "0.7 local A"],
        "no reason given",
    ),
    "an answer in between begins it anew": (
        ["0 send AB", "0 local A", "1 send A", "1.1 answer A", "2 send AB", "3 local A", "3 local B"],
        "",
    ),
    "a name alone says nothing about this box": (["0 send W", "0 noname W"], ""),
    "an answer ends it": (["0 send A", "0 local A", "1 send B", "1.1 answer B"], ""),
    "another way out ends it": (["0 send A", "0 local A", "1 path rerouted"], ""),
    "a new start ends it": (["0 send A", "0 local A", "1 sleep"], ""),
}


@pytest.mark.parametrize(("lines", "hindrance"), STORIES.values(), ids=STORIES)
def test_stories(lines: list[str], hindrance: str) -> None:
    health = Story("ABW").play(*lines).health
    assert health.hindrance == hindrance
    assert ("cannot probe" in health.text) is bool(hindrance)
