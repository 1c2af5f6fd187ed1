"""What a portal is over one uplink, told as stories: every line is a second, a word, and what it is about."""

from __future__ import annotations

from .story import Lines, Story, stories

# fmt: off
PORTAL: dict[str, Lines] = {
    "until the right answer": ("ABW",
        "0 send W", "0.1 portal W", "0.1 portal", "300 portal", "300 send W", "300.1 answer W", "300.1 up"),
    "that drops pings": ("ABW", "0 send W", "0.1 portal W", "1 send AB", "1.35 portal", "1.35 calm", "60 portal"),
    "that refuses pings": ("ABW", "0 send W", "0.1 portal W", "1 send AB", "1.1 refuse AB", "1.1 portal"),
    "that lets pings pass": ("ABW", "0 send W", "0.1 portal W", "1 send AB", "1.1 answer AB", "1.1 portal"),
    "found in doubt": ("ABW", "0 send AB", "0.35 doubtful", "0.35 send W", "0.5 portal W", "0.5 portal"),
    "asleep": ("ABW", "0 send W", "0.1 portal W", "9 sleep", "9 portal"),
    "of another network": ("ABW", "0 send W", "0.1 portal W", "9 path readdressed", "9 unknown"),
    "behind a lost route": ("ABW", "0 send W", "0.1 portal W", "9 path lost", "10 path there", "10 unknown"),
    "that is not asked any more": ("ABW", "0 send W", "0.1 portal W", "9 aim AB", "9 up"),
    "and nothing is asked any more": ("ABW", "0 send W", "0.1 portal W", "9 aim -", "9 up"),
    "in one page's place, and another has come since": ("AWV",
        "0 send W", "0.1 portal W", "0.1 portal", "3 send V", "3.1 answer V", "3.1 up",
        "5 send W", "5.1 portal W", "9 up"),
    "in both places": ("AWV", "0 send WV", "0.1 portal W", "0.1 portal", "0.2 portal V", "0.2 portal", "9 portal"),
    "in one place, then in the other too": ("AWV",
        "0 send WV", "0.1 portal W", "0.2 answer V", "0.2 up", "9 send V", "9.1 portal V", "9.1 portal", "60 portal"),
    "again, after it was right": ("AWV",
        "0 send WV", "0.1 portal W", "0.2 answer V", "0.2 up", "9 send W", "9.1 answer W", "9.1 up",
        "20 send W", "20.1 portal W", "20.1 portal"),
    "though another page came before": ("AWV", "0 send V", "0.1 answer V", "0.2 send W", "0.3 portal W", "0.3 portal"),
    "a ping is no page": ("AW", "0 send W", "0.1 portal W", "1 send A", "1.03 answer A", "1.03 portal"),
    "that is the target's own fault": ("ABW", "0 blame W", "0 send W", "0.1 portal W", "0.1 up", "9 up"),
    "whose target is blamed later": ("ABW", "0 send W", "0.1 portal W", "0.1 portal", "1 blame W", "1 send A", "1 up"),
    "whose target is no longer blamed": ("ABW",
        "0 blame W", "0 send W", "0.1 portal W", "0.1 up", "1 blame -", "1 send A", "1 portal"),
    "beside a target at fault": ("ABWV",
        "0 blame W", "0 send WV", "0.1 portal W", "0.1 up", "0.2 portal V", "0.2 portal"),
}
# fmt: on


@stories(PORTAL)
def test_portal(letters: str, lines: Lines) -> None:
    Story(letters).up().play("-1 witness -10", *lines)


def test_how_a_portal_ended_is_told() -> None:
    story = Story("AW").up().play("0 send W", "0.1 portal W", "0.1 portal", "9 send W", "9.1 answer W", "9.1 up")
    assert story.health.text == "the portal is gone"
    story.play("20 send W", "20.1 portal W", "20.1 portal", "21 blame W", "21 send A", "21 up")
    assert story.health.text == "no portal: it is http://W that answers strangely"


def test_another_network_has_shown_no_page_yet() -> None:
    health = Story("AWV").up().play("0 send W", "0.1 portal W").health
    assert (list(health.pages.strange), list(health.pages.fine)) == (["http://W"], ["https://V"])
    health = Story("AWV").up().play("0 send W", "0.1 portal W", "9 path readdressed").health
    assert (health.pages.strange, health.pages.fine) == ({}, {})


def test_late_is_reached_and_silent_or_strange_is_not() -> None:
    story = Story("AW").play("0 send AW")
    assert not story.health.reached
    story.play("0.1 portal W")
    assert not story.health.reached
    assert story.play("9 late A").health.reached
    assert not story.play("10 send A", "12 portal").health.reached
