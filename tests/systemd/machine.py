"""A machine whose first process is the real systemd, in namespaces of its own: booted, commanded, switched off.

Its network is that of the lab's van. What the tests look for there is in test_*.py, how its root is made in boot.sh.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

from failover.export.client import call
from failover.lab.namespaces import Namespace

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS, FILES = ("failover", "systemd", "config"), ("pyproject.toml", "README.md", "LICENSE")
"""What of the checkout an installation is made from."""
LIBRARIES = sysconfig.get_path("purelib")
PATIENCE = 30.0
"""Seconds that a test waits for anything; the machine may be busy."""
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8"}
OFFLINE = {
    **ENVIRONMENT,
    # There is no network: the libraries and the build's own needs are those that these tests run with.
    "PYTHONPATH": "/libraries",
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: no isolation
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
UNSHARE = ("unshare", "--mount", "--propagation=private", "--uts", "--ipc", "--pid", "--fork", "--kill-child")

T = TypeVar("T")


class Machine:
    """A booted systemd. `root` is its file system and `init` its first process, as seen from here."""

    def __init__(self, network: Namespace, folder: Path) -> None:
        """Boot it; `folder` is empty, and stays so."""
        self.network = network
        self._cgroup = f"failover-{os.getpid()}"
        self._folder = folder
        self._end: int | None = None
        source = folder / "src"
        source.mkdir()
        for name in FOLDERS:
            shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copy(CHECKOUT / name, source)
        with network.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind("")  # an abstract name of the kernel's choice
            notified.settimeout(PATIENCE)
            name = "@" + notified.getsockname()[1:].decode()
            script = Path(__file__).with_name("boot.sh")
            argv = [*UNSHARE, "sh", str(script), str(folder), self._cgroup, str(source), LIBRARIES]
            self._log = (folder / "console").open("w+b")
            self._process = network.popen(
                argv, env={**os.environ, "NOTIFY_SOCKET": name}, stdout=self._log, stderr=self._log
            )
            self._await_boot(notified)
        (self.init,) = psutil.Process(self._process.pid).children()
        self._end = os.pidfd_open(self.init.pid)
        self.root = Path(f"/proc/{self.init.pid}/root")

    def _await_boot(self, notified: socket.socket) -> None:
        """systemd says READY=1 to whoever runs its container."""
        try:
            while not notified.recv(4096).startswith(b"READY=1"):
                pass
        except TimeoutError:
            raise AssertionError(self.close()) from None

    def run(
        self, *argv: str, check: bool = True, environment: Mapping[str, str] = ENVIRONMENT
    ) -> subprocess.CompletedProcess[str]:
        """A command inside, as root; with `check`, it succeeds."""
        done = subprocess.run(
            self._inside(argv, environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert not check or done.returncode == 0, (argv, done.stdout, done.stderr)
        return done

    @contextlib.contextmanager
    def started(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """A command inside, as root, that is no service; it does not outlive the block."""
        process = subprocess.Popen(self._inside(argv, ENVIRONMENT), stderr=subprocess.PIPE, text=True)
        with process:
            try:
                yield process
            finally:
                process.kill()

    def _inside(self, argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        first = f"--target={self.init.pid}"
        enter = ["nsenter", first, "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--"]
        return [*enter, "env", "-i", *(f"{name}={value}" for name, value in environment.items()), *argv]

    def type(self, script: str) -> str:
        """A shell block of the README, in the checkout, as root."""
        done = self.run("sh", "-ec", f'sudo() {{ "$@"; }}; cd /src; {script}', environment=OFFLINE)
        return done.stdout + done.stderr

    def systemctl(self, *words: str) -> str:
        return self.run("systemctl", *words).stdout.strip()

    def shown(self, key: str) -> str:
        """One property of the service."""
        return self.systemctl("show", "--value", f"--property={key}", "failover")

    def pid(self) -> int:
        """The service's main process, as this side counts."""
        inside = int(self.shown("MainPID"))
        for process in self.init.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    if line.startswith("NSpid:") and int(line.split()[-1]) == inside:
                        return process.pid
        raise AssertionError(f"no process {inside}")

    def status(self) -> dict[str, Any]:
        """What the agent answers to `failover status`."""
        found: dict[str, Any] = call(self.root / "run/failover/control.sock", "status", {})["status"]
        return found

    def journal(self, *options: str) -> list[dict[str, Any]]:
        """What the service said: all of it, or what `options` of journalctl(1) leave."""
        self.run("journalctl", "--sync")
        said = self.run("journalctl", "--output=json", "--unit=failover", *options).stdout
        return [json.loads(line) for line in said.splitlines()]

    @contextlib.contextmanager
    def following(self) -> Iterator[Callable[[Callable[[], T]], T]]:
        """Gives a function that waits until a condition is true: looks again at each journal line, and now and then."""
        argv = self._inside(("journalctl", "--follow", "--lines=0"), ENVIRONMENT)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as journal:
            assert journal.stdout is not None
            fd = journal.stdout.fileno()

            def until(condition: Callable[[], T]) -> T:
                deadline = time.monotonic() + PATIENCE
                while not (found := condition()):
                    assert time.monotonic() < deadline, self.run("systemctl", "status", "failover", check=False).stdout
                    if select.select([fd], [], [], 0.2)[0]:
                        assert os.read(fd, 65536)
                return found

            try:
                yield until
            finally:
                journal.kill()

    def close(self) -> str:
        """Switch it off; what its console showed."""
        self._process.kill()  # and with it all in its namespaces
        self._process.wait(PATIENCE)
        if self._end is not None:
            select.select([self._end], [], [], PATIENCE)
            os.close(self._end)
        self._log.seek(0)
        shown = self._log.read().decode(errors="replace")
        self._log.close()
        forget = 'mount -t cgroup2 none "$0" && find "$0/$1" -depth -type d -delete'
        argv = ["unshare", "--mount", "sh", "-ec", forget, str(self._folder), self._cgroup]
        subprocess.run(argv, check=True, capture_output=True)
        return shown
