"""Reading the command line: what is wrong with it is said in one line, with what was meant.

What the commands are is in grammar.py; nothing is carried out here.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, NoReturn

from failover.cli.screen import complain
from failover.export.commands import COUNT_LIMIT, SECONDS_LIMIT, meant

USAGE: Final = 2
"""Exit status for wrong words."""
WIDTH_MAX: Final = 80
PAGES: Final = ("metrics", "healthz")
SECONDS_LEAST: Final = 0.001


class Formatter(argparse.HelpFormatter):
    """At most 80 columns; a text that has lines of its own keeps them."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=22, width=min(WIDTH_MAX, _columns()) - 1)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def _columns() -> int:
    """Of the terminal, as far as it says so (shutil's own function would take 5 ms to import)."""
    named = os.environ.get("COLUMNS", "")
    return int(named) if re.fullmatch("[1-9][0-9]{1,4}", named) else WIDTH_MAX


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the words, and what was meant."""

    commands: Mapping[str, Parser] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """What argparse itself refuses."""
        self.refuse(message, f"see {self.prog} --help")

    def refuse(self, message: str, hint: str) -> NoReturn:
        """Say what is wrong, and end with the status for wrong usage."""
        complain(message, hint)
        self.exit(USAGE)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End; what was printed must have reached its reader."""
        sys.stdout.flush()  # a help text that cannot be written is a failure
        super().exit(status, message)

    def options(self) -> set[str]:
        """The long ones of this command."""
        return {option for option in self._option_string_actions if option.startswith("--")}

    def understand(self, words: Sequence[str]) -> argparse.Namespace:
        """As `parse_args`; but the first thing refused is an unknown word, with the nearest known one as the hint."""
        if not words:
            self.print_help(sys.stderr)
            self.exit(USAGE)
        reader = self
        for word in takewhile(lambda word: word != "--", words):
            if word.startswith("-") and not re.match("-($|[0-9])", word):
                reader.check_option(word.partition("=")[0])
            elif reader is self:
                reader = self.command(word)
        arguments, left = self.parse_known_args(_join_negative(words))
        if left:
            reader.refuse(f"unrecognized arguments: {' '.join(left)}", reader.meant_by(left[0]))
        return arguments

    def meant_by(self, word: str) -> str:
        """The hint for a word too many: a time may lack its option."""
        timed = [option for option, action in self._option_string_actions.items() if action.metavar == "TIME"]
        if timed and re.match("[0-9]", word):
            return f"did you mean '{timed[0]} {word}'?"
        return f"see {self.prog} --help"

    def command(self, word: str) -> Parser:
        """The parser of a command; ends, if there is no such command."""
        if word not in self.commands:
            self.refuse(f"unknown command '{word}'", _page(word) or meant(word, self.commands))
        return self.commands[word]

    def check_option(self, option: str) -> None:
        """Refuse an option that this command does not have."""
        if option in self.options() | {"-h"}:
            return
        if any(option in command.options() for command in self.commands.values()):
            self.refuse(f"option '{option}' comes too early", "it goes after the command")
        of = self.prog.removeprefix("failover").replace(" ", " of ")
        self.refuse(f"unknown option '{option}'{of}", meant(option, self.options()))


def _page(word: str) -> str:
    """The hint for what is not a command but a page of the agent."""
    if word not in PAGES:
        return ""
    from failover.config import Metrics

    return f"the agent serves it: http://{Metrics().listen}/{word}, unless `metrics` in the config says otherwise"


def _join_negative(words: Sequence[str]) -> list[str]:
    """`--for -5s` as `--for=-5s`: argparse takes the value for another option, and would say that there is none."""
    joined: list[str] = []
    for word in words:
        if re.match("-[0-9]", word) and joined and joined[-1].startswith("--") and "--" not in joined:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


# --- values ----------------------------------------------------------------------------------------------------------


def seconds(text: str) -> float:
    """A duration of the command line, as long as the agent takes."""
    from failover.config.values import WrongValueError, format_duration, parse_duration, quoted

    low, high = SECONDS_LEAST, SECONDS_LIMIT
    try:
        amount = parse_duration(text, low, high)
        if not low <= amount <= high:
            mend = f"from {format_duration(low)} to {format_duration(high)}"
            raise WrongValueError(f"{quoted(text)} is out of range", mend)
    except WrongValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; {error.hint}") from error
    return amount


def count(text: str) -> int:
    """A number of things, as many as the agent gives."""
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= COUNT_LIMIT:
        from failover.config.values import quoted

        raise argparse.ArgumentTypeError(f"{quoted(text)} is no whole number from 1 to {COUNT_LIMIT}")
    return int(text)
