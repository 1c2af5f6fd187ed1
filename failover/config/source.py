"""Where a running agent's config comes from, each time it is asked for."""

from __future__ import annotations

from pathlib import Path

from failover.config import CONFIG_PATH, Config, Problem
from failover.config.reading import load_with_warnings


class ConfigFile:
    """Where the config comes from. No file in the default place means the defaults, unless there was one before."""

    def __init__(self, path: Path | None) -> None:
        self.path = path or Path(CONFIG_PATH)
        self._needed = path is not None

    def load(self) -> tuple[Config, tuple[Problem, ...]]:
        """The config and its warnings. Raises ConfigError."""
        if not self._needed and not self.path.exists():
            return Config(), ()
        loaded = load_with_warnings(self.path)
        self._needed = True
        return loaded

    @property
    def outcome(self) -> str:
        """What the last `load` came to, if it raised nothing."""
        return f"{self.path} is in force" if self._needed else f"there is no {self.path}, so the defaults hold"
