"""A YAML tree -> values: readers that note every problem with its place and go on.

Knows no key of any file; those are in the module that names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from failover.config import Problem
from failover.config.values import WrongValueError, format_duration, parse_duration, quoted, shown
from failover.config.yaml_tree import Entries, Items, Scalar, Value
from failover.wording import suggest

_WORDS: Final = {"str": "text", "bool": "boolean", "int": "number", "float": "number", "timestamp": "date"}
"""What YAML 1.1 takes a plain scalar for, in people's words."""

T = TypeVar("T")
N = TypeVar("N", int, float)


@dataclass(slots=True)
class Notes:
    """What was noticed while a file was read."""

    source: str
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """A value, the path that led to it, and where to note what is wrong with it."""

    value: Value
    path: str
    notes: Notes

    def child(self, step: str, value: Value) -> Place:
        """The place one `step` down: `.key` or `[index]`."""
        return Place(value, f"{self.path}{step}".removeprefix("."), self.notes)

    def problem(self, message: str, mend: str = "") -> None:
        """Note what is wrong here, and the mend."""
        self.notes.problems.append(self._at(message, mend))

    def warning(self, message: str, mend: str = "") -> None:
        """Note what is allowed here, but doubtful."""
        self.notes.warnings.append(self._at(message, mend))

    def _at(self, message: str, mend: str) -> Problem:
        return Problem(self.notes.source, self.value.line, self.value.column, self.path, message, mend)


Reader = Callable[[Place], T]
"""Reads the value at a place. Raises WrongValueError about the place itself; notes what is wrong below it."""


def attempt(reader: Reader[T], place: Place) -> tuple[T, ...]:
    """The one value that the reader makes of the place; or none, and a problem noted."""
    try:
        if place.value.tag:  # not quoted: it may be a password that was not
            raise WrongValueError("a tag has no meaning here", "remove it, or quote a text that begins with '!'")
        if isinstance(place.value, Scalar) and place.value.kind == "null":
            raise WrongValueError("no value", "give it one, or remove the line")
        return (reader(place),)
    except WrongValueError as error:
        place.problem(str(error), error.hint)
        return ()


def read_keys(place: Place, readers: Mapping[str, Reader[Any]], homes: Mapping[str, str]) -> dict[str, Any]:
    """What could be read of a mapping. `homes` tells of a key that is unknown here where it belongs."""
    known = ", ".join(readers)
    if not isinstance(place.value, Entries):
        raise WrongValueError(f"{describe(place)} where a mapping should be", f"its keys: {known}")
    values: dict[str, Any] = {}
    first: dict[str, Scalar] = {}
    for key, value in place.value.pairs:
        if not isinstance(key, Scalar):
            at_key = place.child("", key)
            at_key.problem(f"{describe(at_key)} where a key should be", f"keys: {known}")
            continue
        at_key = place.child(f".{shown(key.text) or quoted('')}", key)
        if key.text in first:
            at_key.problem(f"the key is there twice, first in line {first[key.text].line}", "keep one")
        elif key.text not in readers:
            at_key.problem("unknown key", _key_mend(key.text, readers, homes))
        else:
            for read in attempt(readers[key.text], place.child(f".{key.text}", value)):
                values[key.text] = read
        first.setdefault(key.text, key)
    return values


def _key_mend(key: str, known: Mapping[str, object], homes: Mapping[str, str]) -> str:
    if key == "<<":
        return "merge keys are not read; write the keys out"
    if key in homes:
        return f"it belongs {homes[key]}"
    return suggest(key, known) or f"keys: {', '.join(known)}"


def items(place: Place, limit: int) -> list[Place]:
    """The places of a list."""
    if not isinstance(place.value, Items):
        raise WrongValueError(f"{describe(place)} where a list should be", "put each item on a line after '- '")
    if len(place.value.values) > limit:
        raise WrongValueError(f"a list of {len(place.value.values)}", f"at most {limit} are read")
    return [place.child(f"[{index}]", value) for index, value in enumerate(place.value.values)]


