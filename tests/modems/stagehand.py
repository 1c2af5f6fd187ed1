"""The thread in which the simulated modems live: files that can be read, things that are due, requests from outside.

No asyncio: what a modem does to the kernel goes through pyroute2, which runs a loop of its own.
"""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from tests.enclosure import PATIENCE

T = TypeVar("T")


class Stagehand:
    """One thread; everything given to it happens there, one after the other."""

    def __init__(self) -> None:
        self._readers: dict[int, Callable[[], None]] = {}
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._over = False
        self.failures: list[BaseException] = []
        """Of what nobody waited for."""
        self._thread.start()

    def do(self, what: Callable[[], T]) -> T:
        """Its result, when it is done there. From any thread."""
        if threading.current_thread() is self._thread:
            return what()
        done: Future[T] = Future()

        def act() -> None:
            try:
                done.set_result(what())
            except BaseException as error:
                done.set_exception(error)

        self._push(0.0, act)
        return done.result(PATIENCE)

    def later(self, seconds: float, what: Callable[[], object]) -> None:
        """After so long; from any thread."""
        self._push(time.monotonic() + seconds, what)

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """In the thread only."""
        self._readers[fd] = readable

    def forget(self, fd: int) -> None:
        """In the thread only."""
        self._readers.pop(fd, None)

    def close(self) -> None:
        """End it; what is due later never happens."""
        self._over = True
        self._wake.send(b"\0")
        self._thread.join()
        self._wake.close()
        self._woken.close()
        if self.failures:
            raise self.failures[0]

    def _push(self, moment: float, what: Callable[[], object]) -> None:
        heapq.heappush(self._due, (moment, next(self._number), what))
        self._wake.send(b"\0")

    def _live(self) -> None:
        while not self._over:
            timeout = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            ready = select.select([self._woken.fileno(), *self._readers], [], [], timeout)[0]
            if self._woken.fileno() in ready:
                self._woken.recv(4096)
            for fd in ready:
                if fd in self._readers:
                    self._safely(self._readers[fd])
            while self._due and self._due[0][0] <= time.monotonic():
                self._safely(heapq.heappop(self._due)[2])

    def _safely(self, what: Callable[[], Any]) -> None:
        try:
            what()
        except BaseException as error:
            self.failures.append(error)
