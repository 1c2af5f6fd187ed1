"""Figures of a scrape: eight uplinks, two families, eight targets each; the real page over HTTP, as Prometheus asks.

`python -m tests.bench.scraping PORT TIMES` is the client, in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
import time
from collections.abc import Callable

from failover.export.metrics import traffic
from failover.export.scrape import Scrape
from tests.bench.report import Figure
from tests.prometheus.vans import CARRIERS, Van, script

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\nAccept-Encoding: gzip\r\n\r\n"
TICK = 0.002
"""Seconds between two things that the loop has to do."""


def scrape(times: int) -> list[Figure]:
    """So many scrapes one after the other: how long each took, and how late the loop was with all else meanwhile."""
    van = Van().play(script(2, *CARRIERS))

    def prepare() -> Callable[[], bytes]:
        traffic()  # what the agent reads, though the virtual interfaces are not in it
        return van.page()

    took, late = asyncio.run(_measured(Scrape("127.0.0.1:0", prepare, lambda: ""), times + 1))
    size = "8 uplinks, 2 families, 8 targets"
    return [
        Figure("scrape, the first", "ms", [1000 * took[0]], note="every label is escaped, once"),
        Figure("scrape, whole exchange", "ms", [1000 * seconds for seconds in took[1:]], {"median": 10.0}, size),
        Figure("scrape, loop late meanwhile", "ms", [1000 * seconds for seconds in late], {"p99": 10.0, "max": 20.0}),
    ]


async def _measured(server: Scrape, times: int) -> tuple[list[float], list[float]]:
    """Seconds of each exchange, and seconds late of each tick."""
    await server.start()
    gc.freeze()  # as the agent does
    argv = [sys.executable, "-m", __name__, str(server.port), str(times)]
    client = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    ended = asyncio.ensure_future(client.communicate())
    late, loop = [], asyncio.get_running_loop()
    while not ended.done():
        due = loop.time() + TICK
        await asyncio.sleep(TICK)
        late.append(loop.time() - due)
    await server.stop()
    gc.unfreeze()
    return json.loads((await ended)[0]), late


def main(port: int, times: int) -> None:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(REQUEST)
            head = connection.recv(65536)
            while connection.recv(65536):
                pass
        took.append(time.perf_counter() - began)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    json.dump(took, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
