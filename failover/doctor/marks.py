"""Checks for others that use bits of our mark: policy rules, and what the firewall writes on packets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from failover.core.plan import ours
from failover.doctor.case import Case, Ground
from failover.doctor.finding import Remarks, failure, note, warning
from failover.doctor.machine import AS_ROOT
from failover.doctor.ruleset import listed, statements

LEGACY: Final = tuple(Path(f"/proc/self/net/{name}") for name in ("ip_tables_names", "ip6_tables_names"))
"""The tables of iptables-legacy, one per line; root alone may read them."""
OTHER_BITS: Final = "let it use other bits, or give failover others with kernel.fwmark_mask"


def rules(ground: Ground) -> Remarks:
    """Rules of others that look for marks which are ours to give."""
    mask = ground.case.config.fwmark_mask
    for rule in ground.facts.rules:
        taken = (rule.fwmark or 0) & (0xFFFFFFFF if rule.fwmask is None else rule.fwmask) & mask
        if taken and not ours(rule):
            text = f"{rule.family} rule {rule.priority} of others uses bits {taken:#x} of our mask {mask:#x}"
            yield failure(text, OTHER_BITS)


def firewall(case: Case) -> Remarks:
    """What the nftables ruleset, and iptables over it, write into the mark of packets and connections."""
    objects = listed()
    if isinstance(objects, str):
        yield note(f"not looked at: {objects}", "" if os.geteuid() == 0 else AS_ROOT)
        return
    mask = case.config.fwmark_mask
    for where, key, value in _writes(objects):
        if value & mask:
            text = f"{where} sets bits {value & mask:#x} of our mask {mask:#x} in the {key} mark"
            yield failure(text, OTHER_BITS) if key == "packet" else warning(text, OTHER_BITS)
    hidden = [where for where, part in statements(objects, "xt") if not isinstance(part, dict) or _marks(part)]
    if hidden:
        text = f"{len(hidden)} rules of iptables cannot be read, the first in {hidden[0]}: their marks are not known"
        yield note(text, "look for MARK and CONNMARK in `iptables-save`")
    if any("mangle" in _names(path) for path in LEGACY):
        yield note("iptables-legacy has a mangle table, which is not looked at", "see `iptables-legacy-save -t mangle`")


def _writes(objects: list[dict[str, Any]]) -> Iterator[tuple[str, str, int]]:
    """(chain, `packet` or `connection`, bits that may be set) of every write to a mark (libnftables-json(5))."""
    for where, mangle in statements(objects, "mangle"):
        key = mangle.get("key") if isinstance(mangle, dict) else None
        for kind, name in (("meta", "packet"), ("ct", "connection")):
            if isinstance(key, dict) and isinstance(key.get(kind), dict) and key[kind].get("key") == "mark":
                yield where, name, _bits(mangle.get("value"))


def _marks(part: dict[str, Any]) -> bool:
    """Whether a part of iptables that nft does not translate sets a mark."""
    return part.get("type") == "target" and part.get("name") in ("MARK", "CONNMARK")


def _bits(value: object) -> int:
    """The constant bits in a value that can be set by it: of `mark and 0xff or 0x100` those of the `or`."""
    if isinstance(value, int):
        return value
    found = 0
    if isinstance(value, dict):
        for operator in ("|", "^"):
            for operand in value.get(operator) or ():
                found |= _bits(operand)
    return found


def _names(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
