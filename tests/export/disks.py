"""Disks of a test's own, in a mount namespace of its own: a small one, one that can be frozen."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a disk")
CLONE_NEWNS = 0x00020000
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
"""linux/fs.h: writers of a frozen file system wait, in the kernel, until it thaws."""
FROZEN_MAX = 20.0
Result = TypeVar("Result")


def among_own_mounts(body: Callable[[], Result]) -> Result:
    """Run it in a thread that sees the mounts of this machine, and makes its own where nobody else sees them."""

    def alone() -> Result:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "no mount namespace")
        _run("mount", "--make-rprivate", "/")
        return body()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(alone).result()


def mount_memory(place: Path, size: int) -> None:
    """A disk of `size` bytes."""
    _run("mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes=64", "none", str(place))


def mount_ext4(place: Path, image: Path) -> None:
    """A disk of 8 MB in a file."""
    with image.open("wb") as file:
        file.truncate(8 << 20)
    _run("mkfs.ext4", "-q", str(image))
    _run("mount", "-o", "loop", str(image), str(place))


def mount_as_after_a_power_cut(place: Path, image: Path, copy: Path) -> None:
    """What is on the disk of `mount_ext4` at this moment, without what the kernel has yet to write to it."""
    shutil.copyfile(image, copy)
    _run("mount", "-o", "loop", str(copy), str(place))


def unmount(place: Path) -> None:
    _run("umount", str(place))


def remount(place: Path, options: str) -> None:
    """As `ro`."""
    _run("mount", "-o", f"remount,{options}", str(place))


@contextmanager
def frozen(place: Path) -> Iterator[None]:
    """The disk there does not answer, for FROZEN_MAX seconds at most: nothing can end a thread that waits for it."""
    file = os.open(place, os.O_RDONLY)
    fcntl.ioctl(file, FIFREEZE, 0)
    timer = threading.Timer(FROZEN_MAX, _thaw, [file])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        _thaw(file)
        os.close(file)


def _thaw(file: int) -> None:
    with suppress(OSError):  # it is not frozen any more
        fcntl.ioctl(file, FITHAW, 0)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
