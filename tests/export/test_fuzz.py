"""Clients that mean ill, against a control socket in its own process: it answers or hangs up, is not late, and stays
as large as it was. Bounded and seeded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from failover.export.commands import COMMANDS, Argument, Kind
from failover.export.control import CLIENTS_MAX, LINE_LIMIT
from tests.export.besieged import Report
from tests.export.served import PATIENCE, STATUS, WATCH

LATE_MAX: Final = 0.02
ALIKE: Final = 4 << 20
"""Bytes that the same load may leave behind or not, as the allocator likes."""
NUMBERS: Final = b"[" + b"1," * 32000 + b"1]\n"
KEYS: Final = b'{"command":"use",' + b",".join(b'"%x":1' % number for number in range(7000)) + b"}\n"
EVENTS: Final = b'{"command":"events","limit":1000}\n'
HEAVY: Final = (NUMBERS, KEYS, EVENTS)
"""What costs the most for its length; a line of each is 1-6 ms."""
SEEDS: Final = (b'{"command":"use","name":"au","seconds":60}', STATUS, WATCH, EVENTS, b"[[[[", b'"\\u0000"', b"{" * 99)
ODD: Final[tuple[object, ...]] = (
    *(math.nan, math.inf, -1, 0, 1.5, 10**300, True, None, "", "x" * 129, "\x1b[31m", "\u202e", [], {}),
)


class Besieged:
    """The process; `report` says how it does since the last time."""

    def __init__(self, path: Path) -> None:
        argv = [sys.executable, "-m", "tests.export.besieged", str(path)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.path = path
        assert self._next() == "ready"
        self.report()

    def report(self) -> Report:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        found = Report(**self._next())
        assert self._next() == "go on"
        return found

    def _next(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def besieged(tmp_path: Path) -> Iterator[Besieged]:
    served = Besieged(tmp_path / "control.sock")
    with served.process:
        yield served
    assert served.process.returncode == 0


class Visitor:
    """One client after another, as the dice fall."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        self._dice = random.Random(seed)
        self.answers = 0

    async def visit(self) -> None:
        manner: Callable[[], Awaitable[None]] = self._dice.choice(
            [self.talk, self.talk, self.talk, self.mumble, self.leave, self.watch, self.dawdle, self.ignore]
        )
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(manner(), 2 * PATIENCE)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        while client.connect_ex(str(self._path)) != 0:  # as many as may wait already do; asyncio does not tell
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_unix_connection(sock=client, limit=4 << 20)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    def _request(self) -> bytes:
        """A command of the table; each argument right, odd or missing."""
        spec = self._dice.choice(list(COMMANDS.values()))
        given = {one.name: self._value(one) for one in spec.arguments if self._dice.random() < 0.8}
        return json.dumps({"command": spec.name, **given}).encode() + b"\n"

    def _value(self, argument: Argument) -> object:
        right = {Kind.NAME: "au", Kind.SECONDS: 60, Kind.COUNT: 10, Kind.FLAG: True, Kind.WORD: "::1", Kind.UID: 0}
        return right[argument.kind] if self._dice.random() < 0.7 else self._dice.choice(ODD)

    def _mangled(self) -> bytes:
        line = bytearray(self._dice.choice(SEEDS))
        for _ in range(self._dice.randrange(6)):
            at = self._dice.randrange(len(line) + 1)
            line[at : at + self._dice.randrange(3)] = self._dice.randbytes(self._dice.randrange(4))
        return bytes(line) + self._dice.choice([b"\n", b"\n", b"\n\n", b""])

    def _huge(self) -> bytes:
        length = self._dice.choice([LINE_LIMIT - 2, LINE_LIMIT, LINE_LIMIT + 1, 3 * LINE_LIMIT])
        filler = self._dice.choice([b"[", b"9", b"{", b'"', b"\xff", b'{"a":'])
        return self._dice.choice([*HEAVY, (filler * length)[:length] + b"\n"])

    def _line(self) -> bytes:
        return self._dice.choice([self._request, self._request, self._mangled, self._mangled, self._huge])()

    async def talk(self) -> None:
        """Some lines, and whatever comes back is an answer."""
        async with self._connected() as (reader, writer):
            with contextlib.suppress(ConnectionError):
                writer.write(b"".join(self._line() for _ in range(self._dice.randrange(1, 8))))
                writer.write_eof()
            for _ in range(20):  # a watcher is sent more and more
                line = await reader.readline()
                if not line.endswith(b"\n"):
                    break
                reply = json.loads(line)
                assert reply.get("ok", True) is True or reply["error"]
                self.answers += 1

    async def mumble(self) -> None:
        """Byte by byte, and not to the end."""
        async with self._connected() as (_, writer):
            for byte in self._line()[: self._dice.randrange(40)]:
                writer.write(bytes((byte,)))
                await writer.drain()

    async def leave(self) -> None:
        """Come and go."""
        for _ in range(10):
            async with self._connected():
                pass

    async def watch(self) -> None:
        """A few lines; then perhaps say something more."""
        async with self._connected() as (reader, writer):
            writer.write(WATCH)
            for _ in range(self._dice.randrange(5)):
                await reader.readline()
            writer.write(self._mangled())

    async def dawdle(self) -> None:
        """Take the answers a few bytes at a time."""
        async with self._connected() as (reader, writer):
            writer.write(STATUS * 20)
            for _ in range(50):
                await reader.read(self._dice.randrange(1, 100))

    async def ignore(self) -> None:
        """Ask for much and take nothing, until there is no room for more."""
        async with self._connected() as (_, writer):
            writer.write(self._dice.choice([WATCH, EVENTS * 20, STATUS * 20]))
            await writer.drain()


