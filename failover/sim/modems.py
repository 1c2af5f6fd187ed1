"""Virtual modems: registration, radio technology, SIM slots, bearers, and resets that take their time.

What ModemManager 1.20 does with its simulated modems, in virtual time; another program (NetworkManager) dials them.
What the air is like for each SIM is the script's business (`Air`), what becomes of packets `links.py`'s. No engine, no
kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from failover.config.modems import Modem as Choice
from failover.modem import Bearer, Deed, Modem, ModemState, Registration, Sim
from failover.seam import ActOnModem, ModemActed

GONE: Final = 0.45
"""Seconds from the order to reset until the modem is listed no more (ModemManager 1.20)."""
DIAL: Final = 1.0
"""Seconds that a connection takes to be made, as one to be ended."""
REGISTER: Final = 3.0
"""Seconds that a search takes which somebody orders."""
RETRY: Final = 10.0
RETRIES: Final = 5
PAUSE: Final = 720.0
"""Seconds after which a modem that the network rejects tries again: so many times (T3411), then seldom (T3402, both in
3GPP TS 24.301, 10.2)."""
HARDNESS: Final[Mapping[Deed, int]] = {
    Deed.RECONNECT: 1,
    Deed.REGISTER: 2,
    Deed.RESET: 3,
    Deed.SELECT_SLOT: 3,
    Deed.POWER_CYCLE: 4,
}
"""What is cured by one deed is cured by every harder one; the radio begins anew with another SIM as after a reset."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Where an uplink's SIM sits, and how its modem is; seconds."""

    modem: str
    """Its name, and that of its interface."""
    slot: int = 1
    reset: float = 4.8
    """Until it is listed again; real modems take up to 60 s."""
    switch: float = 1.84
    """The same for a change of its SIM."""
    registers: float = 1.0
    """From there until it is registered, where the network takes it."""
    dials: bool = True
    """NetworkManager dials by itself as soon as it is registered."""


@dataclass(frozen=True, slots=True)
class Air:
    """What the network does with one SIM."""

    registered: bool = True
    """False: it has none for it: the modem searches, and its bearer is gone."""
    registration: Registration | None = None
    """What the modem says, whatever is true; None: the truth."""
    technology: str = "lte"
    attaches: float = 1.0
    """Share of attempts to register that the network takes."""
    cure: Deed | None = None
    """The deed that ends all this."""
    ends: float | None = None
    """Where there is a cure: when it ends by itself, in the script's time."""


class Yard(Protocol):
    """Where modems are: the world, as they need it."""

    def later(self, seconds: float, action: Callable[[], None]) -> None: ...
    def plugged(self, modem: VirtualModem, *, there: bool) -> None:
        """Its interface comes or goes."""

    def served(self, modem: VirtualModem, uplink: str, *, up: bool) -> None:
        """An uplink's bearer comes or goes, and address and default route with it."""

    def tell(self) -> None:
        """Something is to be told of the modems."""

    def acted(self, event: ModemActed) -> None: ...
    def cured(self, uplink: str, until: float) -> None:
        """It has everyday weather until then."""


