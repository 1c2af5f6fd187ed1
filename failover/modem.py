"""The words of modems and SIMs, as a modem manager tells them.

Immutable values only. No behaviour beyond reading a value; no I/O. Every text is clean already. A modem is known by its
IMEI, its physical device or its serial number, and a SIM by its ICCID; what the manager calls them changes with each
reset.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from failover.model import Family

HIDDEN: Final = "…"


def masked(number: str) -> str:
    """An IMEI, ICCID, IMSI or telephone number as everybody may see it: its last four digits."""
    return f"{HIDDEN}{number[-4:]}" if len(number) > 4 else number


class ModemState(enum.IntEnum):
    """MMModemState, by its numbers; the greater, the nearer to a connection."""

    FAILED = -1
    UNKNOWN = 0
    INITIALIZING = 1
    LOCKED = 2
    DISABLED = 3
    DISABLING = 4
    ENABLING = 5
    ENABLED = 6
    SEARCHING = 7
    REGISTERED = 8
    DISCONNECTING = 9
    CONNECTING = 10
    CONNECTED = 11


class Registration(enum.StrEnum):
    """With a 3GPP network (MMModem3gppRegistrationState)."""

    IDLE = "idle"
    HOME = "home"
    SEARCHING = "searching"
    DENIED = "denied"
    UNKNOWN = "unknown"
    ROAMING = "roaming"
    LIMITED = "limited"
    """For SMS or emergency calls alone."""

    @property
    def serves(self) -> bool:
        """Data may pass, as far as the modem knows."""
        return self in (Registration.HOME, Registration.ROAMING)


@dataclass(frozen=True, slots=True)
class Signal:
    """How well the serving cell is heard; None: not told."""

    rsrp: float | None = None
    """dBm."""
    rsrq: float | None = None
    """dB."""
    snr: float | None = None
    """dB."""
    technology: str = ""
    """Of that cell: `lte` or `5gnr`; empty: nothing was measured."""


class IpMethod(enum.StrEnum):
    """How a bearer's interface gets its address (MMBearerIpMethod)."""

    UNKNOWN = "unknown"
    PPP = "ppp"
    STATIC = "static"
    DHCP = "dhcp"


@dataclass(frozen=True, slots=True)
class IpSettings:
    """What the network gave a bearer in one family; addresses are literals that were checked."""

    family: Family
    method: IpMethod = IpMethod.UNKNOWN
    address: str = ""
    prefix_length: int = 0
    gateway: str = ""
    dns: tuple[str, ...] = ()
    mtu: int = 0
    """0: not told."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """A data connection of a modem, or what is left of one."""

    handle: str
    """What the manager calls it now."""
    connected: bool = False
    interface: str = ""
    settings: tuple[IpSettings, ...] = ()
    error: str = ""
    """Why it was not connected, or no more, in the manager's words."""
    received_bytes: int | None = None
    sent_bytes: int | None = None
    """Since it was connected."""


@dataclass(frozen=True, slots=True)
class Sim:
    """A SIM card, or what the manager knows of the one in an inactive slot."""

    iccid: str = ""
    """Empty: not told, as of inactive slots."""
    operator_code: str = ""
    operator_name: str = ""
    esim: bool = False


@dataclass(frozen=True, slots=True)
class Modem:
    """One modem as its manager tells it at one moment."""

    handle: str
    """What the manager calls it now."""
    imei: str = ""
    device: str = ""
    """The physical device, as `/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1`."""
    serial: str = ""
    """Of the USB device."""
    maker: str = ""
    model: str = ""
    firmware: str = ""
    state: ModemState = ModemState.UNKNOWN
    failure: str = ""
    """Why its state is FAILED, as `sim-missing`."""
    lock: str = ""
    """What must be unlocked, as `sim-pin`; empty: nothing."""
    pin_tries: int | None = None
    """Left for the SIM's PIN."""
    interfaces: tuple[str, ...] = ()
    """Its network devices."""
    slots: tuple[Sim | None, ...] = ()
    """The first is slot 1; None: empty. Empty where it has one slot alone and tells nothing of it."""
    slot: int = 1
    """The one in use."""
    sim: Sim | None = None
    """The one in use."""
    registration: Registration = Registration.UNKNOWN
    operator_code: str = ""
    """MCC and MNC of the network that serves it, as `44051`."""
    operator_name: str = ""
    technologies: tuple[str, ...] = ()
    """As `lte`, `5gnr`; the newest last."""
    attached: bool | None = None
    """To the packet service; None: not told."""
    signal: Signal = field(default_factory=Signal)
    bearers: tuple[Bearer, ...] = ()
    voice_centric: bool = False
    """It leaves a network that has data and no voice."""
    foreign: str = ""
    """Which other program dials it, as `NetworkManager`; empty: none that we know of."""

    @property
    def bearer(self) -> Bearer | None:
        """The one that is connected."""
        return next((bearer for bearer in self.bearers if bearer.connected), None)


@dataclass(frozen=True, slots=True)
class Message:
    """An SMS that a modem keeps, its parts put together."""

    handle: str
    """What the manager calls it now."""
    imei: str = ""
    iccid: str = ""
    """Of the SIM in use when it was read."""
    number: str = ""
    """Who sent it, as told: a name as well."""
    text: str = field(default="", repr=False)
    """On one line; it may hold a one-time code."""
    received_at: str = ""
    """As the network told, in ISO 8601."""


class Deed(enum.StrEnum):
    """What can be done to a modem."""

    ENABLE = "enable"
    UNLOCK = "unlock"
    """With the PIN."""
    CONNECT = "connect"
    RECONNECT = "reconnect"
    """Disconnect what is connected, and connect anew; by the program that dials it."""
    REGISTER = "register"
    """Search and register anew, with whatever network the SIM prefers."""
    RESET = "reset"
    POWER_CYCLE = "power-cycle"
    """By the operator's unit."""
    SELECT_SLOT = "select-slot"


@dataclass(frozen=True, slots=True)
class Dial:
    """How a bearer is asked for."""

    apn: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
    roaming: bool = True
    """Also in a foreign network."""
