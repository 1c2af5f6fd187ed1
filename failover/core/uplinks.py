"""Facts + config -> the uplinks there are: name, slot, and the way out in each family.

Pure. Identity is the name (config) or the interface name (discovered); the slot, which numbers the table and the mark,
is kept as long as the uplink is known and is found again in the kernel after a restart. No judgement here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from failover import config as will
from failover.model import (
    FAMILIES,
    PROTOCOL,
    SLOTS_MAX,
    TABLE_MAIN,
    TABLE_SETTLED,
    TABLE_UPLINK,
    Facts,
    Family,
    Link,
    Route,
    RouteKind,
    Target,
)

SLOT_LIMIT: Final = min(SLOTS_MAX, TABLE_SETTLED - TABLE_UPLINK)


@dataclass(frozen=True, slots=True)
class Path:
    """One uplink's way out in one family, as the kernel has it now."""

    route: Route | None = None
    """The default of table main through this interface with the lowest metric."""
    addresses: tuple[str, ...] = ()
    """All global addresses, deprecated ones too: open flows use them."""
    fault: str = "no interface"
    """Why no packet can leave, or empty."""
    certain: bool = False
    """The link is there and its carrier is not: a certain conviction; any other fault is absence."""


@dataclass(frozen=True, slots=True)
class Uplink:
    name: str
    interface: str
    slot: int
    """0-based; table TABLE_UPLINK + slot, mark value slot + 1."""
    index: int | None
    """Interface index, None while there is no such interface."""
    carrier: str
    metered: bool
    targets: tuple[Target, ...]
    paths: Mapping[Family, Path]
