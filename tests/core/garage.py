"""A box whose uplinks are modems: each does what it is told, in its own time, and vanishes and returns as real ones do.

What ModemManager 1.20 does with simulated modems: a reset is answered at once, takes 0.45 s until the modem is gone and
4.8 s until it is back, disabled, under another name; a change of slots 1.84 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from failover.config import Config, Uplink
from failover.config.modems import Modem as Choice
from failover.config.modems import Repair
from failover.facts import Address
from failover.modem import Bearer, Deed, IpMethod, IpSettings, Modem, ModemState, Registration, Sim
from failover.seam import ActOnModem, ModemActed, ModemsTold

from .box import PINGS, Box
from .worlds import V4, way

SECONDS = {Deed.RECONNECT: 2.0, Deed.REGISTER: 3.0, Deed.RESET: 4.8, Deed.POWER_CYCLE: 10.0, Deed.SELECT_SLOT: 1.84}
CONNECTING = 1.0
NETWORKS = {1: ("44010", "NTT DOCOMO"), 2: ("44051", "KDDI")}


@dataclass
class Unit:
    """One modem, and what its network makes of it."""

    imei: str
    interface: str
    sims: Mapping[int, tuple[str, str]] = field(default_factory=lambda: {1: NETWORKS[1]})
    """Slot -> MCC with MNC, and name."""
    slot: int = 1
    there: bool = True
    connected: bool = True
    registration: Registration = Registration.HOME
    technology: str = "lte"
    lock: str = ""
    pin: str = ""
    tries: int | None = 3
    state: ModemState | None = None
    foreign: str = "NetworkManager"
    born: int = 0
    failure: str = ""
    wrong_iccid: str = ""
    device: str = ""
    served: bool = False
    """Its manager gives its interface nothing: the agent is to."""
    settings: tuple[IpSettings, ...] = (IpSettings(V4, IpMethod.STATIC, "10.0.2.2", 30, "10.0.2.1"),)
    able: frozenset[Deed] = frozenset(Deed) - {Deed.POWER_CYCLE}
    refuses: dict[Deed, str] = field(default_factory=dict)

    def iccid(self, slot: int) -> str:
        return self.wrong_iccid or f"898110000{self.imei[-4:]}00000{slot}"

    @property
    def modem(self) -> Modem:
        code, name = self.sims.get(self.slot, ("", ""))
        serves = self.registration.serves
        state = ModemState.CONNECTED if self.connected else ModemState.REGISTERED if serves else ModemState.SEARCHING
        return Modem(
            handle=f"/modem/{self.imei[-4:]}/{self.born}",
            imei=self.imei,
            device=self.device,
            interfaces=(self.interface,),
            state=self.state or (ModemState.LOCKED if self.lock else state),
            failure=self.failure,
            lock=self.lock,
            pin_tries=self.tries,
            slots=tuple(Sim() for _ in range(max(self.sims))) if len(self.sims) > 1 else (),
            slot=self.slot,
            sim=Sim(self.iccid(self.slot), code, name),
            registration=self.registration,
            operator_code=code if serves else "",
            operator_name=name if serves else "",
            technologies=(self.technology,),
            bearers=(Bearer("/bearer/1", True, self.interface, self.settings),) if self.connected else (),
            foreign=self.foreign,
        )


def imei(number: int) -> str:
    return f"35693803564{number:04}"


def of_modem(name: str, number: int = 1, slot: int = 1, **fields: object) -> Uplink:
    """An uplink that is a modem."""
    return Uplink(name, modem=Choice(imei=imei(number), slot=slot, **fields))  # type: ignore[arg-type]


class Garage(Box):
    """`units` by interface; after a change of one: `tell_modems`."""

    def __init__(
        self,
        *units: Unit,
        uplinks: Sequence[Uplink],
        others: Sequence[str] = (),
        repair: Repair | None = None,
        seed: int = 1,
    ) -> None:
        self.units = {unit.interface: unit for unit in units}
        self.managed = True
        seats = (*uplinks, *(Uplink(name, name) for name in others))
        config = Config(uplinks=seats, targets=PINGS, repair=repair or Repair())
        super().__init__(*self.units, *others, config=config, seed=seed)
        self.on_deed = self._do
        for unit in units:
            if not unit.connected:
                self._bare(unit)
        self.tell_modems()

    def tell_modems(self) -> None:
        there = tuple(unit.modem for unit in self.units.values() if unit.there)
        self.tell(ModemsTold(there if self.managed else (), self.managed))

    def set(self, unit: Unit, **fields: object) -> None:
        """It is another now, and says so."""
        for name, value in fields.items():
            setattr(unit, name, value)
        self.tell_modems()

    def drop(self, unit: Unit) -> None:
        """The network ends the connection, and the modem says so; the manager takes the address away."""
        self.set(unit, connected=False)

    def vanish(self, unit: Unit) -> None:
        """It is pulled out."""
        unit.there = unit.connected = False
        self.tell_modems()
        self.unplug(unit.interface)

    def appear(self, unit: Unit, interface: str, index: int) -> None:
        """It is back, under other names."""
        self.units = {name: one for name, one in self.units.items() if one is not unit} | {interface: unit}
        unit.there, unit.interface, unit.born = True, interface, unit.born + 1
        self.plug(interface, index)
        self._bare(unit)
        self.tell_modems()

    def connect(self, unit: Unit) -> None:
        """Its bearer is up, with an address and a default route."""
        index = next((link.index for link in self.facts.links if link.name == unit.interface), None)
        if not unit.there or unit.connected or index is None:
            return
        unit.connected = True
        if unit.served:
            self.tell_modems()
            return
        self.facts = replace(
            self.facts,
            addresses=(*self.facts.addresses, Address(index, V4, f"10.{unit.slot}.{index}.2", 24)),
            routes=(*self.facts.routes, way(index, V4, f"10.{unit.slot}.{index}.1")),
        )
        self.tell_modems()
        self.stir()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _bare(self, unit: Unit) -> None:
        """Without an address and a default route."""
        index = next((link.index for link in self.facts.links if link.name == unit.interface), None)
        self.facts = replace(
            self.facts,
            addresses=tuple(a for a in self.facts.addresses if a.index != index),
            routes=tuple(r for r in self.facts.routes if r.interface != index or r.table != 254),
        )
        self.stir()

    def _disconnected(self, unit: Unit) -> None:
        unit.connected = False
        if not unit.served:
            self._bare(unit)

    def _do(self, order: ActOnModem) -> None:
        numbers = {uplink.name: uplink.modem.imei for uplink in self.engine.config.uplinks if uplink.modem}
        unit = next(unit for unit in self.units.values() if unit.imei == numbers[order.uplink])
        if not unit.there and order.deed is not Deed.POWER_CYCLE:
            self.tell(ModemActed(order, "no such modem"))
            return
        after = self.now + SECONDS.get(order.deed, CONNECTING)
        if order.deed not in unit.able:
            self.at(self.now + 0.01, lambda: self.tell(ModemActed(order, "unsupported", unknown=True)))
            return
        if order.deed in unit.refuses:
            self.at(after, lambda: self.tell(ModemActed(order, unit.refuses[order.deed])))
            return
        match order.deed:
            case Deed.UNLOCK:
                self.at(after, lambda: self._unlock(unit, order))
            case Deed.CONNECT | Deed.RECONNECT:
                self._disconnected(unit)
                self.at(after, lambda: self._finish(unit, order))
            case Deed.REGISTER:
                self.at(after, lambda: self._finish(unit, order, connect=unit.connected))
            case Deed.RESET | Deed.POWER_CYCLE | Deed.SELECT_SLOT:
                if order.deed is not Deed.POWER_CYCLE:
                    self.at(self.now + 0.05, lambda: self.tell(ModemActed(order)))
                self.at(self.now + 0.45, lambda: self._leave(unit))
                self.at(after, lambda: self._come(unit, order))

    def _unlock(self, unit: Unit, order: ActOnModem) -> None:
        right = order.pin == unit.pin
        unit.tries = 3 if right else (unit.tries or 1) - 1
        unit.lock = "" if right else unit.lock
        self.tell(ModemActed(order, "" if right else "incorrect password"))
        self.tell_modems()

    def _finish(self, unit: Unit, order: ActOnModem, *, connect: bool = True) -> None:
        if connect and unit.registration.serves:
            self.connect(unit)
        failed = "" if unit.connected or not connect else "no service"
        self.tell(ModemActed(order, failed))

    def _leave(self, unit: Unit) -> None:
        unit.there = False
        self._disconnected(unit)
        self.tell_modems()

    def _come(self, unit: Unit, order: ActOnModem) -> None:
        unit.there, unit.born = True, unit.born + 1
        unit.slot = order.slot or unit.slot
        self.tell_modems()
        if order.deed is Deed.POWER_CYCLE:
            self.tell(ModemActed(order))
        if unit.foreign and unit.registration.serves:
            self.at(self.now + CONNECTING, lambda: self.connect(unit))


def dual(*others: str) -> tuple[Garage, Unit]:
    """One modem with two SIMs, well for 100 s."""
    unit = Unit(imei(1), "wwan0", sims=NETWORKS)
    uplinks = (of_modem("docomo", slot=1), of_modem("au", slot=2))
    return Garage(unit, uplinks=uplinks, others=others).run(100.0), unit


def deeds(box: Box, since: float = 0.0) -> list[tuple[float, str]]:
    """When what was done, without what dialling takes."""
    done = [(at, order.deed) for at, order in box.deeds if at >= since]
    return [(round(at, 2), str(deed)) for at, deed in done if deed is not Deed.CONNECT]
