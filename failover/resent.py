"""Reading how much this box's TCP sockets had to send again, a slice at a time, so that thousands hold nobody up.

What a share of resent segments means is the core's business; when it is read, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from failover.export.log import Say
from failover.kernel.sockets import Sockets
from failover.model import KernelError
from failover.seam import ReadSockets, SocketsRead

SHARE: Final = 100
"""So many times as long as a reading took, none begins after it: 5000 sockets take 27 ms."""


class Resent:
    """Each reading goes to `put`; one at a time, and what is asked for meanwhile is not read twice."""

    def __init__(self, put: Callable[[SocketsRead], None], say: Say) -> None:
        """To be made in the running loop, in whose network namespace the sockets are."""
        self._loop = asyncio.get_running_loop()
        self._put, self._say = put, say
        self._sockets = Sockets()
        self._reading: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._error = ""
        """What was said of the last reading that failed."""

    def read(self, asked: ReadSockets) -> None:
        """Begin, unless a reading is under way; returns at once."""
        if (self._reading is None or self._reading.done()) and self._loop.time() >= self._not_before:
            self._reading = self._loop.create_task(self._read(asked))

    def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self, asked: ReadSockets) -> None:
        began = self._loop.time()
        try:
            for found in self._sockets.slices(asked.addresses, asked.local, asked.mask):
                if found is not None:
                    self._put(found)
                await asyncio.sleep(0)
            self._error = ""
        except KernelError as error:  # a kernel without INET_DIAG: the probes' own losses tell of a brownout, later
            if str(error) != self._error:
                self._error = str(error)
                self._say("kernel", f"TCP sockets cannot be read: {error}")
        finally:
            self._not_before = self._loop.time() + SHARE * (self._loop.time() - began)
