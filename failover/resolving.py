"""The box's resolver: by which way it is told (names/), chosen as the config says and put to work beside the agent.

Which servers, and over which uplink, is the core's business. Nothing here holds anybody up; what cannot be had is said,
and names are then asked as they were before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, assert_never

from failover.counting import ended
from failover.export.log import Say
from failover.model import clean
from failover.names.backend import Backend, NamesError
from failover.names.choose import Choice, anew, choose
from failover.names.following import Following
from failover.names.ways import OWN, opened, put_others_back
from failover.resolvers import Way
from failover.seam import AskNames, FollowNames, NamesTold

SETTLING: Final = 0.1
"""Seconds at most that others wait for the resolver to be told; it takes 15 to 40 ms."""
CHANGED: Final = "/etc/resolv.conf is not what it was when it was decided how names follow the uplink"


class Resolving:
    """`begin` with a way, `carry_out` effects; both return at once. What networks tell goes to `put`."""

    def __init__(self, folder: Path, put: Callable[[NamesTold], None], say: Say) -> None:
        """To be made in the running loop. `folder`: where notes of what was changed are, as of the control socket."""
        self._loop = asyncio.get_running_loop()
        self._folder, self._put, self._say = folder, put, say
        self._asked_for: Way | None = None
        """As the config said when the choice was made; none was yet."""
        self._choice = Choice(Way.NONE)
        self._backend: Backend | None = None
        self._following: Following | None = None
        self._choosing: asyncio.Task[None] | None = None
        self._ask: AskNames | None = None
        self._wish: FollowNames | None = None
        """The newest of each that came before a way was chosen."""

    def begin(self, way: Way) -> None:
        """By this way from now on, as the box is now; what was changed by another one is put back."""
        self._choosing = self._loop.create_task(self._change(way, self._choosing))
        self._choosing.add_done_callback(ended)

    def carry_out(self, effect: AskNames | FollowNames) -> None:
        """As soon as there is a way; where there is none, nothing is done, and nothing told."""
        match effect:
            case AskNames(interfaces):
                self._ask = effect
                if self._following is not None:
                    self._following.ask(interfaces)
            case FollowNames(wanted):
                self._wish = effect
                if self._following is not None:
                    self._following.follow(wanted)
            case _:
                assert_never(effect)

    async def settled(self) -> None:
        """Until what was wished is so, or SETTLING is over."""
        if self._following is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLING):
                    await self._following.settled()

    def about(self) -> dict[str, object]:
        """By which way, and what is amiss with it, for `status`."""
        now = self._now()
        return {"way": now.way.value, "text": now.warning, "mend": now.hint, "trouble": list(self.warnings)}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What keeps names from following, as long as it does."""
        if self._following is None:
            return ()
        now = self._now()
        new = now.warning not in ("", self._choice.warning)
        return (*self._following.complaints, *([f"{now.warning}; {now.hint}"] if new else []))

    async def close(self) -> None:
        """Do no more; what is set stays."""
        if self._choosing is not None:
            self._choosing.cancel()
        if self._following is not None:
            await self._following.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _now(self) -> Choice:
        """The way, and what is amiss with it as the box is now: others may have changed it."""
        before = self._choice
        if self._asked_for is None:
            return before
        try:
            now = anew(self._asked_for, before, self._folder / OWN)
        except NamesError:
            return before
        if now.warning or now.how == before.how:
            return replace(before, warning=now.warning, hint=now.hint)
        return replace(before, warning=CHANGED, hint="`failover reload` chooses the way anew")

    async def _change(self, way: Way, before: asyncio.Task[None] | None) -> None:
        """One after the other. By the same way as before, it is told again."""
        if before is not None:
            await asyncio.wait((before,))
        last, chosen = self._choice, await self._chosen(way)
        self._asked_for, self._choice = way, chosen
        if self._following is not None and chosen.how == last.how:
            if self._wish is not None:
                self.carry_out(self._wish)
            return
        await self._undo()
        self._tell(await put_others_back(self._choice, self._folder))
        self._backend = opened(self._choice, self._folder)
        if self._backend is None:
            self._put(NamesTold({}))
            return
        self._following = Following(self._backend, self._say, self._heard)
        for effect in (self._ask, self._wish):
            if effect is not None:
                self.carry_out(effect)

    async def _chosen(self, way: Way) -> Choice:
        """Said, when it is not as before."""
        try:
            choice, kind = await choose(way, self._folder / OWN), "config"
        except NamesError as error:
            choice = Choice(Way.NONE, warning=f"names do not follow the uplink: {error}", hint=error.hint)
            kind = "warning"
        if self._asked_for is None or choice != self._choice:
            self._say(kind, _told(choice))
        return choice

    async def _undo(self) -> None:
        """Put back what was changed by the way before."""
        following, backend, self._following = self._following, self._backend, None
        if following is None or backend is None:
            return
        await following.close()
        try:
            self._tell(await backend.restore())
        except NamesError as error:
            self._tell((error,))
        await backend.close()

    def _tell(self, done: Iterable[str | NamesError]) -> None:
        """What was put back, and what could not be."""
        for one in done:
            if isinstance(one, NamesError):
                self._say("warning", f"name servers are not put back: {one}; {one.hint}")
            else:
                self._say("kernel", one)

    def _heard(self, servers: Mapping[str, tuple[str, ...]]) -> None:
        self._put(NamesTold(dict(servers)))


def _told(choice: Choice) -> str:
    """Which way it is, or what is amiss with it, for the log."""
    if choice.warning:
        return f"{choice.warning}; {choice.hint}"
    match choice.way:
        case Way.RESOLVED:
            return "names follow the uplink: systemd-resolved is told"
        case Way.RESOLVCONF:
            return "names follow the uplink: openresolv is told"
        case Way.FILE:
            return f"names follow the uplink: {clean(str(choice.path), 400)} is written"
        case Way.NONE | Way.AUTO:
            return "dns: none: names are left as they are"
        case _:
            assert_never(choice.way)
