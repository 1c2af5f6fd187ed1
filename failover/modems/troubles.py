"""What keeps a modem from connecting, by what its manager tells of it, with the mend. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from failover.modem import Modem, ModemState, Registration

Trouble = tuple[str, str]
"""What is wrong, and the mend."""

RESET: Final = "reset it: `mmcli -m N --reset`, N as in `mmcli -L`"
FAILURES: Final = {
    "sim-missing": ("there is no SIM in the slot in use", "put one in, or name the other slot"),
    "sim-error": ("its SIM cannot be read", "take it out, clean it and put it in again; try it in a telephone"),
    "esim-without-profiles": ("its eSIM has no profile", "download one, as with `lpac profile download`"),
    "unknown-capabilities": ("its manager cannot make out what it can do", RESET),
}
LOCKS: Final = {
    "sim-pin": ("its SIM asks for the PIN", "write it in the config, as `pin: '0123'` in `modem`"),
    "sim-puk": (
        "its SIM is blocked, and asks for the PUK",
        "its card has that: `mmcli -i N --puk=PUK --pin=PIN`, N as in `mmcli -m`",
    ),
}


def troubles(modem: Modem) -> Iterator[Trouble]:
    """The worst first; nothing where it can connect."""
    if modem.lock:
        own = (f"it is locked ({modem.lock})", "ask who sold it for the code, then `mmcli --help-sim` has the ways")
        yield LOCKS.get(modem.lock, own)
    elif modem.state is ModemState.FAILED:
        own = (f"it has failed ({modem.failure or 'unknown'})", f"unplug it, or {RESET}")
        yield FAILURES.get(modem.failure, own)
    if modem.registration is Registration.DENIED:
        yield "the network refuses its SIM", "ask the carrier whether the line is suspended"
