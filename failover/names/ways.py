"""The ways by their names, and all of them undone. What each does is in its own file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, assert_never

from failover.names import resolvconf
from failover.names.backend import Backend, NamesError
from failover.names.choose import RESOLV_CONF, Choice
from failover.names.file import File
from failover.names.record import RECORD
from failover.names.resolvconf import Resolvconf
from failover.names.resolved import Resolved
from failover.resolvers import Way

OWN: Final = "resolv.conf"
"""The name of the file that is ours from the beginning, beside the control socket."""


def opened(choice: Choice, folder: Path) -> Backend | None:
    """What is chosen, its state file in `folder`; None: nothing. To be called in the running loop."""
    match choice.way:
        case Way.RESOLVED:
            return Resolved(folder / RECORD)
        case Way.RESOLVCONF:
            assert choice.program is not None
            return Resolvconf(choice.program)
        case Way.FILE:
            assert choice.path is not None
            return File(choice.path)
        case Way.AUTO | Way.NONE:
            return None
        case _:
            assert_never(choice.way)


def put_back(
    folders: Iterable[Path], root: Path = Path("/"), find: Callable[[], str | None] = resolvconf.find
) -> list[str | NamesError]:
    """Undo what any agent whose control socket is, or was, in one of these folders did, by whatever way; what was
    changed, and what could not be. For a process without a loop. `root`: where the box's file system is; `find`: where
    its resolvconf is."""
    return asyncio.run(_put_back(dict.fromkeys(folders), root, find()))


async def put_others_back(choice: Choice, folder: Path) -> list[str | NamesError]:
    """Undo what an agent whose state files are in `folder` did by another way than the chosen one; as `put_back`."""
    found: list[Backend] = []
    if choice.way is not Way.RESOLVED and (folder / RECORD).exists():
        found.append(Resolved(folder / RECORD))
    if choice.path != folder / OWN:
        found.append(File(folder / OWN))
    return await _restored(found)


async def _put_back(folders: Iterable[Path], root: Path, program: str | None) -> list[str | NamesError]:
    return await _restored([*_noted(folders, root), *await _openresolv(program)])


async def _restored(backends: Iterable[Backend]) -> list[str | NamesError]:
    found: list[str | NamesError] = []
    for backend in backends:
        try:
            found += await backend.restore()
        except NamesError as error:
            found.append(error)
        await backend.close()
    return found


def _noted(folders: Iterable[Path], root: Path) -> Iterator[Backend]:
    """Files that are not ours, and records that are not there, tell of nothing to be done."""
    read = root / RESOLV_CONF.relative_to("/")
    for folder in folders:
        if (folder / RECORD).exists():
            yield Resolved(folder / RECORD)
        yield File(folder / OWN, read)
    yield File(read, read)


async def _openresolv(program: str | None) -> list[Backend]:
    try:
        return [Resolvconf(program)] if program is not None and await resolvconf.is_openresolv(program) else []
    except NamesError:  # it cannot even say its name: it holds nothing of ours
        return []
