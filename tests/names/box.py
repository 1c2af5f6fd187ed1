"""A box whose /etc, /run, processes and network are its own: the real dbus-daemon and polkitd, and a resolver.

Everybody in it ends with it. The packages that it borrows are not installed, only unpacked: each would make the
machine's own /etc/resolv.conf its business.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from failover.lab.namespaces import Namespace
from tests import enclosure
from tests.enclosure import CHECKOUT, PATIENCE, POLKITD, Enclosure, own

UNPACKED = CHECKOUT / ".ci/unpacked"
NEEDED = (POLKITD, "/usr/lib/systemd/systemd-networkd")
USERS = {"root": 0, "messagebus": 901, "polkitd": 902, "systemd-resolve": 903, "systemd-network": 904, "failover": 905}
RESOLVE = """
import socket, sys
for name in sys.stdin:
    try:
        print(socket.getaddrinfo(name.strip(), 80, socket.AF_INET)[0][4][0], flush=True)
    except OSError as error:
        print(error, flush=True)
"""


def require(package: str) -> Path:
    """Where it is unpacked; skips where it is not, or something else is missing."""
    enclosure.require(*NEEDED)
    if not (UNPACKED / package).is_dir():
        pytest.skip(f"needs the Debian package {package}, unpacked as .ci/run does")
    return UNPACKED / package


class Box(Enclosure):
    """With an unpacked package that is as good as installed."""

    def __init__(self, network: Namespace, folder: Path, package: Path) -> None:
        """Start it; `folder` is empty."""
        script = str(Path(__file__).with_name("inside.sh"))
        self.resolved: subprocess.Popen[Any] | None = None
        super().__init__(network, folder, ["sh", script, str(folder), str(package)], USERS)

    def furnish(self) -> None:
        (self.root / "etc/systemd/network").mkdir(parents=True)
        (self.root / "etc/systemd/resolved.conf").write_text("[Resolve]\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\n")
        own(self.root / "run/systemd/resolve", USERS["systemd-resolve"])
        for place in ("", "links", "leases", "lldp"):
            own(self.root / "run/systemd/netif" / place, USERS["systemd-network"])

    def serve(self, *argv: str) -> subprocess.Popen[Any]:
        """Start a service that tells when it is ready, and wait for that."""
        with self.network.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind("")  # an abstract name of the kernel's choice
            notified.settimeout(PATIENCE)
            service = self.popen(*argv, env={"NOTIFY_SOCKET": "@" + notified.getsockname()[1:].decode()})
            try:
                while b"READY=1" not in notified.recv(4096):
                    pass
            except TimeoutError:
                raise AssertionError(self.log()) from None
        return service

    def program(self) -> Program:
        """One that looks names up by the C library."""
        return Program(self.popen("python3", "-c", RESOLVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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


def shipped_rule(root: Path, text: str | None = None) -> None:
    """Install the polkit rule as systemd/README.md says; `text`: another one in its place."""
    rule = (CHECKOUT / "systemd/failover.rules").read_text() if text is None else text
    (root / "etc/polkit-1/rules.d/50-failover.rules").write_text(rule)
