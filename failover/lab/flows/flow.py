"""What all kinds of flows share: a clock that says when to send, and the record of what was sent and answered."""

from __future__ import annotations

import selectors
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from failover.lab import outage
from failover.lab.outage import Exchange
from failover.lab.places import APP
from failover.model import Family

KEPT = 20_000
"""Exchanges kept per flow: 200 s of new flows."""
LATE = 0.5
"""Seconds behind its clock after which a flow skips instead of catching up."""


class Flow(ABC):
    """One kind of traffic of one family: ticks at its interval, and records."""

    kind: str
    port: int
    """Of the app server."""
    timed = True
    """An answer tells how long the way there and back takes."""
    measure: Callable[[Sequence[Exchange], float], float | None] = staticmethod(outage.open_flow_outage)

    def __init__(self, family: Family, interval: float, selector: selectors.BaseSelector) -> None:
        self.family = family
        self.interval = interval
        self.next_at = time.monotonic()
        self.exchanges: deque[Exchange] = deque(maxlen=KEPT)
        self.reconnects: deque[float] = deque(maxlen=KEPT)
        self._selector = selector
        self._server = (APP[family], self.port)

    def due(self) -> float:
        """When run() is to be called at the latest."""
        return self.next_at

    def run(self, now: float) -> None:
        """Send if it is time."""
        if now >= self.next_at:
            self.next_at = now if now - self.next_at > LATE else self.next_at + self.interval
            exchange = Exchange(time.monotonic())
            self.exchanges.append(exchange)
            self.send(exchange)

    @abstractmethod
    def send(self, exchange: Exchange) -> None:
        """Send this exchange's message; leave it unanswered when that is impossible."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every socket."""

    def report(self, since: float, until: float) -> dict[str, Any]:
        """What the user saw of it between two moments; the outage is the one after `since`."""
        chosen = outage.between(self.exchanges, since, until)
        return {
            "family": self.family,
            "kind": self.kind,
            "outage_seconds": type(self).measure(chosen, since),
            "rtt_seconds": outage.median_rtt(chosen) if self.timed else None,
            "sent": len(chosen),
            "answered": sum(exchange.answered is not None for exchange in chosen),
            "reconnects": sum(since <= moment <= until for moment in self.reconnects),
        }

    def record(self, since: float, until: float) -> dict[str, Any]:
        """Each exchange between two moments: when it was sent, and answered."""
        chosen = outage.between(self.exchanges, since, until)
        return {
            "family": self.family,
            "kind": self.kind,
            "exchanges": [(exchange.sent, exchange.answered) for exchange in chosen],
        }
