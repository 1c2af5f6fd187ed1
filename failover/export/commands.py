"""The one table of commands: name, arguments, who may, what it does.

Server, client and command line read it, so they cannot disagree. No I/O here.
"""

from __future__ import annotations

import enum
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from failover.model import Auto, Command, ControlError, Drain, ProbeNow, Undrain, Use, clean
from failover.wording import suggest

NAME_LIMIT: Final = 128
SECONDS_LIMIT: Final = 10 * 366 * 86400.0
COUNT_LIMIT: Final = 1000
UID_LIMIT: Final = 2**32 - 2


class Kind(enum.Enum):
    """What an argument may be; the value is the wording of a refusal."""

    NAME = "a name"
    SECONDS = "a number of seconds above 0"
    COUNT = f"a whole number from 1 to {COUNT_LIMIT}"
    FLAG = "true or false"
    WORD = "a word"
    UID = "a user id"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command."""

    name: str
    """Field of the request and of the command it becomes."""
    kind: Kind
    help: str
    option: str = ""
    """On the command line; empty: positional, and required everywhere."""
    default: object = None
    """What the agent's shell is given without it; a command of the engine has its own default."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One command."""

    name: str
    help: str
    writes: bool
    arguments: tuple[Argument, ...] = ()
    build: Callable[..., Command] | None = None
    """Makes the engine's command of the arguments; None: the agent's shell answers."""
    reply: str = "text"
    """The field of the reply that is the answer."""
    private: str = ""
    """Why only those who may write may read the answer; empty: whoever may connect may."""
    streams: bool = False
    """A line without an answer, then one line after another until the client leaves."""


UPLINK: Final = Argument("name", Kind.NAME, "name of the uplink")
FORCE: Final = Argument("force", Kind.FLAG, "even if it is the last usable uplink", "--force")
LIMIT: Final = Argument("limit", Kind.COUNT, "how many at most, the newest (default 50)", "--limit", default=50)

COMMANDS: Final[Mapping[str, Spec]] = {
    spec.name: spec
    for spec in (
        Spec("status", "say how things are", writes=False, reply="status"),
        Spec(
            "explain",
            "say why traffic goes as it goes, and what would change that",
            writes=False,
            arguments=(
                Argument("to", Kind.WORD, "instead: by which way a new flow to this ADDRESS[:PORT] would go", "--to"),
                Argument("protocol", Kind.WORD, "of that flow (default: tcp, where a port is given)", "--protocol"),
                Argument("uid", Kind.UID, "of its sender on this box (default 0); not with --from", "--uid"),
                Argument("from", Kind.WORD, "address of its sender in the LAN", "--from"),
            ),
            reply="explain",
        ),
        Spec(
            "events",
            "list what happened",
            writes=False,
            arguments=(
                LIMIT,
                Argument("since", Kind.SECONDS, "only of so long ago, as 90m or 24h", "--since"),
            ),
            reply="events",
        ),
        Spec(
            "sms",
            "list the messages that carriers and others sent to the SIMs",
            writes=False,
            arguments=(LIMIT,),
            reply="sms",
            private="messages may hold one-time codes",
        ),
        Spec("watch", "follow how things are and what happens", writes=False, reply="", streams=True),
        Spec(
            "use",
            "send new flows and forwarded traffic by this uplink",
            writes=True,
            arguments=(
                UPLINK,
                Argument("seconds", Kind.SECONDS, "how long, as 90m or 24h (default 24h)", "--for"),
                Argument("strict", Kind.FLAG, "stay there even when it is convicted", "--strict"),
            ),
            build=Use,
        ),
        Spec("auto", "end `use`: the agent chooses again", writes=True, build=Auto),
        Spec(
            "drain",
            "keep new flows and forwarded traffic off this uplink",
            writes=True,
            arguments=(UPLINK, FORCE),
            build=Drain,
        ),
        Spec("undrain", "let traffic use this uplink again", writes=True, arguments=(UPLINK,), build=Undrain),
        Spec("probe", "probe every target of this uplink now", writes=True, arguments=(UPLINK,), build=ProbeNow),
        Spec(
            "esim",
            "note that an eSIM uses another profile now, as `failover esim use` has done",
            writes=True,
            arguments=(Argument("modem", Kind.NAME, "IMEI of its modem"), Argument("iccid", Kind.NAME, "the profile")),
        ),
        Spec("reload", "read the config again; the old one stays on error", writes=True),
    )
}


