"""What an operator writes of modems, their SIMs and their messages: text -> value.

Errors quote patterns alone: numbers that tell who somebody is, PINs and passwords have no place in a log.
"""

from __future__ import annotations

import re
import warnings
from typing import Final

from failover.config.modems import MATCHED_MAX
from failover.config.values import WrongValueError, quoted
from failover.model import clean

IMEI_DIGITS: Final = 15
"""With the check digit (3GPP TS 23.003, 6.2.1)."""
ICCID_LENGTH: Final = 20
"""Digits and filler."""
DEVICE_MAX: Final = 256
CREDENTIAL_MAX: Final = 64
PATTERN_MAX: Final = 200
WAYS_MAX: Final = 1000
"""In which one pattern can go on from a character: `.*` has as many, `.{0,30}` twice 961. Takes some 10 ms at worst."""

_ICCID: Final = re.compile(r"([0-9]{18,20})[Ff]*")
"""ITU-T E.118: at most 19 digits; some have 20. A card of fewer is filled up with F (3GPP TS 31.102, 4.2.1)."""
_APN: Final = re.compile(r"[!#-~]{1,100}")
"""3GPP TS 23.003, 9.1: at most 100 octets; networks are laxer than its letters, and no modem takes a quote."""
_DEVICE: Final = re.compile(r"/?[\w.:@,+-]+(?:/[\w.:@,+-]+)*/?", re.ASCII)
_PORT: Final = re.compile(r"/?dev/.*|(cdc-wdm|ttyUSB|ttyACM)[0-9]+")
"""Device files, and their names: numbered anew with each reset, and no path in /sys/devices."""
_SERIAL: Final = re.compile(r"[!-~]{1,64}")
_PIN: Final = re.compile(r"[0-9]{4,8}")
_TOKEN: Final = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<open>\(\??)|(?P<end>\))|(?P<either>\|)|(?P<repeat>[?*+]|\{\d*,?\d*\})[?+]?|.",
    re.DOTALL,
)
"""Of a regular expression, as far as repeats go."""
_VERBOSE: Final = re.compile(r"\(\?[a-zA-Z]*x")


def parse_imei(text: str) -> str:
    """Fifteen digits."""
    digits = text.isascii() and text.isdigit()
    if digits and len(text) == IMEI_DIGITS + 1:
        raise WrongValueError("16 digits are an IMEISV", "write the 15 of the IMEI, as `failover modems` shows them")
    if not digits or len(text) != IMEI_DIGITS:
        found = f"{len(text)} digits" if digits else "something other than digits"
        raise WrongValueError(f"{found}, and an IMEI has {IMEI_DIGITS}", "write it as `failover modems` shows it")
    return text


def checks(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of those before it (ISO/IEC 7812-1, annex B)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def parse_iccid(text: str) -> str:
    """Its digits, without the filler."""
    found = _ICCID.fullmatch(text)
    if not found or len(text) > ICCID_LENGTH:
        raise WrongValueError("it is no ICCID", "write its 18 to 20 digits, as they are printed on the card")
    return found[1]


def parse_device(text: str) -> str:
    """A path in /sys/devices, or the end of one."""
    if _PORT.fullmatch(text):
        mend = "write the modem's place instead, as `failover modems` shows it, like usb1/1-2"
        raise WrongValueError("that is a port of the modem, and has another name after a reset", mend)
    if len(text) > DEVICE_MAX or not _DEVICE.fullmatch(text) or ".." in text.split("/"):
        raise WrongValueError("it is no device", "write the path that `failover modems` shows, or its end, as usb1/1-1")
    return text.rstrip("/")


def parse_serial(text: str) -> str:
    """Of a USB device."""
    if not _SERIAL.fullmatch(text):
        raise WrongValueError("it is no serial number", "write it as `lsusb -v` shows it, at most 64 characters")
    return text


def parse_apn(text: str) -> str:
    """The name of an access point."""
    if not _APN.fullmatch(text):
        raise WrongValueError("it is no APN", "at most 100 letters, digits and signs, without blanks")
    return text


def parse_credential(text: str) -> str:
    """A user's name or password."""
    if not text or len(text) > CREDENTIAL_MAX or clean(text) != text:
        raise WrongValueError("it is empty, too long or not printable", f"1 to {CREDENTIAL_MAX} printable characters")
    return text


def parse_pin(text: str) -> str:
    """Of a SIM (3GPP TS 31.101, 9.5.1)."""
    if not _PIN.fullmatch(text):
        raise WrongValueError("it is no PIN", "4 to 8 digits, as '0123'")
    return text


def parse_pattern(text: str) -> str:
    """A regular expression that is not much work for any text.

    Python's `re` tries every way in which repeats and alternatives can share a text, so their product is bounded, and
    groups are not repeated.
    """
    if not 1 <= len(text) <= PATTERN_MAX:
        raise WrongValueError(f"a pattern of {len(text)} characters", f"write 1 to {PATTERN_MAX}")
    compiled = _compiled(text)
    if _VERBOSE.search(text):
        raise WrongValueError("verbose patterns are not taken", "write it without (?x)")
    if (ways := _ways(text)) is None:
        raise WrongValueError("a group is repeated", "repeat single characters or sets, as [0-9]{1,9}")
    if ways > WAYS_MAX:
        raise WrongValueError(
            "it is too much work for a long text", "bound what is repeated, as .{0,30} and [0-9]{1,9}"
        )
    if compiled.search(""):
        raise WrongValueError("it matches every message", "ask for a word")
    return text


def _compiled(text: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(text)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        message = f"{quoted(text)} is no regular expression: {clean(str(error))}"
        raise WrongValueError(message, "see https://docs.python.org/3/library/re.html") from None


def _ways(pattern: str) -> int | None:
    """In how many ways its repeats and alternatives can take a text, at most; None: a group is repeated."""
    ways, closed, choices = 1, False, [1]
    """The last: alternatives of the group that is open, so far."""
    for token in _TOKEN.finditer(pattern):
        what = token.lastgroup
        if closed and what == "repeat" and token["repeat"] != "?":
            return None
        match what:
            case "repeat":
                ways *= _lengths(token["repeat"])
            case "open":
                choices.append(1)
            case "either":
                choices[-1] += 1
            case "end" if len(choices) > 1:
                ways *= choices.pop()
        closed = what == "end"
    return ways * choices[0]


def _lengths(repeat: str) -> int:
    """How many different lengths it can have."""
    if repeat == "?":
        return 2
    if repeat in ("*", "+"):
        return MATCHED_MAX
    low, comma, high = repeat.strip("{}").partition(",")
    if not comma:
        return 1
    return max(1, min(MATCHED_MAX, int(high or MATCHED_MAX)) - int(low or 0) + 1)
