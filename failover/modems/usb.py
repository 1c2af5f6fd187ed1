"""The serial number of a modem's USB device, as the kernel tells it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from failover.modems.values import WORD, word

SYS = PurePosixPath("/sys/devices")


def serial_of(sys: Path, device: str) -> str:
    """Of the device with that path (`sys` stands for /sys), or of the one that it is a part of; empty: it has none."""
    path = PurePosixPath(device)
    if not path.is_relative_to(SYS) or ".." in path.parts:
        return ""
    place = sys / path.relative_to("/sys")
    try:
        handle = os.open(place / "serial", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return word(os.read(handle, WORD).decode(errors="replace"))
    except OSError:
        return ""
    finally:
        os.close(handle)
