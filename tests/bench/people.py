"""Figures of what people and machines ask, and of what a long day leaves behind in the agent."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psutil

from failover.config import Config
from failover.core.engine import Engine, Event
from failover.export.batch import Batch
from failover.export.commands import Spec
from failover.export.control import Control
from failover.export.entries import Numbering, Recent
from failover.export.metrics import Metrics, Picture
from failover.export.status import document
from failover.lab.world import World
from failover.model import Notice
from failover.picture import Snapshot
from failover.seam import Effect
from failover.sim.scenario import parse
from failover.sim.stage import play_script
from tests.agent.running import running
from tests.bench.report import Figure

FAILOVER: Final = Path(sys.executable).with_name("failover")
FLAPPING: Final = """
title: a day of flapping
length: {hours}h
uplinks:
  - name: a
    everyday: {{rtt: 50ms}}
    phases:
      - for: {hours}h
        cycle:
          - {{for: 47s}}
          - {{for: 3s, loss: 1}}
          - {{for: 90s}}
          - {{for: 700ms, loss: 1}}
  - name: b
    everyday: {{rtt: 55ms}}
    phases:
      - for: {hours}h
        cycle:
          - {{for: 11m}}
          - {{for: 20s, loss: 1}}
"""
"""Doubts and convictions by the thousand."""
WARM: Final = 0.5
"""Share of the day, and of the requests, after which nothing may grow any more: every ring is full."""
PAGE: Final = 4096
"""Bytes that a write costs the disk at least."""


def status(runs: int) -> Figure:
    """`failover status` as a whole process, asking an agent with three uplinks."""
    with TemporaryDirectory() as home, World(1) as world, running(world.van, Path(home)) as agent:
        agent.ready().all_up()
        argv = [str(FAILOVER), "status", "--socket", str(agent.socket)]
        seconds = []
        for _ in range(runs + 1):
            began = time.monotonic()
            subprocess.run(argv, check=True, capture_output=True)
            seconds.append(time.monotonic() - began)
    return Figure("failover status, whole process", "ms", [one * 1000 for one in seconds[1:]], {"median": 150.0})


class Watched:
    """An engine, and everything in the agent that hears what it says."""

    def __init__(self, config: Config, random: Callable[[], float]) -> None:
        self._engine = Engine(config, random)
        self._numbering, self._recent = Numbering("bench"), Recent()
        self._batch, self._metrics = Batch(), Metrics()
        self.resident: list[float] = []
        """MB, once an hour."""
        self.entries = self.written = 0
        """Entries made; bytes put on disk, whole pages as the disk takes them."""
        self._hour = 0.0

    def handle(self, now: float, event: Event) -> list[Effect]:
        return self._hear(now, self._engine.handle(now, event))

    def wake(self, now: float) -> list[Effect]:
        return self._hear(now, self._engine.wake(now))

    def deadline(self) -> float:
        return self._engine.deadline()

    def snapshot(self) -> Snapshot:
        return self._engine.snapshot()

    def _hear(self, now: float, effects: list[Effect]) -> list[Effect]:
        """What it says goes where the agent sends it, and no further: the virtual world keeps all it hears."""
        for effect in effects:
            if isinstance(effect, Notice):
                entry = self._numbering.entry(effect, now, trusted=True)
                self.entries += 1
                self._recent.add(entry)
                self._batch.note(now, entry)
                self._metrics.noticed(effect)
        if now >= self._batch.deadline():
            lines = sum(map(len, self._batch.take(now)))
            self.written += -(-lines // PAGE) * PAGE
        if now >= self._hour:
            self._hour = now + 3600
            self._metrics.render(Picture(self._engine.snapshot(), now, {}))
            self.resident.append(resident())
        return [effect for effect in effects if not isinstance(effect, Notice)]

    def answer(self, spec: Spec) -> Mapping[str, object]:
        """What the agent's desk answers."""
        if spec.name == "events":
            return {"events": [entry.document() for entry in self._recent.recent(50)]}
        return {"status": document(self._engine.snapshot(), self._hour)}


def resident() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


def growth(hours: int = 24, requests: int = 10_000) -> list[Figure]:
    """How much the resident memory grows in the second half of a day of flapping, and of so many requests; what the day
    writes to disk."""
    brains: list[Watched] = []

    def brain(config: Config, random: Callable[[], float]) -> Watched:
        brains.append(Watched(config, random))
        return brains[-1]

    play_script(parse(FLAPPING.format(hours=hours), "bench"), Config(), None, 1, brain)
    agent = brains[0]
    warm = agent.resident[max(1, round(hours * WARM))]
    told = f"{agent.entries} entries"
    return [
        Figure(f"{hours} virtual hours of flapping, growth", "MB", [agent.resident[-1] - warm], {"max": 1.0}, told),
        Figure(f"{hours} virtual hours of flapping, journal", "MB", [agent.written / 1e6], {"max": 5.0}, told),
        Figure(f"{requests} requests, growth", "MB", [asyncio.run(_asked(agent, requests))], {"max": 1.0}),
    ]


async def _asked(agent: Watched, requests: int) -> float:
    """Growth in MB while a client asks so often, status and events by turns."""

    async def answer(spec: Spec, _: Mapping[str, object]) -> Mapping[str, object]:
        return agent.answer(spec)

    with TemporaryDirectory() as home:
        control = Control(Path(home) / "control.sock", answer, lambda kind, text: None)
        await control.start()
        before = 0.0
        reader, writer = await asyncio.open_unix_connection(str(Path(home) / "control.sock"), limit=1 << 22)
        for count in range(requests):
            if count == round(requests * WARM):
                before = resident()
            command = "events" if count % 2 else "status"
            writer.write(json.dumps({"command": command}).encode() + b"\n")
            assert (await reader.readline()).startswith(b'{"ok": true')
        after = resident()
        writer.close()
        await control.stop()
    return after - before
