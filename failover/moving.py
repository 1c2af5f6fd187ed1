"""What happens to open flows: ways given to MPTCP connections and taken from them, this box's own sockets broken, what
it forwards forgotten.

Which, and when, is the core's business. One order after the other, in the order in which they came: a way is taken from
MPTCP connections before their sockets are broken. What takes long is done in a thread or a slice at a time, so that
thousands hold nobody up.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, TypeVar, assert_never

from failover.counting import ended
from failover.export.log import Say
from failover.facts import Mptcp, SubflowLimits, Subflows
from failover.kernel import conntrack, subflows
from failover.kernel.challenge import challenge
from failover.kernel.destroy import destroy
from failover.kernel.endpoints import Done, Endpoints
from failover.kernel.mptcp import PathManager
from failover.model import KernelError
from failover.seam import (
    DestroySockets,
    FlowsForgotten,
    ForgetFlows,
    KeepEndpoints,
    Moved,
    Order,
    WithdrawEndpoints,
)
from failover.wording import describe

WAITING: Final = 512
"""Orders that wait, at most: a few for each of 62 uplinks and both families."""
UNTOLD: Final = 4 * conntrack.HOARD
"""Datagrams that wait, at most: those of a few uplinks and families at once."""
ROOM: Final = 8
"""Subflows that a connection may have besides its first; the kernel grants no more (MPTCP_SUBFLOWS_MAX)."""

T = TypeVar("T")


class Moving:
    """`carry_out` returns at once; what comes of sockets and forwarded flows goes to `put`. `close` at the end."""

    def __init__(
        self, notes: Path, put: Callable[[Moved], None], say: Say, led: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """To be made in the running loop, in whose network namespace the flows are. `notes`: the file that tells which
        endpoints are ours. `led`: what is waited for before sockets are broken: a resolver whose own are asks again at
        once, wherever it is told to, and gives up when that fails too."""
        self._loop = asyncio.get_running_loop()
        self._notes, self._put, self._say, self._led = notes, put, say, led
        self._orders: deque[Order] = deque(maxlen=WAITING)
        self._untold: deque[tuple[ForgetFlows, bytes]] = deque(maxlen=UNTOLD)
        """What connection tracking told of what was forgotten, a datagram at a time."""
        self._task: asyncio.Task[None] | None = None
        self._complaints: frozenset[str] = frozenset()
        """What was said of the endpoints last."""

    def carry_out(self, order: Order) -> None:
        """After those before it."""
        self._orders.append(order)
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._work())
            self._task.add_done_callback(ended)

    def close(self) -> None:
        """Move no more; what was done stays."""
        self._orders.clear()
        self._untold.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while self._orders or self._untold:
            if not self._orders:
                await self._tell(*self._untold.popleft())
                continue
            match order := self._orders.popleft():
                case DestroySockets():
                    if self._led is not None:
                        await self._led()
                    self._put(await _sliced(destroy(order)))
                case ForgetFlows():
                    await self._forget(order)
                case KeepEndpoints():
                    await self._endpoints(partial(_keep, order))
                case WithdrawEndpoints():
                    await self._endpoints(partial(_withdraw, order))
                case _:
                    assert_never(order)

    async def _forget(self, order: ForgetFlows) -> None:
        """Not on the loop: 10,000 of 20,000 take 24 ms in one call. Nor while sockets are asked about, which would
        wait. Clients are told when no order waits."""
        try:
            untold, flows = await asyncio.to_thread(_forgotten, order)
            self._put(FlowsForgotten(order, flows))
            self._untold.extend((order, datagram) for datagram in untold)
        except (KernelError, RuntimeError) as error:  # the latter: no thread can be started
            mend = error.hint if isinstance(error, KernelError) else ""
            self._put(FlowsForgotten(order, error=f"{error} ({mend})" if mend else str(error)))

    async def _tell(self, order: ForgetFlows, datagram: bytes) -> None:
        """Some 150 clients, which takes 5 ms."""
        with suppress(RuntimeError):  # no thread can be started: they learn with their own next packet
            await asyncio.to_thread(_challenge, order, datagram)

    async def _endpoints(self, step: Callable[[PathManager, Endpoints], list[Done]]) -> None:
        """Not on the loop: to delete one takes 15 ms."""
        try:
            done = await asyncio.to_thread(self._managed, step)
            complaints = {f"cannot {one.verb} {describe(one.item)}: {one.error}" for one in done if one.error}
        except (KernelError, RuntimeError) as error:  # the latter: no thread can be started
            complaints = {f"MPTCP endpoints: {error}"}
        for text in sorted(complaints - self._complaints):
            self._say("kernel", text)
        self._complaints = frozenset(complaints)

    def _managed(self, step: Callable[[PathManager, Endpoints], list[Done]]) -> list[Done]:
        with closing(PathManager()) as manager:
            if not isinstance(manager.read(), Mptcp):
                return []
            return step(manager, Endpoints(manager, self._notes))


def _forgotten(order: ForgetFlows) -> tuple[list[bytes], int]:
    """What there was, as far as it is to be asked, and how much of it was forgotten."""
    asked = bool(order.clients) and not order.unanswered
    told = conntrack.hoard(order.mark, order.mask, order.family) if asked else []
    lacking = {"unanswered": order.unanswered, "untranslated": order.strays}
    return told, conntrack.forget(order.mark, order.mask, order.family, **lacking)


def _challenge(order: ForgetFlows, datagram: bytes) -> None:
    """Open TCP connections of clients: their mark is that which no uplink has."""
    around = [(int(network.network_address), int(network.netmask)) for network in map(ip_network, order.clients)]
    entries = conntrack.hoarded((datagram,))
    flows = (one.flow for one in entries if one.answered and one.flow.protocol == socket.IPPROTO_TCP)
    challenge((flow for flow in flows if _within(flow.source, around)), order.mask)


def _within(address: str, networks: Iterable[tuple[int, int]]) -> bool:
    number = int(ip_address(address))
    return any(number & mask == base for base, mask in networks)


async def _sliced(slices: Iterator[T | None]) -> T:
    """The last of them; the loop runs in between."""
    for found in slices:
        if found is not None:
            return found
        await asyncio.sleep(0)
    raise AssertionError("slices end with a result")


def _keep(order: KeepEndpoints, _: PathManager, endpoints: Endpoints) -> list[Done]:
    if not order.addresses:  # the limits are put back, too
        return [*endpoints.restore()]
    room = SubflowLimits(min(ROOM, 2 * len(order.addresses)), 0)
    return endpoints.keep(dict(order.addresses), room)


def _withdraw(order: WithdrawEndpoints, manager: PathManager, endpoints: Endpoints) -> list[Done]:
    """Of a connection that stands nowhere else the subflows are broken, so that it ends or joins elsewhere. Without any
    connection the sockets need not wait for this."""
    if subflows.connections() == 0 or not any(one.address in order.addresses for one in manager.endpoints()):
        return []
    found = subflows.read((*order.addresses, *order.proven))
    stranded = _stranded(order, found)
    if order.spare and (stranded or not found.whole):
        return []
    subflows.sever(one for one in found.found if one.connection in stranded and one.source in order.addresses)
    return endpoints.withdraw(order.addresses)


def _stranded(order: WithdrawEndpoints, found: Subflows) -> frozenset[int]:
    return frozenset().union(*(found.stranded(address, order.proven) for address in order.addresses))
