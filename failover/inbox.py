"""The messages that arrive on the SIMs: looked at, kept, taken off the SIM, and told of, beside the loop.

A SIM has room for 20 or so, and takes no more when it is full: what is kept on disk is deleted there, and nothing else
is. A thread of its own runs the patterns and waits for the disk; what it does not take stays on the SIM.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

from failover.config.modems import Matter, Messages
from failover.core.messages import Matcher, shown
from failover.export.log import Say
from failover.export.messages import BYTES_MAX, LEFT_BYTES, NAME, Kept, append, identity, read, write
from failover.model import ControlError, Notice, NoticeKind, clean
from failover.modem import Message, masked

WAITING_MAX: Final = 256
"""Messages that wait for the thread or for the disk, as many as some SIMs together hold."""
RETRY: Final = 10.0
"""Seconds until a disk that failed is tried again."""
EXPIRY: Final = 3600.0
"""Seconds between two looks for messages that were kept for long enough."""
PATIENCE, LOOK = 3.0, 0.01
"""Seconds that whoever asks waits for the disk at most, and between two looks."""
CLOSING: Final = 1.0
"""Seconds for the last write."""
SEE: Final = "`failover doctor` says what stands in the way"
SAID_AGAIN: Final = 60.0
"""Seconds; a disk that comes and goes is not talked about more often."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What is called in the agent's loop."""

    notice: Callable[[Notice], None]
    """A message is about something."""
    received: Callable[[Kept], None]
    """One has come that is not known yet."""
    forget: Callable[[str], None]
    """The one with this handle is on disk: delete it from its SIM."""
    uplink: Callable[[Message], str]
    """The name of the uplink that it came by; empty: none."""
    trusted: Callable[[], bool]
    """Whether the wall clock is right; the thread asks."""
    say: Say


class Inbox:
    """`heard` for each message, whenever one is read; `recent` to list them; `close` at the end."""

    def __init__(self, folder: Path, wanted: Messages, ends: Ends, retry: float = RETRY) -> None:
        """To be made in the running loop. `retry`: seconds."""
        self._loop = asyncio.get_running_loop()
        self._ends = ends
        self._keeper = _Keeper(folder, wanted, self._outside(ends), retry)
        self._silenced = -inf

    @property
    def warnings(self) -> tuple[str, ...]:
        """What keeps messages from being kept, as long as it does."""
        trouble = self._keeper.trouble
        return (f"messages are not kept, and stay on their SIMs: {NAME}: {trouble}; {SEE}",) if trouble else ()

    def follow(self, wanted: Messages) -> None:
        """From now on this is the operator's will."""
        self._keeper.follow(wanted)

    def heard(self, message: Message) -> None:
        """It is on a SIM. The same again is no other one."""
        if not self._keeper.add(message, self._ends.uplink(message)) and self._loop.time() >= self._silenced:
            self._silenced = self._loop.time() + SAID_AGAIN
            self._ends.say("warning", f"{WAITING_MAX} messages wait to be kept; more stay on their SIMs")

    async def recent(self, limit: int) -> Sequence[Kept]:
        """The last ones, oldest first. ControlError when the disk does not answer, or what it has cannot be read."""
        self._keeper.begin()
        until = self._loop.time() + PATIENCE
        while (found := self._keeper.shown) is None:
            if self._keeper.trouble or self._loop.time() >= until:
                raise ControlError(f"{NAME} cannot be read: {self._keeper.trouble or 'the disk does not answer'}", SEE)
            await asyncio.sleep(LOOK)
        return found[-limit:]

    async def close(self) -> None:
        """What waits is tried once more; a disk that does not answer is not waited for: all is on the SIM yet."""
        await asyncio.to_thread(self._keeper.end, CLOSING)

    def _outside(self, ends: Ends) -> Ends:
        """The ends, for the thread: called in the loop, as long as there is one."""

        def late(end: Callable[..., None], *arguments: object) -> None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(end, *arguments)

        return replace(
            ends,
            notice=partial(late, ends.notice),
            received=partial(late, ends.received),
            forget=partial(late, ends.forget),
            say=partial(late, ends.say),
        )


