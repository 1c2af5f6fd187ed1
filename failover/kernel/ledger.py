"""The state file: what is changed in the kernel that cannot carry our tag, so that it can be put back.

What lives here: noting, setting and putting back. An entry is on disk before the change is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from failover.facts import Operation, OperationResult, Sysctl, Verb
from failover.kernel import sysctls
from failover.model import KernelError
from failover.notes import Notes

LEDGER: Final = "sysctls.json"
"""Its name, beside the control socket."""
Argument = TypeVar("Argument")


@dataclass(frozen=True, slots=True)
class Change:
    """A sysctl that we set: what it was, and what we made of it."""

    path: str
    old: str
    new: str
    index: int | None = None
    """The ifindex of its device; None when it was not noted."""

    def present(self) -> Change | None:
        """The same under the name that its device has now; None when the device is gone."""
        path = self.path if self.index is None else sysctls.path_on(self.path, self.index)
        return replace(self, path=path) if path else None


class Ledger:
    """The changes noted in one file. Nothing is held in memory; KernelError when the file is corrupt or unusable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        left, told = "sysctls are left as they are", "the sysctls that it told of stay as they are"
        self._notes = Notes(path, KernelError, left, told)

    def changes(self) -> tuple[Change, ...]:
        """What was noted since the machine started."""
        return self._notes.read(_parse, ())

    def set_all(self, wanted: Iterable[Sysctl]) -> list[str | None]:
        """Set them, and the error of each; one write notes all the old values before the first is changed.

        What has the value already is not ours, and is not noted.
        """
        planned = [_planned(sysctl) for sysctl in wanted]
        unnoted = _error(self.note, [one for one in planned if isinstance(one, Change) and one.old != one.new])
        return [_carried_out(one, unnoted) for one in planned]

    def restore(self) -> Iterator[OperationResult]:
        """Put back every sysctl that still has the value we gave it, and forget all but those that resist.

        What somebody has since given all devices is his.

        A device that was renamed since is found; one that is gone took its sysctls along.

        KernelError when the file cannot be read or, at the end, written.
        """
        resisting = []
        for change in reversed(self._present()):  # IPv6 forwards no more before uplinks are a host's again
            ours = sysctls.read_one(change.path) == change.new
            if ours and not sysctls.wanted_by_all(change.path, change.new):
                old = Sysctl(change.path, change.old)
                error = _error(sysctls.write, old)
                if error:
                    resisting.append(change)
                yield OperationResult(Operation(Verb.SET, old), error)
        self.keep(resisting)

    def note(self, changes: Collection[Change]) -> None:
        """Put them on disk, instead of what was noted of the same sysctls."""
        if changes:
            self.keep((*self._present(), *changes))

    def _present(self) -> list[Change]:
        """The changes by the names of today, those of devices that are gone left out."""
        return [now for change in self.changes() if (now := change.present())]

    def keep(self, changes: Iterable[Change]) -> None:
        """Make these the whole content, the last of each sysctl; with none, there is no file."""
        entries = {change.path: _entry(change) for change in changes}
        self._notes.write({"sysctls": entries} if entries else None)


def _parse(tree: Mapping[str, Any]) -> tuple[Change, ...]:
    """Of what `keep` writes."""
    changes = [Change(path, e["old"], e["new"], _index(e)) for path, e in tree["sysctls"].items()]
    if any(not isinstance(word, str) for change in changes for word in (change.old, change.new)):
        raise TypeError("a value that is no text")
    return tuple(changes)


def _entry(change: Change) -> dict[str, str | int]:
    entry: dict[str, str | int] = {"old": change.old, "new": change.new}
    return entry if change.index is None else entry | {"index": change.index}


def _index(entry: Mapping[str, object]) -> int | None:
    index = entry.get("index")
    if index is not None and (type(index) is not int or index not in range(1, 1 << 31)):
        raise ValueError("not the index of an interface")
    return index


def _planned(sysctl: Sysctl) -> Change | str:
    """What setting it would change, or why it cannot be set."""
    try:
        return Change(sysctl.path, sysctls.of_device(sysctl.path), sysctl.value, sysctls.index_of(sysctl.path))
    except KernelError as error:
        return str(error)


def _carried_out(planned: Change | str, unnoted: str | None) -> str | None:
    if isinstance(planned, str):
        return planned
    if planned.old == planned.new:
        return None
    return unnoted or _error(sysctls.write, Sysctl(planned.path, planned.new))


def _error(step: Callable[[Argument], None], argument: Argument) -> str | None:
    """The words of the KernelError that it ended in."""
    try:
        step(argument)
    except KernelError as error:
        return str(error)
    return None
