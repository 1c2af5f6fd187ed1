"""What the connection-like probes (tcp, dns, http) share: their tally, their answer, how they end early.

An attempt is a coroutine. It returns an Answer, or raises: UnansweredError for what came instead of one, TimeoutError
for silence, any other OSError for a fact about the box. No socket is opened here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from failover.model import Family, Outcome, SendProbe

Resolvers = Callable[[str, Family], Sequence[str]]
"""The name servers (literal addresses) to ask over an uplink, by its name and the family."""


@dataclass(slots=True)
class Tally:
    """IP bytes of one attempt, counted as it goes, so that an attempt cut short still says what it cost."""

    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
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
