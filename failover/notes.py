"""A file that tells what we changed in something that cannot carry our tag, so that it can be put back.

What lives here: reading it, whole or not at all, and writing it. It counts for one boot: after the next one nothing of
ours is left. What it tells is the business of whoever keeps one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from failover import files
from failover.model import FailoverError

VERSION: Final = 1
BYTES_MAX: Final = 1 << 20
MODE: Final = 0o600
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Notes:
    """One file. Nothing is held in memory; `error` when it is corrupt or cannot be used."""

    path: Path
    error: type[FailoverError]
    left: str
    """What stays as it is while it cannot be used, as `sysctls are left as they are`."""
    told: str
    """What does when it is deleted, as `the sysctls that it told of stay as they are`."""

    def read(self, parse: Callable[[Mapping[str, Any]], T], nothing: T) -> T:
        """What `parse` makes of what was noted since the machine started; `nothing` where there is none. It may raise
        ValueError, KeyError, TypeError, AttributeError or RecursionError. Waits for the disk."""
        try:
            tree = json.loads(files.tail(self.path, BYTES_MAX))
            if tree["version"] != VERSION:
                raise ValueError("unknown version")
            found = parse(tree)
            return found if tree["boot"] == _boot() else nothing
        except FileNotFoundError:
            return nothing
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self.error(f"the state file {self.path} is corrupt", f"delete it; {self.told}") from error

    def write(self, tree: Mapping[str, object] | None) -> None:
        """Make this the whole content; None: there is no file. Waits for the disk."""
        try:
            if tree is None:
                self.path.unlink(missing_ok=True)
            else:
                text = json.dumps({"version": VERSION, "boot": _boot(), **tree}, indent=1)
                files.replace(self.path, text.encode(), MODE)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> FailoverError:
        return self.error(f"the state file {self.path} cannot be used: {error.strerror}", self.left)


def _boot() -> str:
    """Which start of the machine this is."""
    return BOOT_ID.read_text().strip()
