"""The commands: their options, what they are for, and examples. Help texts and the manual page come from here.

Nothing is carried out here; the file of each command is imported when it runs.
"""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from failover import __version__
from failover.cli.parser import Parser, count, seconds
from failover.export.commands import COMMANDS, Argument, Kind

STATE_DIRECTORY: Final = "/var/lib/failover"

GROUPS: Final = {
    "how things are": ("status", "explain", "events", "sms", "probe"),
    "telling the agent": ("use", "auto", "drain", "undrain", "reload"),
    "setting up": ("run", "modems", "esim", "check", "doctor", "cleanup"),
    "trying out": ("simulate", "demo"),
}
ABOUT: Final = "Keeps a box with several uplinks online when a carrier dies."
EXAMPLES: Final = (
    ("failover status", "which uplink carries what, and why"),
    ("failover use docomo --for 2h", "you know better, for a while"),
    ("failover events --since 24h", "what happened since yesterday"),
)
EXIT_STATUS: Final = (
    ("0", "fine"),
    ("1", "a failure; also what `status --check`, `probe` and `doctor` tell by it"),
    ("2", "wrong usage or a bad config"),
)
FILES: Final = (
    ("/etc/failover/failover.yaml", "the config; without it, uplinks are discovered"),
    ("/run/failover/control.sock", "the agent's control socket"),
    (STATE_DIRECTORY, "its journal and its memory"),
)
ENVIRONMENT: Final = (
    ("FAILOVER_SOCKET", "the control socket, where --socket is not given"),
    ("NO_COLOR", "no colours"),
)


OUTCOMES: Final = (
    ("answered", "the target answered"),
    ("late", "it answered, but later than expected"),
    ("clock", "it answered; only the dates of its certificate could not be judged"),
    ("silent", "no answer"),
    ("refused", "somebody on the way answers that it does not let this through"),
    ("portal", "something else answers in the target's place"),
    ("local", "this machine could not send the probe"),
    ("name", "the target's name has no address"),
    ("nothing", "nothing yet after 5 seconds, or it was not asked"),
)
Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Word:
    """One command."""

    name: str
    run: str
    """`FILE:FUNCTION` of this package."""
    help: str
    """In a list of commands; the start of its own help text too."""
    more: str = ""
    shared: tuple[str, ...] = ()
    """Options that it has in common with others."""
    add: Callable[[Parser], None] = lambda _: None
    """Adds its own."""
    examples: tuple[str, ...] = ()
    legend: tuple[str, Rows] = ("", ())
    """Words that it prints, under a title, each with its meaning."""


# --- options ---------------------------------------------------------------------------------------------------------


def _shared() -> dict[str, Parser]:
    """Options that several commands have, each as a parent parser."""
    parents = {name: Parser(add_help=False) for name in ("--config", "--socket", "--state", "--json", "--debug")}
    groups = {name: parent.add_argument_group("common options") for name, parent in parents.items()}
    groups["--config"].add_argument("--config", metavar="FILE", help="default: /etc/failover/failover.yaml, if there")
    groups["--socket"].add_argument("--socket", metavar="PATH", help="control socket (or FAILOVER_SOCKET)")
    groups["--state"].add_argument(
        "--state", metavar="DIR", default=STATE_DIRECTORY, help=f"state directory (default: {STATE_DIRECTORY})"
    )
    groups["--json"].add_argument("--json", action="store_true", help="print JSON")
    groups["--debug"].add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")
    return parents


def _socket_arguments(name: str) -> Callable[[Parser], None]:
    """Adds what the control socket's table says of a command."""

    def add(parser: Parser) -> None:
        spec = COMMANDS[name]
        parser.set_defaults(spec=spec)
        for argument in spec.arguments:
            _add_argument(parser, argument)

    return add


def _add_argument(parser: Parser, argument: Argument) -> None:
    match argument.kind:
        case Kind.FLAG:
            parser.add_argument(argument.option, dest=argument.name, action="store_true", help=argument.help)
        case Kind.NAME:
            parser.add_argument(argument.name, metavar="NAME", help=argument.help)
        case Kind.SECONDS:
            parser.add_argument(argument.option, dest=argument.name, metavar="TIME", type=seconds, help=argument.help)
        case Kind.WORD:
            parser.add_argument(argument.option, dest=argument.name, metavar="WORD", help=argument.help)
        case Kind.UID:
            parser.add_argument(argument.option, dest=argument.name, metavar="UID", type=int, help=argument.help)
        case Kind.COUNT:
            parser.add_argument(argument.option, dest=argument.name, metavar="COUNT", type=count, help=argument.help)


