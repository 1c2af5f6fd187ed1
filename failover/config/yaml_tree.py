"""A YAML file -> a tree that knows its places.

Bounded in bytes, depth and values. Scalars stay text: what a plain `no` or `010` means is for the reader of that key to
say. Only PyYAML's events are used, never its constructors: nothing is built because a file asks for it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import yaml

from failover.config import ConfigError, Problem
from failover.model import clean

BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 16
NODES_MAX: Final = 10_000
"""Counted with aliases expanded."""

_LINE_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What YAML 1.1 counts as the end of a line."""
_HANDLE: Final = re.compile("tag handle '.*'")
"""It may be part of a password that was not quoted."""
_MENDS: Final = (
    (r"'\\t'", "indent with blanks, not tabs", False),
    (r"character '[@`%]'", "quote the text", False),
    (
        "mapping values are not allowed",
        "check this line and the one above: 'key: value' has a blank after the colon, a text with ': ' needs quotes",
        False,
    ),
    ("could not find expected ':'", "write 'key: value', with a blank after the colon", True),
    ("expected ',' or", "close the bracket; between brackets, a text with any of [ ] { } , in it needs quotes", True),
    ("unexpected end of stream", "close the quote", True),
    ("YAML document", "remove the line with %YAML", False),
    ("", "check indentation, quotes and brackets", False),
)
"""(in PyYAML's words, the mend, whether the fault lies where the construct began)."""
_BORDERS: Final = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it is written."""

    text: str
    kind: str
    """What YAML 1.1 takes it for: str bool int float null timestamp merge value; a quoted one is always str."""
    line: int
    column: int
    tag: str = ""
    """As written in the file, `!name`."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    values: tuple[Value, ...]
    line: int
    column: int
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping, in the order of the file."""

    pairs: tuple[tuple[Value, Value], ...]
    """In file order; the same key may be there twice."""
    line: int
    column: int
    tag: str = ""


Value = Scalar | Items | Entries


Opener = Callable[[str, int], int]
"""As open() takes it: path and flags -> file descriptor."""


def read_text(path: str | os.PathLike[str], opener: Opener | None = None) -> str:
    """The text of a file. Raises ConfigError."""
    source = clean(os.fspath(path), 200) or "''"
    try:
        with open(path, "rb", opener=opener) as file:
            data: bytes | None = file.read(BYTES_MAX + 1)
        if data is None:  # a file opened without waiting, that has nothing to give now, as /proc/kmsg
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        folder = isinstance(error, IsADirectoryError)
        mend = "name a file in it" if folder else "name a file that this user may read"
        raise ConfigError((Problem(source, 0, 0, "", f"cannot be read: {reason}", mend),)) from None
    return decode(data, source)


def decode(data: bytes, source: str) -> str:
    """The text of a file's bytes, a byte order mark taken off. Raises ConfigError."""
    if len(data) > BYTES_MAX:
        raise ConfigError((Problem(source, 0, 0, "", "too large", f"at most {BYTES_MAX} bytes are read"),))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise ConfigError((Problem(source, line, 0, "", message, "save the file as UTF-8"),)) from None


def compose(text: str, source: str) -> Value | None:
    """The one document of a text; None when it is empty. Raises ConfigError with one problem when it is not YAML."""
    text = text.removeprefix("\ufeff")
    try:
        loader: Any = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        before = _LINE_BREAK.split(text[: error.position])
        message = f"character U+{ord(text[error.position]):04X} cannot be in a text"
        raise ConfigError((Problem(source, len(before), len(before[-1]) + 1, "", message, "remove it"),)) from None
    composer = _Composer(text, source, loader)
    try:
        return composer.document()
    except yaml.MarkedYAMLError as error:
        words = _HANDLE.sub("tag handle", error.problem or error.context or "unreadable")
        mend, at_start = next((mend, at_start) for pattern, mend, at_start in _MENDS if re.search(pattern, words))
        mark = (error.context_mark if at_start else None) or error.problem_mark
        raise composer.error(clean(f"not YAML: {words}"), mend, mark) from None
    except (ValueError, OverflowError):
        # PyYAML passes the digits of an escape or of %YAML to chr() and int() unchecked.
        raise composer.error(
            "not YAML: a number out of range", "remove the escape, or %YAML", loader.get_mark()
        ) from None


def _events(loader: Any) -> Iterator[yaml.Event]:
    while loader.check_event():
        yield loader.get_event()


class _Mark(Protocol):
    """Of PyYAML's two classes of that name."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class _Composer:
    """Events -> tree, bounded in depth and in nodes."""

    def __init__(self, text: str, source: str, loader: Any) -> None:
        lines = _LINE_BREAK.split(text)
        self._last_line = len(lines) - (len(lines) > 1 and not lines[-1])
        self._source = source
        self._resolver: Any = yaml.resolver.Resolver()
        self._anchors: dict[str, tuple[Value, int]] = {}
        """The value, and how many nodes it has."""
        self._nodes = 0
        self._events = (event for event in _events(loader) if not isinstance(event, _BORDERS))

    def error(self, message: str, mend: str, mark: _Mark | None) -> ConfigError:
        line, column = self._place(mark)
        return ConfigError((Problem(self._source, line, column, "", message, mend),))

    def _place(self, mark: _Mark | None) -> tuple[int, int]:
        """1-based line, the end of the file being on its last one, and column."""
        return (min(mark.line + 1, self._last_line), mark.column + 1) if mark else (1, 1)

    def document(self) -> Value | None:
        first = next(self._events, None)
        if first is None:
            return None
        value = self._value(first, 1)
        if (second := next(self._events, None)) is not None:
            raise self.error("a second document starts here", "keep one; remove the '---'", second.start_mark)
        return value

    def _value(self, event: yaml.Event, depth: int) -> Value:
        before = self._nodes
        self._nodes += 1
        if depth > DEPTH_MAX:
            raise self.error("nested too deeply", f"at most {DEPTH_MAX} levels are read", event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            value = self._alias(event)
        else:
            value = self._node(event, depth)
            if isinstance(event, yaml.NodeEvent) and event.anchor:
                self._anchors[event.anchor] = value, self._nodes - before
        if self._nodes > NODES_MAX:
            raise self.error("too many values", f"at most {NODES_MAX} are read, aliases expanded", event.start_mark)
        return value

    def _alias(self, event: yaml.AliasEvent) -> Value:
        name = event.anchor or ""
        if name not in self._anchors:
            mend = "write the value; quote a text that begins with '*'"  # which is not shown: it may be a password
            raise self.error("an alias has no anchor above it", mend, event.start_mark)
        value, nodes = self._anchors[name]
        self._nodes += nodes
        return value

    def _node(self, event: yaml.Event, depth: int) -> Value:
        line, column = self._place(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style is None
            kind = self._resolver.resolve(yaml.ScalarNode, event.value, (plain, not plain)).rpartition(":")[2]
            return Scalar(event.value, kind, line, column, event.tag or "")
        if isinstance(event, yaml.SequenceStartEvent):
            return Items(tuple(self._until(yaml.SequenceEndEvent, depth + 1)), line, column, event.tag or "")
        assert isinstance(event, yaml.MappingStartEvent)
        flat = tuple(self._until(yaml.MappingEndEvent, depth + 1))
        return Entries(tuple(zip(flat[::2], flat[1::2], strict=True)), line, column, event.tag or "")

    def _until(self, end: type[yaml.Event], depth: int) -> Iterator[Value]:
        while not isinstance(event := next(self._events), end):
            yield self._value(event, depth)
