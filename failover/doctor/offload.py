"""A check for what passes by the counters of flows: packets that the kernel or the hardware forwards on a short cut."""

from __future__ import annotations

import os
from typing import Any, Final

from failover.doctor.case import Case
from failover.doctor.finding import Remarks, note, warning
from failover.doctor.machine import AS_ROOT
from failover.doctor.ruleset import listed, statements

TARGET: Final = "FLOWOFFLOAD"
"""Of iptables, in OpenWrt's kernels."""
BLIND: Final = "past the hooks, so that they are not counted: they prove no uplink alive and raise no doubt"

MEND: Final = "leave the uplinks out of it; else detection rests on probes and on the box's own traffic"


def flows(_case: Case) -> Remarks:
    """Rules of others that put flows on a flowtable."""
    objects = listed()
    if isinstance(objects, str):
        yield note(f"not looked at: {objects}", "" if os.geteuid() == 0 else AS_ROOT)
        return
    devices = _devices(objects)
    for where, flow in statements(objects, "flow"):
        table = str(flow.get("flowtable", "?")).removeprefix("@") if isinstance(flow, dict) else "?"
        among = f" ({', '.join(devices[table])})" if devices.get(table) else ""
        text = f"{where} hands flows to flowtable {table}{among}, {BLIND}"
        yield warning(text, MEND)
    for where, part in statements(objects, "xt"):
        if isinstance(part, dict) and part.get("name") == TARGET:
            yield warning(f"{where} offloads flows {BLIND}", MEND)


def _devices(objects: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Flowtable -> the devices whose packets take the short cut."""
    found: dict[str, list[str]] = {}
    for item in objects:
        table = item.get("flowtable")
        if isinstance(table, dict):
            told = table.get("dev", [])
            found[str(table.get("name"))] = [str(name) for name in (told if isinstance(told, list) else [told])]
    return found