def _status(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this uplink")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="exit 1 when no uplink (or not this one) is usable")
    how.add_argument("--watch", action="store_true", help="go on, and show every change")


def _events(parser: Parser) -> None:
    _socket_arguments("events")(parser)
    parser.add_argument("--follow", action="store_true", help="go on with what happens from now on")


def _esim(parser: Parser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=("list", "use"), help="list or use")
    parser.add_argument("iccid", nargs="?", metavar="ICCID", help="of the profile to use")
    parser.add_argument("--modem", metavar="WHICH", help="an uplink, an IMEI or its end, if there are several")


def _check(parser: Parser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="instead of --config; -: standard input")


def _cleanup(parser: Parser) -> None:
    parser.add_argument("--force", action="store_true", help="even while an agent runs")


def _simulate(parser: Parser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--trace", metavar="FILE.csv", help="t_s and one rtt_ms_NAME column per uplink")
    what.add_argument("--scenario", metavar="FILE.yaml", help="a scripted outage, or the name of one that is built in")
    parser.add_argument("--primary", metavar="NAME", help="the preferred uplink (default: the first)")
    parser.add_argument("--metered", action="store_true", help="every uplink is, with the usual budget for probes")
    vans = ("links", "modems", "sims")
    ways = "links; modems, one each; or sims of one modem, in their order"
    parser.add_argument("--van", choices=vans, help=f"what uplinks are, whatever the scenario says: {ways}")
    parser.add_argument("--dither", action="store_true", help="the user's packets keep no time with a trace's rows")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same log (0)")
    parser.add_argument("--log", action="store_true", help="the whole decision log, not its start and its end only")


def _demo(parser: Parser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", dest="all_", help="every fault, not only the first four")
    which.add_argument("--only", action="append", default=[], metavar="NAME", dest="names", help="this fault")
    which.add_argument("--list", action="store_true", dest="list_", help="name the faults and play none")
    parser.add_argument("--plain", action="store_true", help="lines only, on a terminal too")


def _help(parser: Parser) -> None:
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="of this command")


# --- the commands ----------------------------------------------------------------------------------------------------

WORDS: Final[tuple[Word, ...]] = (
    Word(
        "status",
        "asking:show_status",
        COMMANDS["status"].help,
        "One sentence, then a row per uplink and address family; `*` marks the one that new connections take.",
        ("--socket", "--json"),
        _status,
        ("failover status", "failover status au --check", "failover status --watch"),
    ),
    Word(
        "explain",
        "asking:explain",
        COMMANDS["explain"].help,
        "Every uplink with its numbers, the rule that decided, what would change that, and when. With --to, by which"
        " way a new flow would go, and why; what is open stays where it is as long as that may be.",
        ("--socket", "--json"),
        _socket_arguments("explain"),
        ("failover explain", "failover explain --to 198.51.100.1:443 --uid 1000"),
    ),
    Word(
        "events",
        "events:list_events",
        COMMANDS["events"].help,
        "Switches, changes of verdict and whatever else the log tells, each with the id that log and journal give it."
        " Without an agent, the journal in --state is read. `~` marks a time by a clock that nobody had set.",
        ("--socket", "--state", "--json"),
        _events,
        ("failover events --since 24h", "failover events --limit 10 --follow"),
    ),
    Word(
        "sms",
        "messages:list_messages",
        COMMANDS["sms"].help,
        "For root and group failover-admin: messages may hold one-time codes. Without an agent, root reads them from"
        " --state. `~` marks a time by a clock that nobody had set.",
        ("--socket", "--state", "--json"),
        _socket_arguments("sms"),
        ("failover sms --limit 5",),
    ),
    Word(
        "probe",
        "probing:probe",
        COMMANDS["probe"].help,
        "Waits up to 5 seconds and says what came of each target. Exits 1 if none answered.",
        ("--socket", "--json"),
        _socket_arguments("probe"),
        ("failover probe au",),
        ("outcomes", OUTCOMES),
    ),
    Word(
        "use",
        "asking:tell",
        COMMANDS["use"].help,
        "Obeyed unless the uplink is lost, or has still to prove itself after a conviction. One whose SIM is cold is"
        " waited for: its modem changes to that SIM, and is offline for seconds meanwhile, whatever it carries.",
        ("--socket",),
        _socket_arguments("use"),
        ("failover use docomo --for 2h",),
    ),
    Word("auto", "asking:tell", COMMANDS["auto"].help, "", ("--socket",), _socket_arguments("auto")),
    Word("drain", "asking:tell", COMMANDS["drain"].help, "", ("--socket",), _socket_arguments("drain")),
    Word("undrain", "asking:tell", COMMANDS["undrain"].help, "", ("--socket",), _socket_arguments("undrain")),
    Word("reload", "asking:tell", COMMANDS["reload"].help, "", ("--socket",), _socket_arguments("reload")),
    Word(
        "run",
        "local:run_agent",
        "run the agent in the foreground",
        "Needs CAP_NET_ADMIN and CAP_NET_RAW. Routing stays as it is when the agent ends.",
        ("--config", "--socket", "--state"),
    ),
    Word(
        "modems",
        "modems:list_modems",
        "list modems and their SIMs, to be pasted into the config",
        "Asks ModemManager; no agent is needed. Root and group failover-admin see whole numbers. Exits 1 if there is"
        " none.",
        ("--json",),
        examples=("failover modems > uplinks.yaml",),
    ),
    Word(
        "esim",
        "esim:manage",
        "list the profiles of a modem's eSIM, or use another",
        "For root, with `lpac`. ModemManager lets go of the modem meanwhile, and its connection ends, to list them as"
        " well; traffic goes by another uplink as if it were unplugged. An agent notes the new profile in its journal.",
        ("--config", "--socket", "--json"),
        _esim,
        ("failover esim list", "failover esim use 8981200000000000018 --modem au"),
    ),
    Word(
        "check",
        "local:check_config",
        "say what a config means, or all that is wrong with it",
        "",
        ("--config", "--json"),
        _check,
        ("failover check /etc/failover/failover.yaml",),
    ),
    Word(
        "doctor",
        "local:doctor",
        "look for whatever would break failover on this machine",
        "Each finding has its mend. Exits 1 if something would break failover.",
        ("--config", "--socket", "--state", "--json"),
    ),
    Word(
        "cleanup",
        "local:clean_up",
        "remove everything failover made in the kernel",
        "Every route, rule, address and nftables table of ours; sysctls are put back. Nothing else is touched.",
        ("--socket", "--state", "--json"),
        _cleanup,
    ),
    Word(
        "simulate",
        "local:simulate",
        "play a trace or a scenario in virtual time",
        "The same judgement as in the agent, against never switching and against an oracle.",
        ("--config", "--json"),
        _simulate,
        ("failover simulate --scenario kddi2022", "failover simulate --trace drive.csv --primary au"),
    ),
    Word(
        "demo",
        "local:demo",
        "play outages on real routes in namespaces of its own",
        "Nothing of this machine's network is touched.",
        ("--json",),
        _demo,
        ("failover demo", "failover demo --only blackout"),
    ),
    Word("help", "local:show_help", "print this help, or that of a command", "", (), _help),
)


def build_parser() -> Parser:
    """Every command with its options."""
    usage = "failover [-h] [--version] COMMAND ..."
    parser = Parser(prog="failover", usage=usage, description=ABOUT, epilog="\n".join(epilog()))
    parser.add_argument("--version", action="version", version=f"failover {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog="failover", help=SUPPRESS)
    shared = _shared()
    for word in WORDS:
        text = word.help[0].upper() + word.help[1:] + "." + (f" {word.more}" if word.more else "")
        shown = "\n".join([*_legend(word), *_examples(word)])
        parents = [shared[one] for one in (*word.shared, "--debug")]
        command: Parser = commands.add_parser(word.name, description=text, parents=parents, epilog=shown or None)
        word.add(command)
        command.set_defaults(run=word.run)
    parser.commands = commands.choices
    return parser


def _legend(word: Word) -> Iterator[str]:
    title, rows = word.legend
    if rows:
        yield from (*_table(title, rows), "")


def _examples(word: Word) -> Iterator[str]:
    if word.examples:
        yield from ("examples:", *(f"  {example}" for example in word.examples))


def _table(title: str, rows: Rows) -> Iterator[str]:
    yield f"{title}:"
    wide = max(len(left) for left, _ in rows)
    yield from (f"  {left:<{wide}}  {right}" for left, right in rows)


def epilog() -> Iterator[str]:
    """What stands below the options of `failover --help`."""
    helps = {word.name: word.help for word in WORDS}
    for title, names in (*GROUPS.items(), ("more", ("help",))):
        yield f"{title}:"
        yield from (f"  {name:<9} {helps[name]}" for name in names)
        yield ""
    tables = (("examples", EXAMPLES), ("exit status", EXIT_STATUS), ("files", FILES), ("environment", ENVIRONMENT))
    for title, rows in tables:
        yield from (*_table(title, rows), "")
    yield "`failover help COMMAND` tells more of each."
