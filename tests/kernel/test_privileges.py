"""An ordinary user with CAP_NET_ADMIN alone can do all of it."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from failover.facts import Operation, Sysctl, Verb
from failover.kernel import Dirty, Kernel, Ledger, Watch

from .box import V4, V6, WAN0, Box, add, apply, default, layout, quiet

NOBODY = 65534
CAP_NET_ADMIN = 1 << 12
PR_SET_KEEPCAPS = 8
CAPABILITY_VERSION = 0x20080522


class Capabilities(ctypes.Structure):
    """What capset(2) takes: version and pid, then effective, permitted and inheritable in two halves."""

    _fields_ = (("head", ctypes.c_uint32 * 2), ("halves", ctypes.c_uint32 * 6))


def become_ordinary() -> None:
    """This process keeps CAP_NET_ADMIN and nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    words = Capabilities((CAPABILITY_VERSION, 0), (CAP_NET_ADMIN, CAP_NET_ADMIN, 0, 0, 0, 0))
    halves = ctypes.addressof(words) + Capabilities.halves.offset
    assert libc.capset(ctypes.c_void_p(ctypes.addressof(words)), ctypes.c_void_p(halves)) == 0


def in_child(work: Callable[[], None]) -> int:
    """The exit code of a child that does the work: 0 when nothing was raised."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_all_of_it_with_one_capability(box: Box, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not _exists(NOBODY):
        pytest.skip("needs root, to become somebody else")
    home = tmp_path / "state"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    state = os.open(home, os.O_DIRECTORY)

    def work() -> None:
        os.fchdir(state)
        become_ordinary()
        ledger = Ledger(Path("sysctls.json"))
        kernel = Kernel(ledger)
        watch = quiet(Watch(kernel.port))
        for family in (V4, V6):
            add(kernel, *layout(family))
            assert apply(kernel, Verb.DELETE, default(family, 15500, WAN0)) == [None]
        assert watch.drain() is Dirty.CLEAN
        path = "net/ipv4/conf/wan0/ignore_routes_with_linkdown"
        (result,) = kernel.apply([Operation(Verb.SET, Sysctl(path, "1"))])
        assert result.error is None, result.error
        assert Sysctl(path, "1") in kernel.read().sysctls
        assert [restored.error for restored in ledger.restore()] == [None]
        assert watch.drain() is Dirty.CHANGED, "nothing tells who has changed a sysctl"

    try:
        with box.van.entered():
            assert in_child(work) == 0
    finally:
        os.close(state)


def _exists(user: int) -> bool:
    """Whether our user namespace knows that number."""
    rows = [[int(word) for word in row.split()] for row in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= user < first + count for first, _, count in rows)
