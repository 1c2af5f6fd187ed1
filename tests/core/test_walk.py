"""Random walks of a whole box through every event there is, in any order; then peace, and it must find back.

`box.py` holds the seam at every step: nothing raises, the deadline lies ahead, what is active has a way out, and every
switch says why.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from failover.config import PROFILES, Config, Metered, Policy, Reconfigured, Uplink
from failover.core.diff import diff
from failover.core.engine import Engine
from failover.core.flight import PENDING_MAX
from failover.facts import Counts, Facts, Operation
from failover.memory import Memory
from failover.model import (
    Auto,
    Drain,
    Family,
    Notice,
    Outcome,
    ProbeKind,
    ProbeNow,
    ProbeResult,
    Target,
    Undrain,
    Use,
    Verdict,
)
from failover.seam import Applied, KernelRead, Resumed, WallClock

from .box import NAMES, PINGS, PINGS6, RTT, WEB, Box, Fate
from .seer import Seer, sound
from .worlds import V4, V6

SEEDS = (*range(8), 15)
LINKS = "abc"
SAID = ["switch", "verdict", "uplink", "kernel", "operator", "ready", "warning"]
"""Kinds of what the core says."""
TARGETS = (*PINGS, *PINGS6, NAMES, WEB)
CONFIGS = (
    Config(targets=TARGETS),
    Config(targets=()),
    Config(targets=PINGS[:1], detection=PROFILES["fast"]),
    Config(targets=TARGETS, uplinks=(Uplink("c", "c", metered=Metered()), Uplink("a", "a"))),
    Config(targets=TARGETS, uplinks=(Uplink("x", "b"), Uplink("c", "c", targets=(WEB,)), Uplink("z", "nowhere"))),
    Config(targets=(NAMES,), policy=Policy(failback_after=1.0, failback_moves_flows=True), fwmark_mask=0xFF00),
)


class Walk:
    """One box and the dice that rule its world."""

    def __init__(self, seed: int, brain: type[Engine] = Engine) -> None:
        self.dice = random.Random(seed)
        self.box = Box(*LINKS, config=CONFIGS[0], seed=seed, families=(V4, V6), brain=brain)
        self.index = 10
        self.seen: dict[tuple[str, Family], Counts] = {}
        if seed in (5, 9):
            self.box.counts = self.tally
        self.moods: dict[str, Callable[[Target], Fate]] = dict.fromkeys(LINKS, self.fair)
        for name in (*LINKS, "x"):
            self.box.weather[name] = lambda _, t, n=name: self.moods["b" if n == "x" else n](t)  # type: ignore[misc]
        self.deeds: list[Callable[[], object]] = [
            *4 * [self.change_weather],
            *2 * [self.change_carrier],
            self.unplug,
            *2 * [self.plug],
            self.lose_default,
            self.readdress,
            *2 * [self.command],
            self.reconfigure,
            self.sleep,
            self.clock,
            self.lie,
            self.restart,
            self.spoil,
            self.block,
            self.stir,
        ]

    # --- weather -----------------------------------------------------------------------------------------------------

    def fair(self, _: Target) -> Fate:
        return RTT

    def change_weather(self) -> None:
        dice = self.dice
        share, slow = dice.random(), dice.choice((0.3, 1.2, 4.0, 14.9, 20.0))
        host = dice.choice(TARGETS).host
        outcome = dice.choice((Outcome.REFUSED, Outcome.LOCAL, Outcome.NAME, Outcome.CLOCK, Outcome.PORTAL))
        self.moods[dice.choice(LINKS)] = dice.choice(
            [
                self.fair,
                lambda _: None,
                lambda _: None if dice.random() < share else RTT,
                lambda _: dice.random() * slow,
                lambda t: None if t.host == host else RTT,
                lambda _: outcome,
                lambda t: outcome if t.kind is ProbeKind.HTTP else dice.choice((None, RTT)),
                lambda _: dice.choice((None, RTT, slow, outcome)),
            ]
        )

    def tally(self, _: float) -> dict[tuple[str, Family], Counts]:
        """Some traffic everywhere; now and then counters begin anew, or are gone."""
        dice = self.dice
        if dice.random() < 0.01:
            self.seen = {}
        for name in LINKS:
            for family in (V4, V6):
                known = self.seen.get((name, family), Counts())
                received, sent, fresh = (max(0, dice.randrange(-6, 3)) for _ in range(3))
                self.seen[name, family] = Counts(known.received + received, known.sent + sent, known.fresh + fresh)
        self.box.weak = dice.random() < 0.1
        return dict(self.seen) if dice.random() > 0.01 else {}

    # --- the kernel --------------------------------------------------------------------------------------------------

    def there(self) -> list[str]:
        return [link.name for link in self.box.facts.links]

    def change_carrier(self) -> None:
        if self.there():
            fields = self.dice.choice(
                ({"carrier": False}, {"carrier": True}, {"carrier": True, "up": True}, {"up": False})
            )
            self.box.change(self.dice.choice(self.there()), **fields)

    def unplug(self) -> None:
        if self.there():
            self.box.unplug(self.dice.choice(self.there()))

    def plug(self) -> None:
        missing = [name for name in LINKS if name not in self.there()]
        if missing:
            self.index += 1
            families = self.dice.choice(((V4,), (V6,), (V4, V6), ()))
            self.box.plug(self.dice.choice(missing), self.index, families, self.dice.choice((None, 1, 500)))

    def lose_default(self) -> None:
        if self.there():
            self.box.lose_default(self.dice.choice(self.there()), self.dice.choice((V4, V6)))

    def readdress(self) -> None:
        addresses = list(self.box.facts.addresses)
        if addresses:
            place = self.dice.randrange(len(addresses))
            host = f"10.9.{self.index}.{self.dice.randrange(9)}"
            if addresses[place].family is V4:
                addresses[place] = replace(addresses[place], address=host, usable=self.dice.random() < 0.8)
            self.box.facts = replace(self.box.facts, addresses=tuple(addresses))
            self.box.stir()

    def spoil(self) -> None:
        """Somebody deletes one of our rules, or an interface forgets our routes."""
        ours = [rule for rule in self.box.facts.rules if rule.protocol == 155]
        if ours:
            gone = self.dice.choice(ours)
            rules = tuple(rule for rule in self.box.facts.rules if rule != gone)
            index = self.dice.choice((2, 3, 4, self.index))
            routes = tuple(r for r in self.box.facts.routes if r.protocol != 155 or r.interface != index)
            self.box.facts = replace(self.box.facts, rules=rules, routes=routes)
            self.box.stir()

    def block(self) -> None:
        share = self.dice.choice((0.0, 0.0, 0.1, 1.0))

        def blocked(_: Operation) -> str | None:
            return "not now" if self.dice.random() < share else None

        self.box.blocked = blocked

    def stir(self) -> None:
        for _ in range(self.dice.randrange(1, 20)):
            self.box.stir()

    # --- people and machines -----------------------------------------------------------------------------------------

    def command(self) -> None:
        name = self.dice.choice((*LINKS, "x", "nobody"))
        seconds = self.dice.choice((-1.0, 0.0, 0.5, 30.0, 86400.0))
        self.box.ask(
            self.dice.choice(
                (
                    Use(name, seconds, strict=self.dice.random() < 0.3),
                    Auto(),
                    Drain(name, force=self.dice.random() < 0.3),
                    Undrain(name),
                    ProbeNow(name),
                )
            )
        )

    def reconfigure(self) -> None:
        self.box.tell(Reconfigured(self.dice.choice(CONFIGS)))

    def sleep(self) -> None:
        self.box.tell(Resumed(self.dice.choice((0.5, 60.0, 1e6))))

    def clock(self) -> None:
        self.box.tell(WallClock(self.dice.choice((0.0, 1.7e9)), trusted=self.dice.random() < 0.5))

    def lie(self) -> None:
        """Outcomes nobody waits for, twice, early, out of order; results of nothing; an old picture of the kernel."""
        for outcome in self.dice.sample(list(Outcome), 4):
            probe = self.dice.choice((-1, 0, self.dice.randrange(1, len(self.box.sent) + 2), 10**12))
            self.box.tell(ProbeResult(probe, outcome, self.dice.choice((None, 0.0, 0.01, 3.0)), "\x1b[2J"))
        self.box.tell(Applied(()))
        self.box.tell(KernelRead(self.dice.choice((Facts(), replace(self.box.facts, rules=())))))
        self.box.stir()

    def restart(self) -> None:
        """The agent is replaced: stopped, crashed with an old memory, or without any."""
        box, pause = self.box, self.dice.choice((0.1, 3.0, 700.0))
        told = replace(box.engine.memory(box.now), age=pause)
        remembered = self.dice.random() < 0.7
        box.restart(told if remembered else None, pause=pause)
        if remembered:
            box.run(box.now + 1e-9)
            self.look_back(told)

    def look_back(self, told: Memory) -> None:
        """Nobody owes less than was remembered, and the operator's word holds."""
        now = self.box.engine.memory(self.box.now)
        left = None if told.use_seconds is None else told.use_seconds - told.age
        assert now.use == (told.use if left is None or left > 0 else None)
        assert now.drained == told.drained
        owed = {(debt.uplink, debt.family): debt for debt in now.debts}
        named = {uplink.name for uplink in self.box.engine.config.uplinks}
        for debt in told.debts:
            if debt.convicted and (not named or debt.uplink in named):
                assert owed[debt.uplink, debt.family].owed >= debt.owed - 0.01

    # --- the walk ----------------------------------------------------------------------------------------------------

    def go(self, steps: int) -> None:
        for _ in range(steps):
            self.dice.choice(self.deeds)()
            self.box.run(self.box.now + self.dice.choice((0.0, 0.01, 0.1, 0.4, 1.0, 2.0, 11.0, 70.0)))
            self.look()

    def look(self) -> None:
        """Nothing grows, and it can explain itself."""
        engine = self.box.engine
        if isinstance(engine, Seer):
            sound(engine, self.box.now)
        assert len(engine._prober._open) <= 2 * PENDING_MAX
        for lane in engine._fleet:
            assert len(lane.health.flight) <= PENDING_MAX
            assert set(lane.health.flight.late) <= {target.url for target in lane.targets}
            assert len(lane.health.record.targets) <= len(TARGETS)
            assert lane.health.record.loss()[1] <= 50

    def make_peace(self) -> None:
        self.box.blocked = lambda _: None
        self.box.counts = lambda _: {}
        self.moods = dict.fromkeys(LINKS, self.fair)
        for name in self.there():
            self.box.unplug(name)
        self.box.run(self.box.now + 1)
        for place, name in enumerate(LINKS):
            self.box.plug(name, 100 + place, (V4, V6), 100 + place)
        self.box.tell(Reconfigured(CONFIGS[0]))
        self.box.run(self.box.now + 1)
        for name in LINKS:
            self.box.ask(Undrain(name))
        self.box.ask(Auto())


