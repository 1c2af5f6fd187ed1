"""What people and machines may ask of the running agent: the control socket, the metrics page, and the answers.

Who decides what an answer means is the engine; who carries it out, the agent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from failover.core.engine import Engine
from failover.export.commands import Spec
from failover.export.control import Control
from failover.export.entries import Entry
from failover.export.explain import document as explained
from failover.export.log import Say
from failover.export.metrics import Metrics, Picture, traffic
from failover.export.scrape import Scrape
from failover.export.status import document
from failover.export.words import sentence
from failover.model import Answer, Command, ControlError

Ask = Callable[[Command], Awaitable[Answer]]
"""Has the engine obey a command."""
About = Callable[[], Mapping[str, object]]
"""What `status` says of the agent itself."""
Happened = Callable[[int, float | None], Sequence[Entry]]
"""The newest entries, oldest first: so many at most, none from before that moment (unix seconds)."""
Reload = Callable[[], Awaitable[Answer]]
"""Has the config read again."""


class Desk:
    """Both servers; `open` and `close` them together."""

    def __init__(
        self, socket: Path, about: About, happened: Happened, engine: Engine, metrics: Metrics, say: Say
    ) -> None:
        self._about, self._happened = about, happened
        self._engine, self._metrics, self._say = engine, metrics, say
        self._control = Control(socket, self._answer, say)
        self._scrape: Scrape | None = None

    async def open(self, listen: str | None, ask: Ask, reload: Reload) -> None:
        """Take up both ends; ControlError when there can be no control socket."""
        self._ask, self._reload = ask, reload
        await self._control.start()
        await self.serve_metrics(listen)

    async def close(self) -> None:
        """Let every client go."""
        await self._control.stop()
        if self._scrape is not None:
            await self._scrape.stop()

    def publish(self, entry: Entry) -> None:
        """Show whoever watches what happened."""
        self._control.publish(entry.document())

    def keep(self) -> None:
        """Make the control socket anew if somebody took it away."""
        self._control.keep()

    async def serve_metrics(self, listen: str | None) -> None:
        """Serve at `listen`; a port in use is said, and the agent goes on."""
        if self._scrape is not None:
            if self._scrape.listen == listen:
                return
            await self._scrape.stop()
            self._scrape = None
        if listen is None:
            return
        scrape = Scrape(listen, self._picture)
        try:
            await scrape.start()
        except OSError as error:
            self._say("warning", f"no metrics at {listen}: {error.strerror or error}")
        else:
            self._scrape = scrape

    def _picture(self) -> Callable[[], bytes]:
        """The page of this moment, to be rendered in a thread."""
        picture = Picture(self._engine.snapshot(), time.monotonic(), traffic())
        return lambda: self._metrics.render(picture)

    async def _answer(self, spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """A request over the control socket; ControlError is the refusal."""
        if spec.build is not None:
            return await _reply(self._ask(spec.build(**arguments)))
        match spec.name:
            case "status":
                return {"status": self._status()}
            case "explain":
                now = time.monotonic()
                return {"explain": explained(self._engine.explain(now), now)}
            case "events":
                return {"events": [entry.document() for entry in self._entries(arguments)]}
            case "reload":
                return await _reply(self._reload())
        raise ControlError(f"{spec.name} is unknown to this agent")

    def _entries(self, arguments: Mapping[str, object]) -> Sequence[Entry]:
        limit, since = arguments["limit"], arguments.get("since")
        assert isinstance(limit, int)
        return self._happened(limit, time.time() - since if isinstance(since, float) else None)

    def sentence(self) -> str:
        """How things are, for somebody in a hurry."""
        return sentence(self._status())

    def _status(self) -> Mapping[str, object]:
        return {**self._about(), **document(self._engine.snapshot(), time.monotonic())}


async def _reply(coming: Awaitable[Answer]) -> Mapping[str, object]:
    """The answer as a reply. A client that leaves early does not stop what it asked for."""
    answer = await asyncio.shield(coming)
    if answer.error:
        raise ControlError(answer.error, answer.hint)
    return {"text": answer.text}
