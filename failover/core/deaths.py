"""Which uplinks go down together while others live: what they have in common need not be known.

Pure. An outage is all that was convicted within a minute. One that nobody lived through, as in a tunnel, tells nothing
of any two, nor what is convicted as the others come back at its end: somebody must have received from a minute before
until a minute after. What is absent, cold or behind a portal is no death.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb, exp
from typing import Final

from failover.memory import Outage
from failover.model import RECEIVING, Verdict

TOGETHER: Final = 60.0
"""Seconds: what was convicted that soon after the first one belongs to the same outage."""
LEAST: Final = 3
"""Outages that two must have had in common."""
SHARE: Final = 0.8
"""Of the outages of one of them."""
CHANCE: Final = 0.01
"""How likely that may be by chance, at most: carriers fail independently as a rule (DESIGN §2), and of four there are
six pairs."""
KEPT: Final = 16
"""Outages of each uplink that are looked at, so that one that flaps alone does not push out those of others."""
KEPT_MAX: Final = 128
"""Of all of them."""
CROWD: Final = 8
"""More uplinks than that in one outage are no pair any more."""


@dataclass(frozen=True, slots=True)
class _Outage:
    at: float
    """Of the first conviction, monotonic seconds; before this boot's beginning it may be negative."""
    dead: frozenset[str]


class Deaths:
    """`seen` how everybody is, whenever that changes; `observed` says who goes down with whom."""

    def __init__(self, past: Iterable[Outage] = ()) -> None:
        self._past = tuple(past)
        """Remembered, until it is known what time it is."""
        self._outages: tuple[_Outage, ...] = ()
        """Those that are over, oldest first."""
        self._told: tuple[tuple[str, str, str], ...] | None = None
        """What that says; None: not looked at."""
        self._alive: dict[str, float] = {}
        """By uplink that receives: since when."""
        self._dead: set[str] = set()
        """Convicted since they received last."""
        self._began = 0.0
        self._dying: set[str] = set()
        """In the outage under way; empty: there is none."""
        self._witnesses: set[str] = set()
        """Who has lived through it so far."""

    def seen(self, now: float, verdicts: Mapping[str, Collection[Verdict]]) -> None:
        """How each uplink is in its families."""
        self.close(now)
        alive = {name for name, told in verdicts.items() if any(verdict in RECEIVING for verdict in told)}
        self._alive = {name: self._alive.get(name, now) for name in alive}
        self._dead &= verdicts.keys() - alive
        self._witnesses &= alive
        fresh = {name for name, told in verdicts.items() if Verdict.DOWN in told} - alive - self._dead
        if fresh and not self._dying:
            self._began = now
            self._witnesses = {name for name, since in self._alive.items() if since <= now - TOGETHER}
        self._dying |= fresh
        self._dead |= fresh

    def close(self, now: float) -> None:
        """Time has passed."""
        if self._past:
            self._keep([_Outage(now - one.ago, frozenset(one.uplinks)) for one in self._past])
            self._past = ()
        if self._dying and now >= self._began + TOGETHER:
            told = self._witnesses and len(self._dying) <= CROWD
            self._keep([_Outage(self._began, frozenset(self._dying))] if told else [])
            self._dying, self._witnesses = set(), set()

    def rename(self, names: Mapping[str, str]) -> None:
        """Uplinks have other names now: old -> new."""
        if names:
            self._outages = tuple(_Outage(one.at, _renamed(one.dead, names)) for one in self._outages)
            self._told = None
            self._alive = {names.get(name, name): since for name, since in self._alive.items()}
            self._dead, self._dying, self._witnesses = (
                set(_renamed(some, names)) for some in (self._dead, self._dying, self._witnesses)
            )

    def past(self, now: float) -> tuple[Outage, ...]:
        """What is to be remembered."""
        self.close(now)
        return tuple(Outage(tuple(sorted(one.dead)), max(0.0, now - one.at)) for one in self._outages)

    def observed(self) -> tuple[tuple[str, str, str], ...]:
        """Two uplinks, and what they have in common, as in `Shared`."""
        if self._told is None:
            self._told = tuple(self._look())
        return self._told

    def _look(self) -> Iterator[tuple[str, str, str]]:
        names = sorted({name for one in self._outages for name in one.dead if len(one.dead) > 1})
        for pair in combinations(names, 2):
            ways = (self._together(*way) for way in (pair, pair[::-1]))
            what, share = max(ways, key=lambda way: way[1])
            if share >= SHARE:
                yield *pair, what

    def _together(self, one: str, other: str) -> tuple[str, float]:
        """How many of the one's outages are the other's too, in words, and as a share; 0 if that may be chance."""
        mine, theirs = ([out for out in self._outages if name in out.dead][-KEPT:] for name in (one, other))
        both = sum(other in out.dead for out in mine)
        what, share = f"{both} of the last {len(mine)} outages of {one}", both / len(mine)
        certain = both >= LEAST and _by_chance(both, len(mine), _near([out.at for out in theirs])) <= CHANCE
        return what, share if certain else 0.0

    def _keep(self, more: Iterable[_Outage]) -> None:
        """The newest of each uplink."""
        counts: dict[str, int] = {}
        kept = []
        for one in sorted((*self._outages, *more), key=lambda out: -out.at):
            counts |= {name: counts.get(name, 0) + 1 for name in one.dead}
            if any(counts[name] <= KEPT for name in one.dead):
                kept.append(one)
        self._outages, self._told = tuple(reversed(kept[:KEPT_MAX])), None


def _renamed(some: Iterable[str], names: Mapping[str, str]) -> frozenset[str]:
    return frozenset(names.get(name, name) for name in some)


def _near(moments: list[float]) -> float:
    """How likely an outage of an uplink that had one at these, oldest first, is near any moment: 1 - e^(-2wr) for its
    rate r, with the w of TOGETHER."""
    lasted = moments[-1] - moments[0]
    return 1.0 - exp(-2 * TOGETHER * (len(moments) - 1) / lasted) if lasted > 0 else 1.0


def _by_chance(least: int, of: int, likely: float) -> float:
    """That so many or more of them happen, each as likely as that: the binomial distribution's tail."""
    return sum(comb(of, n) * likely**n * (1 - likely) ** (of - n) for n in range(least, of + 1))
