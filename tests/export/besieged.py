"""A control socket in a process of its own, with the agent of a big van behind it, and how late its loop gets.

`python -m tests.export.besieged SOCKET`: for each line on its stdin one JSON object on its stdout, see `Report`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import psutil

from failover.config import Config
from failover.export.commands import Spec
from failover.export.control import Control
from failover.export.entries import Numbering
from failover.export.status import document
from failover.model import Notice, NoticeKind, ProbeKind, Target
from tests.core.box import Box
from tests.core.worlds import V4, V6

UPLINKS, TARGETS, ENTRIES = 8, 8, 1000
TICK = 0.002
LEAVING = 10.0
"""Seconds that a client may take to be gone; the machine may be busy."""


@dataclass(frozen=True, slots=True)
class Report:
    """Since the report before."""

    late_seconds: float
    """How long at most a timer was overdue,"""
    caused_seconds: float
    """and as far as this process itself worked meanwhile: what the machine's other work makes late is not ours."""
    ticks: int
    rss_bytes: int
    objects: int
    tasks: int
    descriptors: int


class Ticker:
    """Looks at how late the loop is, all the time."""

    def __init__(self) -> None:
        self.late = self.caused = 0.0
        self.ticks = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, worked = loop.time() + TICK, time.thread_time()
            await asyncio.sleep(TICK)
            late = loop.time() - due
            self.late = max(self.late, late)
            self.caused = max(self.caused, min(late, time.thread_time() - worked))
            self.ticks += 1


class Besieged:
    """Answers as the agent does; engine commands are taken at their word."""

    def __init__(self) -> None:
        pings = [
            Target(ProbeKind.ICMP, host, family=family, url=f"icmp://{host}")
            for number in range(TARGETS)
            for host, family in ((f"192.0.2.{number}", V4), (f"2001:db8::{number}", V6))
        ]
        names = [f"wwan{number}" for number in range(UPLINKS)]
        box = Box(*names, config=Config(targets=tuple(pings)), families=(V4, V6)).run(100.0)
        self._engine, self._now = box.engine, box.now
        numbering = Numbering("a")
        notice = Notice(NoticeKind.VERDICT, "wwan1 ipv4 is doubtful: silent for 0.36 s", {"uplink": "wwan1"})
        self._entries = [numbering.entry(notice, 1.7e9, trusted=True).document() for _ in range(ENTRIES)]
        self._beat = asyncio.Event()

    async def answer(self, spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
        if spec.build is not None:
            await asyncio.sleep(0)  # the engine answers in another turn
            return {"text": f"did {type(spec.build(**arguments)).__name__}"}
        match spec.name, arguments:
            case "events", {"limit": int() as limit}:
                await self._beat.wait()  # a slow disk, for which all have to wait
                return {"events": self._entries[-limit:]}
            case "reload", _:
                return {"text": "read again"}
        return {spec.reply: document(self._engine.snapshot(), self._now)}

    async def happen(self, publish: Callable[[Mapping[str, object]], None]) -> None:
        """Something, again and again."""
        for number in count():
            await asyncio.sleep(0.02)
            publish(self._entries[number % ENTRIES])
            self._beat.set()
            self._beat.clear()


async def besiege(path: Path) -> None:
    """Until its stdin ends."""
    loop, besieged, ticker = asyncio.get_running_loop(), Besieged(), Ticker()
    ended = loop.create_future()
    server = Control(path, besieged.answer, print)
    await server.start()
    work = [asyncio.create_task(ticker.run()), asyncio.create_task(besieged.happen(server.publish))]
    at_rest = len(asyncio.all_tasks())
    gc.collect()
    gc.freeze()  # as the agent does

    def report() -> None:
        if not os.read(0, 100):
            loop.remove_reader(0)
            ended.set_result(None)
        else:
            tell(loop.time() + LEAVING)

    def tell(deadline: float) -> None:
        if len(asyncio.all_tasks()) > at_rest and loop.time() < deadline:
            loop.call_later(10 * TICK, tell, deadline)
            return
        gc.collect()
        process = psutil.Process()
        found = Report(
            late_seconds=ticker.late,
            caused_seconds=ticker.caused,
            ticks=ticker.ticks,
            rss_bytes=process.memory_info().rss,
            objects=len(gc.get_objects()),
            tasks=len(asyncio.all_tasks()),
            descriptors=process.num_fds(),
        )
        print(json.dumps(asdict(found)), flush=True)
        loop.call_later(10 * TICK, reset)  # what the report itself made late does not count

    def reset() -> None:
        ticker.late = ticker.caused = 0.0
        ticker.ticks = 0
        print(json.dumps("go on"), flush=True)

    loop.add_reader(0, report)
    print(json.dumps("ready"), flush=True)
    await ended
    for task in work:
        task.cancel()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(besiege(Path(sys.argv[1])))
