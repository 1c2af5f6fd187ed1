"""What a link does to a packet, as pure arithmetic: loss, serialisation, delay. No clock, no socket; dice are given.

A lane is one direction of one carrier's link for one family; the lanes of a direction share one wire.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties of a lane. Seconds, ratios 0-1, bytes, bytes per second (0 = unlimited)."""

    delay: float = 0.015
    jitter: float = 0.0
    """Each packet waits up to this much longer (uniform); packets never overtake each other."""
    loss: float = 0.0
    """Chance of loss; of entering a burst when `stay` is set."""
    stay: float = 0.0
    """Chance that the packet after a lost one is lost too (a Gilbert channel); 0 = losses are independent."""
    rate: float = 0.0
    queue: int = 65536
    """Bytes of both families that may wait for the rate; a packet that comes on top is dropped."""
    refuse: bool = False
    """Answer a lost packet with ICMP "administratively prohibited"."""
    full: float = 0.0
    """Share of the new flows that get no packet through, running ones do: a carrier's table of flows is full. Judged
    by the link (nat.py), as are held packets."""
    hold: bool = False
    """Packets wait inside until this is over, and leave together."""
    doze: float = 10.0
    """Rest after which the radio sleeps: LTE's usual inactivity timer."""
    wake: float = 0.0
    """How much longer the first packet then takes; those behind it wait for it."""

    def changed(self, changes: Mapping[str, float]) -> Shape:
        """This shape with some properties changed; ValueError on unknown names or values out of range."""
        unknown = set(changes) - {field.name for field in fields(self)}
        if unknown or any(value < 0 for value in changes.values()):
            raise ValueError(f"no such shape: {dict(changes)}")
        values: dict[str, Any] = dict(changes)
        return replace(self, **values)


@dataclass(slots=True)
class Wire:
    """What a packet of a limited rate waits for."""

    free_at: float = 0.0


class Lane:
    """Decides for each packet in turn when it leaves the link, or that it never does."""

    def __init__(self, shape: Shape, dice: random.Random, wire: Wire | None = None) -> None:
        """Without a wire that it shares it has one of its own."""
        self.shape = shape
        self.passed = self.dropped = self.bytes = 0
        self._dice = dice
        self._wire = wire or Wire()
        self._in_burst = False
        self._last_due = 0.0
        self._last_packet = -math.inf

    def admit(self, now: float, size: int, room: bool = True) -> float | None:
        """When a packet of that size leaves, never before the one ahead of it; None if it is lost or finds no room."""
        rested, self._last_packet = now - self._last_packet, now
        due = None if self._lost() or not room else self._queued(now, size)
        if due is None:
            self.dropped += 1
            return None
        due += self.shape.delay + (self.shape.wake if rested >= self.shape.doze else 0.0)
        if self.shape.jitter:
            due += self._dice.uniform(0.0, self.shape.jitter)
        self._last_due = max(self._last_due, due)
        self.passed += 1
        self.bytes += size
        return self._last_due

    def _lost(self) -> bool:
        shape = self.shape
        if shape.loss in (0.0, 1.0):
            self._in_burst = False
            return shape.loss == 1.0
        chance = shape.stay if self._in_burst and shape.stay else shape.loss
        lost = self._dice.random() < chance
        self._in_burst = lost
        return lost

    def _queued(self, now: float, size: int) -> float | None:
        """When the last byte is on the wire, or None when the queue is full."""
        if not self.shape.rate:
            return now
        start = max(now, self._wire.free_at)
        if (start - now) * self.shape.rate + size > self.shape.queue:
            return None
        self._wire.free_at = start + size / self.shape.rate
        return self._wire.free_at
