"""What came over D-Bus, believed only when it is of the type and the size that it should be. Pure.

A value comes with its signature (dbus_fast.Variant, or whatever looks like one). What is not as it should be was not
told.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from failover.model import Family, clean

TEXT: Final = 512
"""Characters of a text at most; the longest that ModemManager tells, the firmware's versions, has some 200."""
ITEMS: Final = 512
"""Entries of an array at most, the first ones; a SIM and a modem keep 255 SMS each."""
WORD: Final = 64
"""Characters of an identity or a name."""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= TEXT


def _is_natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_pair(value: object, first: Callable[[object], bool], second: Callable[[object], bool]) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and first(value[0]) and second(value[1])


def _is_mapping(value: object, key: Callable[[object], bool], held: Callable[[object], bool]) -> bool:
    return isinstance(value, dict) and len(value) <= ITEMS and all(key(k) and held(v) for k, v in value.items())


def _is_anything(_: object) -> bool:
    return True


def _are_ports(value: object) -> bool:
    return isinstance(value, list) and all(_is_pair(port, _is_text, _is_natural) for port in value)


_FITS: Final[Mapping[str, Callable[[object], bool]]] = {
    "s": _is_text,
    "o": _is_text,
    "u": _is_natural,
    "t": _is_natural,
    "i": _is_integer,
    "b": lambda value: isinstance(value, bool),
    "d": lambda value: isinstance(value, float),
    "ao": _are_texts,
    "(ss)": lambda value: _is_pair(value, _is_text, _is_text),
    "a(su)": _are_ports,
    "a{uu}": lambda value: _is_mapping(value, _is_natural, _is_natural),
    "a{sv}": lambda value: _is_mapping(value, _is_text, _is_anything),
}


def told(typed: object, signature: str) -> Any:
    """The value, if it is of that type and of a sane size, of a long list its beginning; else None."""
    value = getattr(typed, "value", None)
    if isinstance(value, list):
        value = value[:ITEMS]
    return value if getattr(typed, "signature", None) == signature and _FITS[signature](value) else None


def word(text: object) -> str:
    """A name or an identity, clean; empty where there is none."""
    return clean(text.strip(), WORD) if isinstance(text, str) else ""


def digits(text: object) -> str:
    """An IMEI, ICCID or PLMN; empty where it is none. An odd ICCID ends in F."""
    found = word(text)
    return found if found.isascii() and found.isalnum() else ""


def literal(text: object, family: Family) -> str:
    """An address of that family, in its usual form; empty where it is none. One with a zone is none: the kernel's words
    have no place for it, and the interface is known."""
    try:
        found = ipaddress.ip_address(text) if isinstance(text, str) and "%" not in text else None
    except ValueError:
        return ""
    return str(found) if found is not None and found.version == (4 if family is Family.IPV4 else 6) else ""


def gateway(text: object, family: Family) -> str | None:
    """As `literal`; empty where none is told, as by 0.0.0.0. None: what is told can be no gateway, for the kernel would
    refuse a route by it."""
    if not text:
        return ""
    found = literal(text, family)
    if not found:
        return None
    told_of = ipaddress.ip_address(found)
    if told_of.is_unspecified:
        return ""
    odd = told_of.is_loopback or told_of.is_multicast or told_of.is_reserved
    return None if odd or getattr(told_of, "ipv4_mapped", None) is not None else found


def level(typed: object, low: float, high: float) -> float | None:
    """A measured value; ModemManager says "not measured" with the lowest of all doubles."""
    value = told(typed, "d")
    return round(value, 1) if value is not None and math.isfinite(value) and low <= value <= high else None
