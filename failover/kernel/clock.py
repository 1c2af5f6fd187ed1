"""What the kernel knows of time beyond the running clock: how long the machine slept, whether the wall clock is set."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Final

STA_UNSYNC: Final = 0x0040
"""linux/timex.h: nobody disciplines the clock (no NTP since boot)."""
SYNCHRONIZED: Final = Path("/run/systemd/timesync/synchronized")
"""There once systemd-timesyncd(8) has set the clock."""


class _Timex(ctypes.Structure):
    """The head of struct timex (adjtimex(2)), with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 40),
    )


def slept() -> float:
    """Seconds that the machine was suspended since boot: CLOCK_BOOTTIME counts them, CLOCK_MONOTONIC does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


def wall_clock_trusted() -> bool:
    """Whether something keeps the wall clock right: STA_UNSYNC is clear; systemd's word where we may not ask for it."""
    timex = _Timex()  # modes 0: only read
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    if adjtimex is None or adjtimex(ctypes.byref(timex)) < 0:  # as under ProtectClock= of systemd.exec(5)
        return SYNCHRONIZED.exists()
    return not timex.status & STA_UNSYNC
