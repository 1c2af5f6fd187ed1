"""The commands that work without a running agent, and the agent itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from failover.cli.parser import USAGE
from failover.cli.screen import Screen, complain, print_json, print_lines
from failover.export.client import socket_path
from failover.model import FailoverError, clean

FINE, FAILURE = 0, 1


def run_agent(arguments: argparse.Namespace) -> int:
    """`failover run`."""
    import signal

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload that comes before the agent listens must not end it
    from failover import agent

    chosen = None if arguments.config is None else Path(arguments.config)
    return agent.run(agent.Options(chosen, socket_path(arguments.socket), Path(arguments.state)))


def show_help(arguments: argparse.Namespace) -> int:
    """`failover help`."""
    from failover.cli.grammar import build_parser

    parser = build_parser()
    (parser if arguments.command is None else parser.command(arguments.command)).print_help()
    return FINE


def check_config(arguments: argparse.Namespace) -> int:
    """`failover check`: what a config comes to on this machine, or every problem of it."""
    from dataclasses import asdict

    from failover.config import CONFIG_PATH, Config, ConfigError
    from failover.config.reading import load_with_warnings
    from failover.config.source import is_missing
    from failover.forecast import forecast

    if arguments.file is not None and arguments.config is not None:
        complain("argument FILE: not allowed with argument --config", "name one file")
        return USAGE
    named = arguments.config if arguments.file is None else arguments.file
    path = CONFIG_PATH if named is None else "/dev/stdin" if named == "-" else named
    try:
        missing = named is None and is_missing(Path(path))
        config, warnings = (Config(), ()) if missing else load_with_warnings(path)
    except ConfigError as error:
        if not arguments.json:
            raise
        print_json({"ok": False, "problems": [asdict(problem) for problem in error.problems]})
        return USAGE
    found = forecast(config)
    if arguments.json:
        print_json({"ok": True, "warnings": [asdict(warning) for warning in warnings], **found})
        return FINE
    head = f"{clean(path, 1000)}: " + ("not there, so the defaults hold" if missing else "fine")
    print_lines(_config_lines([head, *(f"warning: {warning}" for warning in warnings)], found))
    return FINE


def _config_lines(head: Iterable[str], found: Mapping[str, Any]) -> Iterator[str]:
    """A config in words; each line keeps its indent where it is broken."""
    from failover.config.summary import lines

    screen = Screen.of(sys.stdout)
    for line in (*head, *lines(found)):
        text = line.lstrip()
        indent = line[: len(line) - len(text)]
        yield from screen.wrap(clean(text, 1000), f"{indent}  ", indent)


def doctor(arguments: argparse.Namespace) -> int:
    """`failover doctor`."""
    from failover.doctor.command import run

    config = None if arguments.config is None else Path(arguments.config)
    return run(config, socket_path(arguments.socket), Path(arguments.state), as_json=arguments.json)


def clean_up(arguments: argparse.Namespace) -> int:
    """`failover cleanup`: say each thing that was removed or put back."""
    from failover import agent
    from failover.cleanup import clean_up as undo
    from failover.cli import report
    from failover.cli.undone import Undone
    from failover.export.instance import missing_capabilities, sole_instance
    from failover.names.ways import put_back

    options = agent.Options(None, socket_path(arguments.socket), Path(arguments.state))
    if missing := missing_capabilities():
        raise FailoverError(f"no permission to clean up: {' and '.join(missing)} missing", "run as root")
    undone = Undone()
    with ExitStack() as held:
        try:
            held.enter_context(sole_instance(options.socket))
        except FailoverError as error:
            if not arguments.force:
                raise FailoverError(str(error), f"{error.hint}; --force cleans up all the same") from error
            complain(str(error), "a running agent makes everything anew")
        undone.extend(undo(options.ledgers))
        undone.extend(put_back(ledger.parent for ledger in options.ledgers))
    for trouble in undone.errors:
        report(trouble)
    if arguments.json:
        print_json(undone.document())
    else:
        print_lines(undone.lines())
    return FAILURE if undone.failed else FINE


def simulate(arguments: argparse.Namespace) -> int:
    """`failover simulate`."""
    from failover.cli import report
    from failover.sim.command import run
    from failover.sim.invariants import InvariantError

    given = (arguments.trace, arguments.scenario, arguments.config, arguments.primary)
    how = {"whole_log": arguments.log, "dither": arguments.dither, "metered": arguments.metered, "van": arguments.van}
    try:
        return run(*given, as_json=arguments.json, seed=arguments.seed, **how)
    except InvariantError:
        raise
    except FailoverError as error:  # all else that can go wrong is in the names and files given
        report(error)
        return USAGE


def demo(arguments: argparse.Namespace) -> int:
    """`failover demo`."""
    from failover.cli import report
    from failover.lab.demo import UsageError, play

    shown = {"json": arguments.json, "list": arguments.list_, "plain": arguments.plain}
    try:
        return play(arguments.names, all_=arguments.all_, **shown)
    except UsageError as error:
        report(error)
        return USAGE
