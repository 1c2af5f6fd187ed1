"""The modems of a world: which uplink goes by which interface now, and what their doings do to kernel and packets.

Between `modems.py`, which knows no world, and `world.py`, which knows no modem. Where an uplink is no modem, its
interface bears its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from failover.facts import Counts
from failover.model import Family
from failover.seam import ActOnModem, DestroySockets, ModemActed, ModemsTold
from failover.sim.ground import Ground
from failover.sim.links import Lane, ScriptedLane
from failover.sim.modems import Air, Fit, VirtualModem, assemble

Counted = Mapping[tuple[str, Family], Counts]
NO_COUNTS: Final = Counts()
CALL: Final = 0.01
"""Seconds that a call takes to get to the modem."""


class Box(Protocol):
    """The world, as its modems need it."""

    now: float

    def later(self, seconds: float, action: Callable[[], None]) -> None: ...
    def change_kernel(self, change: Callable[[], None]) -> None: ...
    def told(self, event: ModemsTold) -> None: ...
    def acted(self, event: ModemActed) -> None: ...
    def write(self, text: str) -> None: ...


class Garage:
    """`box` is to be set before anything happens."""

    box: Box

    def __init__(
        self,
        fits: Mapping[str, Fit],
        networks: Mapping[str, str],
        ground: Ground,
        lanes: Mapping[tuple[str, Family], Lane],
        seed: str,
    ) -> None:
        self._fits = fits
        self._ground = ground
        self._lanes = lanes
        self._modems = {modem.fit.modem: modem for modem in assemble(fits, networks, self, seed)}
        self._owners: dict[str, str] = {}
        """Address -> the uplink that had it last."""
        for uplink, fit in fits.items():
            self._gate(uplink, shut=self.uplink(fit.modem) != uplink)
        for interface in {self.interface(uplink) for uplink, _ in lanes} if fits else ():
            self._note(interface)

    # --- which is which ----------------------------------------------------------------------------------------------

    def interface(self, uplink: str) -> str:
        fit = self._fits.get(uplink)
        return fit.modem if fit else uplink

    def uplink(self, interface: str) -> str:
        """The one that goes by it now."""
        modem = self._modems.get(interface)
        return modem.uplink if modem else interface

    def uplinks(self, interfaces: Sequence[str]) -> list[str]:
        """All that ever go by these."""
        return [name for name in interfaces if name not in self._modems] + [
            uplink for uplink, fit in self._fits.items() if fit.modem in interfaces
        ]

    def addresses(self, uplink: str, family: Family) -> list[str]:
        interface = self.interface(uplink)
        return self._ground.addresses(interface, family) if self.uplink(interface) == uplink else []

    def owners(self, order: DestroySockets) -> set[str]:
        """The uplinks whose open flows have its addresses."""
        known = {self._owners[address] for address in order.addresses if address in self._owners}
        return known if self._fits else {order.uplink}

    def by_interface(self, counts: Counted) -> Counted:
        """What was counted by uplink, as the kernel counts it."""
        if not self._fits:
            return counts
        sums: dict[tuple[str, Family], Counts] = {}
        for (uplink, family), one in counts.items():
            place = self.interface(uplink), family
            sums[place] = _sum(sums.get(place, NO_COUNTS), one)
        return sums

    # --- what the world does -----------------------------------------------------------------------------------------

    def tell(self) -> None:
        """Tell the agent of every modem."""
        if self._modems:
            self.box.told(ModemsTold(tuple(modem.told() for modem in self._modems.values() if modem.there)))

    def breathe(self, uplink: str, air: Air) -> None:
        self._modems[self.interface(uplink)].breathe(uplink, air)

    def act(self, order: ActOnModem) -> None:
        modem = self._modems[self.interface(order.uplink)]
        self.box.later(CALL, lambda: modem.act(order))

    # --- what the modems do (modems.Yard) ----------------------------------------------------------------------------

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.box.later(seconds, action)

    def plugged(self, modem: VirtualModem, *, there: bool) -> None:
        self.box.change_kernel(lambda: self._ground.plug(modem.fit.modem, there))

    def served(self, modem: VirtualModem, uplink: str, *, up: bool) -> None:
        def change() -> None:
            for family in dict.fromkeys(family for _, family in self._lanes):
                self._ground.lease(modem.fit.modem, family, held=up, sim=modem.slot)
            self._gate(uplink, shut=not up)
            self._note(modem.fit.modem)

        self.box.change_kernel(change)

    def acted(self, event: ModemActed) -> None:
        self.box.acted(event)

    def cured(self, uplink: str, until: float) -> None:
        def change() -> None:
            for lane in self._lanes_of(uplink):
                lane.cure(self.box.now, until)

        self.box.change_kernel(change)
        self.box.write(f"{uplink}: cured")

    # --- inside ------------------------------------------------------------------------------------------------------

    def _lanes_of(self, uplink: str) -> list[ScriptedLane]:
        return [lane for (name, _), lane in self._lanes.items() if name == uplink and isinstance(lane, ScriptedLane)]

    def _note(self, interface: str) -> None:
        for family in Family:
            self._owners |= dict.fromkeys(self._ground.addresses(interface, family), self.uplink(interface))

    def _gate(self, uplink: str, *, shut: bool) -> None:
        for lane in self._lanes_of(uplink):
            lane.gate.shut = shut


def _sum(one: Counts, more: Counts) -> Counts:
    return Counts(
        one.received + more.received,
        one.sent + more.sent,
        one.fresh + more.fresh,
        one.sent_bytes + more.sent_bytes,
        one.received_bytes + more.received_bytes,
    )
