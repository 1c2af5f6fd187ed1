"""A control socket that answers as an agent would, from a table."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from failover.export import explain
from failover.export.commands import Spec
from failover.export.control import Control
from failover.export.entries import Entry
from failover.export.messages import Kept
from failover.export.status import document
from failover.model import ControlError, Decision, Family, NoticeKind, Reason, Verdict
from failover.picture import CandidateView, Explanation, Prospect, Snapshot
from tests.export.pictures import NOW, snapshot

ABOUT = {
    "agent": {"version": "0.1.0", "pid": 4711},
    "config": {"path": "/etc/failover/failover.yaml", "ok": True, "problems": []},
}
UNIX = 1_790_000_000.0
SWITCH = Entry(
    "run-1", UNIX, True, NoticeKind.SWITCH, "ipv4 au -> docomo: doubt: au silent", {"family": "ipv4", "from": "au"}
)


def entry(number: int, text: str) -> Entry:
    """Another thing that happened."""
    return replace(SWITCH, id=f"run-{number}", unix=UNIX + number, kind=NoticeKind.VERDICT, text=text, fields={})


def candidate(name: str, verdict: Verdict, **changes: Any) -> CandidateView:
    """One that is neither used nor wanted."""
    view = CandidateView(name, 0, verdict, "because", False, False, False, False, None, 0.0, {}, "")
    return replace(view, **changes)


EXPLANATION = Explanation(
    Family.IPV4,
    Decision(
        Family.IPV4, "docomo", "au", ("docomo", "au"), Reason.DOUBT, "au silent", {"silence_seconds": 0.36}, NOW - 600
    ),
    "stay",
    "docomo is up, and au owes its hold-down",
    (
        candidate("docomo", Verdict.UP, preference=1, active=True, proven=True, owed_seconds=0.0, counted="flows"),
        candidate(
            "au",
            Verdict.UP,
            settled=True,
            owed_seconds=42.0,
            relapses=1.5,
            forgiven_seconds=4416.0,
            numbers={"loss_ratio": 0.02, "rtt_seconds": 0.03, "lost_count": 1.0},
            objection="it owes 42 s of its hold-down",
        ),
    ),
    (Prospect("au has paid its hold-down: new flows go back to it", 42.0), Prospect("docomo falls silent", None)),
)


@dataclass
class Standin:
    """What it is asked is kept in `asked`; uplink `nowhere` is refused. `start` and `stop` as often as wanted."""

    path: Path
    picture: Snapshot = field(default_factory=snapshot)
    asked: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=lambda: [SWITCH])
    messages: list[Kept] = field(default_factory=list)
    explained: Mapping[str, Any] = field(default_factory=lambda: explain.document([EXPLANATION], NOW))
    about: Mapping[str, Any] = field(default_factory=lambda: ABOUT)
    text: str = ""
    """What is answered instead of what was done."""
    refusal: ControlError | None = None
    """Of everything but `status` and `explain`."""
    drawn: SimpleQueue[None] = field(default_factory=SimpleQueue)
    """One item for each status that was told."""
    on_probe: Snapshot | None = None
    """The picture from then on."""

    def document(self) -> dict[str, Any]:
        return {**self.about, **document(self.picture, NOW)}

    async def answer(self, spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
        match spec.name:
            case "status":
                self.drawn.put(None)
                return {"status": self.document()}
            case "explain":
                return {"explain": self.explained}
        self.asked.append((spec.name, dict(arguments)))
        if self.refusal:
            raise self.refusal
        if spec.name == "events":
            return {"events": [one.document() for one in self.entries]}
        if spec.name == "sms":
            return {"sms": [one.document() for one in self.messages]}
        if arguments.get("name") == "nowhere":
            raise ControlError("no uplink is named nowhere", "there is au")
        if spec.name == "probe":
            self.picture = self.on_probe or self.picture
        return {"text": self.text or f"did {spec.name}"}

    def start(self) -> None:
        ready, self._stop, self._loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
        self._control = Control(self.path, self.answer, print)
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(ready),))
        self._thread.start()
        assert ready.wait(10)

    async def _serve(self, ready: threading.Event) -> None:
        await self._control.start()
        ready.set()
        await self._stop.wait()
        await self._control.stop()

    def publish(self, happened: Entry) -> None:
        self._loop.call_soon_threadsafe(self._control.publish, happened.document())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Standin]:
    served = Standin(tmp_path / "control.sock")
    served.start()
    yield served
    served.stop()
