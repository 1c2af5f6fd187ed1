"""SIGKILL at random moments during random troubles: routing holds at every moment, nothing foreign is touched, and the
agent that comes last converges; cleanup leaves nothing of ours.

FAILOVER_KILLS: how often (20); FAILOVER_SEED: which dice (else they are thrown anew and told).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from failover.config import Config, Uplink
from failover.core import uplinks
from failover.core.diff import diff
from failover.core.plan import plan
from failover.facts import TABLES_OWNED, Facts, Operation
from failover.lab.faults import Fault
from failover.lab.places import CARRIERS
from failover.lab.world import World
from failover.model import FAMILIES, Decision
from tests.agent.churn import Churn, plant, troubles
from tests.agent.inventory import Inventory, inventory
from tests.agent.lookout import Lookout
from tests.agent.running import Agent, command, facts, running, watching
from tests.allowed import or_skip

KILLS = int(os.environ.get("FAILOVER_KILLS", "20"))
SECONDS_PER_KILL = 15.0
"""Far more than it takes; a busy machine must not matter."""
NAMED, FOUND = "named.yaml", "found.yaml"
UPLINKS = ", ".join(f"{{name: {carrier.name}, interface: {carrier.interface}}}" for carrier in CARRIERS)
HASTE = "policy: {failback_after: 1s}\ndetection: {return_after: 1s}\n"
CONFIGS = {NAMED: f"uplinks: [{UPLINKS}]\n{HASTE}", FOUND: HASTE}
SWITCHING = (
    "blackout",
    "one-way",
    "prohibited",
    "router-silent",
    "link-down",
    "withdrawn-v4",
    "switched-off",
    "vanished",
)
"""Troubles of the active uplink that move traffic."""


@pytest.fixture
def world() -> Iterator[World]:
    """A world for one test alone, where the van holds foreign objects of every kind."""
    with or_skip(), World(seed=7) as built:
        plant(built)
        yield built


@pytest.fixture
def lookout(world: World) -> Iterator[Lookout]:
    with Lookout(world.van, world.van.rtnl.port) as lookout:
        yield lookout


@pytest.fixture
def seed() -> int:
    """pytest shows what is printed when the test fails."""
    seed = int(os.environ.get("FAILOVER_SEED") or random.SystemRandom().randrange(10**6))
    print(f"again with: FAILOVER_SEED={seed} FAILOVER_KILLS={KILLS}")
    return seed


class Chaos:
    """One kill after another. A trouble that begins may end before the kill, after it, or after the next start."""

    def __init__(self, world: World, lookout: Lookout, home: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world, self.lookout, self.home = world, lookout, home
        self.churn = Churn(world)
        self.troubles = troubles(world, self.churn, self.dice)
        self.names = cycle(self.dice.sample(sorted(self.troubles), len(self.troubles)))
        self.trouble: Fault | None = None
        for name, text in CONFIGS.items():
            (home / name).write_text(text)

    @contextmanager
    def started(self, config: str = "") -> Iterator[Agent]:
        """An agent that is on its way up. Its uplinks have names of their own or are discovered."""
        path = self.home / (config or self.dice.choice((NAMED, FOUND)))
        with running(self.world.van, self.home, "--config", str(path)) as agent:
            self.lookout.say(f"--- started, pid {agent.process.pid}, {path.name}")
            yield agent

    @contextmanager
    def serving(self, config: str = "") -> Iterator[Agent]:
        """An agent that has carried out its first decisions: its answer comes after them."""
        with self.started(config) as agent:
            agent.ready().status()
            self.lookout.whole = True
            yield agent

    def begin(self, name: str, carrier: str = "") -> None:
        """End the trouble before, begin this one."""
        self.end()
        carrier = carrier or self.dice.choice(CARRIERS).name
        self.lookout.say(f"--- {name} of {carrier} begins")
        self.trouble = self.troubles[name](carrier)
        self.trouble.begin()

    def end(self) -> None:
        if self.trouble is not None:
            self.lookout.say("--- the trouble ends")
            self.trouble.end()
            self.trouble = None

    def strike(self, agent: Agent) -> None:
        """SIGKILL, wherever it is."""
        self.lookout.disarm()
        self.lookout.say(f"--- killed: {agent.process.pid}")
        agent.kill()
        assert agent.process.returncode == -9, agent.lines
        self.lookout.check()

    # --- the moments -------------------------------------------------------------------------------------------------

    def early(self) -> None:
        """Within 600 ms after exec."""
        with self.started() as agent:
            agent.hear(self.dice.uniform(0.0, 0.6))
            self.strike(agent)

    def in_first_changes(self) -> None:
        """At the first to twelfth change that an agent makes of what it finds."""
        self.begin(next(self.names))
        with self.started() as agent:
            self.lookout.kill_after(self.dice.randint(1, 12), agent.process.pid)
            agent.hear(self.dice.uniform(1.0, 3.0))
            self.strike(agent)

    def at_begin(self) -> None:
        """Within 20 ms after the trouble's first moment."""
        with self.serving() as agent:
            agent.hear(self.dice.uniform(0.0, 1.0))
            self.begin(next(self.names))
            agent.hear(self.dice.uniform(0.0, 0.02))
            self.strike(agent)

    def in_switch(self) -> None:
        """At one of the changes that make up a switch."""
        with self.serving() as agent:
            self.end()
            active = agent.all_up().status()["active"]["ipv4"]
            carrier = next(c.name for c in CARRIERS if active in (c.name, c.interface))
            self.lookout.kill_after(self.dice.randint(1, 8), agent.process.pid)
            self.begin(self.dice.choice(SWITCHING), carrier)
            agent.hear(4.0)
            self.strike(agent)

    def anywhere(self) -> None:
        """Up to 3 s into the trouble; now and then it ends meanwhile."""
        with self.serving() as agent:
            agent.hear(self.dice.uniform(0.0, 0.5))
            self.begin(next(self.names))
            agent.hear(self.dice.uniform(0.0, 3.0))
            if self.dice.random() < 0.3:
                self.end()
                agent.hear(self.dice.uniform(0.0, 1.0))
            self.strike(agent)

    def play(self, kills: int) -> None:
        moments = [self.early, self.in_first_changes, self.at_begin, self.in_switch, self.anywhere]
        order = [moment for _ in range(-(-kills // len(moments))) for moment in self.dice.sample(moments, len(moments))]
        for moment in order[:kills]:
            self.lookout.say(f"=== {moment.__name__}")
            moment()
            if self.dice.random() < 0.5:
                self.end()
        self.end()


def fresh_plan(found: Facts, status: dict[str, Any]) -> tuple[Operation, ...]:
    """What an agent without memory would change."""
    listed = tuple(Uplink(one["name"], one["interface"]) for one in status["uplinks"])
    config = Config(uplinks=listed)
    fleet, order = uplinks.resolve(found, config, {}), tuple(uplink.name for uplink in listed)
    decisions = {f: Decision(f, status["active"][f], status["settled"][f], order) for f in FAMILIES}
    return diff(found, plan(fleet, decisions, found, config.fwmark_mask))


def cleaned(world: World, lookout: Lookout, home: Path) -> Inventory:
    """What is there after `failover cleanup`."""
    lookout.whole, lookout.cleaning = False, True
    where = ("--socket", str(home / "control.sock"), "--state", str(home))
    exit_status, out, err = command(world.van, "cleanup", *where)
    assert (exit_status, err) == (0, ""), out
    lookout.check()
    lookout.cleaning = False
    return inventory(world.van)


def assert_forgotten(chaos: Chaos) -> None:
    """Nothing is left of an uplink that has vanished while no agent ran, and it gets its place when it comes back."""
    van = chaos.world.van
    chaos.begin("vanished", "docomo")
    with chaos.serving(FOUND) as agent, watching(van) as wait:
        wait(lambda found: not fresh_plan(found, agent.status()))
        assert [one["name"] for one in agent.status()["uplinks"]] == ["wwan0", "wlan0"]
        assert len({route.table for route in facts(van).routes if route.table in TABLES_OWNED}) == 4
        chaos.end()
        agent.until(lambda status: len(status["uplinks"]) == 3)
        agent.all_up()
        wait(lambda found: not fresh_plan(found, agent.status()))
        assert len({route.table for route in facts(van).routes if route.table in TABLES_OWNED}) == 5


def assert_converged(chaos: Chaos) -> None:
    """After it all, every uplink is up, the preferred one is active, and the kernel holds what a fresh plan wants."""
    van = chaos.world.van
    chaos.churn.heal()
    with chaos.serving() as agent, watching(van) as wait:
        agent.all_up()
        agent.until(lambda status: set(status["active"].values()) in ({"au"}, {"wwan0"}))
        wait(lambda found: not fresh_plan(found, agent.status()))
        assert any(is_quiet(chaos, agent) for _ in range(10))
        whole = inventory(van).ours
        assert max(whole.values()) == 1, [thing for thing, count in whole.items() if count > 1]
        assert agent.stop()[0] == 0
        assert inventory(van).ours == whole
        chaos.lookout.check()


def is_quiet(chaos: Chaos, agent: Agent) -> bool:
    """For a second nothing is changed, and there is nothing to change."""
    before = chaos.lookout.changes
    assert agent.hear(1.0), agent.lines
    return chaos.lookout.changes == before and not fresh_plan(facts(chaos.world.van), agent.status())


@pytest.mark.timeout(120 + SECONDS_PER_KILL * KILLS)
def test_killed_at_random_moments_during_random_troubles(
    world: World, lookout: Lookout, tmp_path: Path, seed: int
) -> None:
    before = inventory(world.van)
    assert not before.ours
    chaos, started = Chaos(world, lookout, tmp_path, seed), time.monotonic()
    chaos.play(KILLS)
    assert_forgotten(chaos)
    assert_converged(chaos)
    after = cleaned(world, lookout, tmp_path)
    assert not after.ours
    assert after.foreign_changes(before) == ([], [])
    assert lookout.looks / (time.monotonic() - started) > 50


def test_killed_while_it_sets_up_cleanup_leaves_nothing(
    world: World, lookout: Lookout, tmp_path: Path, seed: int
) -> None:
    """On a bare van, at changes all along the first batch, which sets some 30 routes, then 5 sysctls, then 23 rules."""
    before, dice = inventory(world.van), random.Random(seed)
    for changes in (1, *(dice.randint(first, first + 9) for first in range(2, 52, 10)), 32, 33):
        with running(world.van, tmp_path) as agent:
            lookout.say(f"--- started, pid {agent.process.pid}, to be killed after {changes} changes")
            lookout.kill_after(changes, agent.process.pid)
            assert agent.end()[0] == -9
        made = inventory(world.van)
        assert made.ours or made.foreign != before.foreign
        after = cleaned(world, lookout, tmp_path)
        assert not after.ours
        assert after.foreign_changes(before) == ([], [])
