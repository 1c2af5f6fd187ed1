"""What the operator says of modems, as the core reads it: which one an uplink is, and how they are repaired."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from failover.modem import Dial, masked

MATCHED_MAX: Final = 1000
"""Characters of a message that patterns are run on: with what reading them allows, they are never much work."""


class Roaming(enum.StrEnum):
    """What a foreign network means."""

    LAST = "last"
    """It is metered, and taken when nothing else is left."""
    ALLOW = "allow"
    """Nothing."""
    DENY = "deny"
    """It is not used."""


class Dialer(enum.StrEnum):
    """Who connects a modem."""

    AUTO = "auto"
    """NetworkManager where it manages the modem; else this agent."""
    NETWORKMANAGER = "networkmanager"
    SELF = "self"
    NONE = "none"
    """Somebody else: this agent only looks."""


@dataclass(frozen=True, slots=True)
class Modem:
    """Which modem an uplink is, by one of its first three fields, and which SIM in it."""

    imei: str = ""
    device: str = ""
    """The physical device, or the end of its path, as `usb1/1-1`."""
    serial: str = ""
    """Of its USB device."""
    slot: int = 1
    iccid: str = ""
    """Of the SIM that must be there; empty: any."""
    dial: Dial = field(default_factory=Dial)
    pin: str = field(default="", repr=False)
    roaming: Roaming = Roaming.LAST
    connect: Dialer = Dialer.AUTO

    @property
    def key(self) -> str:
        """What two uplinks of one modem have in common."""
        return self.imei or self.serial or self.device


class Rung(enum.StrEnum):
    """The steps of a modem's repair, from the cheapest to the dearest."""

    RECONNECT = "reconnect"
    REGISTER = "register"
    RESET = "reset"
    POWER = "power"
    """The operator's unit `failover-power@NAME.service` takes its current away and gives it back."""
    SLOT = "slot"
    """The other SIM."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What is done to a modem uplink that is convicted."""

    steps: tuple[Rung, ...] = tuple(Rung)
    """In this order; none: nothing is done."""
    reset_interval: float = 600.0
    """Seconds between two resets of one modem at least; power cycles count as such."""
    resets_per_day: int = 6
    switches_per_hour: int = 2
    """Of one modem's SIM slot."""


class Matter(enum.StrEnum):
    """What a message from a carrier can be about."""

    SUSPENSION = "suspension"
    CAP = "cap"
    ROAMING = "roaming"
    PAYMENT = "payment"


@dataclass(frozen=True, slots=True)
class Messages:
    """What becomes of the SMS that arrive."""

    keep: float = 90 * 86400.0
    """Seconds for which they are kept; 0: not at all."""
    text: bool = True
    """With their text, and not just who sent them when."""
    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Besides the usual ones: matter -> regular expressions."""


def describe_modem(modem: Modem) -> str:
    """For people, as `modem …7518, slot 2`."""
    known = modem.device or masked(modem.imei or modem.serial)
    return f"modem {known}, slot {modem.slot}"
