"""The repair of one modem, step by step from the cheapest to the dearest: when each is due, and what forbids it.

Pure, and knows no modem: a `Need` says what there is to repair, the answer is a rung. A carrier that is down is not
helped by its customers' attempts to come back (AT&T on 22 February 2024: the storm of registrations outlasted the fault
by ten hours). So there is a pause between two rounds, which doubles, and resets have bounds of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from failover.config.modems import Repair, Rung

WAITS: Final = {Rung.RECONNECT: 10.0, Rung.REGISTER: 20.0, Rung.RESET: 40.0, Rung.POWER: 60.0, Rung.SLOT: 30.0}
"""Seconds for which what came before is given time to help. A modem that dials by itself does so within 5 s, registers
within 15, and is back from a reset within 30 (real modems: up to 60)."""
TUNNEL: Final = 60.0
"""Seconds of silence without a witness that are no tunnel any more (23 s on the drives)."""
STUCK: Final = 300.0
"""Seconds for which a modem may sit on an older technology, slow, before that is to be mended."""
REST: Final = 600.0
REST_MAX: Final = 21600.0
"""Seconds between two rounds: the first pause, which doubles, and the longest."""
AGAIN: Final = 60.0
"""Seconds from a step after which packets passed to the next one, at first; it doubles up to REST where they do not go
on: bars that flicker are not to be reconnected each time."""
JITTER: Final = 0.25
"""Share of a wait that the dice add at most, so that a fleet of vans does not act in step."""
HELPED: Final = 90.0
"""Seconds after a step in which packets that pass are put down to it."""
DAY: Final = 86400.0
RESETS_MAX: Final = 64
"""More than the config may allow in a day are not remembered."""
BREAKING: Final = frozenset((Rung.RESET, Rung.POWER))
"""The steps that count as resets."""


@dataclass(frozen=True, slots=True)
class Need:
    """What there is to repair."""

    since: float
    """Monotonic time from which nothing passes, or it is stuck."""
    convicted: bool = True
    """Certainly, or while another uplink received; else it is but silent, as in a tunnel."""
    others: bool = True
    """Another uplink carries the traffic."""
    storm: bool = False
    """What is wrong is the network's own: another uplink on it is lost too."""
    stuck: bool = False
    """It carries packets, on an older technology than it could, and slowly."""

    @property
    def begins(self) -> float:
        """Monotonic time from which its repair is under way; inf: not as things are."""
        if self.storm or (self.stuck and not self.others):
            return inf
        return self.since + STUCK if self.stuck else self.lost_at

    @property
    def lost_at(self) -> float:
        """Monotonic time from which it counts as lost: without a witness, when no tunnel is as long as that."""
        return self.since if self.convicted else self.since + TUNNEL


class Ladder:
    """`climb` says which step is due, `deadline` when to ask again. Times are monotonic seconds."""

    def __init__(self, random: Callable[[], float], resets: Iterable[float] = ()) -> None:
        """`random`: floats in [0, 1). `resets`: when there were some before."""
        self.deadline = inf
        self.last: Rung | None = None
        """The step taken last in the present trouble."""
        self.next: Rung | None = None
        """The one for which `deadline` is waited."""
        self.spent = False
        """None is left that it could take and may."""
        self._random = random
        self._resets = deque(sorted(resets), maxlen=RESETS_MAX)
        self._taken_at = -inf
        self._place = 0
        """Place of the step to come, in the config's order."""
        self._rounds = 0
        self._reliefs = 0
        """How often packets passed after a step, and not for long."""
        self._rest_until = -inf
        self._passing_since: float | None = None
        self._jitter = self._dice()
        """Of the wait under way, as a factor."""

    def climb(self, now: float, need: Need | None, repair: Repair, able: Collection[Rung]) -> Rung | None:
        """The step to take now, if any: of the config's, those to which the modem is `able`."""
        self.rest()
        if need is None or need.begins == inf:
            return None
        self._passing_since = None
        place = self._upcoming(now, repair, able)
        if place is None:
            self.spent = True
            return None
        step = repair.steps[place]
        due = max(self._rest_until, max(need.begins, self._taken_at) + WAITS[step] * self._jitter)
        if now < due:
            self.deadline, self.next = due, step
            return None
        self._take(now, step)
        self._place = place + 1
        return step

    def rest(self) -> None:
        """Nothing is waited for."""
        self.deadline, self.next, self.spent = inf, None, False

    def passed(self, now: float) -> Rung | None:
        """Packets pass: the round is over. Returns the step that helped, when that becomes known."""
        helped = self.last if self.last is not None and now <= self._taken_at + HELPED else None
        if self.last is not None:
            again = self._taken_at + min(REST, AGAIN * 2**self._reliefs) * self._dice()
            self._rest_until, self._reliefs = max(self._rest_until, again), min(self._reliefs + 1, 16)
        self.last, self._place = None, 0
        self.rest()
        if self._passing_since is None:
            self._passing_since = now
        elif now >= self._passing_since + REST:
            self._rounds = self._reliefs = 0
        return helped

    def forgive(self, step: Rung) -> None:
        """This step, which was taken just now, is none for this modem: it has helped nobody."""
        if self.last is step:
            self.last = None
        if step in BREAKING and self._resets and self._resets[-1] == self._taken_at:
            self._resets.pop()

    @property
    def reset_times(self) -> tuple[float, ...]:
        """When it was reset, the last times."""
        return tuple(self._resets)

    def resets(self, now: float) -> tuple[float, ...]:
        """How many seconds ago there was one, of the last day."""
        return tuple(now - at for at in self._resets if now < at + DAY)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _upcoming(self, now: float, repair: Repair, able: Collection[Rung]) -> int | None:
        """The place of the first step from here on that can be taken and may be. At the end of a round there is a
        pause, and the first is next again; None: there is none in the whole round."""
        for begin in dict.fromkeys((self._place, 0)):
            for place, step in list(enumerate(repair.steps))[begin:]:
                if step in able and self._allowed(now, step, repair):
                    if begin != self._place:
                        self._pause()
                    return place
        self.deadline = now + REST  # what forbids it ends by then, or nobody knows when
        return None

    def _allowed(self, now: float, step: Rung, repair: Repair) -> bool:
        if step not in BREAKING:
            return True
        recent = self.resets(now)
        return len(recent) < repair.resets_per_day and all(ago >= repair.reset_interval for ago in recent)

    def _pause(self) -> None:
        self._jitter = self._dice()
        self._rest_until = self._taken_at + min(REST_MAX, REST * 2**self._rounds) * self._jitter
        self._rounds, self._place = min(self._rounds + 1, 16), 0

    def _take(self, now: float, step: Rung) -> None:
        self.last, self._taken_at = step, now
        self._jitter = self._dice()
        if step in BREAKING:
            self._resets.append(now)

    def _dice(self) -> float:
        return 1.0 + JITTER * self._random()
