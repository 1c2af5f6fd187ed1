"""A van to be examined: two uplinks to a far end that answers for the internet, in namespaces of the test's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from failover.doctor.case import Case, Ground
from failover.doctor.examination import OF_THE_CASE, OF_THE_GROUND, examine, made
from failover.doctor.finding import Finding, Level
from failover.export.client import DEFAULT_SOCKET
from failover.kernel import Kernel
from failover.model import FAMILIES
from tests.kernel.box import GATEWAYS, INTERNET, NAMES, V4, V6, Box

SECOND: Final = {V4: "203.0.113.2", V6: "2001:db8:f::2"}
"""Another address of the far end."""
TARGETS: Final = [
    f"icmp://{INTERNET[V4]}",
    f"icmp://{SECOND[V4]}",
    f"icmp://[{INTERNET[V6]}]",
    f"icmp://[{SECOND[V6]}]",
]
EVERYTHING: Final = """
import importlib, pkgutil
import failover
# The interpreter may lie where only root can read.
for found in pkgutil.walk_packages(failover.__path__, "failover."):
    if not found.name.startswith(("failover.sim", "failover.lab", "failover.__main__")):
        importlib.import_module(found.name)
import concurrent.futures.thread, encodings.idna, psutil
"""
"""Imports all that the doctor may, before rights or descriptors go."""
ORDINARY: Final = f"""{EVERYTHING}
import os
os.setgroups([])
os.setresgid(54321, 54321, 54321)
os.setresuid(54321, 54321, 54321)
"""
"""The doctor of an ordinary user."""
RUN: Final = """
import sys
from pathlib import Path
from failover.doctor.command import run
config, socket, state, *flags = sys.argv[1:]
sys.exit(run(Path(config), Path(socket), Path(state), as_json="--json" in flags))
"""
"""What the command line does."""
ONE: Final = """
import json, sys
from pathlib import Path
from failover.doctor.case import Case, Ground
from failover.doctor.examination import OF_THE_CASE, OF_THE_GROUND, made
from failover.doctor.finding import document
config, socket, state, *names = sys.argv[1:]
case, found = Case.of(Path(config), Path(socket), Path(state)), []
for check in (*OF_THE_CASE, *OF_THE_GROUND):
    if check.name in names:
        found += made(check, case if check in OF_THE_CASE else Ground.of(case))
print(json.dumps(document(found)))
"""
"""The checks of these names."""


MOUNTED: Final = ("unshare", "--mount", "sh", "-c")
"""A command in a mount namespace of its own; what is mounted there is seen by nobody else."""
SERVICE_SOCKET: Final = Path(DEFAULT_SOCKET)


def fresh_run(prepare: str) -> tuple[str, ...]:
    """A command that sees an empty /run, and in it what these lines of the shell have made."""
    return (*MOUNTED, f'mount -t tmpfs none /run && {{ {prepare}; }} && exec "$@"', "sh")


@contextmanager
def listening(patient: Patient, port: int, reply: bytes | None = None) -> Iterator[None]:
    """A server in the van that accepts and says that, or nothing at all."""
    server = patient.van.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()

    def serve() -> None:
        with suppress(OSError):  # nobody came
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                if reply is not None:
                    connection.sendall(reply)
                else:
                    connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@contextmanager
def speaking(patient: Patient, line: bytes) -> Iterator[None]:
    """Something at the control socket that says this to whoever asks."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(patient.socket))
    server.listen()

    def serve() -> None:
        with suppress(OSError):  # closed at the end
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(line)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        patient.socket.unlink()


class Patient:
    """The box with default routes, a config of its own and places for the agent; loose rp_filter, so that both uplinks
    answer while no agent runs."""

    def __init__(self, box: Box, home: Path) -> None:
        self.box, self.home, self.van = box, home, box.van
        self.config, self.socket, self.state = home / "failover.yaml", home / "run" / "control.sock", home / "state"
        self.socket.parent.mkdir()
        self.state.mkdir()
        self.configure()
        for name in ("all", *NAMES.values()):
            self.van.sysctl(f"ipv4/conf/{name}/rp_filter", 2)
        for family in FAMILIES:
            box.far.rtnl.add_address(1, f"{SECOND[family]}/{family.bits}")
            for index in NAMES:
                self.default(family, index)
        with self.van.entered():
            kernel = Kernel()
            box.settled(kernel)
            kernel.close()

    def default(self, family: object, index: int, metric: int = 0) -> None:
        """A default route by that cable."""
        way = f"default via {GATEWAYS[index][family]} dev {NAMES[index]}"  # type: ignore[index]
        self.box.ip(f"-{str(family)[-1]} route add {way} metric {metric or 100 + index}")

    def configure(self, *more: str, targets: list[str] | None = None) -> None:
        """Write the config: these targets, and whatever lines more."""
        listed = "".join(f"\n    - '{target}'" for target in (TARGETS if targets is None else targets))
        self.config.write_text("\n".join((f"probes:\n  targets:{listed}", *more)) + "\n")

    def case(self) -> Case:
        return Case.of(self.config, self.socket, self.state)

    def check(self, name: str) -> list[Finding]:
        """What comes of one check."""
        with self.van.entered():
            for check in OF_THE_CASE:
                if check.name == name:
                    return list(made(check, self.case()))
            (look,) = [check for check in OF_THE_GROUND if check.name == name]
            return list(made(look, Ground.of(self.case())))

    def only(self, name: str) -> Finding:
        """What comes of one check that has one thing to say."""
        (finding,) = self.check(name)
        return finding

    def says(self, name: str, level: Level, *words: str) -> Finding:
        """The only finding of a check; AssertionError unless it is of that level and has these words."""
        finding = self.only(name)
        assert finding.level is level, finding
        for word in words:
            assert word in finding.text, finding
        assert level in (Level.OK, Level.NOTE) or finding.mend, "what is wrong has a mend"
        return finding

    def examine(self) -> list[Finding]:
        """Everything."""
        with self.van.entered():
            return list(examine(self.config, self.socket, self.state))

    def told(self, *names: str, first: tuple[str, ...] = (), before: str = "") -> dict[str, list[dict[str, str]]]:
        """What these checks find in a process of their own, which something else may start or begin."""
        done = self.run(*names, first=first, code=before + ONE)
        assert done.returncode == 0, done
        found: dict[str, list[dict[str, str]]] = {}
        for finding in json.loads(done.stdout)["findings"]:
            found.setdefault(finding["check"], []).append(finding)
        return found

    def run(self, *flags: str, first: tuple[str, ...] = (), code: str = RUN) -> subprocess.CompletedProcess[str]:
        """`failover doctor` as a process in the van, perhaps started by another command."""
        places = [str(path) for path in (self.config, self.socket, self.state)]
        argv = [*first, sys.executable, "-c", code, *places, *flags]
        child = self.van.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=os.path.sep)
        out, err = child.communicate(timeout=30)
        return subprocess.CompletedProcess(argv, child.returncode, out, err)
