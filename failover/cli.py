"""The command line: parses, calls, prints. Thin, and fast to start: what a command needs is imported when it runs.

Exit status: 0 fine, 1 a failure, 2 wrong usage or a bad config. Errors are one line on stderr, with a hint.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Final, NoReturn

from failover import __version__
from failover.export.client import call, socket_path
from failover.export.commands import COMMANDS, SECONDS_LIMIT, Argument, Kind, Spec, meant
from failover.model import ControlError, FailoverError, KernelError, clean
from failover.wording import describe

FINE, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130
STATE_DIRECTORY: Final = "/var/lib/failover"
SECONDS_LEAST: Final = 0.001
COMPLAINT_LIMIT: Final = 2000
"""Characters of an error line."""
MENDS: Final = {
    errno.ENOSPC: "make room",
    errno.EMFILE: "raise the limit of open files, see `ulimit -n`",
    errno.EACCES: "run as a user who may do that",
}
"""Of what the system refuses."""
UNWRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What a write to standard output, which has no name, comes to."""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the words, and what was meant."""

    commands: Mapping[str, Parser] = {}

    def error(self, message: str) -> NoReturn:
        """What argparse itself refuses."""
        self.refuse(message, f"see {self.prog} --help")

    def refuse(self, message: str, hint: str) -> NoReturn:
        """Say what is wrong, and end with the status for wrong usage."""
        _complain(message, hint)
        self.exit(USAGE)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End; what was printed must have reached its reader."""
        sys.stdout.flush()  # a help text that cannot be written is a failure
        super().exit(status, message)

    def options(self) -> set[str]:
        """The long ones of this command."""
        return {"--help", *re.findall(r"--[a-z]+", self.format_usage())}

    def understand(self, words: Sequence[str]) -> argparse.Namespace:
        """As `parse_args`; but the first thing refused is an unknown word, with the nearest known one as the hint."""
        reader = self
        for word in takewhile(lambda word: word != "--", words):
            if word.startswith("-") and not re.match("-($|[0-9])", word):
                reader.check_option(word.partition("=")[0])
            elif reader is self:
                if word not in self.commands:
                    self.refuse(f"unknown command '{word}'", meant(word, self.commands))
                reader = self.commands[word]
        arguments, left = self.parse_known_args(_join_negative(words))
        if left:
            reader.error(f"unrecognized arguments: {' '.join(left)}")
        return arguments

    def check_option(self, option: str) -> None:
        """Refuse an option that this command does not have."""
        if option in self.options() | {"-h"}:
            return
        if any(option in command.options() for command in self.commands.values()):
            self.refuse(f"option '{option}' comes too early", "it goes after the command")
        of = self.prog.removeprefix("failover").replace(" ", " of ")
        self.refuse(f"unknown option '{option}'{of}", meant(option, self.options()))


