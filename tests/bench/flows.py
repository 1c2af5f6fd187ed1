"""What a silent blackout does to flows that are open, and to those begun in its first moments, in the lab with the real
agent: a figure by kind of flow.

What lives here: the cases, and the figures that each run of one gives. A run has a world and an agent of its own
(scene.py), and the fault comes at a random phase of everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Final

from failover.lab import faults, outage
from failover.lab.lan import Lan
from failover.lab.pattern import DENSE, IDLE, Pattern
from failover.lab.places import LAN
from failover.lab.user import User
from failover.model import Family
from tests.bench.report import Figure
from tests.bench.scene import BROKEN, Scene, Setting, scene, side_by_side, tell

PATIENCE: Final = 12.0
"""Seconds until what has not been answered counts as never."""
BEGINNING: Final = 0.4
"""Seconds of the blackout: which flows are begun in it, of those that are begun all the time."""
LOOK: Final = 0.1
MPTCP: Final = Path("/proc/sys/net/mptcp")

Limits = Mapping[str, float]
Take = Callable[[User, Family, float], list[float]]
"""Values of one family: the user, the family, the fault's monotonic moment."""


def _outage(kind: str) -> Take:
    """From the fault until the program's messages are answered again."""

    def take(user: User, family: Family, fault: float) -> list[float]:
        seconds = user.seen(fault)[family, kind].outage_seconds
        return [inf if seconds is None else seconds]

    return take


def _first_answers(kind: str) -> Take:
    """Of each flow begun in the BEGINNING, what it waited."""

    def take(user: User, family: Family, fault: float) -> list[float]:
        return outage.waits(user.record(fault, fault + BEGINNING, [kind])[family, kind])

    return take


def _gap(kind: str) -> Take:
    """The longest time without an answer, from the fault until now; infinite where there is no service again."""

    def take(user: User, family: Family, fault: float) -> list[float]:
        if user.seen(fault)[family, kind].outage_seconds is None:
            return [inf]
        return [outage.longest_gap(user.record(fault - 1.0, kinds=[kind])[family, kind], fault, time.monotonic())]

    return take


