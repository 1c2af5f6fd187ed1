"""`failover sms`: the messages that came to the SIMs, from the agent or from the file that it left."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any, Final

from failover.cli.asking import absent, ask
from failover.cli.screen import Screen, complain, print_json, print_lines
from failover.export.words import cleaned, clock
from failover.model import ControlError

USUAL: Final = 50
"""As many as the agent tells where nobody says how many."""


def list_messages(arguments: argparse.Namespace) -> int:
    """The last ones, oldest first."""
    messages = _known(arguments)
    if arguments.json:
        print_json(messages)
    elif messages:
        print_lines(message_lines(messages, time.time(), Screen.of(sys.stdout)))
    else:
        complain("no messages", "what arrives on a modem's SIM is listed here")
    return 0


def message_lines(messages: Sequence[dict[str, Any]], now: float, screen: Screen) -> Iterator[str]:
    """When it was read, to which uplink it came, from whom, what it is about; its text below."""
    for message in cleaned(messages):
        at = ("" if message["clock_trusted"] else "~") + clock(message["unix_seconds"], now, near=inf)
        about = f": {', '.join(message['matters'])}" if message["matters"] else ""
        to = message["uplink"] or f"modem {message['imei']}"
        yield from screen.wrap(f"{at}  {to}  from {message['number'] or 'nobody'}{about}", "  ")
        yield from screen.wrap("(its text is left out)" if message["text"] is None else message["text"], "    ", "    ")


def _known(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Of the agent; without one, of the file it left."""
    try:
        return list(ask(arguments)["sms"])
    except ControlError as error:
        if not absent(error):
            raise
        messages = _file(Path(arguments.state), arguments.limit or USUAL, error)
        if not messages:
            raise ControlError(f"{error}, and there are no messages in {arguments.state}", error.hint) from error
        complain(f"{error}; this is from {arguments.state}")
        return messages


def _file(folder: Path, limit: int, instead: ControlError) -> list[dict[str, Any]]:
    from failover.export.messages import NAME, read

    try:
        return [kept.document() for kept in read(folder)[-limit:]]
    except OSError as error:
        why = f"{folder / NAME} cannot be read: {error.strerror}"
        hint = "be root" if isinstance(error, PermissionError) else instead.hint
        raise ControlError(f"{instead}, and {why}", hint) from error
