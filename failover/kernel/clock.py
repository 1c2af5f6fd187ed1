"""What the kernel knows of time beyond the running clock: how long the machine slept, whether the wall clock is set."""

from __future__ import annotations

import ctypes
import time
from typing import Final

STA_UNSYNC: Final = 0x0040
"""linux/timex.h: nobody disciplines the clock (no NTP since boot)."""


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
    """Whether something keeps the wall clock right (STA_UNSYNC clear)."""
    timex = _Timex()  # modes 0: only read
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    return adjtimex is not None and adjtimex(ctypes.byref(timex)) >= 0 and not timex.status & STA_UNSYNC
