"""When the user's traffic is counted, and over which interfaces: often while there is some, seldom while there is none.

Pure. What the counters say is passive.py's and silence.py's business. Nobody is judged by counters that may know better
by now: a lane whose silence falls due has them read once more, right before the switch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

from failover.config import Config
from failover.core.lane import Lane
from failover.core.plan import mark_of
from failover.core.uplinks import Uplink, own_networks
from failover.facts import Facts, Tap
from failover.seam import Counted, CountFlows, Effect, ReadCounters, ReadSockets, SocketsRead

BUSY_INTERVAL: Final = 0.05
REST_INTERVAL: Final = 0.25
REST_AFTER: Final = 2.0
"""Seconds without a packet of the user's after which the counters are read more seldom."""
SOCKETS_INTERVAL: Final = 1.0
SOCKETS_TROUBLED: Final = 0.5
"""The same while segments are sent again: half a second later a brownout of 20 % would be seen a second later."""
BLIND_INTERVAL: Final = 0.5
BLIND_MAX: Final = 60.0
"""Seconds until somebody looks again where nothing is counted (yet, or any more), doubling up to the most."""


class Sampler:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._wanted = CountFlows((), 0)
        self._sockets = ReadSockets()
        self._due = self._sockets_due = inf
        self._blind = BLIND_INTERVAL
        self._moved = self._resent_at = -inf

    def follow(self, now: float, uplinks: Iterable[Uplink], facts: Facts, config: Config) -> list[Effect]:
        """The uplinks and the kernel's facts: what is to be counted, if that has changed."""
        present = [uplink for uplink in uplinks if uplink.index is not None]
        taps = tuple(_tap(uplink, facts, config) for uplink in present)
        addresses = {address for uplink in present for path in uplink.paths.values() for address in path.addresses}
        local = {network for tap in taps for network in tap.local}
        self._sockets = ReadSockets(tuple(sorted(addresses)), tuple(sorted(local)), config.fwmark_mask)
        wanted = CountFlows(taps, config.fwmark_mask, config.gateway)
        if wanted == self._wanted:
            return []
        self._wanted, self._due, self._blind = wanted, now, BLIND_INTERVAL
        return [wanted]

    def ask(self, now: float, lanes: Iterable[Lane]) -> list[Effect]:
        """What to read now; `lanes`: those that are due. The counters come back in the same moment."""
        effects: list[Effect] = []
        if now >= self._due or any(_undecided(now, lane) for lane in lanes):
            self._due = now + REST_INTERVAL  # should nobody answer
            effects.append(ReadCounters())
        if now >= self._sockets_due:
            self._sockets_due = inf
            effects.append(self._sockets)
        return effects

    def counted(self, now: float, event: Counted, stirred: Sequence[Lane]) -> None:
        """They were read; `stirred`: where any traffic was, or waits for an answer, which is none."""
        if not event.weak and any(lane.health.passive.moved == now for lane in stirred):
            self._moved = now
        if not event.counts:
            self._due, self._sockets_due = now + self._blind, inf
            self._blind = min(BLIND_MAX, 2 * self._blind)
            return
        self._blind = BLIND_INTERVAL
        awake = now < self._moved + REST_AFTER
        self._due = now + (BUSY_INTERVAL if awake else REST_INTERVAL)
        if awake and self._sockets_due == inf:
            troubled = now < self._resent_at + REST_AFTER
            self._sockets_due = now + (SOCKETS_TROUBLED if troubled else SOCKETS_INTERVAL)

    def resent(self, now: float, read: SocketsRead) -> None:
        """The TCP sockets were read."""
        if any(segments.resent for segments in read.segments.values()):
            self._resent_at = now

    def deadline(self) -> float:
        """When something is to be read next; inf: nothing."""
        return min(self._due, self._sockets_due)


def _tap(uplink: Uplink, facts: Facts, config: Config) -> Tap:
    """Where the box is a gateway, what it forwards bears the uplink's mark."""
    own = own_networks(uplink, facts)
    if config.gateway is None:
        return Tap(uplink.interface, own)
    return Tap(uplink.interface, own, mark_of(uplink.slot, config.fwmark_mask), uplink.delegated, uplink.name)


def _undecided(now: float, lane: Lane) -> bool:
    """Whether it may be judged silent now, and the counters may know better."""
    health = lane.health
    return health.silence.since is not None and health.passive.stale(now)
