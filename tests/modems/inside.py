"""A box as the namespace that it is in: what is started there sees the box's /sys, /etc and /run, too."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from typing import Any

import psutil

from failover.lab.namespaces import Namespace
from tests.enclosure import Enclosure


class Entered(subprocess.Popen[Any]):
    """What was started in a box: signals go to it, and not only to the nsenter that waits for it."""

    @property
    def inner(self) -> int:
        """Its process id, as seen from outside."""
        return next((child.pid for child in psutil.Process(self.pid).children()), self.pid)

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            psutil.Process(self.inner).send_signal(sig)
        if sig == signal.SIGCONT:  # nsenter stops when its child does
            super().send_signal(sig)


class Inside(Namespace):
    """As the box's network namespace; it need not be closed."""

    def __init__(self, box: Enclosure) -> None:
        self.name, self.fd, self.rtnl = box.network.name, box.network.fd, box.network.rtnl
        self._box = box

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        child = self._box.popen(*argv, **options)
        child.__class__ = Entered
        return child

    def close(self) -> None:
        """The namespace is somebody else's."""
