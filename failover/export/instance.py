"""The right to be the agent of this machine: the capabilities, and that there is no other agent.

One lock per control socket (a file) and one per network namespace (an abstract unix address, which the kernel keeps per
network namespace): two agents with different sockets in one namespace would fight over the same tables.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from failover.model import FailoverError

CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
"""Bits of linux/capability.h."""
ABSTRACT: Final = "\0failover-agent"


def missing_capabilities() -> list[str]:
    """Names of the capabilities that this process lacks (CapEff of proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]
    return list(CAPABILITIES)


def require_capabilities() -> None:
    missing = missing_capabilities()
    if missing:
        hint = "run as root, or under systemd with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"
        raise FailoverError(f"no permission to change routes and to probe: {' and '.join(missing)} missing", hint)


@contextlib.contextmanager
def sole_instance(path: Path) -> Iterator[None]:
    """Holds both locks while the block runs; FailoverError names the agent that already does."""
    with _file_lock(path.with_name(path.name + ".lock")), _namespace_lock():
        yield


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.fchmod(fd, 0o600)  # whoever may open it may hold the lock
    except OSError as error:
        raise FailoverError(f"no lock file {path}: {error.strerror}", "choose another place with --socket") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            raise _taken(holder, f"it holds {path}") from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds without our name on it
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _namespace_lock() -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as lock:
        try:
            lock.bind(ABSTRACT)
        except OSError as error:
            raise _taken(_namespace_holder(), "it serves this network namespace") from error
        lock.listen(1)
        yield


def _namespace_holder() -> str:
    """The pid behind the abstract address, or nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as knock:
        if knock.connect_ex(ABSTRACT) != 0:
            return ""
        return str(struct.unpack("3i", knock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def _taken(holder: str, how: str) -> FailoverError:
    who = f"another agent runs (pid {holder})" if holder.isdigit() else "another agent runs"
    return FailoverError(f"{who}: {how}", "stop it first; `failover status` talks to it")
