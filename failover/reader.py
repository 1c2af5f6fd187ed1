"""Reading the kernel again and again: whole, soon after anything stirs there, and never more than one reading ahead.

What a reading means is the core's business; what is done about it, the agent's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from failover.export.log import Say
from failover.kernel.kernel import Kernel
from failover.kernel.watch import Dirty, Watch
from failover.model import KernelError
from failover.seam import KernelRead

HASTE, DEBOUNCE = 0.005, 0.05
"""Seconds between two reads for kernel events that traffic hangs on, and for those that need no haste."""
READ_AGAIN: Final = 1.0
"""Seconds after a failed read."""

Guard = Callable[..., None]
"""Runs a step; an error in it that nobody expected ends the agent."""


class Reader:
    """Gives each reading to `put`; `forget` hears of interfaces that are gone or others than before."""

    def __init__(
        self,
        kernel: Kernel,
        watch: Watch,
        put: Callable[[KernelRead], None],
        forget: Callable[[str], None],
        say: Say,
        guarded: Guard,
    ) -> None:
        """To be made in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._kernel, self._watch = kernel, watch
        self._put, self._forget, self._say, self._guarded = put, forget, say, guarded
        self._reread: asyncio.TimerHandle | None = None
        self._read_at = 0.0
        self._untaken = False
        """A reading is in the queue."""
        self._stale = False
        """Something has changed since that reading."""
        self._error = ""
        """What was said of the last reading that failed."""
        self._devices: dict[str, int] = {}
        """Name -> ifindex, at the last reading."""

    def open(self) -> None:
        """Listen to the kernel, and read it for the first time."""
        self._listen()
        self.read()

    def close(self) -> None:
        """Listen and read no more."""
        self._loop.remove_reader(self._watch.fileno())
        self._cancel()

    def read(self) -> None:
        """Read the kernel: now, or when what was read before has been taken in."""
        self._stale = self._untaken
        if self._untaken:
            return
        self._cancel()
        self._read_at = time.monotonic()
        try:
            facts = self._kernel.read()
        except KernelError as error:
            self._troubled(error)
            return
        self._error = ""
        devices = {link.name: link.index for link in facts.links}
        for name, index in self._devices.items():
            if devices.get(name) != index:
                self._forget(name)
        self._devices = devices
        self._untaken = True
        self._put(KernelRead(facts))

    def taken(self) -> None:
        """What was read is being taken in."""
        self._untaken = False

    def catch_up(self) -> None:
        """Read now what could not be read while another reading was waiting."""
        if self._stale and not self._untaken:
            self.read()

    def _troubled(self, error: KernelError) -> None:
        """The kernel cannot be asked: said once, tried again."""
        if str(error) != self._error:
            self._error = str(error)
            self._say("kernel", f"{error}; trying again")
        self._read_by(time.monotonic() + READ_AGAIN)

    def _read_by(self, when: float) -> None:
        if self._reread is None or self._reread.when() > when:
            self._cancel()
            self._reread = self._loop.call_at(when, self._guarded, self.read)

    def _cancel(self) -> None:
        if self._reread is not None:
            self._reread.cancel()
            self._reread = None

    def _listen(self) -> None:
        self._loop.add_reader(self._watch.fileno(), self._guarded, self._stirs)

    def _stirs(self) -> None:
        """Something changed: the kernel is read at once, unless it was just now."""
        try:
            dirty = self._watch.drain()
        except KernelError as error:  # the descriptor would stay readable
            self._say("kernel", f"{error}; listening anew")
            self._loop.remove_reader(self._watch.fileno())
            self._watch.reopen()
            self._listen()
            self._watch.drain()  # another error ends the agent
            dirty = Dirty.URGENT
        if dirty is not Dirty.CLEAN:
            pause = HASTE if dirty is Dirty.URGENT else DEBOUNCE
            self._read_by(max(time.monotonic(), self._read_at + pause))
