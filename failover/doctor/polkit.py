"""What polkit allows the agent: by asking it, which only root may, else by the rules that there are. Nobody is asked
for a password, and nothing is done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from failover.bus import DEFAULT_ADDRESS, Bus, BusError

RULES: Final = ("etc/polkit-1/rules.d", "usr/share/polkit-1/rules.d")
SERVICE: Final = "org.freedesktop.PolicyKit1"
AUTHORITY: Final = "/org/freedesktop/PolicyKit1/Authority"
CHECK: Final = f"{SERVICE}.Authority.CheckAuthorization"
Actions = Mapping[str, Mapping[str, str]]
"""What each action is about, as its service tells polkit."""


async def refused(pid: int, actions: Actions, address: str = DEFAULT_ADDRESS) -> list[str] | None:
    """Those that this process may not do; None: polkit cannot be asked."""
    bus = Bus(address)
    try:
        return [action for action, about in actions.items() if not await _allows(bus, pid, action, about)]
    except BusError:
        return None
    finally:
        await bus.close()


async def _allows(bus: Bus, pid: int, action: str, about: Mapping[str, str]) -> bool:
    from dbus_fast import Variant

    subject = ["unix-process", {"pid": Variant("u", pid), "start-time": Variant("t", 0)}]  # 0: it looks that up
    asked = [subject, action, dict(about), 0, ""]
    ((allowed, *_),) = await bus.call(SERVICE, AUTHORITY, CHECK, "(sa{sv})sa{ss}us", asked, "(bba{ss})")
    return bool(allowed)


def unnamed(actions: Iterable[str], root: Path = Path("/")) -> list[str] | None:
    """Those that no rule names; None where this user may not see all rules. `root`: where the box's file system is."""
    try:
        rules = b"".join(rule.read_bytes() for place in RULES for rule in _rules(root / place))
    except OSError:
        return None
    return [action for action in actions if action.encode() not in rules]


def _rules(folder: Path) -> list[Path]:
    """OSError where they may not be seen, which glob() keeps to itself."""
    names = os.listdir(folder) if folder.exists() else []
    return [folder / name for name in sorted(names) if name.endswith(".rules")]
