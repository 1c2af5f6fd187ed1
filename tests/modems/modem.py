"""What every simulated modem is and does: a USB device with terminals, SIMs, a radio; how tests play on it.

What it says to ModemManager is in at.py and mbim.py. All state belongs to the stagehand's thread.
"""

from __future__ import annotations

import os
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar

from tests.modems import sms
from tests.modems.box import Box
from tests.modems.carriers import Line, Radio, Sim
from tests.modems.stagehand import Stagehand
from tests.modems.usb import Device

SENT = datetime(2026, 10, 1, 9, 30, 0)  # noqa: DTZ001 - the carrier's local time
BETWEEN_PARTS = 0.25
"""Seconds between the parts of a message. ModemManager 1.20 misses what comes while it reads the one before."""
UNREAD = 12
"""As often as that, a part waits for the one before to be read; where nobody reads, it comes all the same."""
BOOT = 1.0
"""Seconds from a reset, when it leaves the bus, until it is there again."""


class Registration(Enum):
    """With the network."""

    IDLE = auto()
    SEARCHING = auto()
    HOME = auto()
    ROAMING = auto()
    DENIED = auto()
    UNKNOWN = auto()

    @property
    def served(self) -> bool:
        return self in (Registration.HOME, Registration.ROAMING)


class Technology(Enum):
    """Of the radio."""

    GPRS = auto()
    UMTS = auto()
    HSPA = auto()
    LTE = auto()
    NR = auto()


class Command(Enum):
    """What ModemManager may ask for, and a modem may fail at."""

    CONNECT = auto()
    DISCONNECT = auto()
    REGISTER = auto()
    PIN = auto()
    POWER = auto()
    RESET = auto()
    SLOT = auto()
    SIGNAL = auto()
    EVERYTHING = auto()


class Manner(Enum):
    """How it fails."""

    REFUSE = auto()
    IGNORE = auto()
    """It never answers."""


@dataclass(frozen=True, slots=True)
class Strength:
    """As measured: dBm, dB, dB."""

    rsrp: float = -90.0
    rsrq: float = -10.0
    snr: float = 15.0


@dataclass(frozen=True, slots=True)
class Dial:
    """One request for a bearer."""

    apn: str
    user: str = ""
    password: str = ""


@dataclass(slots=True)
class Counts:
    """What was asked of it so far."""

    dials: list[Dial] = field(default_factory=list)
    pins: list[str] = field(default_factory=list)
    resets: int = 0
    registrations: int = 0
    """Orders to register anew."""
    switches: int = 0


