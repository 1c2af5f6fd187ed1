"""An agent that is replaced by another one, with what it remembers: no hold-down gets shorter by that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from failover.config import Config
from failover.core.engine import Engine, Event
from failover.memory import Memory
from failover.model import Family, Reason
from failover.seam import Effect
from failover.sim import stage
from failover.sim.invariants import InvariantError, Watch
from failover.sim.script import Act, Actor, Crash, Phase, Script
from failover.sim.stage import Played, play_script

GONE = 2.0
"""Seconds without an agent."""
Told = Callable[[Memory], Memory | None]


class Mindful(Engine):
    """Knows the time at which it was asked last, which is when it ends."""

    now = 0.0

    def handle(self, now: float, event: Event) -> list[Effect]:
        self.now = now
        return super().handle(now, event)

    def wake(self, now: float) -> list[Effect]:
        self.now = now
        return super().wake(now)


class Unforgiving(Watch):
    """To it, an agent that starts again owes what the one before owed."""

    def born(self) -> None:
        self._adopting = True


def play(script: Script, seed: int, monkeypatch: pytest.MonkeyPatch, told: Told = lambda memory: memory) -> Played:
    """`told`: what each next agent is given of the memory of the one before."""
    line: list[Mindful] = []

    def successor(config: Config, dice: Callable[[], float]) -> Engine:
        before = line[-1] if line else None
        remembered = None if before is None else told(replace(before.memory(before.now), age=GONE))
        line.append(Mindful(config, dice, remembered))
        return line[-1]

    monkeypatch.setattr(stage, "Watch", Unforgiving)
    played = play_script(script, Config(), None, seed, successor)
    assert len(line) == 1 + len(script.acts)
    return played


def script(phases: tuple[Phase, ...], restarts: list[float]) -> Script:
    acts: tuple[tuple[float, Act], ...] = tuple((at, Crash(GONE)) for at in restarts)
    return Script("upgrades", (Actor("au", phases=phases), Actor("docomo")), 900.0, acts=acts)


@pytest.mark.parametrize("seed", range(8))
def test_agents_that_follow_each_other_keep_every_hold_down(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = Random(seed)
    phases, at = [], 0.0
    while at < 600.0:
        good, bad = dice.uniform(5.0, 90.0), dice.choice((0.9, 3.0, 30.0))
        phases += [Phase(until=at + good), Phase(until=at + good + bad, changes={"loss": (1.0, 1.0)})]
        at += good + bad
    restarts = [dice.uniform(start, start + 90.0) for start in range(10, 600, 100)]  # whoever is dead cannot be killed
    played = play(script(tuple(phases), restarts), seed, monkeypatch)
    switches = played.account.switches[Family.IPV4]
    assert switches[Reason.DOUBT] + switches[Reason.CONVICTION] >= 1


def test_one_that_forgets_what_it_owed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def light(memory: Memory) -> Memory:
        return replace(memory, debts=tuple(replace(debt, owed=debt.owed / 3) for debt in memory.debts))

    phases = (Phase(until=20), Phase(until=40, changes={"loss": (1.0, 1.0)}))
    play(script(phases, [60.0]), 1, monkeypatch)
    with pytest.raises(InvariantError, match="au ipv4 is in its hold-down of 60 s"):
        play(script(phases, [60.0]), 1, monkeypatch, light)
