"""What people and machines may ask of the running agent: the control socket, the metrics page, and the answers.

Who decides what an answer means is the engine; who carries it out, the agent.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from failover.config.modem_values import parse_iccid
from failover.config.values import WrongValueError
from failover.core.engine import Engine
from failover.counting import Counting
from failover.export.commands import Spec
from failover.export.control import Control
from failover.export.entries import Entry, Recent
from failover.export.explain import document as explained
from failover.export.explain import names, passage
from failover.export.log import Say
from failover.export.metrics import Metrics, Picture, traffic
from failover.export.modem_status import repairs
from failover.export.pulse import Pulse
from failover.export.scrape import Scrape
from failover.export.sentence import sentence
from failover.export.status import document, gateway
from failover.export.storage import Storage
from failover.model import Answer, Command, ControlError
from failover.modem import masked
from failover.picture import Snapshot
from failover.radio import Radio
from failover.resolving import Resolving

HELD, HELD_STEP = 1.0, 0.02
"""Seconds in which an address that we served at may still be in use, and between two looks: a child that is about to
begin, as nft, holds what we had open until it does."""

Ask = Callable[[Command], Awaitable[Answer]]
"""Has the engine obey a command."""
About = Callable[[], Mapping[str, object]]
"""What `status` says of the agent itself."""
Reread = Callable[[], Awaitable[Answer]]
"""Has the config read again."""
Answerer = Callable[[Mapping[str, object]], Awaitable[Mapping[str, object]]]
"""The reply to a command with these arguments; ControlError is the refusal."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the answers are drawn from."""

    engine: Engine
    metrics: Metrics
    storage: Storage
    pulse: Pulse
    past: Sequence[Entry]
    """Of earlier runs, as they are on disk."""
    about: About
    counting: Counting
    resolving: Resolving
    radio: Radio

    def snapshot(self) -> Snapshot:
        """The engine's picture, with what only the shell knows to stand in the way."""
        picture = self.engine.snapshot()
        picture = replace(picture, warnings=(*picture.warnings, *self.resolving.warnings, *self.radio.warnings))
        if not self.counting.weak:
            return picture
        return replace(picture, warnings=(*picture.warnings, *self.counting.warnings), flows_counted=False)


class Desk:
    """Both servers; `open` and `close` them together."""

    def __init__(self, socket: Path, sources: Sources, ask: Ask, reload: Reread, say: Say) -> None:
        self._from, self._ask, self._say = sources, ask, say
        self.answers: Mapping[str, Answerer] = {
            "status": self._status,
            "explain": self._explain,
            "events": self._events,
            "sms": self._sms,
            "esim": self._esim,
            "reload": lambda _: _reply(reload()),
        }
        """What the shell answers itself, by command; all else is the engine's."""
        self._recent = Recent()
        self._control = Control(socket, self._answer, say)
        self._scrape: Scrape | None = None

    async def open(self, listen: str | None) -> None:
        """Take up both ends; ControlError when there can be no control socket."""
        await self._control.start()
        await self.serve_metrics(listen)

    async def close(self) -> None:
        """Let every client go."""
        await self._control.stop()
        if self._scrape is not None:
            await self._scrape.stop()

    def publish(self, entry: Entry) -> None:
        """Show what happened to whoever watches, or asks later."""
        self._recent.add(entry)
        self._control.publish(entry.document())

    def keep(self) -> None:
        """Make the control socket anew if somebody took it away."""
        self._control.keep()

    async def serve_metrics(self, listen: str | None) -> str:
        """Serve at `listen`, and nowhere else; what keeps it from that is the answer, and the place before stays."""
        before = self._scrape
        if before is not None and before.listen == listen:
            return ""
        if before is not None:  # another address may lie on the same port
            await before.stop()
            self._scrape = None
        patience = HELD if before is not None else 0.0
        complaint = await self._serve(listen, patience) if listen is not None else ""
        if complaint and before is not None:
            await self._serve(before.listen, patience)
        return complaint

    async def _serve(self, listen: str, patience: float) -> str:
        """`patience`: seconds in which the address may be in use."""
        scrape, until = Scrape(listen, self._picture, self._from.pulse.fault), time.monotonic() + patience
        try:
            while not await scrape.start(busy=time.monotonic() < until):
                await asyncio.sleep(HELD_STEP)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)  # asyncio's words repeat the address
            self._say("warning", complaint := f"no metrics at {listen}: {why}")
            return complaint
        self._scrape = scrape
        return ""

    def _picture(self) -> Callable[[], bytes]:
        """The page of this moment, to be rendered in a thread."""
        metrics, storage = self._from.metrics, self._from.storage
        picture = Picture(self._from.snapshot(), time.monotonic(), traffic(), not storage.failing, storage.dropped)
        return lambda: metrics.render(picture)

    async def _answer(self, spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """A request over the control socket; ControlError is the refusal."""
        if spec.build is not None:
            return await _reply(self._ask(spec.build(**arguments)))
        return await self.answers[spec.name](arguments)

    async def _status(self, _: Mapping[str, object]) -> Mapping[str, object]:
        return {"status": self._document()}

    async def _explain(self, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        now = time.monotonic()
        found = self._from.engine.explain(now)
        if arguments:
            return {"explain": passage(found, arguments)}
        picture = self._from.snapshot()
        asked = names(picture, self._from.resolving.about())
        mended = repairs(picture, now)
        return {"explain": {**explained(found, now), "names": asked, "gateway": gateway(picture), "modems": mended}}

    async def _events(self, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        since = arguments.get("since")
        earliest = None if since is None else time.time() - since
        newest = self._recent.recent(arguments["limit"], earliest, self._from.past)
        return {"events": [entry.document() for entry in newest]}

    async def _sms(self, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        return {"sms": [kept.document() for kept in await self._from.radio.inbox.recent(arguments["limit"])]}

    async def _esim(self, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        try:
            iccid = parse_iccid(arguments["iccid"])
        except WrongValueError as error:
            raise ControlError(f"esim: argument 'iccid': {error}", error.hint) from error
        text = f"the eSIM of modem {masked(arguments['modem'])} uses profile {masked(iccid)} now"
        self._say("operator", text)
        return {"text": f"noted: {text}"}

    def sentence(self) -> str:
        """How things are, for somebody in a hurry."""
        return sentence(self._document())

    def _document(self) -> Mapping[str, object]:
        return {**self._from.about(), **document(self._from.snapshot(), time.monotonic())}


async def _reply(coming: Awaitable[Answer]) -> Mapping[str, object]:
    """The answer as a reply. A client that leaves early does not stop what it asked for."""
    answer = await asyncio.shield(coming)
    if answer.error:
        raise ControlError(answer.error, answer.hint)
    return {"text": answer.text}