def meant(word: str, known: Iterable[str]) -> str:
    """The hint for an unknown word: the nearest known one, or all of them."""
    words = sorted(known)
    return suggest(word, words) or (f"known: {', '.join(words)}" if words else "it takes none")


def parse(request: object) -> tuple[Spec, dict[str, object]]:
    """A decoded request -> its spec and checked arguments; ControlError says what is wrong with it."""
    if not isinstance(request, dict):
        raise ControlError("a request is a JSON object", 'as {"command": "status"}')
    name = request.get("command")
    if not isinstance(name, str):
        raise ControlError("the request names no command", f"known: {', '.join(sorted(COMMANDS))}")
    spec = COMMANDS.get(name)
    if spec is None:
        raise ControlError(f"unknown command {clean(name)!r}", meant(name, COMMANDS))
    return spec, _arguments(spec, {key: value for key, value in request.items() if key != "command"})


def _arguments(spec: Spec, given: Mapping[str, object]) -> dict[str, object]:
    known = {argument.name: argument for argument in spec.arguments}
    for key in given:
        if key not in known:
            raise ControlError(f"{spec.name}: unknown argument {clean(key)!r}", meant(key, known))
    for argument in spec.arguments:
        if argument.name not in given and not argument.option:
            raise ControlError(f"{spec.name}: argument {argument.name!r} is missing", f"it is the {argument.help}")
    defaults = {argument.name: argument.default for argument in spec.arguments if argument.default is not None}
    return defaults | {key: _checked(spec, known[key], value) for key, value in given.items()}


def _checked(spec: Spec, argument: Argument, value: object) -> object:
    match argument.kind, value:
        case Kind.FLAG, bool():
            return value
        case Kind.NAME | Kind.WORD, str() if 0 < len(value) <= NAME_LIMIT:
            return clean(value, NAME_LIMIT)
        case Kind.SECONDS, int() | float() if not isinstance(value, bool) and _is_span(value):
            return float(value)
        case Kind.UID, int() if not isinstance(value, bool) and 0 <= value <= UID_LIMIT:
            return value
        case Kind.COUNT, int() if not isinstance(value, bool) and 1 <= value <= COUNT_LIMIT:
            return value
    raise ControlError(f"{spec.name}: argument {argument.name!r} must be {argument.kind.value}", argument.help)


def _is_span(value: int | float) -> bool:
    return 0 < value <= SECONDS_LIMIT  # NaN and infinity are not


def markdown() -> str:
    """The table of export/README.md."""
    head = ("| command | arguments (default) | answer | may |", "|---|---|---|---|")
    return "\n".join((*head, *(_row(spec) for spec in COMMANDS.values()))) + "\n"


def _row(spec: Spec) -> str:
    arguments = ", ".join(f"`{one.name}`{_default(spec, one)}" for one in spec.arguments)
    answer = "a stream" if spec.streams else f"`{spec.reply}`"
    return f"| `{spec.name}` | {arguments} | {answer} | {'writers' if spec.writes or spec.private else 'readers'} |"


def _default(spec: Spec, argument: Argument) -> str:
    if not argument.option:
        return ""
    found = inspect.signature(spec.build).parameters[argument.name].default if spec.build else argument.default
    if found is None:
        return " (optional)"
    return f" ({found:g})" if isinstance(found, float) else f" ({json.dumps(found)})"
