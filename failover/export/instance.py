"""The right to be the agent of this machine: capabilities, open files, and that there is no other agent.

One lock per control socket (a file) and one per network namespace: two agents with different sockets in one namespace
would fight over the same tables. Neither can be held by somebody who could not be an agent: the file is its owner's
alone, and the namespace's is a raw socket, which needs CAP_NET_RAW there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from failover.files import give_to_owner_of
from failover.model import FailoverError

CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
"""Bits of linux/capability.h."""
DESCRIPTORS_MIN: Final = 64
"""Clients of both servers, sockets of probes and of the kernel, and some to spare."""
DESCRIPTORS_WANTED: Final = 1024
"""The usual soft limit; select(2) knows no greater descriptor."""
MARK_PROTOCOL: Final = 253
"""The IP protocol for experiments (RFC 3692) whose raw sockets mark agents; nothing is ever sent or read."""
LOOPBACK: Final = 127 << 24
"""127.0.0.0/8; the 22 bits of a pid (PID_MAX_LIMIT) fit into the rest."""
RAW_SOCKETS: Final = Path("/proc/thread-self/net/raw")
"""The raw IPv4 sockets of this network namespace, each with local ADDRESS:PROTOCOL in its second column."""


def missing_capabilities(of: str = "CapEff") -> list[str]:
    """Names of the capabilities that are missing in one set of this process, as proc(5) names it: what it may do now
    (CapEff), or what it and its children can ever be given (CapBnd)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{of}:"):
            held = int(line.split()[1], 16)
            return [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    return list(CAPABILITIES)


def require_capabilities() -> None:
    """FailoverError names those that are missing."""
    missing = missing_capabilities()
    if missing:
        hint = "run as root, or under systemd with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"
        raise FailoverError(f"no permission to change routes and to probe: {' and '.join(missing)} missing", hint)


def require_descriptors() -> None:
    """Raise the soft limit of open files to 1024 where the hard one lets us; FailoverError when there are not 64."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS_WANTED:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS_WANTED), hard))
            soft = min(hard, DESCRIPTORS_WANTED)
    if soft < DESCRIPTORS_MIN:
        raise few_descriptors(soft)


def few_descriptors(limit: int) -> FailoverError:
    """What is to be said of so low a limit of open files."""
    words = f"only {limit} open files are allowed, and the agent needs {DESCRIPTORS_MIN}"
    return FailoverError(words, f"set LimitNOFILE={DESCRIPTORS_WANTED} in its systemd unit, or use `ulimit -n`")


def agents_here() -> list[str]:
    """The pid of each agent in this network namespace; empty for one that could not say."""
    return [_marked_by(address) for address in _marks()]


def lock_of(path: Path) -> Path:
    """The file that is locked for a control socket."""
    return path.with_name(path.name + ".lock")


@contextlib.contextmanager
def sole_instance(path: Path) -> Iterator[None]:
    """Holds both locks while the block runs; FailoverError names the agent that already does."""
    with _file_lock(lock_of(path)), _namespace_lock():
        yield


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.fchmod(fd, 0o600)  # whoever may open it may hold the lock
        give_to_owner_of(path.parent, fd)
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
    """First the mark, then a look at all marks: of two that start at once both may refuse, never none."""
    try:
        mark = socket.socket(socket.AF_INET, socket.SOCK_RAW, MARK_PROTOCOL)
    except OSError as error:  # the capabilities of a user namespace that has no say over this network
        words = f"no raw socket in this network namespace: {error.strerror}"
        raise FailoverError(words, "run as root of the machine, or in a network namespace of its own") from error
    with mark:
        with contextlib.suppress(OSError):  # the address only says who we are
            mark.bind((socket.inet_ntoa(struct.pack("!I", LOOPBACK | os.getpid())), 0))
        marks = _marks()
        marks.remove(mark.getsockname()[0])
        if marks:
            raise _taken(_marked_by(marks[0]), "it serves this network namespace")
        yield


def _marks() -> list[str]:
    """The local address of every agent's mark in this network namespace."""
    columns = (line.split()[1].split(":") for line in RAW_SOCKETS.read_text().splitlines()[1:])
    return [
        socket.inet_ntoa(int(address, 16).to_bytes(4, sys.byteorder))
        for address, protocol in columns
        if int(protocol, 16) == MARK_PROTOCOL
    ]


def _marked_by(address: str) -> str:
    """The pid in a mark's address, as the holder's pid namespace counts; nothing when it could not be put there."""
    (number,) = struct.unpack("!I", socket.inet_aton(address))
    return str(number & ~LOOPBACK) if number & LOOPBACK == LOOPBACK else ""


def _taken(holder: str, how: str) -> FailoverError:
    who = f"another agent runs (pid {holder})" if holder.isdigit() else "another agent runs"
    return FailoverError(f"{who}: {how}", "stop it first; `failover status` talks to it")
