"""Children by argv, with a bound on their time. Which ones, and what they say, is known elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from failover.model import clean
from failover.names.backend import NamesError

PATH: Final = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
SECONDS: Final = 5.0
BYTES_MAX: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Done:
    """What a child came to."""

    status: int
    said: str
    """On stdout."""
    complained: str
    """The last line on stderr, cleaned."""


async def run(argv: Sequence[str], given: str = "", seconds: float = SECONDS) -> Done:
    """Run it in a session of its own, with that on stdin, and wait for its end; it is killed, with what it started,
    when it takes longer. NamesError when it cannot be had or takes too long."""
    return await asyncio.to_thread(_run, argv, given, seconds)


def _run(argv: Sequence[str], given: str, seconds: float) -> Done:
    """Files in memory, and not pipes: a grandchild that keeps one open is not waited for."""
    with _memory("given") as stdin, _memory("said") as stdout, _memory("complained") as stderr:
        os.write(stdin, given.encode())
        os.lseek(stdin, 0, os.SEEK_SET)
        try:
            child = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                env={"PATH": PATH, "LC_ALL": "C"},
            )
        except OSError as error:
            raise NamesError(f"{argv[0]}: {error.strerror}", "is it installed?") from error
        try:
            status = child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise NamesError(
                f"{argv[0]} was not done after {seconds:g} s", f"how long does `{' '.join(argv)}` take?"
            ) from error
        return Done(status, _text(stdout), clean(_text(stderr).strip().rpartition("\n")[2]))


@contextmanager
def _memory(name: str) -> Iterator[int]:
    """The descriptor of a file without a place."""
    number = os.memfd_create(name)
    try:
        yield number
    finally:
        os.close(number)


def _text(number: int) -> str:
    return os.pread(number, BYTES_MAX, 0).decode("utf-8", "replace")