@cache
def gone(seed: int) -> tuple[Walk, tuple[Notice, ...]]:
    """Each walk is made once: where it has come to, and what was said on the way."""
    walk = Walk(seed, Seer)
    walk.go(120)
    return walk, tuple(notice for _, notice in walk.box.notices)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_it_keeps_its_promises_and_finds_back(seed: int) -> None:
    walk, _ = gone(seed)
    walk.make_peace()
    box = walk.box
    box.run(box.now + 4000)
    snapshot = box.engine.snapshot()
    assert {view.families[f].verdict for view in snapshot.uplinks for f in (V4, V6)} == {Verdict.UP}
    assert {box.active(V4), box.active(V6)} == {"a"}
    assert {box.chosen(15500, V4)[0], box.chosen(15500, V6)[0]} == {100}
    assert diff(box.facts, box.engine._kernel.desired) == ()
    quiet = box.now
    box.run(quiet + 600)
    assert [effect for at, effect in box.applied if at >= quiet] == []
    assert [notice for at, notice in box.notices if at >= quiet] == []


@pytest.mark.parametrize("seed", [3, 5])
def test_the_same_walk_twice_is_the_same(seed: int) -> None:
    def course() -> object:
        walk = Walk(seed)
        walk.go(30)
        return walk.box.sent, walk.box.notices, walk.box.applied

    assert course() == course()


def test_the_walks_pass_through_every_verdict_every_reason_and_every_command() -> None:
    seen: Counter[object] = Counter()
    for seed in SEEDS:
        for notice in gone(seed)[1]:
            seen[notice.kind] += 1
            seen[notice.fields.get("verdict")] += 1
            seen[notice.fields.get("reason")] += 1
    assert {str(v) for v in Verdict if v is not Verdict.COLD} <= set(seen)  # that takes a modem: test_garage.py
    assert set(SAID) <= set(seen)
    assert {"first", "doubt", "conviction", "refused", "link-down", "absent", "degraded", "portal"} <= set(seen)
    assert {"acquittal", "operator", "drain", "config"} <= set(seen)
