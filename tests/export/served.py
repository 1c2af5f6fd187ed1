"""A control socket whose answers are echoes, and clients of all manners."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from failover.export.commands import Spec
from failover.export.control import Control
from failover.model import ControlError

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
STATUS = b'{"command":"status"}\n'
WATCH = b'{"command":"watch"}\n'
PATIENCE = 20.0
"""Seconds that a test waits for anything; the machine may be busy."""


async def echo(spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
    if arguments.get("name") == "nowhere":
        raise ControlError("no uplink 'nowhere'", "known: au")
    return {"text": f"did {spec.name}", "fields": dict(arguments)}


def silent(kind: str, text: str) -> None:
    raise AssertionError(f"{kind}: {text}")


@contextlib.asynccontextmanager
async def serving(path: Path, writers: int | None = None) -> AsyncIterator[Control]:
    server = Control(path, echo, silent, writers)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def run(path: Path, scene: Callable[[], Awaitable[None]], writers: int | None = None) -> None:
    async def play() -> None:
        async with serving(path, writers):
            await scene()

    asyncio.run(play())


async def exchange(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """Sends every line, ends the sending side, returns every reply until the server closes."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
    with contextlib.suppress(ConnectionError):
        writer.write(b"".join(lines))
        writer.write_eof()
        await writer.drain()
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            data += chunk
    writer.close()
    return [json.loads(line) for line in data.splitlines()]


async def asking(path: Path, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that asked something, was told so, and stays."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
    writer.write(request)
    assert (await heard(reader))["ok"]
    return reader, writer


async def heard(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next line."""
    line = await asyncio.wait_for(reader.readline(), PATIENCE)
    assert line, "the server hung up"
    found = json.loads(line)
    assert isinstance(found, dict)
    return found
