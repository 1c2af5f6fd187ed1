"""Network namespaces held by file descriptors, and processes inside them.

What lives here: privileges, unshare and setns, children that die with their parent. What may not: links, addresses,
routes (rtnl.py). The caller's own namespace is never written to: all changes happen inside one that was made here.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from failover.lab.rtnl import Rtnl
from failover.model import FailoverError

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
CAPABILITIES = (1 << 12) | (1 << 13) | (1 << 21)  # CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN
AS_ROOT = "run it as root: sudo .venv/bin/failover demo"
PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(FailoverError):
    """The lab cannot be built, or a part of it died; the hint says in one line what to do about it."""


class ForbiddenError(LabError):
    """The machine does not let this user make network namespaces."""


def gain_privileges() -> None:
    """Be allowed to make network namespaces: as root at once, else in a user namespace (`unshare -Urn`).

    An ordinary user's process leaves its network for an empty one, for good. Raises ForbiddenError where that is not
    allowed, and when threads run already (the kernel moves single-threaded processes only).
    """
    if _effective_capabilities() & CAPABILITIES == CAPABILITIES:
        return
    uid, gid = os.geteuid(), os.getegid()
    try:
        _call(_libc.unshare, CLONE_NEWUSER | CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        with Rtnl() as home:
            home.link_up(1)
    except OSError as error:
        raise ForbiddenError(f"cannot make network namespaces as this user: {error.strerror}", _hint()) from error


def _effective_capabilities() -> int:
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _hint() -> str:
    """How to run it: as root, or after the sysctl that forbids user namespaces, if one does."""
    for name, closed, opened in (
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "0", "1000"),
    ):
        file = Path("/proc/sys", name.replace(".", "/"))
        if file.exists() and file.read_text().strip() == closed:
            return f"{AS_ROOT}, or allow user namespaces: sudo sysctl -w {name}={opened}"
    return AS_ROOT


def _call(function: Callable[..., int], *args: int) -> None:
    if function(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _own_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _prelude(parent: int, resolv_conf: Path | None) -> Callable[[], None]:
    """What a fresh child does: be killed when the thread that started it ends, and see another resolv.conf.

    Where mounts are forbidden it keeps the machine's: then names do not resolve in the lab.
    """
    source = bytes(resolv_conf) if resolv_conf else None

    def in_child() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        if source and _libc.unshare(CLONE_NEWNS) == 0 and _libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) == 0:
            _libc.mount(source, b"/etc/resolv.conf", None, MS_BIND, None)

    return in_child


class Namespace:
    """One network namespace, alive as long as this object is open or a process lives in it."""

    def __init__(self, name: str, resolv_conf: Path | None = None) -> None:
        """Make it, with its loopback up; needs gain_privileges() before. Its children see that file as resolv.conf."""
        self.name = name
        self._resolv_conf = resolv_conf
        home = _own_namespace()
        try:
            _call(_libc.unshare, CLONE_NEWNET)
            self.fd = _own_namespace()
            self.rtnl = Rtnl(self.entered)
        except OSError as error:
            raise ForbiddenError(f"cannot make the network namespace {name}: {error.strerror}", _hint()) from error
        finally:
            _call(_libc.setns, home, CLONE_NEWNET)
            os.close(home)
        self.rtnl.link_up(1)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside meanwhile: sockets and children made here belong to the namespace."""
        home = _own_namespace()
        try:
            _call(_libc.setns, self.fd, CLONE_NEWNET)
            yield
        finally:
            _call(_libc.setns, home, CLONE_NEWNET)
            os.close(home)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives in this namespace wherever it is used."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    def sysctl(self, name: str, value: int) -> None:
        """Write net.NAME here; the name is a path below /proc/sys/net, e.g. "ipv4/ip_forward"."""
        with self.entered():
            Path("/proc/sys/net", name).write_text(str(value))

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a child inside; it gets SIGKILL when the calling thread ends. Options as for subprocess.Popen.

        The child can import this package, wherever it lies.
        """
        environment = dict(options.pop("env", None) or os.environ)
        paths = [PACKAGE_PARENT, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        with self.entered():
            in_child = _prelude(os.getpid(), self._resolv_conf)  # a few system calls and no lock: safe beside threads
            return subprocess.Popen(argv, env=environment, preexec_fn=in_child, **options)  # noqa: PLW1509

    def close(self) -> None:
        """Let go of it; the kernel destroys it once no process is inside."""
        if self.fd >= 0:
            self.rtnl.close()
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