def _reconnects(kind: str) -> Take:
    """How often the program had to connect anew."""
    return lambda user, family, fault: [user.seen(fault)[family, kind].reconnects]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a case."""

    name: str
    take: Take
    reach: Mapping[str, Limits] = field(default_factory=dict)
    """By profile; nothing is promised of the others."""
    unit: str = "s"


@dataclass(frozen=True, slots=True)
class Case:
    """What a run gives, all of the same user and the same fault."""

    name: str
    setting: Setting
    rows: Sequence[Row]

    def figure(self, row: Row, values: Sequence[float]) -> Figure:
        """The row of the table."""
        return Figure(row.name, row.unit, values, dict(row.reach.get(self.setting.profile, {})), str(self.setting))


def _reach(median: float, p95: float) -> Limits:
    return {"median": median, "p95": p95}


OPEN: Final = {"balanced": _reach(1.8, 2.6), "fast": _reach(1.3, 2.2)}
BOX: Final = (
    Row("open TCP of the box, works again", _outage("tcp"), OPEN),
    Row("connected UDP of the box, works again", _outage("udp"), OPEN),
    Row("keepalive-only client of the box, connected again", _outage("keepalive")),
    Row("TCP begun in the first 0.4 s, first answer", _first_answers("begun"), {"balanced": {"p95": 2.2}}),
    Row("DNS, timeout:1, begun in the first 0.4 s, first answer", _first_answers("lookup"), {"balanced": {"p95": 1.6}}),
)
FORWARDED: Final = {"balanced": _reach(1.9, 2.7)}
GUEST: Final = (
    Row("forwarded TCP, works again", _outage("tcp"), FORWARDED),
    Row("forwarded UDP, works again", _outage("udp"), FORWARDED),
    Row("forwarded keepalive-only client, connected again", _outage("keepalive")),
    Row("forwarded TCP begun in the first 0.4 s, first answer", _first_answers("begun"), {"balanced": {"p95": 2.2}}),
    Row("forwarded DNS, timeout:1, begun in the first 0.4 s", _first_answers("lookup"), {"balanced": {"p95": 1.6}}),
)
MULTIPATH: Final = (
    Row("MPTCP stream, longest gap", _gap("mptcp"), {"balanced": {"median": 0.6}}),
    Row("MPTCP stream, reconnects", _reconnects("mptcp"), {"balanced": {"max": 0}}, "times"),
)
EVERYTHING: Final = Pattern({**DENSE.intervals, "keepalive": 0.05, "begun": 0.1, "lookup": 0.1})
STREAM: Final = Pattern({"new": 0.01, "mptcp": 0.02})
GATEWAY: Final = f"gateway: {{lan: [{LAN}], masquerade: true}}\n"
CASES: Final[Mapping[str, Sequence[Case]]] = {
    "box": (
        Case("box", Setting(EVERYTHING), BOX),
        Case("box", Setting(EVERYTHING, profile="fast"), BOX),
    ),
    "forwarded": (Case("forwarded", Setting(IDLE, lan=Lan(), guest=EVERYTHING, extra=GATEWAY), GUEST),),
    "mptcp": (Case("mptcp", Setting(STREAM), MULTIPATH),),
}
USUAL: Final = ("box", "forwarded", "mptcp")
"""What is played if nothing is named."""


def run(case: Case, seed: int) -> list[list[float]]:
    """The values of one run, row by row, of both families; of the client's user where there is a LAN."""
    with scene(case.setting, seed) as here:
        user = here.stage.users[-1]
        fault = here.stage.begin(case.name, faults.blackout(here.stage.world, BROKEN.name))
        here.stage.settle(fault, PATIENCE, case.setting.families, user=user)
        values = _values(case, user, fault)
        while any(inf in found for found in values) and time.monotonic() < fault + PATIENCE:
            here.stage.watch(LOOK)
            values = _values(case, user, fault)
        _tell(case, seed, here, fault, values)
    return values


def _values(case: Case, user: User, fault: float) -> list[list[float]]:
    return [[value for family in case.setting.families for value in row.take(user, family, fault)] for row in case.rows]


def _tell(case: Case, seed: int, here: Scene, fault: float, values: Sequence[Sequence[float]]) -> None:
    """The values, and where one misses its limit, what the agent said."""
    missed = False
    for row, found in zip(case.rows, values, strict=True):
        tell(f"{row.name} ({case.setting}), run {seed}: {' '.join(f'{value:.3f}' for value in found)} {row.unit}")
        reach = row.reach.get(case.setting.profile, {})
        missed |= max(found) > max(reach.values(), default=inf)
    for line in here.said(fault) if missed else ():
        tell(line)


def play(runs: int, cases: Iterable[Case]) -> list[Figure]:
    """The figures of each case that this kernel can play."""
    return [figure for case in cases if _is_playable(case) for figure in _figures(case, runs)]


def _is_playable(case: Case) -> bool:
    playable = MPTCP.exists() or "mptcp" not in case.setting.pattern.intervals
    if not playable:
        tell(f"{case.name}: the kernel has no MPTCP")
    return playable


def _figures(case: Case, runs: int) -> list[Figure]:
    played = list(side_by_side(lambda seed: run(case, seed), runs, 1))
    columns = zip(*played, strict=True)
    return [
        case.figure(row, [value for one in column for value in one])
        for row, column in zip(case.rows, columns, strict=True)
    ]


def chosen(names: Iterable[str], profile: str | None = None, round_trip: float | None = None) -> list[Case]:
    """The cases of these names; under that profile or round trip (seconds), where it is told, and each once."""
    found: list[Case] = []
    for case in (case for name in names for case in CASES[name]):
        usual = case.setting
        setting = replace(usual, profile=profile or usual.profile, round_trip=round_trip or usual.round_trip)
        one = replace(case, setting=setting)
        if one not in found:
            found.append(one)
    return found