def find(place: Place, key: str) -> Place | None:
    """The place of a mapping's key, when it is there."""
    pairs = place.value.pairs if isinstance(place.value, Entries) else ()
    found = (value for name, value in pairs if isinstance(name, Scalar) and name.text == key)
    return next((place.child(f".{key}", value) for value in found), None)


def describe(place: Place) -> str:
    """What is there, as the start of a message."""
    match place.value:
        case Items():
            return "a list"
        case Entries():
            return "a mapping"
        case Scalar(text=text, kind=kind):
            return f"the {_WORDS.get(kind, 'word')} {quoted(text)}"


def text(what: str, example: str) -> Reader[str]:
    """Any scalar, as it is written."""

    def read(place: Place) -> str:
        if not isinstance(place.value, Scalar):
            raise WrongValueError(f"{describe(place)} where {what} should be", f"for example {example}")
        return place.value.text

    return read


def label(what: str, example: str, parse: Callable[[str], T]) -> Reader[T]:
    """Text that is text to every reader of YAML: a plain `no` or `1:30` is not."""

    def read(place: Place) -> T:
        written = text(what, example)(place)
        if isinstance(place.value, Scalar) and place.value.kind != "str":
            kind = _WORDS.get(place.value.kind, "special word")
            raise WrongValueError(f"YAML takes {quoted(written)} for a {kind}", f"quote it: '{written}'")
        return parse(written)

    return read


def boolean(place: Place) -> bool:
    """YAML 1.1's words but `y` and `n`, in any case."""
    written = text("true or false", "true")(place).lower()
    if written in ("true", "yes", "on"):
        return True
    if written in ("false", "no", "off"):
        return False
    raise WrongValueError(
        f"{quoted(written)} is not true or false", suggest(written, ("true", "false")) or "write one of them"
    )


def choice(what: str, known: Sequence[str]) -> Reader[str]:
    """One of the known words."""

    def read(place: Place) -> str:
        written = text(what, known[0])(place)
        if written not in known:
            mend = suggest(written, known) or f"known: {', '.join(known)}"
            raise WrongValueError(f"{quoted(written)} is not {what}", mend)
        return written

    return read


def bounded(what: str, parse: Callable[[str], N], low: N, high: N, show: Callable[[N], str]) -> Reader[N]:
    """A quantity from `low` to `high`, which `show` writes as the operator would."""

    def read(place: Place) -> N:
        written = text(what, show(low))(place)
        amount = parse(written)
        if not low <= amount <= high:
            raise WrongValueError(f"{quoted(written)} is out of range", f"from {show(low)} to {show(high)}")
        return amount

    return read


def duration(low: str, high: str) -> Reader[float]:
    """Seconds, written with a unit; the bounds are written so too."""
    least, most = parse_duration(low), parse_duration(high)
    return bounded("a duration", partial(parse_duration, low=least, high=most), least, most, format_duration)


def numbers(what: str, example: str, parse: Callable[[str], int], limit: int) -> Reader[frozenset[int]]:
    """A list of numbers; one that comes twice makes no difference."""

    def number(place: Place) -> int:
        return parse(text(what, example)(place))

    def read(place: Place) -> frozenset[int]:
        return frozenset(found for item in items(place, limit) for found in attempt(number, item))

    return read


def unique(key: str, holders: Iterable[Place], mend: Callable[[Place, Place], str] = lambda *_: "") -> None:
    """Notes each scalar of that key that a holder before has; `mend`: of both holders, where there is a special one."""
    first: dict[str, tuple[Place, Place]] = {}
    for holder in holders:
        place = find(holder, key)
        if place is not None and isinstance(place.value, Scalar) and place.value.kind != "null":
            other, before = first.setdefault(place.value.text, (holder, place))
            if other is not holder:
                message = f"the same {key} as {before.path} in line {before.value.line}"
                place.problem(message, mend(other, holder) or f"each {key} is there once")
