"""When the agent reads the kernel, what it says when it cannot, and which interfaces it forgets.

The kernel and its events are stand-ins; the loop is a real one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from failover.facts import Facts, Link
from failover.kernel.watch import Dirty
from failover.model import KernelError
from failover.reader import Reader
from failover.seam import KernelRead

PATIENCE = 10.0


def having(**links: int) -> Facts:
    """Interfaces with these indices."""
    return Facts(links=tuple(Link(index, name, True, True) for name, index in links.items()))


@dataclass
class Machine:
    """The kernel: gives `answers` one after another, the last one for ever. `stir` has it tell of something."""

    answers: list[Facts | KernelError]
    reads: int = 0
    pipe: tuple[int, int] = field(default_factory=os.pipe)

    def read(self) -> Facts:
        self.reads += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, KernelError):
            raise answer
        return answer

    def stir(self, how: Dirty) -> None:
        os.write(self.pipe[1], bytes([how]))

    def fileno(self) -> int:
        return self.pipe[0]

    def drain(self) -> Dirty:
        return Dirty(os.read(self.pipe[0], 1)[0])


@dataclass
class Listener:
    """What came of it."""

    taken: asyncio.Queue[KernelRead] = field(default_factory=asyncio.Queue)
    forgotten: list[str] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def reading(machine: Machine) -> Iterator[tuple[Reader, Listener]]:
    heard = Listener()
    peer: Any = machine

    def step(function: Callable[..., None], *arguments: object) -> None:
        function(*arguments)

    def say(kind: str, text: str) -> None:
        heard.said.append((kind, text))

    reader = Reader(peer, peer, heard.taken.put_nowait, heard.forgotten.append, say, step)
    try:
        yield reader, heard
    finally:
        reader.close()
        for fd in machine.pipe:
            os.close(fd)


def run(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), PATIENCE))


def test_a_kernel_that_cannot_be_asked_is_said_once_each_time_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.reader.READ_AGAIN", 0.01)
    deaf, full = KernelError("no socket"), KernelError("no memory")

    async def scene() -> None:
        machine = Machine([deaf, deaf, full, full, Facts(), full, Facts()])
        with reading(machine) as (reader, heard):
            reader.open()
            for _ in range(2):
                await heard.taken.get()
                reader.taken()
                reader.read()
            assert [text for _, text in heard.said] == [
                "no socket; trying again",
                "no memory; trying again",
                "no memory; trying again",
            ]
            assert {kind for kind, _ in heard.said} == {"kernel"}

    run(scene)


def test_what_is_urgent_waits_neither_for_what_is_not_nor_for_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.reader.READ_AGAIN", 10 * PATIENCE)
    monkeypatch.setattr("failover.reader.DEBOUNCE", 10 * PATIENCE)

    async def scene() -> None:
        machine = Machine([KernelError("no socket"), Facts()])
        with reading(machine) as (reader, heard):
            reader.open()
            machine.stir(Dirty.URGENT)
            await heard.taken.get()
            reader.taken()
            machine.stir(Dirty.CHANGED)
            machine.stir(Dirty.URGENT)
            await heard.taken.get()
            assert machine.reads == 3

    run(scene)


def test_an_interface_that_is_gone_or_another_one_is_forgotten() -> None:
    async def scene() -> None:
        machine = Machine([having(wwan0=2, wwan1=3, wlan0=4), having(wwan0=2, wwan1=7), having(wwan0=2, wwan1=7)])
        with reading(machine) as (reader, heard):
            for _ in range(3):
                reader.read()
                reader.taken()
            assert heard.forgotten == ["wwan1", "wlan0"]

    run(scene)


def test_one_reading_waits_and_what_changes_meanwhile_is_read_once_it_is_taken() -> None:
    async def scene() -> None:
        machine = Machine([Facts()])
        with reading(machine) as (reader, heard):
            for _ in range(3):
                reader.read()
            reader.catch_up()
            assert (machine.reads, heard.taken.qsize()) == (1, 1)
            reader.taken()
            for _ in range(2):
                reader.catch_up()
            assert (machine.reads, heard.taken.qsize()) == (2, 2)

    run(scene)
