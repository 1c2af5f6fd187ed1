"""The state file of what we changed in systemd-resolved, which tags nothing with its maker.

What lives here: a link's settings, and what is ours of them. An entry is on disk before the change is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from failover import notes
from failover.names.backend import NamesError

RECORD: Final = "names.json"
"""Its name, beside the control socket."""


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
        left, told = "name servers are left as they are", "what it told of stays as it is in systemd-resolved"
        self._file = notes.Notes(path, NamesError, left, told)

    def read(self) -> Notes:
        """What was noted since the machine started. Waits for the disk."""
        return self._file.read(_parse, {})

    def write(self, noted: Mapping[int, Note]) -> None:
        """Make these the whole content; with none, there is no file. Waits for the disk."""
        entries = {str(index): {"old": note.old, "made": note.made} for index, note in noted.items()}
        self._file.write({"links": entries} if entries else None)


def _parse(tree: Mapping[str, Any]) -> Notes:
    """Of what `write` writes."""
    return {int(index): _note(entry) for index, entry in tree["links"].items()}


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
