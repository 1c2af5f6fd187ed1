"""A machine without a free descriptor, and what a server's loop says of it."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from typing import Any

PATIENCE = 20.0


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Not one more can be opened meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def complaints(client: socket.socket, address: str | tuple[str, int], request: bytes) -> tuple[int, bytes]:
    """How often the loop complains when the client connects in a shortage, and what it is answered afterwards."""
    loop, short, told = asyncio.get_running_loop(), asyncio.Event(), list[object]()

    def report(_: object, context: dict[str, Any]) -> None:
        told.append(context["exception"])
        short.set()

    loop.set_exception_handler(report)
    client.setblocking(False)
    with no_descriptors():
        connecting = asyncio.create_task(loop.sock_connect(client, address))
        await asyncio.wait_for(short.wait(), PATIENCE)
    await connecting
    client.sendall(request)
    answer = await asyncio.wait_for(loop.sock_recv(client, 4096), PATIENCE)
    assert {type(error) for error in told} == {OSError}
    return len(told), answer
