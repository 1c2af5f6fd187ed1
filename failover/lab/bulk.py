"""What fills a link, or nags: the van's user as its own process, beside the small talk of traffic.py.

Run by load.py as `python -m failover.lab.bulk KIND FAMILY FLOWS PACE CONGESTION`. KIND: upload, download, datagrams or
retries. PACE, of each flow: bytes per second of a download; datagrams or new connections per second. Control: any
request is answered with what was done so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from abc import ABC, abstractmethod
from typing import Any, Final

from failover.lab.control import Channel
from failover.lab.places import APP, DEAD_SERVER, DISCARD_PORT, ECHO_PORT, SOURCE_PORT
from failover.lab.reach import AF
from failover.model import Family

BLOCK: Final = bytes(65536)
DATAGRAM: Final = bytes(200)
"""20 ms of a voice codec, or of a camera that nobody watches."""
CONNECT_SECONDS: Final = 2.0
AGAIN_SECONDS: Final = 0.5
"""Before a connection that broke is made anew."""
RESET: Final = struct.pack("=ii", 1, 0)
"""Close at once: else the kernel goes on sending what is buffered, up to 4 MB a flow."""
ACKED: Final = struct.Struct("=120xQ")
"""struct tcp_info (linux/tcp.h): tcpi_bytes_acked."""


class Flow(ABC):
    """One of so many, and its record."""

    def __init__(self, family: Family, pace: float, congestion: str) -> None:
        self.family = family
        self.pace = pace
        self.congestion = congestion
        self.opened = 0
        self.bytes = 0

    @abstractmethod
    async def run(self) -> None:
        """Until the lab is gone."""

    def carried(self) -> int:
        """Bytes that arrived; of datagrams: that were sent."""
        return self.bytes


class Stream(Flow):
    """A TCP connection; one that breaks is made anew."""

    port: int

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError), socket.socket(AF[self.family]) as opened:
                opened.setblocking(False)
                choose(opened, self.congestion)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                async with asyncio.timeout(CONNECT_SECONDS):
                    await asyncio.get_running_loop().sock_connect(opened, (APP[self.family], self.port))
                self.opened += 1
                await self.talk(opened)
            await asyncio.sleep(AGAIN_SECONDS)

    @abstractmethod
    async def talk(self, opened: socket.socket) -> None:
        """Until it breaks."""


class Upload(Stream):
    """A sender that always has more."""

    port = DISCARD_PORT

    def __init__(self, family: Family, pace: float, congestion: str) -> None:
        super().__init__(family, pace, congestion)
        self._current: socket.socket | None = None

    async def talk(self, opened: socket.socket) -> None:
        self._current = opened
        try:
            while True:
                await asyncio.get_running_loop().sock_sendall(opened, BLOCK)
        finally:
            self.bytes, self._current = self.carried(), None

    def carried(self) -> int:
        if self._current is None:
            return self.bytes
        info = self._current.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKED.size)
        return self.bytes + int(ACKED.unpack(info)[0])


class Download(Stream):
    """A receiver that takes all it is given."""

    port = SOURCE_PORT

    async def talk(self, opened: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(opened, f"{self.pace:.0f} {self.congestion}\n".encode())
        while data := await loop.sock_recv(opened, len(BLOCK)):
            self.bytes += len(data)


class Ticking(Flow):
    """Something at its pace, whatever comes of it."""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            with contextlib.suppress(OSError):
                self.tick()
            due += 1 / self.pace
            await asyncio.sleep(due - loop.time())

    @abstractmethod
    def tick(self) -> None:
        """Once; OSError when it cannot be."""


class Datagrams(Ticking):
    """A one-way UDP flow: the server takes it and never answers."""

    def __init__(self, family: Family, pace: float, congestion: str) -> None:
        super().__init__(family, pace, congestion)
        self._socket = socket.socket(AF[self.family], socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def tick(self) -> None:
        self.bytes += self._socket.sendto(DATAGRAM, (APP[self.family], DISCARD_PORT))


class Retries(Ticking):
    """A client of a dead server: each time it gives up the connection it waits for, and tries another."""

    def __init__(self, family: Family, pace: float, congestion: str) -> None:
        super().__init__(family, pace, congestion)
        self._waiting = socket.socket(AF[self.family])

    def tick(self) -> None:
        self._waiting.close()
        self._waiting = socket.socket(AF[self.family])
        self._waiting.setblocking(False)
        self._waiting.connect_ex((DEAD_SERVER[self.family], ECHO_PORT))
        self.opened += 1


KINDS: Final[dict[str, type[Flow]]] = {
    "upload": Upload, "download": Download, "datagrams": Datagrams, "retries": Retries
}


def choose(opened: socket.socket, congestion: str) -> None:
    """Set a TCP socket's congestion control; OSError when the kernel has no such."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())


def missing(kind: str, congestion: str) -> bool:
    """Whether flows of that kind want a congestion control that the kernel does not have."""
    try:
        with socket.socket() as opened:
            if issubclass(KINDS[kind], Stream):
                choose(opened, congestion)
    except OSError:
        return True
    return False


async def bulk(arguments: list[str]) -> None:
    """Run them until the lab closes the control channel."""
    kind, family, count, pace, congestion = arguments
    channel, over = Channel(), asyncio.Event()
    if missing(kind, congestion):
        channel.send({"error": f"no congestion control {congestion} in this kernel"})
        return
    flows = [KINDS[kind](Family(family), float(pace), congestion) for _ in range(int(count))]

    def report(_: dict[str, Any]) -> dict[str, Any]:
        return {"opened": sum(flow.opened for flow in flows), "bytes": sum(flow.carried() for flow in flows)}

    def control() -> None:
        if not channel.serve(report):
            over.set()

    asyncio.get_running_loop().add_reader(channel.fileno(), control)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(flow.run()) for flow in flows]
        channel.send({"ready": True})
        await over.wait()
        for task in running:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(bulk(sys.argv[1:]))
