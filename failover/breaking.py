"""Breaking this box's own open flows, a slice at a time, so that thousands hold nobody up.

Which, and when, is the core's business. One order after the other, in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from failover.kernel.destroy import destroy
from failover.seam import DestroySockets, SocketsDestroyed

WAITING: Final = 256
"""Orders that wait, at most: two for each of 63 uplinks and both families."""


class Breaking:
    """What comes of each order goes to `put`."""

    def __init__(self, put: Callable[[SocketsDestroyed], None]) -> None:
        """To be made in the running loop, in whose network namespace the sockets are."""
        self._loop = asyncio.get_running_loop()
        self._put = put
        self._orders: deque[DestroySockets] = deque(maxlen=WAITING)
        self._task: asyncio.Task[None] | None = None

    def carry_out(self, order: DestroySockets) -> None:
        """After those before it; returns at once."""
        self._orders.append(order)
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._work())

    def close(self) -> None:
        """Break no more."""
        self._orders.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while self._orders:
            for came in destroy(self._orders.popleft()):
                if came is not None:
                    self._put(came)
                await asyncio.sleep(0)
