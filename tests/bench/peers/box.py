"""Daemons beside the host: in the lab's network, with process ids, a /run and folders of /etc and /var of their own.

What lives here: how such a process starts and ends. What it is told is the peers' business.
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
FURNISH: Final = 'while [ "$1" ]; do mount --bind "$1" "$2" || exit; shift 2; done; echo; exec sleep infinity'
READ_ONLY_SYS: Final = f"mount -t sysfs -o ro sysfs /sys || exit; {FURNISH}"
"""With the namespace's own interfaces in /sys, and nothing to write there: so udev is taken for absent."""
PATIENCE = 5.0


def program(name: str) -> str | None:
    """Its path, None when it is not installed."""
    return shutil.which(name, path=PATH)


class Box:
    """Daemons that see `home` in place of the host's folders, and only each other. None outlives the box or this
    process: the kernel ends a process namespace with its first process, also those in it that became another user."""

    def __init__(
        self, namespace: Namespace, home: Path, folders: Collection[str] = (), read_only_sys: bool = False
    ) -> None:
        """`folders`: absolute paths beside /run which start empty; they must exist on the host."""
        self._namespace = namespace
        self._home = home
        self._folders = ("/run", *folders)
        self._script = READ_ONLY_SYS if read_only_sys else FURNISH
        self._children: list[subprocess.Popen[bytes]] = []

    def inside(self, path: str) -> Path:
        """Where that path of the daemons lies on the host."""
        return self._home / path.lstrip("/")

    def __enter__(self) -> Box:
        for folder in self._folders:
            self.inside(folder).mkdir(parents=True)
        binds = [one for folder in self._folders for one in (str(self.inside(folder)), folder)]
        apart = ["unshare", "--mount", "--propagation", "private", "--pid", "--mount-proc", "--fork", "--kill-child"]
        argv = [*apart, "sh", "-c", self._script, "sh", *binds]
        self._first = self._namespace.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._first.stdout is not None
        assert self._first.stdout.readline(), "the box cannot be furnished"
        return self

    def __exit__(self, *_: object) -> None:
        self._first.kill()
        self._first.communicate()
        for child in self._children:
            child.wait(PATIENCE)

    def _argv(self, argv: tuple[str, ...]) -> list[str]:
        found = program(argv[0])
        assert found is not None, f"{argv[0]} is not installed"
        spaces = f"/proc/{self._first.pid}/ns"
        return ["nsenter", f"--mount={spaces}/mnt", f"--pid={spaces}/pid_for_children", "--", found, *argv[1:]]

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
