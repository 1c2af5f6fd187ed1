"""Modems and the messages on their SIMs, as the agent has them: begun where there are some, wired to each other.

A box without modems loads nothing of it, and pays a look each minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from failover.bus import DEFAULT_ADDRESS
from failover.config import Config
from failover.export.log import Say
from failover.export.messages import Kept
from failover.inbox import Ends, Inbox
from failover.model import Notice
from failover.modem import Message
from failover.modems.room import Modems
from failover.picture import UplinkView
from failover.seam import ActOnModem, OfModems

RUNNING: Final = tuple(
    Path("/sys/fs/cgroup", tree, "system.slice/ModemManager.service") for tree in ("", "unified", "systemd")
)
"""One is there as long as systemd runs ModemManager; its name on the bus takes the library to ask for."""


@dataclass(frozen=True, slots=True)
class Ears:
    """What is called in the agent's loop."""

    put: Callable[[OfModems], None]
    notice: Callable[[Notice], None]
    received: Callable[[Kept], None]
    """A message has come that is not known yet."""
    uplinks: Callable[[], Sequence[UplinkView]]
    """As they are now."""
    trusted: Callable[[], bool]
    """Whether the wall clock is right; a thread asks."""
    say: Say


class Radio:
    """`look` now and then, `carry_out` orders, `follow` each config, `close` at the end."""

    def __init__(
        self,
        folder: Path,
        config: Config,
        ears: Ears,
        address: str = DEFAULT_ADDRESS,
        running: Sequence[Path] = RUNNING,
    ) -> None:
        """To be made in the running loop. `folder`: where messages are kept; `running`: one of these is there while
        ModemManager runs."""
        self._modems = Modems(ears.put, self._heard, ears.say, address)
        self._running, self._uplinks = running, ears.uplinks
        ends = Ends(ears.notice, ears.received, self._modems.forget, self._came_by, ears.trusted, ears.say)
        self.inbox = Inbox(folder, config.messages, ends)
        self._config = config

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is amiss, as long as it is: with modems where somebody relies on them, with messages always."""
        return (*(self._modems.warnings if self._wanted else ()), *self.inbox.warnings)

    def look(self) -> None:
        """Begin, where there are modems to be expected; what has begun goes on."""
        if self._wanted or any(path.exists() for path in self._running):
            self._modems.begin()

    def follow(self, config: Config) -> None:
        """From now on this is the operator's will."""
        self._config = config
        self.inbox.follow(config.messages)
        self.look()

    def carry_out(self, order: ActOnModem) -> None:
        """`put` gets exactly one ModemActed for it."""
        self._modems.carry_out(order)

    async def close(self) -> None:
        """What is under way is given up; messages that wait are kept, if the disk lets them."""
        await self._modems.close()
        await self.inbox.close()

    @property
    def _wanted(self) -> bool:
        """The config names modems."""
        return any(uplink.modem for uplink in self._config.uplinks)

    def _heard(self, message: Message) -> None:
        self.inbox.heard(message)

    def _came_by(self, message: Message) -> str:
        """The uplink whose SIM it is; empty: none's."""
        for uplink in self._uplinks():
            view = uplink.modem
            modem = view.modem if view else None
            sim = modem.sim if modem and view and modem.slot == view.slot else None
            if modem and sim and (modem.imei, sim.iccid) == (message.imei, message.iccid):
                return uplink.name
        return ""
