"""What is said beyond a verdict: how a silence turned out, who is silent alone, that not even the gateway answers."""

from __future__ import annotations

from dataclasses import replace

from failover.model import NoticeKind, Outcome, ProbeResult, Target, Verdict

from .box import NAMES, PINGS, QUICK, RTT, Box, Weather, dead
from .story import Story, target

WITH_NAMES = replace(QUICK, targets=(*PINGS, NAMES))


def said(box: Box) -> list[str]:
    """Of silences that are settled."""
    return [notice.text for _, notice in box.notices if notice.kind is NoticeKind.UPLINK and "silence" in notice.fields]


def late(start: float, end: float) -> Weather:
    """What is sent meanwhile is answered at the end."""
    return lambda now, _: end - now + RTT if start <= now < end else RTT


def test_each_silence_is_told_once_when_it_is_known_what_it_was() -> None:
    box = Box("au", "docomo")
    box.weather["au"] = late(100, 103)
    box.run(200)
    (text,) = said(box)
    assert text.startswith("au ipv4: buffered 2.")
    assert "replies came late" in text
    box.weather["au"] = dead(300, 303)
    box.run(400)
    first, second = said(box)
    assert first == text
    assert second.startswith("au ipv4: silent 3.0 s")
    assert "probes lost" in second
    kinds = [notice.fields["silence"] for _, notice in box.notices if "silence" in notice.fields]
    assert kinds == ["buffered", "lost"]


def texts(box: Box) -> dict[str, str]:
    (told,) = [one for one in box.engine.explain(box.now) if one.family.value == "ipv4"]
    return {candidate.name: candidate.text for candidate in told.candidates}


def test_a_target_that_is_silent_alone_is_named() -> None:
    box = Box("au", "docomo", config=WITH_NAMES)
    box.weather["au"] = lambda now, asked: None if now > 60 and asked == PINGS[0] else RTT
    box.run(50)
    assert texts(box) == {"au": "answers", "docomo": "answers"}
    box.run(120)
    assert texts(box) == {
        "au": f"answers; {PINGS[0].url} gets no answer and others do: its own fault",
        "docomo": "answers",
    }


def test_pings_that_are_filtered_are_called_so() -> None:
    box = Box("au", "docomo", config=WITH_NAMES)
    box.weather["au"] = lambda _, asked: RTT if asked == NAMES else None
    box.run(300)
    assert texts(box)["au"].endswith("; no ping is answered, other kinds are: something filters them")


MUTE = "not even the gateway answers"


def mute(story: Story, letter: str, number: int) -> None:
    """A probe of which the kernel says at once that no neighbour takes it."""
    probe: Target = target(letter)
    story.health.sent(story.now, number, probe, steady=True)
    story.health.result(story.now, ProbeResult(number, Outcome.SILENT, None, MUTE))


def test_a_mute_gateway_is_told_with_the_silence_once() -> None:
    story = Story("AB").up().play("0 send A", "0.1 send B", "0.4 send A")
    story.until(1.0)
    assert story.health.verdict is Verdict.DOUBTFUL
    before = story.health.text
    for number in (1000, 1001):
        mute(story, "A", number)
    assert story.health.text == f"{before}; {MUTE}"
    assert story.health.verdict is Verdict.DOUBTFUL


def test_a_mute_gateway_is_no_fault_of_a_link_that_answers() -> None:
    story = Story("AB").up()
    mute(story, "A", 1000)
    assert (story.health.verdict, story.health.text) == (Verdict.UP, "answers")
