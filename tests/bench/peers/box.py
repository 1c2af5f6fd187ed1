"""Daemons beside the host: a network namespace of the lab, and an own /run and own folders of /etc and /var.

What lives here: how such a process starts and ends. What it is told is the peers' business. Root only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

from failover.lab.namespaces import Namespace

PATH: Final = f"/usr/sbin:/usr/bin:/usr/lib/frr:{os.environ.get('PATH', '')}"
"""Where Debian puts daemons; FRR's are in a folder of their own."""
ENTER: Final = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit; shift 2; done; shift; exec "$@"'
READ_ONLY_SYS: Final = f"mount -t sysfs -o ro sysfs /sys || exit; {ENTER}"
"""With the namespace's own interfaces in /sys, and nothing to write there: so udev is taken for absent."""
PATIENCE = 5.0


def program(name: str) -> str | None:
    """Its path, None when it is not installed."""
    return shutil.which(name, path=PATH)


class Box:
    """Daemons that see `home` in place of the host's folders. Each is a direct child: it dies with this process."""

    def __init__(
        self, namespace: Namespace, home: Path, folders: Collection[str] = (), read_only_sys: bool = False
    ) -> None:
        """`folders`: absolute paths beside /run which start empty; they must exist on the host."""
        self._namespace = namespace
        self._script = READ_ONLY_SYS if read_only_sys else ENTER
        self._home = home
        self._folders = ("/run", *folders)
        self._children: list[subprocess.Popen[bytes]] = []
        for folder in self._folders:
            self.inside(folder).mkdir(parents=True)

    def inside(self, path: str) -> Path:
        """Where that path of the daemons lies on the host."""
        return self._home / path.lstrip("/")

    def _argv(self, argv: tuple[str, ...]) -> list[str]:
        """The process keeps its id through all of this."""
        binds = [one for folder in self._folders for one in (str(self.inside(folder)), folder)]
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", self._script, "sh", *binds, "--"]
        found = program(argv[0])
        assert found is not None, f"{argv[0]} is not installed"
        return [*enter, found, *argv[1:]]

    def start(self, *argv: str) -> None:
        """A daemon that stays in the foreground; what it says goes to NAME.log in the home."""
        with (self._home / f"{argv[0]}.log").open("ab") as log:
            started = self._namespace.popen(self._argv(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._children.append(started)

    def ask(self, *argv: str) -> str:
        """What a command says inside, empty when it fails."""
        asked = self._namespace.popen(self._argv(argv), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            said = asked.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            asked.kill()
            asked.communicate()
            return ""
        return str(said) if asked.returncode == 0 else ""

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        """The last first; a daemon that does not end when told so is killed."""
        for child in reversed(self._children):
            child.terminate()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
