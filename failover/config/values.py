"""The small written forms an operator uses, in the config and on the command line: text -> value.

Pure functions of one text each. A text that is not the value raises `WrongValueError`, whose hint is the mend.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from math import inf
from typing import Final

from failover.model import FailoverError, clean

MASK_BITS_MIN: Final = 3
"""Below that the fwmark mask has no room for a handful of uplinks."""

_MEASURE: Final = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,9})?)( *)([A-Za-z]*)")
_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?")
_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION_UNITS: Final = ("ms", *_SECONDS)
_PARTS: Final = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit in reversed(DURATION_UNITS)))
"""Whole numbers with their units, the largest first: `1h30m`."""
_BYTES: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
SIZE_UNITS: Final = tuple(_BYTES)
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_MASK: Final = re.compile(r"0x[0-9A-Fa-f]{1,8}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_UID: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_UID_MAX: Final = 2**32 - 2
_INTERFACE_BYTES: Final = 15
"""IFNAMSIZ - 1, linux/if.h."""
_CARRIER_LENGTH: Final = 64


class WrongValueError(FailoverError):
    """A text that is not the value it should be."""


def shown(text: str) -> str:
    """A text from outside, short and printable."""
    return clean(text[:61], 60)


def quoted(text: str) -> str:
    """`shown`, in the quotes that messages use."""
    return f"'{shown(text)}'"


def parse_duration(text: str, low: float = 0.0, high: float = inf) -> float:
    """Seconds of `1.5s`, `250ms`, `10m`, `1d`, `1h30m`. The bounds are not checked: the mend for a bare number keeps to
    them."""
    parts = _PARTS.fullmatch(text)
    if parts and text:
        *longer, thousandths = (int(number or 0) for number in parts.groups())
        seconds = sum(number * _SECONDS[unit] for number, unit in zip(reversed(longer), _SECONDS, strict=True))
        return seconds + thousandths / 1000
    mend = "write it as 1.5s, 10m or 1h30m, larger units first"
    number, unit = _measure(text, "a duration", DURATION_UNITS, mend, lambda bare: _duration_mend(bare, low, high))
    return float(number) / 1000 if unit == "ms" else float(number) * _SECONDS[unit]


def parse_size(text: str) -> int:
    """Bytes of `30MB`, `5GB`; the units are decimal (1 MB = 10^6 B)."""
    mend = "write one number and one unit, as 1.5MB"
    number, unit = _measure(text, "a size", SIZE_UNITS, mend, lambda bare: f"write {bare}MB")
    return round(float(number) * _BYTES[unit])


def parse_budget(text: str) -> int:
    """Bytes a month of `30MB/month`."""
    size, slash, period = text.partition("/")
    if not slash:
        raise WrongValueError(f"{quoted(text)} names no period", "a budget is per month, as 30MB/month")
    if period != "month":
        raise WrongValueError(f"{quoted(period)} is not a period", "a budget is per month, as 30MB/month")
    return parse_size(size)


def _duration_mend(number: str, low: float, high: float) -> str:
    """A bare number with the unit that was meant: seconds, or else the first one that keeps it within bounds."""
    mended = (f"{number}{unit}" for unit in ("s", *DURATION_UNITS))
    fitting = next((text for text in mended if low <= parse_duration(text) <= high), None)
    return f"write {fitting}" if fitting else f"from {format_duration(low)} to {format_duration(high)}"


def _measure(
    text: str, what: str, units: tuple[str, ...], shape: str, mend_bare: Callable[[str], str]
) -> tuple[str, str]:
    """Number and unit, or an error that says which of the two is wrong; `shape` and `mend_bare` are the hints for what
    is neither, and for a bare number."""
    known = ", ".join(units)
    match = _MEASURE.fullmatch(text)
    if match is None:
        raise WrongValueError(f"{quoted(text)} is not {what}", shape)
    number, space, unit = match.groups()
    if not unit:
        raise WrongValueError(f"{quoted(text)} has no unit", f"{mend_bare(number)} (units: {known})")
    if unit not in units:
        raise WrongValueError(f"{quoted(text)} has an unknown unit", f"units: {known}")
    if space:
        raise WrongValueError(f"{quoted(text)} has a blank in it", f"write {number}{unit}")
    return number, unit


def format_duration(seconds: float) -> str:
    """As `parse_duration` reads it."""
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:.10g}s" if seconds >= 1 else f"{seconds * 1000:.10g}ms"


def format_size(size: int) -> str:
    """As `parse_size` reads it."""
    unit, length = next(((u, n) for u, n in reversed(_BYTES.items()) if size >= n and size % n == 0), ("B", 1))
    return f"{size // length}{unit}"


def parse_number(text: str) -> float:
    """A plain decimal number, not negative."""
    if not _NUMBER.fullmatch(text):
        raise WrongValueError(f"{quoted(text)} is not a number", "write it as 2.5")
    return float(text)


def parse_whole(text: str) -> int:
    """A whole number; with no leading zero, which YAML 1.1 would take for octal."""
    if not _WHOLE.fullmatch(text):
        raise WrongValueError(f"{quoted(text)} is not a whole number", "write it in decimal, as 6")
    return int(text)


def parse_name(text: str) -> str:
    """An uplink's name."""
    if not _NAME.fullmatch(text):
        raise WrongValueError(f"{quoted(text)} is not a name", "use 1 to 32 of A-Z a-z 0-9 _ . -")
    return text


