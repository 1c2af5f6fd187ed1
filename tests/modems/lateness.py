"""How late a loop is, and how late one is beside it that does nothing: what this machine does to both."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.enclosure import CHECKOUT, PATIENCE

LOOK = 0.002
"""Seconds between two looks."""
LATE = 0.02
"""Seconds that are too many."""


@dataclass(slots=True)
class Lateness:
    """Filled in at the end."""

    turns: int = 0
    late: int = 0
    worst: float = 0.0
    beside: int = 0
    """How often the other one was late."""

    def look(self, late: float) -> None:
        self.turns += 1
        self.worst = max(self.worst, late)
        self.late += late > LATE


@dataclass(slots=True)
class _Meter:
    found: Lateness = field(default_factory=Lateness)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK
            await asyncio.sleep(LOOK)
            self.found.look(loop.time() - due)


@asynccontextmanager
async def measured() -> AsyncIterator[Lateness]:
    """The running loop, meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.modems.lateness"], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        await asyncio.to_thread(child.stdout.readline)
        meter = _Meter()
        task = asyncio.create_task(meter.run())
        gc.freeze()  # as the agent does: what there is of the tests is not looked through each time
        try:
            yield meter.found
        finally:
            gc.unfreeze()
            task.cancel()
            told, _ = await asyncio.to_thread(child.communicate, timeout=PATIENCE)
        meter.found.beside = int(told)


async def main() -> int:
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    print(flush=True)
    meter = _Meter()
    task = asyncio.create_task(meter.run())
    await over.wait()
    task.cancel()
    return meter.found.late


if __name__ == "__main__":
    print(asyncio.run(main()))
