"""Layout: tables, wrapping, colours and JSON, whatever is in them."""

from __future__ import annotations

import io
import json
import pty
import re
import termios

import pytest

from failover.cli.screen import Screen, cells, json_text

HEADS = ("", "uplink", "verdict", "for", "why")
WHY = "silent for 8.2 s: 41 probes to 5 targets unanswered while docomo heard 12 answers, the last one 0.3 s ago"
ROWS = [("*", "rakuten", "down", "3 min", WHY), ("", "docomo", "up", "1 h", "answers")]


def drawn(width: int | None, spare: tuple[str, ...] = ()) -> list[str]:
    return list(Screen(width).table(HEADS, ROWS, spare))


def test_without_a_terminal_every_row_is_one_line() -> None:
    assert drawn(None) == [
        "   uplink   verdict  for    why",
        f"*  rakuten  down     3 min  {WHY}",
        "   docomo   up       1 h    answers",
    ]


def test_a_wide_terminal_has_the_text_in_the_row_to_the_last_column() -> None:
    whole = drawn(None)
    exact = max(map(len, whole))
    assert drawn(exact) == whole
    assert len(drawn(exact - 1)) > 3


def test_a_narrow_terminal_has_the_text_below_the_row() -> None:
    lines = drawn(80)
    assert max(map(len, lines)) <= 80
    assert lines[:2] == ["   uplink   verdict  for", "*  rakuten  down     3 min"]
    assert [line.startswith("     ") for line in lines[2:]] == [True, True, False, True]
    assert " ".join(line.strip() for line in lines[2:4]) == WHY


def test_a_very_narrow_one_does_without_some_columns() -> None:
    lines = drawn(20, ("for", "verdict"))
    assert lines[0] == "   uplink   verdict"
    assert lines[1] == "*  rakuten  down"
    assert drawn(12, ("for", "verdict"))[0] == "   uplink"


@pytest.mark.parametrize("width", [20, 33, 47, 80])
def test_no_word_is_broken(width: int) -> None:
    text = "gateway 2001:db8::a-b-c is silent; icmp://[2606:4700:4700::1111] unanswered " * 3
    lines = Screen(width).wrap(text)
    assert " ".join(line.strip() for line in lines) == text.strip()
    assert all(len(line) <= width or " " not in line.strip() for line in lines)


def test_wide_and_combining_characters_take_what_a_terminal_takes() -> None:
    assert [cells(text) for text in ("au", "ドコモ", "e\u0301", "")] == [2, 6, 1, 0]
    lines = list(Screen(None).table(("name", "why"), [("ドコモ", "x"), ("au", "y")]))
    assert lines == ["name    why", "ドコモ  x", "au      y"]


def test_colours_change_nothing_but_colours() -> None:
    coloured = list(Screen(80, coloured=True).table(HEADS, ROWS))
    assert any("\x1b[31mdown\x1b[0m" in line for line in coloured)
    assert any("\x1b[32mup\x1b[0m" in line for line in coloured)
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in coloured] == drawn(80)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_environment_says_what_a_terminal_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Screen.of(io.StringIO()) == Screen(None)
    assert Screen.of(Terminal()) == Screen(80, 24, True)
    monkeypatch.setenv("COLUMNS", "132")
    monkeypatch.setenv("LINES", "many")
    assert Screen.of(Terminal()) == Screen(132, 24, True)
    monkeypatch.setenv("NO_COLOR", "")
    assert Screen.of(Terminal()).coloured is False
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert Screen.of(Terminal()).coloured is False


def test_what_the_environment_says_goes_before_what_the_terminal_says(monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = pty.openpty()
    with open(outer, "rb"), open(inner, "w") as stream:
        termios.tcsetwinsize(inner, (50, 100))
        for name in ("COLUMNS", "LINES"):
            monkeypatch.delenv(name, raising=False)
        seen = Screen.of(stream)
        assert (seen.width, seen.height) == (100, 50)
        monkeypatch.setenv("COLUMNS", "132")
        monkeypatch.setenv("LINES", "60")
        seen = Screen.of(stream)
        assert (seen.width, seen.height) == (132, 60)


def test_json_is_whole_and_safe_to_look_at() -> None:
    value = {"name": "ドコモ \x1b[2J\x9b\u202e\u2028\ud800 \U000e0001 ok", "ratio": 0.5}
    for indent in (2, None):
        text = json_text(value, indent)
        assert json.loads(text) == value
        assert "ドコモ" in text
        assert all(c.isprintable() or c == "\n" for c in text)
    assert "\n" not in json_text(value, None)
