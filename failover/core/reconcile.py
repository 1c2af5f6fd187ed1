"""Desired state against the kernel's facts -> operations, not too often.

Pure. A decision is carried out at once. A repair is immediate too, until there were REPAIRS of them in WINDOW seconds:
then somebody is at work against us (`wg-quick down` deletes by selector until nothing matches), and we go slowly; and
ever more slowly with what the kernel refuses, until its state changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Final

from failover.core.diff import diff
from failover.core.pins import Shunned
from failover.core.plan import Desired, ours, plan, way_of_new_flows
from failover.core.steering import Steered
from failover.core.uplinks import Uplink
from failover.facts import Facts, Operation, OperationResult, Verb
from failover.model import Decision, Family
from failover.seam import Apply

REPAIRS: Final = 10
WINDOW: Final = 10.0
SLOWLY: Final = 0.2
"""Seconds between two repairs then; a shell loop that deletes takes 10 ms a turn, and must win once."""
PATIENCE: Final = 1.0
"""Seconds after which a batch that nobody acknowledged is forgotten."""
TRIES: Final = 2
"""Whole plans carried out in spite of refusals before the kernel counts as adopted: what it refuses twice may be
refused for ever, and whoever waits for us to be ready shall not."""
PERIOD: Final = 60.0
"""Seconds between two reads of the kernel when nothing is heard of it."""


class Reconciler:
    """What the kernel held when it was last read, and what is to be done about it."""

    def __init__(self) -> None:
        self.facts = Facts()
        self.desired = Desired()
        self.adopted = False
        """The kernel was once as wanted, or as near to that as it lets us come."""
        self._tries = 0
        self._repairs: deque[float] = deque(maxlen=REPAIRS)
        self._refused: frozenset[Operation] = frozenset()
        self._pause = SLOWLY
        """Seconds from one try to the next of what was refused."""
        self._awaited_until = -inf
        """A batch is out, and what is known of the kernel is older: nothing more before it was read again."""
        self._acknowledged = False
        self._owing = False
        """A switch was made, and the rest of its plan is still due: no repair."""
        self._tried_at = -inf
        self._retry_at = inf
        self._read_at = inf

    def read(self, now: float, facts: Facts) -> None:
        """The kernel was read: these are the facts from now on."""
        if _ground(facts) != _ground(self.facts):
            self._refused = frozenset()
        self.facts = facts
        if self._acknowledged:
            self._awaited_until = -inf
        self._retry_at, self._read_at = inf, now + PERIOD

    def applied(self, results: Iterable[OperationResult]) -> None:
        """What came of the last batch."""
        self._acknowledged = True
        self._refused = frozenset(result.operation for result in results if result.error is not None)
        if not self._owing:
            self._tries += 1
            self.adopted = self.adopted or not self._refused or self._tries >= TRIES

    def switch(self, now: float, uplinks: Sequence[Uplink], decisions: Iterable[Decision]) -> list[Apply]:
        """The one replace per family that moves new flows, ahead of any plan; all else follows the next read.

        Nothing where a route that it would replace is not there yet: then the whole plan is due.
        """
        held = {route.family for route in self.facts.routes if route.leads and ours(route)}
        routes = [way_of_new_flows(uplinks, decision) for decision in decisions]
        operations = [Operation(Verb.REPLACE, route) for route in routes if route and route.family in held]
        if not operations or len(operations) < len(routes):
            return []
        self._owing = True
        return self._send(now, operations)

    def _send(self, now: float, operations: Sequence[Operation]) -> list[Apply]:
        self._awaited_until, self._acknowledged = now + PATIENCE, False
        self._retry_at = self._awaited_until
        return [Apply(tuple(operations))]

    def want(
        self,
        now: float,
        uplinks: Sequence[Uplink],
        decisions: Mapping[Family, Decision],
        mask: int,
        steered: Steered | None = None,
        lan: Sequence[str] = (),
        shunned: Shunned = (),
    ) -> None:
        """Plan anew."""
        self.desired = plan(uplinks, decisions, self.facts, mask, steered, lan, shunned)
        if self.desired.refresh_after is not None:
            self._read_at = min(self._read_at, now + self.desired.refresh_after)

    def apply(self, now: float, *, decided: bool) -> list[Apply]:
        """The operations due now: none, or one batch."""
        if now < self._awaited_until:
            self._owing = self._owing or decided
            return []
        operations = diff(self.facts, self.desired)
        decided, self._owing = decided or self._owing, False
        if not operations:
            self.adopted = True
            return []
        refused = self._refused.issuperset(operations)
        if not decided:
            busy = len(self._repairs) == REPAIRS and now - self._repairs[0] < WINDOW
            pause = self._pause if refused else SLOWLY if busy else 0.0
            if now < self._tried_at + pause:
                self._retry_at = self._tried_at + pause
                return []
            self._repairs.append(now)
        self._pause = min(PERIOD, 2 * self._pause) if refused else SLOWLY
        self._tried_at = now
        return self._send(now, operations)

    def settled(self, now: float) -> bool:
        """Whether the kernel has been read since it was changed last."""
        return now >= self._awaited_until and not self._owing

    def due(self, now: float) -> bool:
        """Whether the kernel should be read again; asks once."""
        if now < self.deadline():
            return False
        self._retry_at, self._read_at = inf, now + PERIOD
        return True

    def deadline(self) -> float:
        """Monotonic time of the next read that nobody else asks for; inf: none."""
        return min(self._retry_at, self._read_at)


def _ground(facts: Facts) -> tuple[object, ...]:
    """What an operation's fate hangs on."""
    return facts.links, facts.addresses, facts.rules
