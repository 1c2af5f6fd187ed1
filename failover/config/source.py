"""Where a running agent's config comes from, each time it is asked for.

Reading it never holds up the agent: neither a place where nothing ever comes, nor a file system that hangs.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from failover.config import CONFIG_PATH, Config, ConfigError, Problem
from failover.config.reading import parse
from failover.config.yaml_tree import BYTES_MAX, read_text
from failover.files import tail
from failover.model import clean

KEPT: Final = "config.json"
"""Name of the file, beside memory and journal, that keeps the config last in force."""
KEPT_MAX: Final = 8 * BYTES_MAX
"""Bytes of that file; JSON makes six of some characters."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config, what is doubtful in it, and what is wrong with the file where it is not that of the file."""

    config: Config
    warnings: tuple[Problem, ...]
    problems: tuple[Problem, ...] = ()


class ConfigFile:
    """Where the config comes from. No file in the default place means the defaults, unless there was one before."""

    def __init__(self, path: Path | None) -> None:
        self.path = path or Path(CONFIG_PATH)
        self._needed = path is not None
        self._text = ""
        """Of the file last in force."""

    def load(self) -> tuple[Config, tuple[Problem, ...]]:
        """The config and its warnings. Raises ConfigError."""
        if not self._needed and is_missing(self.path):
            return Config(), ()
        text = read_text(self.path, _open_regular)
        loaded = parse(text, clean(str(self.path), 200))
        self._needed, self._text = True, text
        return loaded

    def begin(self, kept: Path) -> Loaded:
        """As `load`; but a file that is refused gives way to what was last in force and `kept`: an agent that is
        started anew where nobody can reach it shall not stay away because of a typing error."""
        try:
            return Loaded(*self.load())
        except ConfigError as error:
            try:
                self._needed, self._text = True, self._kept(kept)
                return Loaded(*parse(self._text, f"{clean(str(self.path), 200)}, as last in force"), error.problems)
            except (OSError, ValueError, RecursionError, ConfigError):
                raise error from None

    def keepsake(self) -> bytes:
        """What is in force, as the content of the file that keeps it."""
        return json.dumps({"path": str(self.path), "text": self._text}).encode() + b"\n"

    def _kept(self, kept: Path) -> str:
        """The text of our file when it was last in force; OSError or ValueError when that is not there."""
        found = json.loads(tail(kept, KEPT_MAX + 1))
        if not isinstance(found, dict) or found.get("path") != str(self.path) or not isinstance(found.get("text"), str):
            raise ValueError("of another file")
        return str(found["text"])

    def load_apart(self) -> Future[tuple[Config, tuple[Problem, ...]]]:
        """As `load`, in a thread of its own that the end of the process does not wait for."""
        loaded: Future[tuple[Config, tuple[Problem, ...]]] = Future()
        loaded.set_running_or_notify_cancel()  # nobody can take it back any more, so it is there to be set

        def work() -> None:
            try:
                loaded.set_result(self.load())
            except BaseException as error:
                loaded.set_exception(error)

        threading.Thread(target=work, name="config", daemon=True).start()
        return loaded

    @property
    def outcome(self) -> str:
        """What the last `load` came to, if it raised nothing."""
        path = clean(str(self.path), 200)
        return f"{path} is in force" if self._needed else f"there is no {path}, so the defaults hold"


def is_missing(path: Path) -> bool:
    """Whether there is no such file; one that may not be looked at is not missing."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def _open_regular(path: str, flags: int) -> int:
    """Opens without waiting for a writer; raises ConfigError when that is no regular file."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    mend = "put a regular file there; `failover check` reads pipes too"
    raise ConfigError((Problem(clean(path, 200), 0, 0, "", "is no regular file", mend),))
