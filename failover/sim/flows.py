"""What the virtual kernel's counters and sockets show of the user's packets, uplink by uplink.

Here lives the evidence that the engine gets without a byte, and nothing that measures or decides. A packet is told with
its fate when it leaves; what comes of it is seen only from the moment on when it is there.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Final

from failover.facts import Counts, Segments
from failover.model import Family

RESEND_MIN: Final = 0.2
"""Seconds before TCP sends a segment again, at least (Linux, TCP_RTO_MIN)."""
RESEND_RTTS: Final = 2.0
"""Usual round trips that it waits where those are longer."""
Sizes = tuple[int, int]
"""IP bytes of a packet and of its reply."""
SMALL: Final[Sizes] = (100, 100)
_GAIN: Final = 1 / 8
"""Of the smoothed round trip (RFC 6298)."""


class Counting(enum.StrEnum):
    """How the virtual box counts; the values are a scenario's words."""

    FLOWS = "yes"
    """By nftables: replies, sent of answered flows, sent of unanswered ones; no probes."""
    PACKETS = "weak"
    """By the interfaces' own counters, which tell nothing apart."""
    NOTHING = "no"


class Wire:
    """One uplink in one family. Moments are told in order, but for those of one tick."""

    __slots__ = (
        "_changed",
        "_counts",
        "_due",
        "_fresh",
        "_received",
        "_received_bytes",
        "_resend",
        "_resent",
        "_segments",
        "_sent",
        "_sent_bytes",
        "_usual",
    )

    def __init__(self) -> None:
        self._counts = Counts()
        self._changed = False
        self._received = self._sent = self._fresh = 0
        self._received_bytes = self._sent_bytes = 0
        self._due: list[tuple[float, int, int]] = []
        """When packets arrive, their bytes, and those of what then leaves in return."""
        self._segments = self._resent = 0
        """Since the sockets were read."""
        self._resend: list[float] = []
        """When segments are sent again."""
        self._usual = 0.0

    def leaves(self, at: float, rtt: float | None, *, answered: bool, sizes: Sizes = SMALL) -> None:
        """A packet of a flow that was `answered` before or not leaves; its own reply takes `rtt` s (None: for ever)."""
        if answered:
            self._sent += 1
        else:
            self._fresh += 1
        out, back = sizes
        self._sent_bytes += out
        self._changed = True
        if self._due and self._due[0][0] <= at:
            self._arrive(at)
        if rtt is not None:
            heappush(self._due, (at + rtt, back, 0))

    def pushed(self, arrives: float, sizes: Sizes) -> None:
        """A packet arrives that a peer sent unasked, in a flow that was answered before; it is acknowledged at once."""
        out, back = sizes
        heappush(self._due, (arrives, back, out))

    def segment(self, at: float, rtt: float | None) -> None:
        """The packet told of is a TCP segment of this box: unanswered for too long it counts as sent again, once."""
        self._expire(at)
        self._segments += 1
        patience = max(RESEND_MIN, RESEND_RTTS * self._usual)
        if rtt is None or rtt > patience:
            heappush(self._resend, at + patience)
        else:
            self._usual = rtt if not self._usual else self._usual + _GAIN * (rtt - self._usual)

    def forget(self) -> None:
        """What is under way reaches nobody."""
        self._due.clear()
        self._resend.clear()

    def _arrive(self, now: float) -> None:
        due = self._due
        while due and due[0][0] <= now:
            _, received, returned = heappop(due)
            self._received += 1
            self._received_bytes += received
            if returned:
                self._sent += 1
                self._sent_bytes += returned
        self._changed = True

    def _expire(self, now: float) -> None:
        while self._resend and self._resend[0] <= now:
            heappop(self._resend)
            self._resent += 1
            self._segments += 1

    def counts(self, now: float) -> Counts:
        """The same object as long as nothing changes."""
        if self._due and self._due[0][0] <= now:
            self._arrive(now)
        if self._changed:
            packets = self._received, self._sent, self._fresh
            self._counts = Counts(*packets, self._sent_bytes, self._received_bytes)
            self._changed = False
        return self._counts

    def segments(self, now: float) -> Segments:
        """Since they were read last."""
        self._expire(now)
        told = Segments(self._segments, self._resent)
        self._segments = self._resent = 0
        return told


class Flows:
    """The wires of a box by uplink and family, and which of them its kernel counts."""

    def __init__(
        self,
        uplinks: Sequence[str],
        families: Sequence[Family],
        counting: Counting,
        chatter: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """`chatter`: uplinks whose gateway talks to itself (ARP, mDNS), and seconds from packet to packet."""
        self.counting = counting
        self.wires = {(name, family): Wire() for name in uplinks for family in families}
        self._chatter = chatter
        self._born: float | None = None
        self._counted: list[tuple[tuple[str, Family], Wire]] = []
        self._told: Mapping[tuple[str, Family], Counts] = {}

    def count(self, interfaces: Sequence[str]) -> None:
        """Count the flows over exactly these interfaces."""
        if self.counting is not Counting.NOTHING:
            self._counted = [(place, wire) for place, wire in self.wires.items() if place[0] in interfaces]
        self._told = {}

    def counts(self, now: float) -> Mapping[tuple[str, Family], Counts]:
        """What is counted by now; the same mapping as long as nothing changes."""
        if self.counting is Counting.PACKETS:
            return self._weak(now)
        told = self._told
        for place, wire in self._counted:
            if wire.counts(now) is not told.get(place):
                self._told = {place: wire.counts(now) for place, wire in self._counted}
                break
        return self._told

    def _weak(self, now: float) -> dict[tuple[str, Family], Counts]:
        """By interface: all that came in, chatter too, and all that left."""
        self._born = now if self._born is None else self._born
        sums: dict[str, list[int]] = {}
        for (name, _), wire in self._counted:
            every = self._chatter.get(name, math.inf)
            total = sums.setdefault(name, [int((now - self._born) / every), 0, 0, 0])
            one = wire.counts(now)
            for i, more in enumerate((one.received, one.sent + one.fresh, one.sent_bytes, one.received_bytes)):
                total[i] += more
        return {place: Counts(sums[place[0]][0], 0, *sums[place[0]][1:]) for place, _ in self._counted}

    def probe(self, place: tuple[str, Family], at: float, rtt: float | None) -> None:
        """A probe leaves: flows are told from probes, bare packets are not."""
        if self.counting is Counting.PACKETS:
            self.wires[place].leaves(at, rtt, answered=False)

    def forget(self) -> None:
        """The machine sleeps: what is under way reaches nobody."""
        for wire in self.wires.values():
            wire.forget()
