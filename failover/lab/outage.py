"""What an outage is, as arithmetic over recorded exchanges. No clock, no socket.

An exchange is one message of the user and its echo. All moments are monotonic seconds.

- New flows: each exchange is a flow of its own, served if its echo came within PATIENCE. The outage after a fault at t0
  is the send time of the first served flow from t0 on that is followed by RUN served flows in a row, minus t0.
- Open flows: the same socket goes on, or reconnects. An exchange is served if its echo came at all (TCP repeats it).
  The outage is the moment of the first echo to a message sent from t0 on, if the RUN next messages got theirs too,
  minus t0. An undisturbed flow therefore shows up to one interval and one round trip.
- A connection that only the kernel's keepalives use: the moment at which it, or the one in its place, is first known to
  live after t0, minus t0. An undisturbed one shows up to one interval of them.
"""

from __future__ import annotations

import itertools
import math
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


def between(exchanges: Sequence[Exchange], start: float, end: float) -> list[Exchange]:
    """Those sent from `start` to `end`, in order."""
    return [exchange for exchange in since(exchanges, start) if exchange.sent <= end]


def new_flow_outage(exchanges: Sequence[Exchange], t0: float) -> float | None:
    """Outage of new flows after t0, seconds; None when no lasting service is recorded (yet)."""
    lasting = _first_lasting(since(exchanges, t0), lambda exchange: exchange.served)
    return None if lasting is None else lasting.sent - t0


def open_flow_outage(exchanges: Sequence[Exchange], t0: float) -> float | None:
    """Outage of an open flow after t0, seconds; None when no lasting service is recorded (yet)."""
    lasting = _first_lasting(since(exchanges, t0), lambda exchange: exchange.answered is not None)
    return None if lasting is None or lasting.answered is None else lasting.answered - t0


def first_answer(exchanges: Sequence[Exchange], t0: float) -> float | None:
    """Seconds from t0 to the first answer to what was sent from then on; None when there is none (yet)."""
    moments = (exchange.answered for exchange in since(exchanges, t0) if exchange.answered is not None)
    return min((moment - t0 for moment in moments), default=None)


def waits(exchanges: Iterable[Exchange]) -> list[float]:
    """Seconds that each waited for its answer; infinite where there is none (yet)."""
    return [math.inf if exchange.answered is None else exchange.answered - exchange.sent for exchange in exchanges]


def longest_gap(exchanges: Iterable[Exchange], start: float, end: float) -> float:
    """The longest time in seconds between two moments in which no answer came."""
    came = sorted(moment for exchange in exchanges if (moment := exchange.answered) and start < moment < end)
    return max(later - sooner for sooner, later in itertools.pairwise([start, *came, end]))


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
