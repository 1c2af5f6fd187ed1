"""Which target of one uplink and family is probed when, and why.

Pure. Steady probes by the clock, a burst when one is overdue. What a probe brings is judged in health.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from failover.model import ProbeKind, Target

INTERVALS: Final = {
    ProbeKind.DNS: 30.0,
    ProbeKind.TCP: 300.0,
    ProbeKind.HTTP: 300.0,
    ProbeKind.HTTPS: 300.0,
}
"""Seconds between two probes of a target on the active, unmetered uplink."""
LEAD_INTERVALS: Final = {
    ProbeKind.ICMP: 1.0,
    ProbeKind.DNS: 5.0,
    ProbeKind.TCP: 5.0,
    ProbeKind.HTTP: 15.0,
    ProbeKind.HTTPS: 15.0,
}
"""The same for the cheapest kind that a family has, over all its targets together: it has to notice the blackout."""
METERED_ACTIVE: Final = 8.0
METERED_STANDBY: Final = 90.0
"""How many times longer every interval of a metered uplink is, while it carries traffic and while it does not."""
STANDBY_FACTOR: Final = 5.0
"""The same of a standby that is not metered."""
PORTAL_INTERVAL: Final = 30.0
"""Seconds between two looks at a portal: has somebody logged in?"""
SLOWER: Final = 5.0
"""Times slower than before that make a pace much slower."""
PROVEN_MOST: Final = 6
"""Intervals in a row that the user's traffic stands for a probe while he opens flows: running ones go on where new ones
are refused, and a probe is a new one."""
RETURN_TURNS: Final = 4
"""Of so many steady probes one goes to what never answers, where that is the cheapest kind."""
BURST_INTERVAL: Final = 0.1
BURST_LENGTH: Final = 1.5
OTHERS_STEP: Final = 2
"""The step of a burst that asks another kind too."""

_LEAD_ORDER: Final = (ProbeKind.ICMP, ProbeKind.DNS, ProbeKind.TCP, ProbeKind.HTTP, ProbeKind.HTTPS)


@dataclass(frozen=True, slots=True)
class Due:
    """A probe to send now. `partner`: the same target on the standby too, so that a dead target is not mistaken for
    a dead link; `wanted`: somebody waits for what comes of it."""

    target: Target
    steady: bool
    partner: bool = False
    wanted: bool = False


class Schedule:
    """Times are monotonic seconds; `phase` in [0, 1) staggers the lanes."""

    def __init__(self, phase: float) -> None:
        self.phase = phase
        self._factor = self._others_factor = 1.0
        self._lead: tuple[Target, ...] = ()
        self._lead_interval = 1.0
        self._lead_due = inf
        self._lead_latest = inf
        """When it is due, though other traffic is proof."""
        self._all_due = inf
        self._turns: Counter[ProbeKind] = Counter()
        """Probes of each kind that were sent in turn."""
        self._detours = 0
        """Steady probes so far that found the leading kind dead."""
        self._others: dict[Target, float] = {}
        self._others_due = inf
        """The first of them."""
        self._burst_began: float | None = None
        self._burst_due = inf
        self._burst_interval = BURST_INTERVAL
        self._burst_step = 0

    def aim(self, now: float, targets: Sequence[Target]) -> None:
        """These are the targets from now on; all of them are due soon."""
        kinds = {target.kind for target in targets}
        lead = next((kind for kind in _LEAD_ORDER if kind in kinds), None)
        self._lead = tuple(target for target in targets if target.kind is lead)
        self._lead_interval = LEAD_INTERVALS[lead] if lead else inf
        self._arrange({target: inf for target in targets if target.kind is not lead})
        self.start(now)

    def start(self, now: float) -> None:
        """Link-up, a new address, waking up: one target of the leading kind and all others at once, then steadily."""
        self.rest()
        self._lead_due = now - self._lead_interval * self.phase / 2 if self._lead else inf
        self._arrange(dict.fromkeys(self._others, now))

    def everything(self, now: float) -> None:
        """Somebody wants to know: every target at once, each once; the leading kind keeps its pace."""
        self._all_due = now
        self._arrange(dict.fromkeys(self._others, now))

    def stop(self) -> None:
        """No way out: nothing to send."""
        self.rest()
        self._lead_due = self._all_due = inf
        self._arrange(dict.fromkeys(self._others, inf))

    def pace(self, now: float, factor: float, others: float | None = None) -> None:
        """Stretch every interval by `factor` from now on; those of the other kinds by `others`, if that is told. A pace
        that is much slower begins at once, and at each lane's own moment: else all would be asked together for ever."""
        others = factor if others is None else others
        interval = self._lead_interval * factor
        if self._lead_due < inf and factor > SLOWER * self._factor:
            self._lead_due = now + interval * (0.5 + self.phase / 2)
        elif self._lead_due < inf and factor != self._factor:
            self._lead_due = min(self._lead_due, now + interval * (0.5 + self.phase / 2))
        if others != self._others_factor:
            dues = self._others.items()
            self._arrange({t: due if due == inf else min(due, now + INTERVALS[t.kind] * others) for t, due in dues})
        if factor != self._factor:
            self._lead_latest = now + PROVEN_MOST * interval
        self._factor, self._others_factor = factor, others

    def proven(self, now: float, opened: float) -> None:
        """The user's traffic flows both ways: no steady probe of the leading kind is due for an interval, but after
        PROVEN_MOST of them one is, if the last new flow was `opened` within those."""
        if self._lead_due < inf:
            interval = self._lead_interval * self._factor
            latest = self._lead_latest if opened >= now - PROVEN_MOST * interval else inf
            self._lead_due = max(self._lead_due, min(now + interval, latest))

    def others_within(self, now: float, seconds: float, *, web: bool = True) -> None:
        """Have every other kind probed at most `seconds` from now; pages only if `web`."""
        at = now + seconds
        sooner = {t: at for t, due in self._others.items() if at < due < inf and (web or not t.kind.is_web)}
        if sooner:
            self._arrange(self._others | sooner)

    def burst(self, now: float, factor: float = 1.0) -> bool:
        """Begin a burst, unless this silence has had one; `factor` stretches its interval. True if it begins."""
        begins = self._burst_began is None
        if begins:
            self._burst_interval = BURST_INTERVAL * factor
            self._burst_began, self._burst_due, self._burst_step = now, now, 0
        return begins

    def soon(self, at: float) -> None:
        """The leading kind is asked then, if it would be later."""
        if self._lead_due < inf:
            self._lead_due = min(self._lead_due, at)

    def rest(self) -> None:
        """The burst is over: something answered, or there is no way out."""
        self._burst_began, self._burst_due = None, inf

    def deadline(self) -> float:
        """Monotonic time of the next probe; inf: none."""
        return min(self._lead_due, self._all_due, self._burst_due, self._others_due)

    def due(self, now: float, overdue: Collection[str], dead: Callable[[str], bool]) -> list[Due]:
        """What to send now. `overdue`: URLs whose probe is out already and needs no second one at first in a burst;
        `dead`: whether there is nothing to learn from a URL but its return."""
        if now < self.deadline():
            return []
        sends = []
        if everything := self._all_due <= now:
            sends += [Due(target, steady=True, wanted=True) for target in self._lead]
            self._all_due = inf
        if self._lead_due <= now:
            if not everything:
                sends.append(Due(self._next_of(self._leading(dead)), steady=True))
            interval = self._lead_interval * self._factor
            self._lead_due = max(self._lead_due + interval, now + interval / 2)
            self._lead_latest = now + PROVEN_MOST * interval
        if came := [target for target, due in self._others.items() if due <= now]:
            sends += [Due(target, steady=True, wanted=everything) for target in came]
            self._arrange(self._others | {t: now + INTERVALS[t.kind] * self._others_factor for t in came})
        if self._burst_due <= now:
            sends += self._burst(now, overdue, dead)
        return sends

    def another(self, dead: Callable[[str], bool]) -> Target:
        """The next in turn that a burst may ask; there is one as long as there is a target."""
        return self._next_of(self._live(dead))

    def _live(self, dead: Callable[[str], bool]) -> Sequence[Target]:
        """What answers of the cheapest kind that answers; all of the cheapest kind where nothing does."""
        lead = [target for target in self._lead if not dead(target.url)]
        return lead or [t for t in self._others if not t.kind.is_web and not dead(t.url)] or self._lead

    def _leading(self, dead: Callable[[str], bool]) -> Sequence[Target]:
        """The cheapest kind; where it never answers (a carrier that drops pings), the next one, and now and then the
        cheapest all the same."""
        live = self._live(dead)
        if live[0].kind is self._lead[0].kind:
            return self._lead
        self._detours += 1
        return self._lead if self._detours % RETURN_TURNS == 0 else live

    def _arrange(self, dues: dict[Target, float]) -> None:
        """When each target of the other kinds is due from now on."""
        self._others = dues
        self._others_due = min(dues.values(), default=inf)

    def _next_of(self, targets: Sequence[Target]) -> Target:
        kind = targets[0].kind
        self._turns[kind] += 1
        return targets[self._turns[kind] % len(targets)]

    def _burst(self, now: float, overdue: Collection[str], dead: Callable[[str], bool]) -> list[Due]:
        """First the suspect alone, by somebody who has not been asked yet; then one after the other, the standby too;
        once also by another kind, as some carriers begin to drop pings."""
        assert self._burst_began is not None
        step, self._burst_step = self._burst_step, self._burst_step + 1
        self._burst_due = now + self._burst_interval
        if self._burst_due > self._burst_began + BURST_LENGTH:
            self._burst_due = inf
        if step == 0:
            live = self._live(dead)
            return [Due(self._next_of([t for t in live if t.url not in overdue] or live), steady=False)]
        asked = self.another(dead)
        sends = [Due(asked, steady=False, partner=True)]
        if step == OTHERS_STEP:
            others = (t for t in self._others if t != asked and not t.kind.is_web and not dead(t.url))
            sends += [Due(target, steady=False) for target in others][:1]
        return sends
