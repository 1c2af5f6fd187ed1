"""The commands that ask the running agent, or tell it something."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any, Final

from failover.cli.screen import Screen, print_json, print_lines
from failover.cli.views import explain_lines, only, passage_lines, status_lines
from failover.export.client import call, socket_path
from failover.export.commands import Spec
from failover.model import ControlError, clean

TEXT_LIMIT: Final = 1000
"""Characters of the agent's answer."""


def show_status(arguments: argparse.Namespace) -> int:
    """`failover status`."""
    path = socket_path(arguments.socket)
    if arguments.watch:
        from failover.cli.watching import watch

        return watch(path, arguments.name, as_json=arguments.json)
    status = call(path, "status", {})["status"]
    wanted = only(status, arguments.name)
    if arguments.json:
        print_json(wanted)
    else:
        print_lines(status_lines(status, arguments.name, time.time(), Screen.of(sys.stdout)))
    return int(arguments.check and not wanted["usable"])


def tell(arguments: argparse.Namespace) -> int:
    """Any command that the agent answers in one line."""
    for line in str(ask(arguments)["text"]).split("\n"):
        print(clean(line, TEXT_LIMIT))
    return 0


def ask(arguments: argparse.Namespace) -> dict[str, Any]:
    """Send a command as the control socket's table has it."""
    spec: Spec = arguments.spec
    given = {argument.name: getattr(arguments, argument.name) for argument in spec.arguments}
    wanted = {name: value for name, value in given.items() if value is not None}
    return call(socket_path(arguments.socket), spec.name, wanted)


def absent(error: ControlError) -> bool:
    """Whether that is because there is no agent; who may not ask it cannot know."""
    return isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, PermissionError)


def explain(arguments: argparse.Namespace) -> int:
    """`failover explain`."""
    found = ask(arguments)["explain"]
    if arguments.json:
        print_json(found)
    elif arguments.to is not None:
        print_lines(passage_lines(found, Screen.of(sys.stdout)))
    else:
        print_lines(explain_lines(found, time.time(), Screen.of(sys.stdout)))
    return 0