def _join_negative(words: Sequence[str]) -> list[str]:
    """`--for -5s` as `--for=-5s`: argparse takes the value for another option, and would say that there is none."""
    joined: list[str] = []
    for word in words:
        if re.match("-[0-9]", word) and joined and joined[-1].startswith("--") and "--" not in joined:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def main(argv: Sequence[str] | None = None) -> int:
    """The `failover` command; returns its exit status."""
    _ready_streams()
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = build_parser().understand(words)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except FailoverError as error:
        return _explain(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if "--debug" in words and not isinstance(error, BrokenPipeError):
            raise
        if isinstance(error, OSError):
            return _say_refused(error)
        _complain(f"{type(error).__name__}: {error}", "a bug; --debug shows where")
        return FAILURE


def _ready_streams() -> None:
    """A stream that is closed takes everything, and one of another charset an escape for what it cannot show."""
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _explain(error: FailoverError) -> int:
    from failover.config import ConfigError

    if isinstance(error, ConfigError):
        for problem in error.problems:
            _complain(str(problem))
        return USAGE
    *lines, last = str(error).split("\n") if isinstance(error, ControlError) else [str(error)]
    hint, *story = error.hint.split("\n")
    for line in lines:
        _complain(line)
    _complain(last, hint)
    for line in story:
        print(clean(line, COMPLAINT_LIMIT), file=sys.stderr)
    return FAILURE


def _say_refused(error: OSError) -> int:
    """What the system refused, and where; a reader of our output that is gone needs no word."""
    place = error.filename or ("standard output" if error.errno in UNWRITTEN else "")
    try:
        sys.stdout.flush()
    except OSError:  # what is still to be written cannot be; the interpreter's own flush shall not complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        reason = error.strerror or str(error)
        _complain(f"{place}: {reason}" if place else reason, MENDS.get(error.errno or 0, "--debug shows where"))
    return FAILURE


def _complain(text: str, hint: str = "") -> None:
    with contextlib.suppress(OSError):  # nobody can be told
        print(clean(f"failover: {text}" + (f" ({hint})" if hint else ""), COMPLAINT_LIMIT), file=sys.stderr)


# --- the parser ------------------------------------------------------------------------------------------------------


def build_parser() -> Parser:
    """Every command with its options."""
    parser = Parser(prog="failover", description="Keeps a box with several uplinks online.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"failover {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    options = _options()

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str, *wanted: str) -> Parser:
        parents = [options[one] for one in (*wanted, "--debug")]
        command: Parser = commands.add_parser(name, help=text, description=text, parents=parents, allow_abbrev=False)
        command.set_defaults(run=run)
        return command

    add("run", run_agent, "run the agent in the foreground", "--config", "--socket", "--state")
    check = add("check", check_config, "say what a config means, or all that is wrong with it", "--config", "--json")
    check.add_argument("file", nargs="?", metavar="FILE", help="instead of --config")
    status = add("status", show_status, COMMANDS["status"].help, "--socket", "--json")
    status.add_argument("--check", action="store_true", help="exit 1 when no family has a usable uplink")
    for spec in COMMANDS.values():
        if spec.reply == "text":
            _add_arguments(add(spec.name, ask_agent, spec.help, "--socket"), spec)
    cleanup = add("cleanup", clean_up, "remove everything failover made in the kernel", "--socket", "--state")
    cleanup.add_argument("--force", action="store_true", help="even while an agent runs")
    _add_simulate(add("simulate", simulate, "play a trace or a scenario in virtual time", "--config", "--json"))
    _add_demo(add("demo", demo, "play outages on real routes in namespaces of its own", "--json"))
    parser.commands = commands.choices
    return parser


def _options() -> dict[str, Parser]:
    """Options that several commands share, each as a parent parser."""
    options = {name: Parser(add_help=False) for name in ("--config", "--socket", "--state", "--json", "--debug")}
    options["--config"].add_argument("--config", metavar="FILE", help="default: /etc/failover/failover.yaml, if there")
    options["--socket"].add_argument("--socket", metavar="PATH", help="control socket (or FAILOVER_SOCKET)")
    options["--state"].add_argument("--state", metavar="DIR", default=STATE_DIRECTORY, help=f"({STATE_DIRECTORY})")
    options["--json"].add_argument("--json", action="store_true", help="print JSON")
    options["--debug"].add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")
    return options


def _add_arguments(parser: Parser, spec: Spec) -> None:
    parser.set_defaults(spec=spec)
    for argument in spec.arguments:
        if argument.kind is Kind.FLAG:
            parser.add_argument(argument.option, dest=argument.name, action="store_true", help=argument.help)
        else:
            _add_value(parser, argument)


def _add_value(parser: Parser, argument: Argument) -> None:
    kind: Callable[[str], object] = seconds if argument.kind is Kind.SECONDS else str
    if argument.option:
        parser.add_argument(argument.option, dest=argument.name, metavar="TIME", type=kind, help=argument.help)
    else:
        parser.add_argument(argument.name, metavar=argument.name.upper(), type=kind, help=argument.help)


def _add_simulate(parser: Parser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--trace", metavar="FILE.csv", help="t_s and one rtt_ms_NAME column per uplink")
    what.add_argument("--scenario", metavar="FILE.yaml", help="a scripted outage, or the name of one that is built in")
    parser.add_argument("--primary", metavar="NAME", help="the preferred uplink (default: the first)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same log (0)")


def _add_demo(parser: Parser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", dest="all_", help="every fault, not only the first four")
    which.add_argument("--only", action="append", default=[], metavar="NAME", dest="names", help="this fault")
    which.add_argument("--list", action="store_true", dest="list_", help="name the faults and play none")


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


# --- the agent's side ------------------------------------------------------------------------------------------------


def run_agent(arguments: argparse.Namespace) -> int:
    """`failover run`."""
    import signal

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload that comes before the agent listens must not end it
    from failover import agent

    chosen = None if arguments.config is None else Path(arguments.config)
    return agent.run(agent.Options(chosen, socket_path(arguments.socket), Path(arguments.state)))


def show_status(arguments: argparse.Namespace) -> int:
    """`failover status`."""
    status = call(socket_path(arguments.socket), "status", {})["status"]
    if arguments.json:
        print(json.dumps(status, indent=2, ensure_ascii=False))
    else:
        from failover.export.words import draw

        draw(status, sys.stdout)
    return FAILURE if arguments.check and not status["usable"] else FINE


def ask_agent(arguments: argparse.Namespace) -> int:
    """Any command that the agent answers in one line."""
    spec: Spec = arguments.spec
    given = {argument.name: getattr(arguments, argument.name) for argument in spec.arguments}
    wanted = {name: value for name, value in given.items() if value is not None}
    print(call(socket_path(arguments.socket), spec.name, wanted)["text"])
    return FINE


# --- without an agent ------------------------------------------------------------------------------------------------


def check_config(arguments: argparse.Namespace) -> int:
    """`failover check`: what a config comes to, or every problem of it."""
    from failover.config import CONFIG_PATH, Config, ConfigError
    from failover.config.reading import load_with_warnings
    from failover.config.summary import lines, summary

    if arguments.file is not None and arguments.config is not None:
        _complain("argument FILE: not allowed with argument --config", "name one file")
        return USAGE
    named = arguments.config if arguments.file is None else arguments.file
    path = CONFIG_PATH if named is None else named
    try:
        missing = named is None and not os.path.exists(path)
        config, warnings = (Config(), ()) if missing else load_with_warnings(path)
    except ConfigError as error:
        if arguments.json:
            print(json.dumps({"ok": False, "problems": [asdict(problem) for problem in error.problems]}, indent=2))
            return USAGE
        raise
    if arguments.json:
        warned = [asdict(warning) for warning in warnings]
        print(json.dumps({"ok": True, "warnings": warned, **summary(config)}, indent=2, ensure_ascii=False))
        return FINE
    print(f"{path}: " + ("not there, so the defaults hold" if missing else "fine"))
    for warning in warnings:
        print(f"warning: {warning}")
    for line in lines(summary(config)):
        print(line)
    return FINE


def clean_up(arguments: argparse.Namespace) -> int:
    """Say each thing that was removed or put back."""
    from contextlib import nullcontext

    from failover import agent, cleanup
    from failover.export.instance import require_capabilities, sole_instance

    options = agent.Options(None, socket_path(arguments.socket), Path(arguments.state))
    require_capabilities()
    done = failed = 0
    with nullcontext() if arguments.force else sole_instance(options.socket):
        for result in cleanup.clean_up(options.ledgers):
            if isinstance(result, KernelError):
                failed += 1
                _explain(result)
                continue
            verb, what = result.operation.verb, describe(result.operation.item)
            print(f"{verb} {what}" + (f": {result.error}" if result.error else ""))
            done, failed = (done, failed + 1) if result.error else (done + 1, failed)
    print(f"{done} removed or put back" + (f", {failed} not" if failed else ""))
    return FAILURE if failed else FINE


def simulate(arguments: argparse.Namespace) -> int:
    """`failover simulate`."""
    from failover.sim.command import run
    from failover.sim.invariants import InvariantError

    source = (arguments.trace, arguments.scenario)
    try:
        return run(*source, arguments.config, arguments.primary, as_json=arguments.json, seed=arguments.seed)
    except InvariantError:
        raise
    except FailoverError as error:  # all else that can go wrong is in the names and files given
        _explain(error)
        return USAGE


def demo(arguments: argparse.Namespace) -> int:
    """`failover demo`."""
    from failover.lab.demo import UsageError, play

    try:
        return play(arguments.names, all_=arguments.all_, json=arguments.json, list=arguments.list_)
    except UsageError as error:
        _explain(error)
        return USAGE
