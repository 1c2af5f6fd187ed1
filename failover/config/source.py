"""Where a running agent's config comes from, each time it is asked for.

Reading it never holds up the agent: neither a place where nothing ever comes, nor a file system that hangs.
"""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import Future
from pathlib import Path

from failover.config import CONFIG_PATH, Config, ConfigError, Problem
from failover.config.reading import load_with_warnings
from failover.model import clean


class ConfigFile:
    """Where the config comes from. No file in the default place means the defaults, unless there was one before."""

    def __init__(self, path: Path | None) -> None:
        self.path = path or Path(CONFIG_PATH)
        self._needed = path is not None

    def load(self) -> tuple[Config, tuple[Problem, ...]]:
        """The config and its warnings. Raises ConfigError."""
        if not self._needed and is_missing(self.path):
            return Config(), ()
        loaded = load_with_warnings(self.path, _open_regular)
        self._needed = True
        return loaded

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
