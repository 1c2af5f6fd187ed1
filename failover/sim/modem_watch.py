"""What must hold of all that is done to modems, whatever the world does. `invariants.py` asks, and ends the run.

Looks at the agent from outside, as that does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf
from typing import Final

from failover.config import Config
from failover.model import RECEIVING, Verdict
from failover.modem import Deed
from failover.picture import Snapshot
from failover.seam import ActOnModem

DAY: Final = 86400.0
HOUR: Final = 3600.0
REPAIRS: Final = frozenset((Deed.RECONNECT, Deed.REGISTER, Deed.RESET, Deed.POWER_CYCLE))
RESETS: Final = frozenset((Deed.RESET, Deed.POWER_CYCLE))
EPSILON: Final = 1e-6


class ModemWatch:
    """One agent's life. What is asked of it tells a breach, or nothing. Times are the script's, in seconds."""

    def __init__(self, config: Config, modems: Mapping[str, str]) -> None:
        """`modems`: their interfaces, by uplink."""
        self._repair = config.repair
        self._modems = modems
        self._resets: dict[str, list[float]] = {}
        self._switches: dict[str, list[float]] = {}
        self._picture: Snapshot | None = None

    def decided(self, picture: Snapshot) -> str:
        """The agent's picture has changed."""
        self._picture = picture
        for modem, names in self._warm(picture).items():
            if len(names) > 1:
                return f"two SIMs of {modem} are warm at once: {', '.join(names)}"
        return ""

    def given_up(self, picture: Snapshot) -> list[str]:
        """Modems of which no SIM is warm: they change from one to another, whatever the kernel still has of them."""
        return [modem for modem, names in self._warm(picture).items() if not names]

    def _warm(self, picture: Snapshot) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {modem: [] for modem in self._modems.values()}
        for view in picture.uplinks:
            if view.name in self._modems and any(v.verdict is not Verdict.COLD for v in view.families.values()):
                found[self._modems[view.name]].append(view.name)
        return found

    def ordered(self, now: float, order: ActOnModem, under_way: Collection[ActOnModem]) -> str:
        key = self._modems.get(order.uplink)
        if key is None:
            return "an order to what is no modem"
        if any(self._modems.get(other.uplink) == key for other in under_way):
            return "two orders to one modem at a time"
        if order.deed in REPAIRS and self._carries(order.uplink):
            return "a repair of what carries the traffic"
        if order.deed in RESETS:
            return _paced(now, self._resets.setdefault(key, []), DAY, self._repair.resets_per_day) or _apart(
                self._resets[key], self._repair.reset_interval
            )
        if order.deed is Deed.SELECT_SLOT and not self._willed():
            return _paced(now, self._switches.setdefault(key, []), HOUR, self._repair.switches_per_hour)
        return ""

    def _willed(self) -> bool:
        """The operator wants this SIM, or does not want that one."""
        picture = self._picture
        return picture is not None and (picture.use is not None or any(view.drained for view in picture.uplinks))

    def _carries(self, uplink: str) -> bool:
        """New flows go there, and something comes back."""
        if self._picture is None:
            return False
        views = {view.name: view.families for view in self._picture.uplinks}
        chosen = (family for family, decision in self._picture.decisions.items() if decision.active == uplink)
        return any(views[uplink][family].verdict in RECEIVING for family in chosen)


def _paced(now: float, done: list[float], within: float, most: int) -> str:
    """Once more is not too often; it is noted."""
    recent = [at for at in done if at > now - within + EPSILON]
    done[:] = [*recent, now]
    return f"{len(done)} in {within:g} s, and {most} are allowed" if len(done) > most else ""


def _apart(done: list[float], least: float) -> str:
    gap = done[-1] - done[-2] if len(done) > 1 else inf
    return f"{gap:g} s after the one before, and {least:g} s are to lie between" if gap < least - EPSILON else ""
