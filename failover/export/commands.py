"""The one table of commands: name, arguments, who may, what it does.

Server, client and command line read it, so they cannot disagree. No I/O here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from failover.model import Auto, Command, ControlError, Drain, ProbeNow, Undrain, Use, clean
from failover.wording import suggest

NAME_LIMIT: Final = 128
SECONDS_LIMIT: Final = 10 * 366 * 86400.0


class Kind(enum.Enum):
    """What an argument may be; the value is the wording of a refusal."""

    NAME = "a name"
    SECONDS = "a number of seconds above 0"
    FLAG = "true or false"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command."""

    name: str
    """Field of the request and of the command it becomes."""
    kind: Kind
    help: str
    option: str = ""
    """On the command line; empty: positional, and required everywhere."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One command."""

    name: str
    help: str
    writes: bool
    arguments: tuple[Argument, ...] = ()
    build: Callable[..., Command] | None = None
    """Makes the engine's command of the arguments; None: the agent's shell answers."""


UPLINK: Final = Argument("name", Kind.NAME, "name of the uplink")
FORCE: Final = Argument("force", Kind.FLAG, "even if it is the last usable uplink", "--force")

COMMANDS: Final[Mapping[str, Spec]] = {
    spec.name: spec
    for spec in (
        Spec("status", "say how things are", writes=False),
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
    return {key: _checked(spec, known[key], value) for key, value in given.items()}


def _checked(spec: Spec, argument: Argument, value: object) -> object:
    match argument.kind, value:
        case Kind.FLAG, bool():
            return value
        case Kind.NAME, str() if 0 < len(value) <= NAME_LIMIT:
            return value
        case Kind.SECONDS, int() | float() if not isinstance(value, bool) and _is_span(value):
            return float(value)
    raise ControlError(f"{spec.name}: argument {argument.name!r} must be {argument.kind.value}", argument.help)


def _is_span(value: int | float) -> bool:
    return 0 < value <= SECONDS_LIMIT  # NaN and infinity are not
