"""A file like resolv.conf(5) that is ours: its first line says so.

What lives here: its name servers written and put back. All else in it is whoever's who wrote it, and stays. What our
name servers replace is kept in the file itself, commented out, so that whoever holds the file can put it back. A file
that we made stays, as it is, while /etc/resolv.conf leads to it: without it there would be no names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from failover import files
from failover.names.backend import NamesError, lines
from failover.resolvers import Resolvers

MARKER: Final = "# failover owns this file"
"""Its first line. Whoever writes it there hands the file over."""
REPLACED: Final = "#was "
"""Before what our name servers replace."""
TAKEN: Final = "# the name servers are failover's; what was there before begins with '#was '"
MADE: Final = "# made by failover"
"""The second line once name servers of ours are in it; MADE where there was no file before."""
BYTES_MAX: Final = 1 << 16
MODE: Final = 0o644
READ: Final = Path("/etc/resolv.conf")
"""Where the C library looks."""


class File:
    """Writes the file `path`, at one moment each time; whoever reads it sees the old or the new one."""

    def __init__(self, path: Path, read: Path = READ) -> None:
        """`read`: where this box's programs look, which may lead there."""
        self._path, self._read_at = path, read

    async def told(self, interfaces: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See Backend: a file does not say whose its servers are."""
        return dict.fromkeys(interfaces, ())

    async def follow(self, wanted: Sequence[Resolvers]) -> tuple[str, ...]:
        """See Backend. A file that is not ours, and whatever else is not a file, is a NamesError."""
        servers = lines(wanted)
        if not servers:
            raise NamesError("no name servers are known for the active uplink", "set `dns:` servers in the config")
        return await asyncio.to_thread(self._follow, servers)

    async def restore(self) -> tuple[str, ...]:
        """See Backend. A file that we made is removed, but not from under those who read it: a NamesError."""
        return await asyncio.to_thread(self._restore)

    async def close(self) -> None:
        """See Backend."""

    def _follow(self, servers: Sequence[str]) -> tuple[str, ...]:
        before = self._read()
        after = _with(before, servers) if before is not None else _with(f"{MARKER}\n{MADE}\n", servers)
        if after == before:
            return ()
        self._write(after)
        return (f"name servers in {self._path}: {', '.join(servers)}",)

    def _restore(self) -> tuple[str, ...]:
        try:
            before = self._read()
        except NamesError:  # not ours any more
            return ()
        if before is None or (after := _without(before)) == before:
            return ()
        if before.splitlines()[1] == MADE:
            if self._is_read():
                raise self._needed()
            self._remove()
            return (f"{self._path} is removed",)
        self._write(after)
        return (f"name servers in {self._path} are as they were",)

    def _read(self) -> str | None:
        """None: there is no file."""
        try:
            text = files.tail(self._path, BYTES_MAX).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._foreign(error.strerror or "it cannot be read") from error
        if not text.startswith(f"{MARKER}\n"):
            raise self._foreign("it does not say that it is ours")
        return text

    def _is_read(self) -> bool:
        try:
            return self._read_at.samefile(self._path)
        except OSError:
            return False

    def _needed(self) -> NamesError:
        mend = f"put another {READ} there, then `failover cleanup` removes the file"
        return NamesError(f"{self._path} stays, and its name servers with it: {READ} leads there", mend)

    def _write(self, text: str) -> None:
        try:
            files.replace(self._path, text.encode("utf-8", "surrogateescape"), MODE, exact=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _remove(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _foreign(self, why: str) -> NamesError:
        mend = f"make '{MARKER}' the first line of a plain file there, or remove it"
        return NamesError(f"{self._path} is not failover's: {why}", mend)

    def _unwritable(self, error: OSError) -> NamesError:
        mend = "let the agent write to its folder, or choose another `dns:`"
        return NamesError(f"{self._path} cannot be written: {error.strerror}", mend)


def _with(text: str, servers: Sequence[str]) -> str:
    """With these name servers in the place of any others; those that were there before us, commented out."""
    marker, *rest = text.splitlines()
    if _taken(text):
        rest = [line for line in rest if not _is_server(line)]
    else:
        rest = [TAKEN, *(REPLACED + line if _is_server(line) else line for line in rest)]
    return "".join(f"{line}\n" for line in (marker, *rest, *(f"nameserver {server}" for server in servers)))


def _without(text: str) -> str:
    """As it was before us."""
    if not _taken(text):
        return text
    marker, _, *rest = text.splitlines()
    kept = (line.removeprefix(REPLACED) for line in rest if not _is_server(line))
    return "".join(f"{line}\n" for line in (marker, *kept))


def _taken(text: str) -> bool:
    return text.splitlines()[1:2] in ([TAKEN], [MADE])


def _is_server(line: str) -> bool:
    return line.split()[:1] == ["nameserver"]
