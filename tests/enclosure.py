"""A box whose /etc, /run and processes are its own, in a network namespace from outside: the real dbus-daemon in it.

What is in it beyond that, each room says itself. Everybody in it ends with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from failover.lab.namespaces import Namespace

CHECKOUT = Path(__file__).resolve().parents[1]
PATIENCE = 30.0
"""Seconds that a test waits for anything; the machine may be busy."""
POLKITD = "/usr/lib/polkit-1/polkitd"
UNSHARE = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc")
BUS = "run/dbus/system_bus_socket"


def require(*programs: str) -> None:
    """Skips where a box cannot be made, or one of these is missing in it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for program in ("dbus-daemon", *programs):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


class Enclosure:
    """`root/etc` and `root/run` are its own, and can be written to from here."""

    def __init__(self, network: Namespace, folder: Path, inside: Sequence[str], users: Mapping[str, int]) -> None:
        """Start it, with the D-Bus daemon; `folder` is empty. `inside`: a command that mounts what is to be seen, and
        then becomes the one that it is given. `users`: all that there are, their groups have the same ids."""
        self.root = folder
        self.network = network
        self._children: list[subprocess.Popen[Any]] = []
        self._log = (folder / "log").open("w+b")
        _furnish(folder, users)
        self.furnish()
        # Without a first process that stays root, the end of the tests would not be the end of all.
        self._first = network.popen(
            [*UNSHARE, *inside, "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._first.stdout is not None
        assert self._first.stdout.readline(), self.log()
        (self._init,) = psutil.Process(self._first.pid).children()
        argv = ["dbus-daemon", "--system", "--nofork", "--nopidfile", "--print-address"]
        told = self.popen(*argv, stdout=subprocess.PIPE).stdout
        assert told is not None
        with told:
            assert told.readline(), self.log()
        self.address = f"unix:path={folder / BUS}"

    @property
    def first(self) -> int:
        """The process id, as seen from outside, of its first process: what nsenter takes."""
        return self._init.pid

    def furnish(self) -> None:
        """More of /etc and /run than everybody needs."""

    def popen(self, *argv: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[Any]:
        """Start a command in it, as root."""
        enter = ["nsenter", f"--target={self._init.pid}", "--mount", "--pid", "--"]
        child = self.network.popen([*enter, *argv], env=env, **{"stderr": self._log, **options})
        self._children.append(child)
        return child

    def run(self, *argv: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """A command in it, as root."""
        child = self.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said, _ = child.communicate(given, PATIENCE)
        return subprocess.CompletedProcess(argv, child.returncode, said)

    def start_polkitd(self) -> None:
        """Of use once its name is on the bus."""
        self.popen(POLKITD, "--no-debug", stdout=subprocess.DEVNULL)

    def end(self, service: subprocess.Popen[Any]) -> None:
        """End one of its services at once."""
        for child in psutil.Process(service.pid).children():
            child.kill()
        service.wait(PATIENCE)

    def log(self) -> str:
        """What its processes complained of."""
        return (self.root / "log").read_text(errors="replace")

    def close(self) -> None:
        """Switch it off, and with it all that is in it."""
        self._first.communicate(timeout=PATIENCE)
        for child in self._children:
            child.communicate(timeout=PATIENCE)
        self._log.close()


def _furnish(folder: Path, users: Mapping[str, int]) -> None:
    """/etc and /run, as the packages' installation would leave them."""
    etc, run = folder / "etc", folder / "run"
    for place in ("dbus-1/system.d", "polkit-1/rules.d"):
        (etc / place).mkdir(parents=True)
    (etc / "passwd").write_text("".join(f"{name}:x:{uid}:{uid}::/:/bin/sh\n" for name, uid in users.items()))
    (etc / "group").write_text("".join(f"{name}:x:{uid}:\n" for name, uid in users.items()))
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    (etc / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    own(run / "dbus", users["messagebus"])
    own(run / "failover", users["failover"])
    (run / "lock").mkdir()


def own(place: Path, uid: int) -> None:
    """A new folder that belongs to somebody."""
    place.mkdir(parents=True)
    os.chown(place, uid, uid)
