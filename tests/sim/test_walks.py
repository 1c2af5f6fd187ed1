"""Random walks: whatever happens to a van, no invariant breaks, and in good weather it is well again."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random
from typing import Any

import pytest

from failover.config import Config
from failover.model import (
    FAMILIES,
    Auto,
    Drain,
    Family,
    ProbeNow,
    Undrain,
    Use,
    Verdict,
)
from failover.sim.links import Bursts, Rtt
from failover.sim.script import (
    Act,
    Actor,
    ClockJump,
    Crash,
    Gaps,
    Operator,
    Phase,
    Script,
    Suspend,
    TargetDead,
    Weather,
)
from failover.sim.stage import Played, play_script

SEEDS = range(12)
WALK = 480.0
HEALING = 420.0
"""Seconds: a standby that was degraded needs 50 good probes, one every 5 s (metered: 25 s, so it may still be)."""
NAMES = ("au", "docomo", "depot")
TARGETS = ("1.1.1.1", "8.8.8.8", "9.9.9.9", "2606:4700:4700::1111")
WEATHERS: tuple[dict[str, Any], ...] = (
    {},
    {"loss": (1.0, 1.0)},
    {"loss": (0.05, 0.5)},
    {"loss": (0.2, 0.2), "rtt_factor": 4.0},
    {"bursts": Bursts(0.02, 0.8)},
    {"holes": Gaps(Rtt.between(4, 7), Rtt.between(1, 3))},
    {"stalls": Gaps(Rtt.between(5, 20), Rtt.between(2, 8))},
    {"rtt": Rtt.between(0.6, 3.0)},
    {"passes": 0.4},
    {"refused": True},
    {"portal": True},
    {"resolver": False},
    {"one_way": True},
    {"link": False},
    {"address": False},
)


def walk(seed: int) -> Script:
    """Two or three uplinks, each through its own weather; now and then a word, a crash or a sleep."""
    dice = Random(seed)
    names = NAMES[: dice.choice((2, 3))]
    families = dice.choice(((Family.IPV4,), FAMILIES))
    actors = tuple(
        Actor(name, dice.random() < 0.3, Weather(rtt=Rtt.around(dice.uniform(0.005, 0.2))), _phases(dice, families))
        for name in names
    )
    settle = dice.choice((0.0, 20.0))
    return Script(
        f"walk {seed}", actors, WALK + HEALING, families, _acts(dice, names), settle=settle, requests_every=1.0
    )


def _phases(dice: Random, families: tuple[Family, ...]) -> tuple[Phase, ...]:
    phases, at = [], 0.0
    while at < WALK:
        lasts = min(dice.choice((0.5, 3.0, 20.0, 70.0)) * dice.uniform(0.5, 1.5), WALK - at)
        at += lasts
        hit = (dice.choice(families),) if dice.random() < 0.3 else None
        weather = dice.choice(WEATHERS)
        phases.append(Phase(lasts=lasts, changes=weather, families=hit, text=" ".join(weather) or "fine"))
    return tuple(phases)


def _acts(dice: Random, names: tuple[str, ...]) -> tuple[tuple[float, Act], ...]:
    acts: list[tuple[float, Act]] = []
    for _ in range(dice.randrange(8)):
        at, name = dice.uniform(0, WALK), dice.choice(names)
        acts.append((at, _act(dice, name)))
    acts += [(WALK, Operator(Undrain(name))) for name in names]
    acts += [(WALK, TargetDead(host, False)) for host in TARGETS]
    return tuple(sorted(acts, key=lambda act: act[0]))


def _act(dice: Random, name: str) -> Act:
    return dice.choice(
        (
            Operator(Use(name, dice.uniform(1, 200), strict=dice.random() < 0.5)),
            Operator(Auto()),
            Operator(Drain(name, force=dice.random() < 0.5)),
            Operator(Undrain(name)),
            Operator(ProbeNow(name)),
            Crash(dice.uniform(0, 30)),
            Suspend(dice.uniform(1, 100)),
            ClockJump(dice.uniform(0, 1e8)),
            TargetDead(dice.choice(TARGETS), True),
        )
    )


def verdicts_said(played: Played) -> Counter[Verdict]:
    """How often each verdict was told."""
    words = [line.split(None, 2)[2].split(":")[0].split() for line in played.journal.lines if " verdict " in line]
    return Counter(Verdict(word[3]) for word in words)


@cache
def played(seed: int) -> Played:
    """Each walk is played once."""
    return play_script(walk(seed), Config(), None, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_walk_breaks_nothing_and_ends_well(seed: int) -> None:
    run = played(seed)
    assert run.last is not None
    for family in run.account.meters:
        verdicts = {view.name: view.families[family].verdict for view in run.last.uplinks}
        active = run.last.decisions[family].active
        assert active is not None
        assert verdicts[active] is Verdict.UP
        assert set(verdicts.values()) <= {Verdict.UP, Verdict.DEGRADED}


def test_the_walks_go_through_every_verdict() -> None:
    said: Counter[Verdict] = Counter()
    for seed in SEEDS:
        said += verdicts_said(played(seed))
    assert set(said) == set(Verdict) - {Verdict.COLD}  # no uplink of theirs is a SIM that rests
