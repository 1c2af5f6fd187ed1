"""What the connection-like probes (tcp, dns, http) share: tally, answer, patience, how they end early.

An attempt is a coroutine. It returns an Answer, or raises: UnansweredError for what came instead of one, TimeoutError
for silence, any other OSError for a fact about the box. No socket is opened here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from failover.model import Family, Outcome, SendProbe

LAST_LOOK: Final = 0.25
"""Seconds, the last of every patience."""
Resolvers = Callable[[str, Family], Sequence[str]]
"""The name servers (literal addresses) to ask over an uplink, by its name and the family."""


@dataclass(slots=True)
class Tally:
    """IP bytes of one attempt, counted as it goes, so that an attempt cut short still says what it cost."""

    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    outcome: Outcome
    rtt: float
    """Seconds from the first packet to the answer."""
    detail: str = ""


class UnansweredError(Exception):
    """An attempt that ended without an answer, known before its patience ran out."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Ask:
    """What an attempt is given."""

    loop: asyncio.AbstractEventLoop
    send: SendProbe
    tally: Tally
    resolvers: Resolvers


Attempt = Callable[[Ask], Awaitable[Answer]]


@asynccontextmanager
async def patience(loop: asyncio.AbstractEventLoop, seconds: float) -> AsyncIterator[None]:
    """TimeoutError after so many seconds, or LAST_LOOK after this process goes on when it was stopped meanwhile.

    When both are due, the loop serves a timer before the socket that the answer waits in.
    """
    async with asyncio.timeout(None) as limit:
        timer = loop.call_later(seconds - LAST_LOOK, lambda: limit.reschedule(loop.time() + LAST_LOOK))
        try:
            yield
        finally:
            timer.cancel()