def parse_interface(text: str) -> str:
    """A name that the kernel takes for an interface (dev_valid_name, net/core/dev.c) and that can be an uplink."""
    if text == "lo":
        raise WrongValueError("'lo' is the loopback", "name the interface that leads to the carrier, as wwan0")
    if len(text.encode(errors="replace")) > _INTERFACE_BYTES:
        raise WrongValueError(f"{quoted(text)} is too long for an interface", "Linux allows 15 bytes; see `ip link`")
    if text in ("", ".", "..") or any(c in "/:" or c.isspace() or not c.isprintable() for c in text):
        raise WrongValueError(f"{quoted(text)} is not an interface name", "see `ip link`")
    return text


def parse_carrier(text: str) -> str:
    """A label for people."""
    if len(text) > _CARRIER_LENGTH or clean(text) != text:
        raise WrongValueError(f"{quoted(text)} is not a label", f"use at most {_CARRIER_LENGTH} printable characters")
    return text


def parse_port(text: str) -> int:
    """1 to 65535."""
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise WrongValueError(f"{quoted(text)} is not a port", "a port is a number from 1 to 65535")
    return int(text)


def parse_uid(text: str) -> int:
    """0 to 4294967294; the one above means nobody (chown(2))."""
    if not _UID.fullmatch(text) or int(text) > _UID_MAX:
        raise WrongValueError(f"{quoted(text)} is not a user id", "a number, as `id -u NAME` tells it")
    return int(text)


def parse_listen(text: str) -> str | None:
    """`ADDRESS:PORT` in canonical form; None of `none`."""
    if text == "none":
        return None
    host, colon, port = text.rpartition(":")
    if not colon:
        raise WrongValueError(f"{quoted(text)} is not ADDRESS:PORT", "for example 127.0.0.1:9109, or none")
    if not host:
        raise WrongValueError(
            f"{quoted(text)} has no address", f"for every address write 0.0.0.0:{port} or '[::]:{port}'"
        )
    literal = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(literal)
    except ValueError:
        raise WrongValueError(f"{quoted(host)} is not an address", "for example 127.0.0.1, or '[::1]'") from None
    if "%" in literal or (address.version == 6) != (literal != host):
        raise WrongValueError(f"{quoted(host)} is not an address here", "IPv6, and only that, in brackets; no zone")
    return f"{f'[{address}]' if address.version == 6 else address}:{parse_port(port)}"


def parse_mask(text: str) -> int:
    """A fwmark mask: hexadecimal, contiguous bits, at least MASK_BITS_MIN of them."""
    if not _MASK.fullmatch(text):
        raise WrongValueError(f"{quoted(text)} is not a mask", "write it in hexadecimal, as 0x3f000000")
    mask = int(text, 16)
    lowest = mask & -mask
    if mask == 0 or (mask + lowest) & mask:
        raise WrongValueError(f"{quoted(text)} is not one run of bits", "for example 0x3f000000")
    if mask.bit_count() < MASK_BITS_MIN:
        raise WrongValueError(f"{quoted(text)} has too few bits", f"use at least {MASK_BITS_MIN}, as 0x3f000000")
    return mask


def mask_room(mask: int) -> int:
    """How many uplinks a mask can tell apart (no bit means: unmarked; all of them: a probe's connection)."""
    return (1 << mask.bit_count()) - 2
