"""`failover events`: what happened, from the agent or from the journal that it left."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from failover.cli.asking import absent, ask
from failover.cli.screen import Screen, complain, json_text, print_json, print_lines
from failover.cli.views import event_lines
from failover.cli.watching import coming
from failover.export.client import socket_path
from failover.model import ControlError

Event = dict[str, Any]

KNOWN_MAX: Final = 2000
"""Ids of events that were shown already; the agent holds 1000 events."""


def list_events(arguments: argparse.Namespace) -> int:
    """What happened; with `--follow` what happens too, until it is interrupted."""
    if arguments.follow:
        for event in _news(arguments):
            _show_one(event, as_json=arguments.json)
    events = _known(arguments)
    if arguments.json:
        print_json(events)
    elif events:
        _show(events)
    else:
        complain("no events", "--since goes further back, if it was given")
    return 0


def _known(arguments: argparse.Namespace) -> list[Event]:
    """Of the agent; without one, of the journal it left."""
    try:
        return list(ask(arguments)["events"])
    except ControlError as error:
        if not absent(error):
            raise  # there may well be one, and what it left is old
        events = _journal(Path(arguments.state), arguments.limit, arguments.since, error)
        if not events:
            raise ControlError(
                f"{error}, and the journal in {arguments.state} has nothing to tell", error.hint
            ) from error
        complain(f"{error}; this is from the journal in {arguments.state}")
        return events


def _journal(folder: Path, limit: int | None, since: float | None, instead: ControlError) -> list[Event]:
    from failover.export.entries import RECENT
    from failover.export.journal import read

    try:
        entries = read(folder, limit or RECENT, None if since is None else time.time() - since)
    except OSError as error:
        why = f"the journal in {folder} cannot be read: {error.strerror}"
        raise ControlError(f"{instead}, and {why}", instead.hint) from error
    return [entry.document() for entry in entries]


def _news(arguments: argparse.Namespace) -> Iterator[Event]:
    """Every event once: those asked for, then each as it comes, over restarts of the agent too."""
    shown: deque[str] = deque(maxlen=KNOWN_MAX)
    for line in coming(socket_path(arguments.socket)):
        if isinstance(line, ControlError):
            complain(str(line), "trying again")
            continue
        fresh: Iterable[Event] = [line["event"]] if "event" in line else []
        if line.get("first"):
            fresh = ask(arguments)["events"]  # asked while the stream is open: nothing falls between
        for event in fresh:
            if event["id"] not in shown:
                shown.append(event["id"])
                yield event


def _show_one(event: Event, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json_text(event, indent=None) + "\n")
    else:
        _show([event])
    sys.stdout.flush()


def _show(events: list[Event]) -> None:
    print_lines(event_lines(events, time.time(), Screen.of(sys.stdout)))