class _Keeper:
    """The thread. What it shares is held under one lock, never while the disk is asked."""

    def __init__(self, folder: Path, wanted: Messages, ends: Ends, retry: float) -> None:
        self.shown: Sequence[Kept] | None = None
        """All of them; None: the file was not read yet."""
        self.trouble = ""
        """Why it could not be read or written the last time."""
        self._folder, self._ends, self._retry = folder, ends, retry
        self._change = threading.Condition()
        self._wanted, self._come = wanted, list[tuple[Message, str]]()
        self._news = self._ending = False
        self._thread: threading.Thread | None = None
        self._kept: dict[str, Kept] | None = None
        """On disk, by identity; None: not read yet. This and the rest are the thread's own."""
        self._waiting: dict[str, tuple[Kept, str]] = {}
        """To be written, each with its handle."""
        self._passed: dict[str, None] = {}
        """The last that were not to be kept."""
        self._expiry = self._silenced = -inf
        self._told = False

    # --- asked by the agent ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Messages are nothing that every box has."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)
            self._thread.start()

    def follow(self, wanted: Messages) -> None:
        with self._change:
            self._news, self._wanted = self._news or wanted != self._wanted, wanted
            self._change.notify_all()

    def add(self, message: Message, uplink: str) -> bool:
        """False: there is no room for it."""
        with self._change:
            if len(self._come) + len(self._waiting) >= WAITING_MAX:
                return False
            self._come.append((message, uplink))
            self._change.notify_all()
        self.begin()
        return True

    def end(self, timeout: float) -> None:
        with self._change:
            self._ending = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wanted, matcher, ending = self._wanted, Matcher(self._wanted.patterns), False
        while not ending:
            with self._change:
                come, self._come, self._news, ending = self._come, [], False, self._ending
                before, wanted = wanted, self._wanted
            if wanted != before:
                matcher, self._expiry = Matcher(wanted.patterns), -inf
            trouble = _error(self._load)
            for message, uplink in come:
                self._look(message, uplink, wanted, matcher)
            if self._kept is not None:
                trouble = _error(self._write) or _error(partial(self._expire, wanted))
                self._show()
            self._report(trouble)
            with self._change:
                patience = self._retry if trouble else EXPIRY
                self._change.wait_for(lambda: self._come or self._news or self._ending, patience)

    def _load(self) -> None:
        if self._kept is None:
            self._kept = {kept.id: kept for kept in read(self._folder)}

    def _look(self, message: Message, uplink: str, wanted: Messages, matcher: Matcher) -> None:
        """Tell of it, unless it is known. It is to be written, or to be taken off the SIM if it was."""
        name = identity(message)
        if name in (self._kept or ()):
            self._ends.forget(message.handle)
        elif name in self._waiting:
            self._waiting[name] = self._waiting[name][0], message.handle
        elif name not in self._passed:
            kept = self._made(name, message, uplink, matcher.matters(message.text))
            self._ends.received(kept)
            if kept.matters:
                self._ends.notice(_notice(kept))
            if wanted.keep:
                self._waiting[name] = kept if wanted.text else replace(kept, text=None), message.handle
            else:
                self._passed[name] = None
        if len(self._passed) > WAITING_MAX:
            del self._passed[next(iter(self._passed))]

    def _made(self, name: str, message: Message, uplink: str, matters: tuple[Matter, ...]) -> Kept:
        return Kept(
            id=name,
            unix=round(time.time(), 3),
            trusted=self._ends.trusted(),
            uplink=uplink,
            imei=message.imei,
            iccid=message.iccid,
            number=message.number,
            received_at=message.received_at,
            matters=matters,
            text=message.text,
        )

    def _write(self) -> None:
        """What waits, and what is written is taken off the SIM. OSError, and then it waits on."""
        assert self._kept is not None
        if not self._waiting:
            return
        fresh = [kept for kept, _ in self._waiting.values()]
        everything = [*self._kept.values(), *fresh]
        left = everything if append(self._folder, fresh) else write(self._folder, everything, LEFT_BYTES)
        waited, self._waiting = self._waiting, {}
        self._kept = {kept.id: kept for kept in left}
        self._show()
        for name, (_, handle) in waited.items():
            if name in self._kept:
                self._ends.forget(handle)

    def _expire(self, wanted: Messages) -> None:
        """Now and then, and at once when something else is wanted."""
        assert self._kept is not None
        if time.monotonic() < self._expiry:
            return
        now = time.time() if self._ends.trusted() else None
        left = [kept for one in self._kept.values() if (kept := _aged(one, wanted, now)) is not None]
        if left != [*self._kept.values()]:
            self._kept = {kept.id: kept for kept in write(self._folder, left, BYTES_MAX)}
        self._expiry = time.monotonic() + EXPIRY

    def _show(self) -> None:
        """Before a SIM is told to forget: who asks then must not miss what is nowhere else."""
        assert self._kept is not None
        self.shown = (*self._kept.values(), *(kept for kept, _ in self._waiting.values()))

    def _report(self, trouble: str) -> None:
        """A disk that comes and goes is not talked about much."""
        self.trouble, now = trouble, time.monotonic()
        if trouble and not self._told and now >= self._silenced:
            self._told, self._silenced = True, now + SAID_AGAIN
            self._ends.say("warning", f"{NAME}: {trouble}; messages stay on their SIMs meanwhile; {SEE}")
        elif not trouble and self._told:
            self._told = False
            self._ends.say("warning", f"{NAME} is written to again; no message is lost")


def _error(step: Callable[[], None]) -> str:
    """The words of the OSError that it ended in; empty: none."""
    try:
        step()
    except OSError as error:
        return clean(error.strerror or str(error))
    return ""


def _aged(kept: Kept, wanted: Messages, now: float | None) -> Kept | None:
    """As it is to be kept on; None: no longer. `now`: None where the wall clock cannot be trusted. What came while it
    could not counts as new."""
    if not wanted.keep:
        return None
    if now is not None and not kept.trusted:
        kept = replace(kept, unix=now, trusted=True)
    if now is not None and now - kept.unix >= wanted.keep:
        return None
    return kept if wanted.text else replace(kept, text=None)


def _notice(kept: Kept) -> Notice:
    """Everybody may read it: no text, and of a number the end only."""
    sender, about = shown(kept.number), ", ".join(kept.matters)
    text = f"{kept.uplink or f'modem {masked(kept.imei)}'}: a message from {sender}: {about}"
    return Notice(NoticeKind.MODEM, text, {"uplink": kept.uplink, "sender": sender, "matters": about})
