"""ModemManager's names and numbers (ModemManager-enums.h, 1.20; later ones are told where we know them)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from failover.modem import IpMethod, Registration

SERVICE: Final = "org.freedesktop.ModemManager1"
ROOT: Final = "/org/freedesktop/ModemManager1"
MODEM: Final = f"{SERVICE}.Modem"
THREE_GPP: Final = f"{MODEM}.Modem3gpp"
SIGNAL: Final = f"{MODEM}.Signal"
SIMPLE: Final = f"{MODEM}.Simple"
MESSAGING: Final = f"{MODEM}.Messaging"
BEARER: Final = f"{SERVICE}.Bearer"
SIM: Final = f"{SERVICE}.Sim"
SMS: Final = f"{SERVICE}.Sms"
NOTHING: Final = "/"
"""In the place of an object that is not there."""

REGISTRATIONS: Final[Mapping[int, Registration]] = {
    0: Registration.IDLE,
    1: Registration.HOME,
    2: Registration.SEARCHING,
    3: Registration.DENIED,
    4: Registration.UNKNOWN,
    5: Registration.ROAMING,
    6: Registration.LIMITED,
    7: Registration.LIMITED,
    8: Registration.LIMITED,
    9: Registration.HOME,
    10: Registration.ROAMING,
    11: Registration.LIMITED,
}
"""MMModem3gppRegistrationState; 6-8 and 11 are SMS only, emergency only and restricted local service, 9 and 10 tell
that calls fall back to an older network."""
FAILURES: Final[Mapping[int, str]] = {
    1: "unknown",
    2: "sim-missing",
    3: "sim-error",
    4: "unknown-capabilities",
    5: "esim-without-profiles",
}
"""MMModemStateFailedReason."""
LOCKS: Final[Mapping[int, str]] = {
    2: "sim-pin",
    4: "sim-puk",
    6: "ph-sp-pin",
    7: "ph-sp-puk",
    8: "ph-net-pin",
    9: "ph-net-puk",
    10: "ph-sim-pin",
    11: "ph-corp-pin",
    12: "ph-corp-puk",
    13: "ph-fsim-pin",
    14: "ph-fsim-puk",
    15: "ph-netsub-pin",
    16: "ph-netsub-puk",
}
"""MMModemLock; PIN2 and PUK2 (3 and 5) are for the SIM's own settings and keep nobody from connecting."""
PIN: Final = 2
"""Of MMModemLock, the key of UnlockRetries."""
TECHNOLOGIES: Final = (
    (1, "gsm"),
    (2, "gsm-compact"),
    (3, "gprs"),
    (4, "edge"),
    (5, "umts"),
    (6, "hsdpa"),
    (7, "hsupa"),
    (8, "hspa"),
    (9, "hspa-plus"),
    (10, "1xrtt"),
    (11, "evdo0"),
    (12, "evdoa"),
    (13, "evdob"),
    (14, "lte"),
    (16, "lte-cat-m"),
    (17, "lte-nb-iot"),
    (15, "5gnr"),
)
"""Bits of MMModemAccessTechnology, the newest last."""
LTE: Final = "lte"
NR: Final = "5gnr"
ANY: Final = 0xFFFFFFFF
"""MM_MODEM_ACCESS_TECHNOLOGY_ANY: nothing is told."""
NET: Final = 2
"""MM_MODEM_PORT_TYPE_NET."""
PRIMARY_LOW, ESIM = 2, 2
"""MM_MODEM_POWER_STATE_LOW; MM_SIM_TYPE_ESIM."""
ENABLED: Final = 6
"""MM_MODEM_STATE_ENABLED."""
ATTACHED: Final[Mapping[int, bool]] = {1: False, 2: True}
"""MMModem3gppPacketServiceState."""
VOICE_CENTRIC: Final = (1, 3)
"""MMModem3gppEpsUeModeOperation: PS mode 1 and CS/PS mode 1, whose usage setting is "voice centric" (3GPP TS 24.301,
4.3)."""
METHODS: Final[Mapping[int, IpMethod]] = {1: IpMethod.PPP, 2: IpMethod.STATIC, 3: IpMethod.DHCP}
RECEIVED, RECEIVING = 3, 2
"""MMSmsState."""
IP_TYPES: Final = {"ipv4": 1, "ipv6": 2, "ipv4v6": 4}
"""MMBearerIpFamily."""
