"""The operator's commands: the answer, the will in force, and what the box does about it."""

from __future__ import annotations

import pytest

from failover.core.operator import expire
from failover.core.policy import Will
from failover.model import Auto, Command, Drain, ProbeNow, Undrain, Use, Verdict
from failover.seam import Resumed

from .box import Box, dead
from .worlds import V4, V6


def box(*names: str) -> Box:
    return Box(*(names or ("au", "docomo"))).run(60)


# fmt: off
ANSWERS: dict[str, tuple[Command, str, str, str]] = {
    "use": (Use("docomo"), "using docomo for 24h", "", ""),
    "use for a while": (Use("docomo", 5430), "using docomo for 5430s", "", ""),
    "use for a blink": (Use("docomo", 0.25), "using docomo for 250ms", "", ""),
    "use strictly": (Use("docomo", 7200, strict=True), "using docomo for 2h, strictly", "", ""),
    "auto": (Auto(), "choosing by health again", "", ""),
    "drain": (Drain("au"), "au is drained", "", ""),
    "undrain": (Undrain("au"), "au is no longer drained", "", ""),
    "probe": (ProbeNow("au"), "probing every target of au", "", ""),
    "a slip": (Use("docmo"), "", "no uplink is named docmo", "did you mean 'docomo'?"),
    "a stranger": (Drain("wlan0"), "", "no uplink is named wlan0", "there is au, docomo"),
}
# fmt: on


@pytest.mark.parametrize(("command", "text", "error", "hint"), ANSWERS.values(), ids=ANSWERS)
def test_answers(command: Command, text: str, error: str, hint: str) -> None:
    answer = box().ask(command)
    assert (answer.text, answer.error, answer.hint) == (text, error, hint)


@pytest.mark.parametrize("command", [Use("x"), Drain("x"), Undrain("x"), ProbeNow("x")])
def test_without_uplinks_every_name_is_unknown(command: Command) -> None:
    answer = Box().run(1).ask(command)
    assert (answer.error, answer.hint) == ("no uplink is named x", "there is no uplink")


def test_use_moves_all_at_once_until_it_is_over() -> None:
    b = box()
    b.ask(Use("docomo", seconds=100))
    assert (b.active(), b.settled()) == ("docomo", "docomo")
    snapshot = b.engine.snapshot()
    assert (snapshot.use, snapshot.use_until, snapshot.use_strict) == ("docomo", 160.0, False)
    b.run(300)
    assert b.switches(60) == ["60 au>docomo(docomo) operator", "160 docomo>au(au) operator"]
    assert "the time to use docomo is over" in [notice.text for _, notice in b.notices]
    assert b.engine.snapshot().use is None


def test_auto_ends_it_early() -> None:
    b = box()
    b.ask(Use("docomo"))
    b.run(70)
    b.ask(Auto())
    b.run(80)
    assert b.active() == "au"
    snapshot = b.engine.snapshot()
    assert (snapshot.use, snapshot.use_until) == (None, None)


def test_use_holds_through_a_doubt_and_yields_to_a_conviction_and_comes_back_after_its_hold_down() -> None:
    b = box()
    b.ask(Use("docomo"))
    b.weather["docomo"] = dead(100, 101)
    b.run(200)
    assert b.switches(61) == []
    b.weather["docomo"] = dead(200, 260)
    b.run(500)
    away, back = b.switches(61)
    assert away.endswith("docomo>au(au) conviction")
    assert back.endswith("au>docomo(docomo) operator")
    (up,) = [at for at, notice in b.notices if "docomo ipv4 is up" in notice.text and at > 230]
    assert float(back.split()[0]) == pytest.approx(up + 60, abs=0.01)


def test_strict_use_stays_through_all() -> None:
    b = box()
    b.ask(Use("docomo", strict=True))
    b.weather["docomo"] = dead(100, 160)
    b.run(400)
    assert b.switches(61) == []
    assert b.active() == "docomo"


def test_use_forgives_a_hold_down() -> None:
    b = box()
    b.weather["au"] = dead(100, 160)
    b.run(180)
    assert (b.active(), b.verdict("au")) == ("docomo", Verdict.UP)
    b.ask(Use("au"))
    assert b.active() == "au"


