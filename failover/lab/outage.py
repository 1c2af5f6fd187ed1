"""What an outage is, as arithmetic over recorded exchanges. No clock, no socket.

An exchange is one message of the user and its echo. All moments are monotonic seconds.

- New flows: each exchange is a flow of its own, served if its echo came within PATIENCE. The outage after a fault at t0
  is the send time of the first served flow from t0 on that is followed by RUN served flows in a row, minus t0.
- Open flows: the same socket goes on, or reconnects. An exchange is served if its echo came at all (TCP repeats it).
  The outage is the moment of the first echo to a message sent from t0 on, if the RUN next messages got theirs too,
  minus t0. An undisturbed flow therefore shows up to one interval and one round trip.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

PATIENCE = 1.0
"""Seconds after which a user takes a new flow for failed."""
RUN = 10


@dataclass(slots=True)
class Exchange:
    """One message; answered is None while no echo came."""

    sent: float
    answered: float | None = None

    @property
    def served(self) -> bool:
        """The echo came within PATIENCE."""
        return self.answered is not None and self.answered - self.sent <= PATIENCE


def since(exchanges: Sequence[Exchange], moment: float) -> list[Exchange]:
    """Those sent at or after the moment, in order; cheap when they are few at the end of many."""
    first = len(exchanges)
    recent: list[Exchange] = []
    for exchange in reversed(exchanges):
        if exchange.sent < moment:
            break
        first -= 1
        recent.append(exchange)
    recent.reverse()
    return recent


def new_flow_outage(exchanges: Sequence[Exchange], t0: float) -> float | None:
    """Outage of new flows after t0, seconds; None when no lasting service is recorded (yet)."""
    lasting = _first_lasting(since(exchanges, t0), lambda exchange: exchange.served)
    return None if lasting is None else lasting.sent - t0


def open_flow_outage(exchanges: Sequence[Exchange], t0: float) -> float | None:
    """Outage of an open flow after t0, seconds; None when no lasting service is recorded (yet)."""
    lasting = _first_lasting(since(exchanges, t0), lambda exchange: exchange.answered is not None)
    return None if lasting is None or lasting.answered is None else lasting.answered - t0


def _first_lasting(exchanges: Iterable[Exchange], good: Callable[[Exchange], bool]) -> Exchange | None:
    first, length = None, 0
    for exchange in exchanges:
        if not good(exchange):
            first, length = None, 0
            continue
        first = first or exchange
        length += 1
        if length > RUN:
            return first
    return None


def median_rtt(exchanges: Iterable[Exchange]) -> float | None:
    """Median time to the echo of those that have one, seconds."""
    times = [exchange.answered - exchange.sent for exchange in exchanges if exchange.answered is not None]
    return statistics.median(times) if times else None
