"""Files that survive a power cut, and whatever somebody put in their place: opened without waiting, never followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

MODE: Final = 0o640
"""Group failover may read."""


@contextmanager
def opened(path: Path, flags: int, mode: int = MODE) -> Iterator[int]:
    """The descriptor of a regular file; OSError for anything else that stands there, a pipe is not waited for."""
    file = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        yield file
    finally:
        os.close(file)


def tail(path: Path, limit: int) -> bytes:
    """The last `limit` bytes of a file; OSError when it cannot be read."""
    with opened(path, os.O_RDONLY) as file:
        return os.pread(file, limit, max(0, os.fstat(file).st_size - limit))


def write_all(file: int, data: bytes) -> None:
    """All of it, on disk; OSError when it is not."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.fdatasync(file)


def append_lines(file: int, size: int, lines: bytes) -> None:
    """Put whole lines on disk, after the `size` bytes that are there; half a line there is ended. OSError when they are
    not, and then nothing of them should be."""
    torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
    try:
        write_all(file, b"\n" + lines if torn else lines)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def give_to_owner_of(folder: Path, file: int) -> None:
    """What root makes there, by hand or in a cleanup, must not lock out an agent that is not root. A file with other
    names beside is left alone: it may be anybody's."""
    if os.geteuid() == 0 and os.fstat(file).st_nlink == 1:
        owner = folder.stat()
        with suppress(OSError):  # a user namespace that does not know them
            os.fchown(file, owner.st_uid, owner.st_gid)


def sync_folder(folder: Path) -> None:
    """The names in it, on disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def replace(path: Path, data: bytes, mode: int = MODE, exact: bool = False) -> None:
    """Make `data` the whole file, by root for its folder's owner, or leave the old one; OSError when it stayed. Its
    `.new` gives way. `exact`: the mode whatever the umask, for a file that others have to read."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    try:
        with opened(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode) as file:
            give_to_owner_of(path.parent, file)
            if exact:
                os.fchmod(file, mode)
            write_all(file, data)
        fresh.replace(path)
    except OSError:
        with suppress(OSError):  # half a file takes room that a full disk has not got
            fresh.unlink()
        raise
    sync_folder(path.parent)