def test_a_drained_uplink_is_left_and_not_used_until_it_is_undrained() -> None:
    b = box()
    b.ask(Drain("au"))
    assert (b.active(), b.settled()) == ("docomo", "docomo")
    assert {view.name: view.drained for view in b.engine.snapshot().uplinks} == {"au": True, "docomo": False}
    refused = b.ask(Use("au"))
    assert (refused.error, refused.hint) == ("au is drained", "failover undrain au")
    b.run(200)
    assert b.active() == "docomo"
    b.ask(Undrain("au"))
    b.run(220)
    assert b.active() == "au"


def test_draining_twice_is_said_once() -> None:
    b = box()
    b.ask(Drain("au"))
    before = [notice.text for _, notice in b.notices]
    again = b.ask(Drain("au"))
    assert (again.text, again.error) == ("au is already drained", "")
    assert b.ask(Drain("au", force=True)).text == "au is already drained"
    assert [notice.text for _, notice in b.notices] == before
    assert before.count("au is drained") == 1


def test_draining_what_is_used_ends_the_use() -> None:
    b = box()
    b.ask(Use("docomo", seconds=1000))
    b.ask(Drain("docomo"))
    snapshot = b.engine.snapshot()
    assert (b.active(), snapshot.use, snapshot.use_until) == ("au", None, None)


def test_the_last_usable_uplink_is_drained_by_force_only() -> None:
    b = box()
    b.ask(Drain("au"))
    refused = b.ask(Drain("docomo"))
    assert refused.error == "docomo is the last usable uplink for ipv4"
    assert refused.hint == "--force drains it all the same"
    assert not refused.text
    assert b.engine.snapshot().uplinks[1].drained is False
    assert b.ask(Drain("docomo", force=True)).error == ""
    b.run(200)
    assert b.active() == "au", "where all are drained, none is"


def test_the_last_usable_uplink_of_one_family_is_drained_by_force_only() -> None:
    b = Box("au", "docomo", families=(V4, V6)).run(60)
    b.lose_default("docomo", V6)
    b.run(70)
    assert b.ask(Drain("au")).error == "au is the last usable uplink for ipv6"
    assert b.ask(Drain("docomo")).error == ""
    assert b.ask(Drain("au")).error == "au is the last usable uplink for ipv4 and ipv6"
    assert b.ask(Drain("au", force=True)).error == ""


def test_an_uplink_in_doubt_is_no_reason_to_drain_the_other() -> None:
    b = box()
    b.weather["docomo"] = dead(60)
    b.run(90)
    assert b.verdict("docomo") is Verdict.DOWN
    assert b.ask(Drain("au")).error == "au is the last usable uplink for ipv4"
    assert b.ask(Drain("docomo")).error == ""


@pytest.mark.parametrize("seconds", [0.5, 61.9], ids=["unknown", "in doubt"])
def test_the_only_uplink_is_the_last_usable_one_as_long_as_it_is_not_lost(seconds: float) -> None:
    b = Box("au")
    b.weather["au"] = dead(0 if seconds < 1 else 60)
    b.run(seconds)
    assert b.verdict("au") in (Verdict.UNKNOWN, Verdict.DOUBTFUL)
    assert b.ask(Drain("au")).error == "au is the last usable uplink for ipv4"


def test_a_command_in_error_changes_and_says_nothing() -> None:
    b = box()
    before = len(b.notices)
    b.ask(Use("nobody"))
    assert len(b.notices) == before
    assert b.engine.snapshot().use is None


def test_probing_on_command_is_no_news() -> None:
    b = box()
    before = len(b.notices)
    b.ask(ProbeNow("docomo"))
    assert len(b.notices) == before
    assert b.probes("docomo", 60)[:1] == [60]


@pytest.mark.parametrize(("until", "over"), [(99.0, True), (100.0, True), (100.5, False)])
def test_use_ends_when_its_time_is_over(until: float, over: bool) -> None:
    will = Will("a", until, strict=True, drained=frozenset("b"))
    then = expire(100.0, will)
    assert then == (Will(drained=frozenset("b")) if over else will)


def test_without_use_nothing_ends() -> None:
    will = Will(drained=frozenset("b"))
    assert expire(1e9, will) is will


def test_a_sleep_is_part_of_the_time_to_use_an_uplink() -> None:
    box = Box("a", "b").run(10)
    box.ask(Use("b", 7200.0, strict=False))
    box.run(100)
    box.tell(Resumed(7000.0))
    box.run(205)
    assert box.active() == "b"
    box.run(400)
    assert box.active() == "a"