class Terminal:
    """A pseudo-terminal: we hold its master and keep the other end open, so that nobody's leaving is an end."""

    def __init__(self) -> None:
        self.fd, self._other = os.openpty()
        tty.setraw(self._other)
        os.set_blocking(self.fd, False)
        self.name = os.ttyname(self._other)

    def write(self, data: bytes) -> None:
        """What nobody takes is lost."""
        try:
            os.write(self.fd, data)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Whoever reads there sees it hang up."""
        os.close(self._other)
        os.close(self.fd)


P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound="Modem")


def played(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """The method happens in the stagehand's thread, and is over when it returns."""

    @wraps(method)
    def do(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.hand.do(lambda: method(self, *args, **kwargs))

    return do


class Modem(ABC):
    """It is plugged in at once; ModemManager, where it runs, is told."""

    def __init__(
        self, hand: Stagehand, box: Box, device: Device, imei: str, radio: Radio, sims: Sequence[Sim | None]
    ) -> None:
        self.hand, self._box, self.device, self.imei, self.radio = hand, box, device, imei, radio
        self.sims = list(sims)
        """By slot; None where there is none."""
        self.registration, self.technology = self._offered = (Registration.HOME, Technology.LTE)
        self.strength = Strength()
        self.counts = Counts()
        self.boot_seconds = BOOT
        self.slot = 1
        """The active one, as ModemManager counts: from 1 on."""
        self.plugged = False
        self.messages: dict[int, bytes] = {}
        """In its store, by number."""
        self.read: set[int] = set()
        """Those of them that somebody has read."""
        self._dark: Command | None = None
        """What ends the blackout."""
        self._faults: dict[Command, tuple[Manner, int]] = {}
        self._terminals: dict[str, Terminal] = {}
        self._reference = 0
        self.replug()

    # --- what a test looks at ----------------------------------------------------------------------------------------

    @property
    def sim(self) -> Sim | None:
        """In the active slot, if there is one."""
        sim = self.sims[self.slot - 1]
        return sim if sim is not None and sim.present else None

    @property
    def interface(self) -> str:
        return self.radio.interface

    @property
    def bearer(self) -> Line | None:
        """Whose packets pass."""
        return self.radio.bearer

    # --- what a test does --------------------------------------------------------------------------------------------

    @played
    def register(self, registration: Registration, technology: Technology | None = None) -> None:
        """The network decides so."""
        self.registration, self.technology = self._offered = (registration, technology or self.technology)
        self.tell_registration()

    @played
    def stick(self, technology: Technology, registration: Registration = Registration.HOME) -> None:
        """It sits on that, whatever the network offers, until it is reset."""
        self.registration, self.technology = registration, technology
        self.tell_registration()

    @played
    def measure(self, strength: Strength) -> None:
        """The signal is like that from now on."""
        self.strength = strength
        self.tell_signal()

    @contextmanager
    def silent(self, slot: int = 0) -> Iterator[None]:
        """Meanwhile the carrier of that slot's SIM, or of every one, swallows all beyond the gateway, which goes on
        answering. The modem knows nothing of it."""
        sim = self.sims[slot - 1] if slot else None
        line = sim.line if sim else None
        self.hand.do(lambda: self.radio.silence(line, on=True))
        try:
            yield
        finally:
            self.hand.do(lambda: self.radio.silence(line, on=False))

    @played
    def black_out(self, until: Command) -> None:
        """As silent(), until it is told to do that: CONNECT, REGISTER (or its radio
        is switched off and on), RESET or SLOT; POWER is a power cycle."""
        assert self._dark is None
        self.radio.silence(None, on=True)
        self._dark = until

    @played
    def light(self) -> None:
        """The end of black_out(), if nothing has ended it yet."""
        if self._dark is not None:
            self.told(self._dark)

    @played
    def drop(self, cause: int = 36) -> None:
        """The network ends the bearer, and the modem says so. `cause`: 3GPP TS 24.008 10.5.6.6, 36 is a regular end."""
        self.radio.carry(None)
        self.tell_drop(cause)

    @played
    def drop_silently(self) -> None:
        """The bearer has ended, and nobody is told; who asks hears it."""
        self.radio.carry(None)

    @played
    def deliver(self, sender: str, text: str, sent: datetime = SENT) -> None:
        """A message arrives: in as many parts as it takes, each a while after the other was read."""
        self._reference = self._reference % 255 + 1
        self._store(list(sms.delivered(sender, text, sent, self._reference)))

    def _store(self, parts: list[bytes]) -> None:
        number, (part, *rest) = max(self.messages, default=0) + 1, parts
        self.messages[number] = part
        self.read.discard(number)
        if self.plugged:
            self.tell_message(number)
        if rest:
            self.hand.later(BETWEEN_PARTS, partial(self._next, number, rest, UNREAD))

    def _next(self, before: int, rest: list[bytes], patience: int) -> None:
        if before in self.read or not patience:
            self._store(rest)
        else:
            self.hand.later(BETWEEN_PARTS, partial(self._next, before, rest, patience - 1))

    @played
    def eject(self, slot: int = 1) -> None:
        """The SIM of that slot is taken out."""
        sim = self.sims[slot - 1]
        assert sim is not None
        sim.present = False
        if slot == self.slot:
            self.radio.carry(None)
            self.tell_sim()

    @played
    def insert(self, slot: int = 1) -> None:
        """It is put in again; locked, if it has a PIN."""
        sim = self.sims[slot - 1]
        assert sim is not None
        sim.present, sim.locked = True, bool(sim.pin)
        if slot == self.slot:
            self.tell_sim()

    @played
    def fail(self, command: Command, manner: Manner = Manner.REFUSE, cause: int = 0) -> None:
        """At that from now on, until obey(). `cause`: of a refused bearer, as for drop()."""
        self._faults[command] = (manner, cause)

    @played
    def obey(self) -> None:
        """It fails at nothing any more."""
        self._faults.clear()

    @played
    def unplug(self) -> None:
        """The interface is gone, terminals hang up, ModemManager hears it from the kernel; in this order, at once."""
        if not self.plugged:
            return
        self.plugged = False
        self.radio.unplug()
        for terminal in self._terminals.values():
            self.hand.forget(terminal.fd)
            terminal.close()
        self._box.sys.unplug(self.device)
        for port in self.device.ports:
            self._box.manager.report("remove", port)
        for name in self._terminals:
            self._box.no_terminal(name)
        self._terminals.clear()

    @played
    def replug(self, interface: str = "") -> None:
        """It is there again, as after its power came on; its interface has another name, if so wished."""
        if self.plugged:
            return
        self.plugged = True
        self.registration, self.technology = self._offered
        if interface:
            renamed = (replace(one, name=interface) if one.subsystem == "net" else one for one in self.device.ports)
            self.device = replace(self.device, ports=tuple(renamed))
        for sim in self.sims:
            if sim is not None:
                sim.locked = bool(sim.pin)
        self.power_on()
        self._box.sys.plug(self.device)
        self.radio.plug(interface)
        for port in self.device.ports:
            if port.subsystem != "net":
                self._open(port.name)
        for port in self.device.ports:
            self._box.manager.report("add", port)

    @played
    def reset(self) -> None:
        """As when it is told to: it leaves the bus, and is there again after `boot_seconds`."""
        self.counts.resets += 1
        self.told(Command.RESET)
        self.unplug()
        self.hand.later(self.boot_seconds, self.replug)

    @played
    def power_cycle(self) -> None:
        """Its power goes, and comes back as after a reset."""
        self.told(Command.POWER)
        self.unplug()
        self.hand.later(self.boot_seconds, self.replug)

    @played
    def exchange(self, slot: int, sim: Sim) -> None:
        """Another SIM is in that slot, or another profile is active on its eSIM. ModemManager 1.20 takes it for the
        same, unless it was kept off the device meanwhile."""
        self.radio.learn(sim.line)
        self.sims[slot - 1] = sim
        if slot == self.slot:
            self.radio.carry(None)
            self.tell_sim()

    @played
    def close(self) -> None:
        """As unplug(), and no way out is left."""
        self.unplug()
        self.radio.close()

    # --- for what it says --------------------------------------------------------------------------------------------

    def failing(self, command: Command) -> tuple[Manner, int] | None:
        """How it fails at that, and of what cause."""
        return self._faults.get(Command.EVERYTHING) or self._faults.get(command)

    def dialled(self, dial: Dial) -> bool:
        """Whether there is a bearer now."""
        self.counts.dials.append(dial)
        self.told(Command.CONNECT)
        sim = self.sim
        if sim is None or sim.locked or not self.registration.served:
            return False
        self.radio.carry(sim.line)
        return True

    def registers(self) -> None:
        """It was told to register anew."""
        self.counts.registrations += 1
        self.told(Command.REGISTER)

    def told(self, command: Command) -> None:
        """It was told to do that, which may end a blackout."""
        if self._dark is command:
            self.radio.silence(None, on=False)
            self._dark = None

    def entered(self, pin: str) -> bool:
        """Whether the SIM is open now."""
        self.counts.pins.append(pin)
        return self.sim is not None and self.sim.enter(pin)

    def _open(self, name: str) -> None:
        terminal = Terminal()
        self._terminals[name] = terminal
        self._box.terminal(name, terminal.name)

        def read() -> None:
            try:
                data = os.read(terminal.fd, 65536)
            except OSError:
                return
            self.heard(terminal, data)

        self.hand.watch(terminal.fd, read)

    @property
    def terminals(self) -> tuple[Terminal, ...]:
        return tuple(self._terminals.values())

    @abstractmethod
    def power_on(self) -> None:
        """What it was told before is forgotten."""

    @abstractmethod
    def heard(self, terminal: Terminal, data: bytes) -> None:
        """ModemManager wrote this there."""

    @abstractmethod
    def tell_registration(self) -> None: ...

    @abstractmethod
    def tell_signal(self) -> None: ...

    @abstractmethod
    def tell_drop(self, cause: int) -> None: ...

    @abstractmethod
    def tell_message(self, number: int) -> None: ...

    @abstractmethod
    def tell_sim(self) -> None: ...
