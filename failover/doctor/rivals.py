"""Checks for others that do what failover does: by their traces in the kernel, and by the names of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from failover.doctor.case import Case, Ground
from failover.doctor.finding import Remarks, failure, warning
from failover.facts import TABLE_MAIN, Rule
from failover.model import clean

PENALTY: Final = 20000
"""What NetworkManager adds to the metric of a default route while its connectivity check fails (nm-device.c)."""
MWAN3_MASK: Final = 0x3F00
MWAN3_PREFS: Final = range(1000, 4000)
"""mwan3's default mmx_mask, and the prefs of its rules: 1000, 2000 and 3000 + interface (mwan3.sh)."""
MOVES_ROUTES: Final = {
    "mwan3track": "mwan3",
    "mwan3rtmon": "mwan3",
    "keepalived": "keepalived",
    "ifplugd": "ifplugd",
    "netplugd": "netplugd",
    "dpinger": "dpinger",
}
"""The kernel's name of a process (at most 15 characters) -> the daemon that it is of."""
PROCESSES_MAX: Final = 65536


def processes(_case: Case) -> Remarks:
    """Daemons that move routes by their own judgement, in this network namespace."""
    for pid, name in _named_here():
        daemon = MOVES_ROUTES[name]
        text = f"{daemon} runs (process {name}, pid {pid}) and may move the same routes"
        if daemon == "mwan3":
            yield failure(text, "stop and disable it: two cannot decide")
        else:
            yield warning(text, f"let {daemon} leave the uplinks alone, or stop it")


def _named_here() -> Iterator[tuple[int, str]]:
    """(pid, name), each daemon once. Of a process whose namespace is not to be seen, this one is assumed."""
    here, found = os.readlink("/proc/self/ns/net"), set()
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdecimal())[:PROCESSES_MAX]:
        try:
            name = clean(Path(f"/proc/{pid}/comm").read_text(errors="replace").strip(), 32)
        except OSError:
            continue
        if name in MOVES_ROUTES and name not in found and _namespace(pid, here) == here:
            found.add(name)
            yield pid, name


def _namespace(pid: int, otherwise: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return otherwise


def routing(ground: Ground) -> Remarks:
    """What they leave in the kernel."""
    names = {link.index: link.name for link in ground.facts.links}
    for route in ground.facts.routes:
        if route.table == TABLE_MAIN and PENALTY <= route.metric < 2 * PENALTY and route.interface in names:
            text = f"the {route.family} default of {names[route.interface]} has metric {route.metric}"
            why = "as NetworkManager's connectivity check makes it, which ranks uplinks by its own judgement"
            yield warning(f"{text}, {why}", "set interval=0 in [connectivity] of NetworkManager.conf")
    marked = [rule for rule in ground.facts.rules if is_mwan3(rule)]
    if marked:
        prefs = f"{marked[0].priority}-{marked[-1].priority}"
        text = f"{len(marked)} rules of mwan3 (prefs {prefs}, mask {MWAN3_MASK:#x}) come before ours"
        yield failure(text, "stop and disable mwan3: two cannot decide; `mwan3 stop` takes its rules away")


def is_mwan3(rule: Rule) -> bool:
    """One of those that it sends marked packets by."""
    return rule.fwmask == MWAN3_MASK and rule.priority in MWAN3_PREFS
