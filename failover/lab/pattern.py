"""What the van's user does: which flows there are, and how often each sends. Constants and arithmetic only.

The kinds: "new", a new UDP socket for each message; "udp", one connected UDP socket; "tcp", one TCP connection;
"connect", a new TCP connection that is closed as soon as it is made; "begun", the same, but tried again upon an error;
"lookup", a DNS question that is asked until it is answered; "keepalive", one TCP connection of which only the kernel
asks whether it lives, and the interval is how often the program looks; "mptcp", one MPTCP connection. Families are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Pattern:
    """Traffic of each family: of each kind there is, the seconds between two messages."""

    intervals: Mapping[str, float] = field(default_factory=dict)


DENSE: Final = Pattern({"new": 0.01, "udp": 0.02, "tcp": 0.05})
"""A van full of people."""
STREAMING: Final = Pattern({**DENSE.intervals, "mptcp": 0.02})
"""The same van, and one who streams by MPTCP; for kernels that have it."""
CONNECTS: Final = Pattern({"connect": 0.5})
"""A box that reports by a new TCP connection twice a second, answered or not."""
IDLE: Final = Pattern()
"""Nobody is there."""


def requests(per_second: float, connected: bool = False) -> Pattern:
    """So many requests a second: each on a new flow of its own, or all on one connected flow."""
    return Pattern({"udp" if connected else "new": 1 / per_second})
