"""A box whose /etc, /run, processes and network are its own: the real dbus-daemon and polkitd, and a resolver.

Everybody in it ends with it. The packages that it borrows are not installed, only unpacked: each would make the
machine's own /etc/resolv.conf its business.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from failover.lab.namespaces import Namespace

CHECKOUT = Path(__file__).resolve().parents[2]
UNPACKED = CHECKOUT / ".ci/unpacked"
NEEDED = ("dbus-daemon", "/usr/lib/polkit-1/polkitd", "/usr/lib/systemd/systemd-networkd")
PATIENCE = 20.0
"""Seconds that a test waits for anything; the machine may be busy."""
USERS = {"root": 0, "messagebus": 901, "polkitd": 902, "systemd-resolve": 903, "systemd-network": 904, "failover": 905}
UNSHARE = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc")
RESOLVE = """
import socket, sys
for name in sys.stdin:
    try:
        print(socket.getaddrinfo(name.strip(), 80, socket.AF_INET)[0][4][0], flush=True)
    except OSError as error:
        print(error, flush=True)
"""
BUS = "run/dbus/system_bus_socket"


def require(package: str) -> Path:
    """Where it is unpacked; skips where it is not, or something else is missing."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for program in NEEDED:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    if not (UNPACKED / package).is_dir():
        pytest.skip(f"needs the Debian package {package}, unpacked as .ci/run does")
    return UNPACKED / package


class Box:
    """`root/etc` and `root/run` are its own, and can be written to from here."""

    def __init__(self, network: Namespace, folder: Path, package: Path) -> None:
        """Start it, with the D-Bus daemon; `folder` is empty."""
        self.root = folder
        self._network = network
        self._children: list[subprocess.Popen[Any]] = []
        self.resolved: subprocess.Popen[Any] | None = None
        _furnish(folder)
        argv = [*UNSHARE, "sh", str(Path(__file__).with_name("inside.sh")), str(folder), str(package)]
        self._log = (folder / "log").open("w+b")
        # Without a first process that stays root, the end of the tests would not be the end of all.
        self._first = network.popen(
            [*argv, "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
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

    def popen(self, *argv: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[Any]:
        """Start a command in it, as root."""
        enter = ["nsenter", f"--target={self._init.pid}", "--mount", "--pid", "--"]
        child = self._network.popen([*enter, *argv], env=env, **{"stderr": self._log, **options})
        self._children.append(child)
        return child

    def serve(self, *argv: str) -> subprocess.Popen[Any]:
        """Start a service that tells when it is ready, and wait for that."""
        with self._network.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind("")  # an abstract name of the kernel's choice
            notified.settimeout(PATIENCE)
            service = self.popen(*argv, env={"NOTIFY_SOCKET": "@" + notified.getsockname()[1:].decode()})
            try:
                while b"READY=1" not in notified.recv(4096):
                    pass
            except TimeoutError:
                raise AssertionError(self.log()) from None
        return service

    def run(self, *argv: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """A command in it, as root."""
        child = self.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said, _ = child.communicate(given, PATIENCE)
        return subprocess.CompletedProcess(argv, child.returncode, said)

    def program(self) -> Program:
        """One that looks names up by the C library."""
        return Program(self.popen("python3", "-c", RESOLVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def end(self, service: subprocess.Popen[Any]) -> None:
        """End one of its services at once."""
        for child in psutil.Process(service.pid).children():
            child.kill()
        service.wait(PATIENCE)

    def log(self) -> str:
        """What its processes complained of."""
        return (self.root / "log").read_text(errors="replace")

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        """Switch it off, and with it all that is in it."""
        self._first.communicate(timeout=PATIENCE)
        for child in self._children:
            child.communicate(timeout=PATIENCE)
        self._log.close()


class Program:
    """A line in is a name, a line out its address, or why there is none."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    def ask(self, name: str) -> None:
        self._stdin.write(f"{name}\n")
        self._stdin.flush()

    def answer(self) -> str:
        return str(self._stdout.readline()).strip()

    def look_up(self, name: str) -> str:
        self.ask(name)
        return self.answer()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE)


def _furnish(folder: Path) -> None:
    """/etc and /run, as the packages' installation would leave them."""
    etc, run = folder / "etc", folder / "run"
    for place in ("dbus-1/system.d", "polkit-1/rules.d", "systemd/network"):
        (etc / place).mkdir(parents=True)
    users = USERS.items()
    (etc / "passwd").write_text("".join(f"{name}:x:{uid}:{uid}::/:/bin/sh\n" for name, uid in users))
    (etc / "group").write_text("".join(f"{name}:x:{uid}:\n" for name, uid in users))
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    (etc / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (etc / "systemd/resolved.conf").write_text("[Resolve]\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\n")
    for place, user in (
        ("dbus", "messagebus"),
        ("systemd/resolve", "systemd-resolve"),
        ("systemd/netif", "systemd-network"),
        ("systemd/netif/links", "systemd-network"),
        ("systemd/netif/leases", "systemd-network"),
        ("systemd/netif/lldp", "systemd-network"),
        ("failover", "failover"),
    ):
        (run / place).mkdir(parents=True)
        os.chown(run / place, USERS[user], USERS[user])
    (run / "lock").mkdir()


def shipped_rule(root: Path, text: str | None = None) -> None:
    """Install the polkit rule as systemd/README.md says; `text`: another one in its place."""
    rule = (CHECKOUT / "systemd/failover.rules").read_text() if text is None else text
    (root / "etc/polkit-1/rules.d/50-failover.rules").write_text(rule)
