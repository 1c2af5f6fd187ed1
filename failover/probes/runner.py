"""Probes: the one door of this room. Starts each probe by its kind and hands back exactly one result for it.

What lives here: dispatch, the bound on open probes. What may not: any protocol, any judgement.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from typing import Final

from failover.model import ProbeKind, ProbeResult, SendProbe
from failover.probes import bound
from failover.probes.icmp import Icmp

OPEN_MAX: Final = 1024
"""Probes out at a time: 16 uplinks in both families, each with all of a burst out for PROBE_PATIENCE."""


class Probes:
    """Sends probes. Every `start` leads to one ProbeResult, at the latest PROBE_PATIENCE seconds later.

    `report` is called from the loop, never from inside `start` or `forget`; after `close` it is not called again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Callable[[ProbeResult], None]) -> None:
        self._loop = loop
        self._report = report
        self._icmp = Icmp(loop, self._tell)
        self._closed = False

    @property
    def ignored(self) -> Mapping[str, int]:
        """Packets received that were no answer to an open probe, by why."""
        return self._icmp.ignored

    def start(self, send: SendProbe) -> None:
        """Send one probe; never blocks, never raises. What cannot be sent ends as `local`."""
        if len(self._icmp) >= OPEN_MAX:
            full = OSError(errno.ENOBUFS, f"{os.strerror(errno.ENOBUFS)}: {OPEN_MAX} probes are open")
            self._loop.call_soon(self._tell, bound.local(send, full))
        elif send.target.kind is ProbeKind.ICMP:
            self._icmp.start(send)
        else:
            unknown = OSError(errno.EOPNOTSUPP, f"no {send.target.kind} probes")
            self._loop.call_soon(self._tell, bound.local(send, unknown))

    def forget(self, interface: str) -> None:
        """The device vanished or came back under another index: re-open its sockets, end its probes as `local`."""
        self._icmp.forget(interface)

    def close(self) -> None:
        """Stop; nothing is reported any more."""
        self._closed = True
        self._icmp.close()

    def _tell(self, result: ProbeResult) -> None:
        if not self._closed:
            self._report(result)
