"""The user's traffic over one uplink as its counters see it: packets at moments that a test makes up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from math import inf

from failover.facts import Counts
from failover.model import Family

from .box import RTT
from .worlds import V4

SIZE = 100
"""Bytes of a packet."""


def every(seconds: float, start: float, end: float) -> list[float]:
    """Moments from `start` to `end`, so many seconds apart."""
    return [start + n * seconds for n in range(int((end - start) / seconds))]


class Traffic:
    """Of one lane. Hand `box.counts` its `told`."""

    def __init__(self) -> None:
        self.reads: list[float] = []
        """When somebody looked."""
        self._moments: dict[str, list[float]] = {"received": [], "sent": [], "fresh": []}

    def add(self, kind: str, moments: Iterable[float]) -> Traffic:
        """One packet (`received`, `sent`, `fresh`) at each of these moments."""
        self._moments[kind] = sorted([*self._moments[kind], *moments])
        return self

    def talk(self, moments: Iterable[float], dead: float = inf, rtt: float = RTT) -> Traffic:
        """Packets of open flows that are answered if they leave before `dead`."""
        asked = list(moments)
        return self.add("sent", asked).add("received", (at + rtt for at in asked if at < dead))

    def counts(self, now: float) -> Counts:
        """Since the beginning."""
        received, sent, fresh = (bisect_right(moments, now) for moments in self._moments.values())
        return Counts(received, sent, fresh, SIZE * (sent + fresh), SIZE * received)

    def told(self, now: float) -> dict[tuple[str, Family], Counts]:
        """What the counters say of uplink `a`, with another that carries nothing."""
        self.reads.append(now)
        return {("a", V4): self.counts(now), ("b", V4): Counts()}
