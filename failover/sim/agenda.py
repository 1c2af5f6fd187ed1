"""What is to happen when: a heap of happenings by the script's time. Nothing happens here."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappush

from failover.model import ProbeResult, SendProbe
from failover.sim.script import Act


class Reply:
    """What will come of a probe."""

    __slots__ = ("probe", "result")

    def __init__(self, probe: SendProbe, result: ProbeResult) -> None:
        self.probe = probe
        self.result = result


class Restart:
    """A dead agent starts again."""


class Wakeup:
    """The machine wakes up."""

    def __init__(self, slept: float) -> None:
        self.slept = slept


class Later:
    """A modem has come so far."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action


Happening = Reply | Restart | Wakeup | Later | Act


class Agenda:
    """`heap`: (moment, number, happening); what is pushed first comes first at one moment."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Happening]] = []
        self._sequence = 0

    def push(self, at: float, what: Happening) -> None:
        self._sequence += 1
        heappush(self.heap, (at, self._sequence, what))

    def forget_replies(self) -> list[SendProbe]:
        """No reply that is on its way arrives; returns what they answer, in the order of their arrival."""
        missed = [what.probe for _, _, what in sorted(self.heap, key=lambda e: e[:2]) if isinstance(what, Reply)]
        self.heap[:] = [entry for entry in self.heap if not isinstance(entry[2], Reply)]
        heapify(self.heap)
        return missed
