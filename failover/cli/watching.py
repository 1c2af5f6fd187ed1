"""`failover status --watch`, and the agent's stream as long as somebody wants it, over restarts of the agent."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from failover.cli.screen import Screen, json_text
from failover.cli.views import only, status_lines
from failover.export.client import stream
from failover.export.words import clock
from failover.model import ControlError, clean

SILENCE: Final = 5.0
"""Seconds without a line after which the agent counts as gone; it sends a picture every second."""
AGAIN: Final = 0.5
"""Seconds between two attempts to reach it."""
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""The alternate screen of xterm (ctlseqs), without a cursor; and back."""
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
FOOT: Final = "Ctrl-C ends this"

Line = dict[str, Any]


def coming(path: Path) -> Iterator[Line | ControlError]:
    """What the agent streams, with `first` in the first line of each connection; the error when it is gone, once, and
    again what it streams when it is back. ControlError when it is not there at the start."""
    met = gone = False
    while True:
        try:
            with contextlib.closing(stream(path, "watch", {}, timeout=SILENCE)) as lines:
                for number, line in enumerate(lines):
                    met, gone = True, False
                    yield line | {"first": number == 0}
        except ControlError as error:
            if not met:
                raise
            if not gone:
                yield error
            gone = True
        time.sleep(AGAIN)


def watch(path: Path, name: str | None, *, as_json: bool) -> int:
    """Show how things are until interrupted: in place on a terminal, else anew at each change."""
    pictures = _pictures(path, name)
    if as_json or not sys.stdout.isatty():
        for text in _changes(pictures, name, as_json=as_json):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
    else:
        _draw(pictures, name)
    return 0


def _pictures(path: Path, name: str | None) -> Iterator[Line | ControlError]:
    """Each picture; ControlError when the uplink that is named is not there at the start."""
    met = False
    for line in coming(path):
        try:
            if isinstance(line, ControlError):
                raise line
            if "status" in line:
                only(line["status"], name)
                met = True
                yield line["status"]
        except ControlError as error:
            if not met:
                raise
            yield error


# --- no terminal -----------------------------------------------------------------------------------------------------


def _changes(pictures: Iterator[Line | ControlError], name: str | None, *, as_json: bool) -> Iterator[str]:
    """A text for each picture that differs from the one before in more than its ages, as far as `name` goes."""
    before: object = None
    for picture in pictures:
        if isinstance(picture, ControlError):
            before = None
            yield json_text({"error": str(picture)}, indent=None) if as_json else f"{_now()} {_gone(picture)}"
        elif (essence := _essence(wanted := only(picture, name))) != before:
            before = essence
            lines = status_lines(picture, name, time.time(), Screen(None))
            yield json_text(wanted, indent=None) if as_json else f"{_now()} " + "\n".join(lines) + "\n"


def _now() -> str:
    return clock(time.time(), time.time())


def _gone(error: ControlError) -> str:
    return f"{clean(str(error), 1000)}; trying again"


def _essence(status: Line) -> object:
    """What is no age and no measurement."""
    use = status["use"]
    verdicts = [
        (one["name"], one["interface"], one["drained"], family, view["verdict"])
        for one in status["uplinks"]
        for family, view in one["families"].items()
    ]
    modems = [
        (modem["listed"], modem["slot_in_use"], modem["repair"]["step"])
        for uplink in status["uplinks"]
        if (modem := uplink.get("modem"))
    ]
    will = use and (use["name"], use["strict"])
    about = [status.get(key) for key in ("active", "settled", "warnings", "agent", "config")]
    return about, will, verdicts, modems


# --- a terminal ------------------------------------------------------------------------------------------------------


def _draw(pictures: Iterator[Line | ControlError], name: str | None) -> None:
    with _alternate_screen():
        window = _Window(name)
        signal.signal(signal.SIGWINCH, window.resized)
        for picture in pictures:
            window.show(picture)


@contextlib.contextmanager
def _alternate_screen() -> Iterator[None]:
    """The terminal is left as it was found, whatever ends the block; SIGTERM ends it too."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.stdout.write(ENTER)
    try:
        yield
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()


def _terminated(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


class _Window:
    """The last picture on the terminal, drawn over the one before."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._status: Line | None = None
        self._at = 0.0
        self._trouble = ""
        self._drawing = self._outgrown = False

    def show(self, picture: Line | ControlError) -> None:
        """The newest picture, or why there is none."""
        if isinstance(picture, ControlError):
            self._trouble = _gone(picture)
        else:
            self._status, self._at, self._trouble = picture, time.time(), ""
        self._paint()

    def resized(self, *_: object) -> None:
        """The terminal has another size; a picture that is being drawn is followed by another."""
        self._outgrown = True
        if not self._drawing:
            self._paint()

    def _paint(self) -> None:
        self._drawing = self._outgrown = True
        while self._outgrown:
            self._outgrown = False
            sys.stdout.write(self._picture(Screen.of(sys.stdout)))
            sys.stdout.flush()
        self._drawing = False
        if self._outgrown:  # between the last look at it and now
            self._paint()

    def _picture(self, screen: Screen) -> str:
        """What replaces the picture before: each line to its end, then the rest of the screen."""
        lines = [] if self._status is None else list(status_lines(self._status, self._name, self._at, screen))
        if self._trouble:
            seen = f"this was at {clock(self._at, time.time())}:" if lines else ""
            lines = [*screen.wrap(self._trouble), seen, *lines]
        shown = [*lines, "", FOOT][: screen.height - 1]
        return HOME + "".join(f"{line}{END_OF_LINE}\r\n" for line in shown) + END_OF_SCREEN
