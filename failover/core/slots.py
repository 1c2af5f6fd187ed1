"""Which SIM of a modem is used, where it has several and the config names uplinks for them: one at a time.

Pure. A warm link comes before a cold one. A modem changes its SIM when the one in use stays lost for longer than the
change itself costs: so the whole takes at most twice as long as if the outage's length had been known before
(the ski rental problem, Karlin et al. 1988). One that loses much for long is left as well, though nobody knows whether
the other one is better. It comes back to a preferred SIM after a while, which doubles when that was in vain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from failover.core.ladder import Need

COST: Final = 3.0
"""Seconds that a change costs as long as none was measured; they take 2 to 60."""
COST_MAX: Final = 120.0
HOUR: Final = 3600.0
RETURN: Final = 1800.0
RETURN_MAX: Final = 6 * HOUR
"""Seconds after which a preferred SIM is tried again: at first, and at most."""
LOSSY: Final = 300.0
"""Seconds of trouble, at least, for which a SIM is left: most brownouts are over sooner."""
COSTS: Final = 60.0
"""And so many times what a change costs. A brownout loses 9 % at least (`brownout.py`), so by then as much as five
changes do; one in vain takes two, there and back."""
WARMING: Final = 90.0
"""Seconds that a SIM has to get connected before it counts as lost."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One SIM of a modem, and the uplink that goes by it."""

    uplink: str
    slot: int
    barred: bool = False
    """It may not be used, or the operator has drained it."""
    wanted: bool = False
    """The operator uses it."""


class Trouble:
    """For how long little passes by a SIM. Good times count against bad ones: by fits and starts is no better."""

    def __init__(self) -> None:
        self.since: float | None = None
        """Monotonic time at which it would have begun without good times; None: there is none, or it is made up for."""
        self.now = False
        """As it was noted last."""
        self._noted = -inf

    def note(self, now: float, *, bad: bool) -> None:
        """How it is from now on."""
        if self.since is not None and not self.now:
            self.since += 2 * (now - self._noted)
            self.since = self.since if self.since < now else None
        if bad and self.since is None:
            self.since = now
        self.now, self._noted = bad, now


class Slots:
    """`change` says which slot to choose now; `deadline` when to ask again. Times are monotonic seconds."""

    def __init__(self, now: float, switches: Iterable[float] = (), cost: float | None = None) -> None:
        """`switches`: when there were some before; `cost`: seconds that one takes, as it was measured."""
        self.deadline = inf
        self.cost = None if cost is None else min(COST_MAX, cost)
        """Seconds from the decision until packets pass; None: not measured."""
        self._switches = deque(sorted(switches), maxlen=64)
        self._began = now
        self._left: dict[int, float] = {}
        """When each slot was left because of what was wrong there."""
        self._vain: dict[int, int] = {}
        """How often in a row a return there was in vain."""
        self._returning: int | None = None
        """The slot in use, where it was returned to."""
        self._changed_at = -inf

    def change(self, now: float, seats: Sequence[Seat], slot: int, need: Need | None, most: int) -> int | None:
        """The slot to choose now, if another one than `slot`. `seats`: in order of preference; `need`: what is wrong
        with the one in use; `most`: changes in an hour."""
        self.deadline = inf
        others = [seat for seat in seats if seat.slot != slot and not seat.barred]
        here = next((seat for seat in seats if seat.slot == slot), None)
        if not others:
            return None
        told = next((seat for seat in others if seat.wanted), None)
        if told or (here and here.barred):
            return (told or others[0]).slot
        if here is None:  # nobody's; it may come back as that each time
            due = self._free(now, max(1, most))
            self.deadline = inf if now >= due else due
            return others[0].slot if now >= due else None
        if here.wanted:
            return None
        if need is None or need.stuck:
            return self._return(now, seats, slot, most)
        return None if need.others else self._flee(now, others, need, most)

    def better(self, now: float, seats: Sequence[Seat], slot: int, since: float, most: int) -> int | None:
        """The slot to choose now for this one, which has been in trouble `since` then; to be asked after `change`. One
        that was left lately is none."""
        others = [seat for seat in seats if seat.slot != slot and not seat.barred]
        if not others or any(seat.wanted for seat in seats if seat.slot == slot):
            return None
        spare = self._longest_left(others).slot
        lately = self._left.get(spare, -inf) + RETURN
        due = max(since + max(LOSSY, COSTS * (self.cost or COST)), lately, self._free(now, most))
        if now < due:
            self.deadline = min(self.deadline, due)
            return None
        return spare

    def chosen(self, now: float, before: int, slot: int, seats: Sequence[Seat], *, fled: bool) -> None:
        """`slot` was chosen in the place of `before`. `fled`: because of what is wrong there."""
        if fled:
            vain = self._returning == before and now < self._changed_at + RETURN
            self._vain[before] = self._vain.get(before, 0) + 1 if vain else 0
            self._left[before] = now
        order = [seat.slot for seat in seats]
        better = slot in order and before in order and order.index(slot) < order.index(before)
        self._returning = slot if better and not fled else None
        self._changed_at = now
        self._switches.append(now)

    def passed(self, now: float, since: float | None) -> None:
        """Packets pass by the slot in use; `since`: when it was chosen, if they have not passed since."""
        if since is not None:
            self.cost = min(COST_MAX, now - since)

    def spare(self, now: float, seats: Sequence[Seat], slot: int, most: int) -> int | None:
        """The slot to try when all else that repairs this one has failed; None: there is none, or not now."""
        others = [seat for seat in seats if seat.slot != slot and not seat.barred]
        return self._longest_left(others).slot if others and self._free(now, most) <= now else None

    def switches(self, now: float) -> tuple[float, ...]:
        """How many seconds ago there was one, of the last hour."""
        return tuple(now - at for at in self._switches if now < at + HOUR)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _flee(self, now: float, others: Sequence[Seat], need: Need, most: int) -> int | None:
        due = max(need.lost_at + (self.cost or COST), self._free(now, most))
        if now < due:
            self.deadline = due
            return None
        return self._longest_left(others).slot

    def _return(self, now: float, seats: Sequence[Seat], slot: int, most: int) -> int | None:
        """Back to a preferred one whose time has come, if it may be left again at once: the one in use works."""
        for seat in seats:
            if seat.slot == slot:
                return None
            if seat.barred:
                continue
            wait = min(RETURN_MAX, RETURN * 2 ** self._vain.get(seat.slot, 0))
            due = max(self._left.get(seat.slot, self._began) + wait, self._free(now, min(most, max(1, most - 1))))
            if now >= due:
                return seat.slot
            self.deadline = min(self.deadline, due)
        return None

    def _longest_left(self, others: Sequence[Seat]) -> Seat:
        """The first in order of those that were not lost lately."""
        return min(others, key=lambda seat: self._left.get(seat.slot, -inf))

    def _free(self, now: float, most: int) -> float:
        """When another change is allowed; inf: never."""
        if most <= 0:
            return inf
        recent = [at for at in self._switches if now < at + HOUR]
        return -inf if len(recent) < most else recent[-most] + HOUR
