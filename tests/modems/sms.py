"""Messages as a carrier's service centre delivers them: SMS-DELIVER, 3GPP TS 23.040, in GSM 7-bit or UCS-2."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import datetime

GSM7 = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The default alphabet, TS 23.038 6.2.1; of its extension table nothing."""
SEVEN_BIT, UCS2 = 0x00, 0x08
"""Data coding schemes."""
INTERNATIONAL, NATIONAL, ALPHANUMERIC = 0x91, 0x81, 0xD0
DELIVER, NO_MORE, HEADER = 0x00, 0x04, 0x40
WHOLE = {SEVEN_BIT: 160, UCS2: 70}
PART = {SEVEN_BIT: 153, UCS2: 67}
"""Characters; the header of a part takes six octets."""


def swapped(digits: str) -> bytes:
    """Semi-octets: the first digit in the low half, an odd number filled up with F."""
    return bytes.fromhex("".join(b + a for a, b in zip(digits[::2], (digits + "F")[1::2], strict=False)))


def delivered(sender: str, text: str, sent: datetime, reference: int) -> list[bytes]:
    """The TPDUs of one message, each after an empty service centre address; more than one part has the reference."""
    coding = SEVEN_BIT if set(text) <= set(GSM7) else UCS2
    parts = list(_cut(text, WHOLE[coding] if _units(text, coding) <= WHOLE[coding] else PART[coding], coding))
    return [
        _deliver(sender, coding, sent, bytes((5, 0, 3, reference, len(parts), n)) if len(parts) > 1 else b"", part)
        for n, part in enumerate(parts, 1)
    ]


def _units(text: str, coding: int) -> int:
    return len(text) if coding == SEVEN_BIT else len(text.encode("utf-16-be")) // 2


def _cut(text: str, size: int, coding: int) -> Iterator[str]:
    """No character is torn apart; an empty text is one part."""
    part = ""
    for character in text:
        if _units(part + character, coding) > size:
            yield part
            part = ""
        part += character
    yield part


def _deliver(sender: str, coding: int, sent: datetime, header: bytes, text: str) -> bytes:
    first = DELIVER | NO_MORE | (HEADER if header else 0)
    if coding == UCS2:
        data = header + text.encode("utf-16-be")
        length = len(data)
    else:
        fill = -len(header) * 8 % 7
        data = header + packed([GSM7.index(one) for one in text], fill)
        length = (len(header) * 8 + fill) // 7 + len(text)
    stamp = swapped(sent.strftime("%y%m%d%H%M%S") + "00")
    return b"\0" + bytes((first,)) + _address(sender) + struct.pack("BB", 0, coding) + stamp + bytes((length,)) + data


def _address(sender: str) -> bytes:
    """A number, or a name such as a carrier has for one."""
    digits = sender.removeprefix("+")
    if digits.isdecimal():
        return bytes((len(digits), INTERNATIONAL if sender != digits else NATIONAL)) + swapped(digits)
    letters = packed([GSM7.index(one) for one in sender])
    return bytes(((len(sender) * 7 + 3) // 4, ALPHANUMERIC)) + letters


def packed(septets: Sequence[int], fill: int = 0) -> bytes:
    """Seven bits each, the lowest first, after some bits of nothing."""
    bits = sum(septet << (fill + 7 * place) for place, septet in enumerate(septets))
    return bits.to_bytes((fill + 7 * len(septets) + 7) // 8, "little")
