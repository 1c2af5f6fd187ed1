"""The state file of what we changed in systemd-resolved, which tags nothing with its maker.

What lives here: a link's settings, what is ours of them, the file. An entry is on disk before the change is made. The
file counts for one boot, as do the settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from failover import files
from failover.names.backend import NamesError

RECORD: Final = "names.json"
"""Its name, beside the control socket."""
VERSION: Final = 1
BYTES_MAX: Final = 1 << 20
MODE: Final = 0o600
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Server(NamedTuple):
    """A name server as systemd-resolved has it: port 0 and no name where nothing was said."""

    address: str
    port: int = 0
    name: str = ""


class Domain(NamedTuple):
    """A domain of a link."""

    name: str
    routing_only: bool


class State(NamedTuple):
    """What is set for a link."""

    servers: tuple[Server, ...] = ()
    domains: tuple[Domain, ...] = ()
    default: bool | None = None
    """Whether names in general are asked there. None: nobody has said, and without servers they are not."""


@dataclass(frozen=True, slots=True)
class Note:
    """What we made of a link."""

    old: State
    """As it was; in what we never changed, as we make it."""
    made: tuple[State, ...]
    """As we made it; while that is being done, as it was made before, too."""

    def without_ours(self, now: State) -> State:
        """The settings as they would be but for us: what others changed since is theirs."""
        return State(
            self.old.servers if any(one.servers == now.servers for one in self.made) else now.servers,
            self.old.domains if any(one.domains == now.domains for one in self.made) else now.domains,
            self.old.default if any(one.default == now.default for one in self.made) else now.default,
        )


Notes = dict[int, Note]
"""By ifindex."""


class Record:
    """The notes in one file. Nothing is held in memory; NamesError when the file is corrupt or unusable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Notes:
        """What was noted since the machine started. Waits for the disk."""
        try:
            return _parse(files.tail(self.path, BYTES_MAX))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            mend = "delete it; what it told of stays as it is in systemd-resolved"
            raise NamesError(f"the state file {self.path} is corrupt", mend) from error

    def write(self, notes: Mapping[int, Note]) -> None:
        """Make these the whole content; with none, there is no file. Waits for the disk."""
        try:
            if notes:
                entries = {str(index): {"old": note.old, "made": note.made} for index, note in notes.items()}
                text = json.dumps({"version": VERSION, "boot": _boot(), "links": entries}, indent=1)
                files.replace(self.path, text.encode(), MODE)
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> NamesError:
        words = f"the state file {self.path} cannot be used: {error.strerror}"
        return NamesError(words, "name servers are left as they are")


def _parse(text: bytes) -> Notes:
    """ValueError, KeyError, TypeError, AttributeError or RecursionError when it is not what `write` writes."""
    tree = json.loads(text)
    if tree["version"] != VERSION:
        raise ValueError("unknown version")
    notes = {int(index): _note(entry) for index, entry in tree["links"].items()}
    return notes if tree["boot"] == _boot() else {}


def _note(entry: Mapping[str, Any]) -> Note:
    return Note(_state(entry["old"]), tuple(_state(one) for one in entry["made"]))


def _state(entry: list[Any]) -> State:
    servers, domains, default = entry
    return State(
        tuple(Server(str(address), int(port), str(name)) for address, port, name in servers),
        tuple(Domain(str(name), _bool(only)) for name, only in domains),
        None if default is None else _bool(default),
    )


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _boot() -> str:
    return BOOT_ID.read_text().strip()