async def besiege(path: Path, visits: int, seed: int) -> int:
    """More at a time than there are places; how many answers there were."""
    visitors = [Visitor(path, seed + number) for number in range(CLIENTS_MAX + 4)]

    async def keep_coming(visitor: Visitor) -> None:
        for _ in range(visits // len(visitors)):
            await visitor.visit()

    await asyncio.gather(*(keep_coming(visitor) for visitor in visitors))
    return sum(visitor.answers for visitor in visitors)


async def answered(path: Path) -> bool:
    """Whether all is as it was once they are gone."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=4 << 20)
    writer.write(STATUS)
    reply = json.loads(await asyncio.wait_for(reader.readline(), PATIENCE))
    writer.close()
    return bool(reply["ok"])


def hold_to(before: Report, after: Report) -> None:
    """What nobody may do to it."""
    print(after)
    assert after.ticks > 0
    assert after.caused_seconds <= LATE_MAX
    assert after.rss_bytes - before.rss_bytes <= ALIKE
    assert after.objects - before.objects <= 500
    assert after.tasks <= before.tasks
    assert after.descriptors <= before.descriptors


def test_whatever_they_send_it_stays_as_it_is(besieged: Besieged) -> None:
    asyncio.run(besiege(besieged.path, 600, 155))
    before = besieged.report()
    assert asyncio.run(besiege(besieged.path, 1500, 1155)) > 500
    assert asyncio.run(answered(besieged.path))
    hold_to(before, besieged.report())


async def press(path: Path, requests: int, mix: Sequence[bytes]) -> None:
    """Sixteen at once, each as fast as it can; every request is answered."""

    async def client(dice: random.Random) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=4 << 20)
        lines = dice.choices(mix, k=requests // CLIENTS_MAX)

        async def send() -> None:
            for line in lines:
                writer.write(line)
                await writer.drain()

        sending = asyncio.create_task(send())
        seen = 0
        while seen < len(lines):
            chunk = await asyncio.wait_for(reader.read(1 << 20), 6 * PATIENCE)
            assert chunk, "hung up"
            seen += chunk.count(b"\n")
        await sending
        writer.close()

    await asyncio.gather(*(client(random.Random(number)) for number in range(CLIENTS_MAX)))


@pytest.mark.parametrize(
    ("requests", "mix"),
    [(10_000, [*HEAVY, *[STATUS] * 10, *[b"{}\n"] * 47]), (320, [EVENTS])],
    ids=["all sorts", "all answered at once"],
)
def test_sixteen_that_ask_without_end_do_not_make_it_late(
    besieged: Besieged, requests: int, mix: Sequence[bytes]
) -> None:
    asyncio.run(press(besieged.path, requests // 2, mix))
    before = besieged.report()
    asyncio.run(press(besieged.path, requests, mix))
    assert asyncio.run(answered(besieged.path))
    hold_to(before, besieged.report())
