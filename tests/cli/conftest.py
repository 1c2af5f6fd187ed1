"""A control socket that answers as an agent would, from a table."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from failover.export.commands import Spec
from failover.export.control import Control
from failover.export.status import document
from failover.model import ControlError
from failover.picture import Snapshot
from tests.export.pictures import NOW, snapshot


@dataclass
class Standin:
    """What it is asked is kept in `asked`; uplink `nowhere` is refused."""

    path: Path
    picture: Snapshot = field(default_factory=snapshot)
    asked: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    async def answer(self, spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
        if spec.name == "status":
            return {"status": document(self.picture, NOW)}
        self.asked.append((spec.name, dict(arguments)))
        if arguments.get("name") == "nowhere":
            raise ControlError("no uplink is named nowhere", "there is au")
        return {"text": f"did {spec.name}"}

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        control = Control(self.path, self.answer, print)
        await control.start()
        ready.set()
        await stop.wait()
        await control.stop()


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Standin]:
    served = Standin(tmp_path / "control.sock")
    ready, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(served.serve(ready, stop),))
    thread.start()
    assert ready.wait(10)
    yield served
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()