@dataclass(slots=True)
class VirtualModem:
    """One modem. `sims`: slot -> uplink; `networks`: by uplink, MCC with MNC.

    It has been there for a while, and is connected in its first slot.
    """

    fit: Fit
    number: int
    sims: Mapping[int, str]
    networks: Mapping[str, str]
    yard: Yard
    dice: Random
    slot: int = field(init=False)
    there: bool = True
    connected: bool = True
    registered: bool = True
    rejected: bool = False
    airs: dict[str, Air] = field(default_factory=dict)
    """By uplink."""
    _born: int = 0
    _turn: int = 0
    """Counts its searches: what belongs to an earlier one comes to nothing."""
    _tries: int = 0

    def __post_init__(self) -> None:
        self.slot = min(self.sims)

    @property
    def uplink(self) -> str:
        """Whose SIM is in use."""
        return self.sims[self.slot]

    @property
    def air(self) -> Air:
        return self.airs.get(self.uplink, Air())

    def told(self) -> Modem:
        """As its manager tells it."""
        air, code = self.air, self.networks[self.uplink]
        unserved = Registration.DENIED if self.rejected else Registration.SEARCHING
        said = air.registration or (Registration.HOME if self.registered else unserved)
        bearer = Bearer(f"/bearer/{self._born}", connected=True, interface=self.fit.modem)
        here = ModemState.CONNECTING if self.fit.dials else ModemState.REGISTERED
        state = here if self.registered else ModemState.SEARCHING
        return Modem(
            handle=f"/modem/{self.fit.modem}/{self._born}",
            imei=imei(self.number),
            interfaces=(self.fit.modem,),
            state=ModemState.CONNECTED if self.connected else state,
            slots=tuple(Sim() for _ in range(max(self.sims))) if len(self.sims) > 1 else (),
            slot=self.slot,
            sim=Sim(f"898110{self.number:04}{self.slot:09}", code, self.uplink),
            registration=said,
            operator_code=code if self.registered else "",
            operator_name=self.uplink if self.registered else "",
            technologies=(air.technology,) if self.registered else (),
            bearers=(bearer,) if self.connected else (),
            foreign="NetworkManager",
        )

    # --- what the network does ---------------------------------------------------------------------------------------

    def breathe(self, uplink: str, air: Air) -> None:
        """The air of one of its SIMs is another now."""
        self.airs[uplink] = air
        if uplink != self.uplink or not self.there:
            return
        if not air.registered:
            self._lose()
        elif not self.registered:
            self._seek()
        self.yard.tell()

    def _lose(self) -> None:
        self.registered = self.rejected = False
        self._tries = 0
        self._turn += 1
        self._serve(up=False)

    def _seek(self, after: float | None = None) -> None:
        self._after(self.fit.registers if after is None else after, self._attempt)

    def _attempt(self) -> None:
        if self.registered or not self.there or not self.air.registered:
            return  # it goes on searching until there is a network
        if self.air.attaches < 1.0 and self.dice.random() >= self.air.attaches:
            self.rejected = True
            self._tries += 1
            self._seek(PAUSE if self._tries % RETRIES == 0 else RETRY)
        else:
            self.registered, self.rejected, self._tries = True, False, 0
            if self.fit.dials:
                self._after(DIAL, self._dial)
        self.yard.tell()

    def _dial(self) -> None:
        if self.registered:
            self._serve(up=True)

    def _serve(self, *, up: bool) -> None:
        """An end is told, and then the address goes; it is the other way round with a beginning."""
        if up is self.connected:
            return
        self.connected = up
        if not up:
            self.yard.tell()
        self.yard.served(self, self.uplink, up=up)
        self.yard.tell()

    # --- what is done to it ------------------------------------------------------------------------------------------

    def act(self, order: ActOnModem) -> None:
        """What an order brings about; its end is told to the yard."""
        match order.deed:
            case _ if not self.there:
                self.yard.acted(ModemActed(order, "no such modem"))
            case Deed.RECONNECT | Deed.CONNECT:
                self._serve(up=False)
                self.yard.later(DIAL if order.deed is Deed.CONNECT else 2 * DIAL, lambda: self._redialled(order))
            case Deed.REGISTER:
                self.yard.later(REGISTER, lambda: self._searched(order))
            case Deed.RESET | Deed.SELECT_SLOT:
                self.yard.later(GONE, lambda: self._leave(order))
            case _:
                self.yard.acted(ModemActed(order, "unsupported", unknown=True))

    def _redialled(self, order: ActOnModem) -> None:
        self._cure(order.deed)
        self._dial()
        self.yard.acted(ModemActed(order, "" if self.connected else "no service"))

    def _searched(self, order: ActOnModem) -> None:
        self._cure(order.deed)
        self._tries = 0
        self._attempt()
        self.yard.acted(ModemActed(order, "" if self.registered else "no network"))

    def _leave(self, order: ActOnModem) -> None:
        if not self.there:
            self.yard.acted(ModemActed(order, "no such modem"))
            return
        self._lose()
        self.there = False
        reset = order.deed is Deed.RESET
        if reset:
            self.yard.plugged(self, there=False)
        self.yard.tell()
        self.yard.acted(ModemActed(order))
        self.yard.later((self.fit.reset if reset else self.fit.switch) - GONE, lambda: self._return(order))

    def _return(self, order: ActOnModem) -> None:
        self.there, self._tries = True, 0
        self._born += 1
        if order.deed is Deed.RESET:
            self.yard.plugged(self, there=True)
        self.slot = order.slot if order.slot in self.sims else self.slot
        for uplink in self.sims.values():
            self._cure(order.deed, uplink)
        self.yard.tell()
        self._seek()

    def _cure(self, deed: Deed, uplink: str = "") -> None:
        name = uplink or self.uplink
        air = self.airs.get(name, Air())
        if air.cure is not None and air.ends is not None and HARDNESS.get(deed, 0) >= HARDNESS[air.cure]:
            self.airs[name] = Air()
            self.yard.cured(name, air.ends)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do it then, unless its search begins anew before."""
        self._turn += 1
        turn = self._turn
        self.yard.later(seconds, lambda: action() if turn == self._turn else None)


def imei(number: int) -> str:
    return f"35693803564{number:04}"


def choices(fits: Mapping[str, Fit]) -> dict[str, Choice]:
    """How a config names these SIMs, by uplink."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(fit.modem for fit in fits.values()), 1)}
    return {uplink: Choice(imei=imei(numbers[fit.modem]), slot=fit.slot) for uplink, fit in fits.items()}


def assemble(fits: Mapping[str, Fit], networks: Mapping[str, str], yard: Yard, seed: str) -> list[VirtualModem]:
    """The modems that these uplinks have; how one is, the first of its uplinks says."""
    made = []
    for number, name in enumerate(dict.fromkeys(fit.modem for fit in fits.values()), 1):
        mine = {uplink: fit for uplink, fit in fits.items() if fit.modem == name}
        sims = {fit.slot: uplink for uplink, fit in mine.items()}
        first = next(iter(mine.values()))
        made.append(VirtualModem(first, number, sims, networks, yard, Random(f"{seed}/{name}/modem")))
    return made
