"""In the agent's place, as user `failover`: carries out what it reads, a JSON line each, and answers with a line.

It gives up root itself, when all that it may need is imported: the checkout may be closed to others.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from failover.bus import Bus
from failover.model import FAMILIES, FailoverError
from failover.names import resolvconf
from failover.names.backend import Backend
from failover.names.choose import choose
from failover.names.record import RECORD
from failover.names.resolvconf import Resolvconf
from failover.names.resolved import Resolved
from failover.names.sources import told
from failover.resolvers import Resolvers, Way

FOLDER = Path("/run/failover")
PATIENCE = 30.0
"""Seconds for an answer of systemd-resolved, which has to ask polkit; the machine may be busy."""


def made(way: Way) -> Backend:
    match way:
        case Way.RESOLVED:
            return Resolved(FOLDER / RECORD, Bus(seconds=PATIENCE))
        case Way.RESOLVCONF:
            return Resolvconf(resolvconf.find() or "")
    raise AssertionError(way)


def wish(name: str, servers: list[str], on: bool, lost: bool = False) -> Resolvers:
    return Resolvers(name, tuple(servers), FAMILIES if on else (), lost)


async def answer(backend: Backend, order: dict[str, Any]) -> object:
    match order["do"]:
        case "follow":
            return await backend.follow([wish(*words) for words in order["wanted"]])
        case "told":
            return dict(await backend.told(order["interfaces"]))
        case "sources":
            return dict(await told(None, order["interfaces"], Bus()))
        case "restore":
            return await backend.restore()
        case "choose":
            return (await choose(Way(order["way"]), FOLDER / "resolv.conf")).way
        case "call":
            return await call(*order["call"])
    raise AssertionError(order)


async def call(*arguments: Any) -> object:
    bus = Bus()
    try:
        return await bus.call(*arguments)
    finally:
        await bus.close()


async def tried(doing: Awaitable[object]) -> dict[str, object]:
    began = time.monotonic()
    try:
        return {"done": await doing, "seconds": time.monotonic() - began}
    except FailoverError as error:
        return {"error": str(error), "hint": error.hint, "name": getattr(error, "name", "")}


async def serve(way: Way) -> None:
    backend = made(way)
    for line in sys.stdin:
        print(json.dumps(await tried(answer(backend, json.loads(line)))), flush=True)
    await backend.close()


if __name__ == "__main__":
    for module in ("dbus_fast.aio", "concurrent.futures.thread", "encodings.idna"):
        importlib.import_module(module)
    user = int(sys.argv[1])
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    asyncio.run(serve(Way(sys.argv[2])))
