"""The manual page failover(1), written from the same tables as `--help`: `python -m failover.cli.manual > failover.1`.

roff as man(7) of groff has it; nothing of the options is told twice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

from failover import __version__
from failover.cli.grammar import ABOUT, ENVIRONMENT, EXAMPLES, EXIT_STATUS, FILES, GROUPS, WORDS, build_parser
from failover.cli.parser import Parser


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    parser = build_parser()
    yield f'.TH FAILOVER 1 "" "failover {__version__}" "User Commands"'
    yield from (".nh", ".ad l")  # neither break words nor stretch lines
    yield from _section("NAME", [r"failover \- keeps a box with several uplinks online"])
    synopsis = [r"\fBfailover\fR \fICOMMAND\fR [\fIOPTION\fR]...", ".br", r"\fBfailover help\fR [\fICOMMAND\fR]"]
    yield from _section("SYNOPSIS", synopsis)
    yield from _section("DESCRIPTION", [_text(ABOUT), *_description()])
    for title, names in GROUPS.items():
        yield from _section(f"COMMANDS: {title.upper()}", (line for name in names for line in _command(parser, name)))
    yield from _section("COMMON OPTIONS", _items(_common(parser)))
    for title, rows in (("EXIT STATUS", EXIT_STATUS), ("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)):
        yield from _section(title, _items(rows))
    yield from _section("EXAMPLES", _items(EXAMPLES))


def _description() -> Iterator[str]:
    yield ".PP"
    yield _text(
        "The agent (failover run) probes every uplink in both address families, moves new connections when an uplink is"
        " in doubt, forwarded traffic once it is convicted, and brings new ones back when it has proven itself."
        " The other commands ask it, tell it something, or work without it."
    )


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f".SH {title}"
    yield from lines


def _command(parser: Parser, name: str) -> Iterator[str]:
    """Its syntax, what it does, its own options, the words that it prints, its examples."""
    command = parser.commands[name]
    word = next(word for word in WORDS if word.name == name)
    yield f".SS {_text(name)}"
    yield rf"\fB{_text(' '.join(command.format_usage().removeprefix('usage: ').split()))}\fR"
    yield ".PP"
    yield _text(command.description or "")
    yield from _items(_own(command))
    yield from _items(word.legend[1])
    if word.examples:
        yield from (".PP", ".nf", *(f"    {_text(example)}" for example in word.examples), ".fi")


def _own(command: Parser) -> Iterator[tuple[str, str]]:
    """Positional arguments and options, but those that commands have in common."""
    for group in command._action_groups:
        if group.title != "common options":
            yield from (_told(action) for action in group._group_actions if action.dest != "help")


def _common(parser: Parser) -> Iterator[tuple[str, str]]:
    """Each once."""
    told = {"-h, --help": "show what the command is for, and its options", "--version": "(of failover itself)"}
    for command in parser.commands.values():
        for group in command._action_groups:
            if group.title == "common options":
                told |= dict(_told(action) for action in group._group_actions)
    yield from told.items()


def _told(action: argparse.Action) -> tuple[str, str]:
    value = f" {action.metavar}" if action.metavar and action.option_strings else ""
    return ", ".join(f"{option}{value}" for option in action.option_strings) or str(action.metavar), str(action.help)


def _items(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A list of terms with their meaning."""
    for term, meaning in rows:
        yield from (".TP", rf"\fB{_text(term)}\fR", _text(meaning))


def _text(text: str) -> str:
    """Plain text for roff: no escapes, no requests, and minus signs that can be copied."""
    safe = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga").replace("'", r"\(aq")
    return rf"\&{safe}" if safe.startswith(".") else safe


if __name__ == "__main__":
    sys.stdout.write(page())
