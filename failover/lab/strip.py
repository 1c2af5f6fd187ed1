"""The user's new flows as a strip: per cell of time how many were sent and answered, and by which interface.

Fed with packets from the van's wires (meter.py), so the user and its own record (traffic.py) are not disturbed by
anybody who watches. No clock and no socket here.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from failover.lab.places import APP, ECHO_PORT, NEW_FLOW
from failover.model import FAMILIES, Family

CELL: Final = 0.2
"""Seconds; twenty new flows of a family."""
GRACE: Final = 0.1
"""Seconds after a cell's end until it is shown: an undisturbed echo takes 0.03."""
KEPT: Final = 200
GOOD: Final = 0.9
"""Share of a cell's flows that must be answered."""
_UDP: Final = 17
_APP: Final = {ipaddress.ip_address(address).packed for address in APP.values()}


class State(enum.Enum):
    """What became of a cell's flows."""

    NONE = enum.auto()
    SERVED = enum.auto()
    PARTLY = enum.auto()
    LOST = enum.auto()


@dataclass(frozen=True, slots=True)
class Shown:
    """One cell as it is drawn."""

    state: State
    interface: str = ""
    """By which most of its flows left."""


@dataclass(slots=True)
class _Cell:
    sent: Counter[str] = field(default_factory=Counter)
    waiting: set[int] = field(default_factory=set)
    """Source ports of those that have no echo yet."""
    answered: int = 0

    def shown(self) -> Shown:
        total = self.sent.total()
        if not total:
            return Shown(State.NONE)
        share = self.answered / total
        state = State.SERVED if share >= GOOD else State.PARTLY if self.answered else State.LOST
        return Shown(state, self.sent.most_common(1)[0][0])


class Strip:
    """Takes packets from one thread, is looked at by another."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cells: dict[Family, dict[int, _Cell]] = {family: {} for family in FAMILIES}

    def packet(self, now: float, interface: str, packet: bytes) -> None:
        """An IP packet on a wire of the van at monotonic second `now`; only new flows of the user count."""
        found = _new_flow(packet)
        if found is None:
            return
        family, port, leaves = found
        with self._lock:
            cells = self._cells[family]
            if leaves:
                cell = cells.setdefault(int(now / CELL), _Cell())
                cell.sent[interface] += 1
                cell.waiting.add(port)
                if len(cells) > KEPT:
                    del cells[next(iter(cells))]
                return
            cell_of = next((cell for cell in reversed(cells.values()) if port in cell.waiting), None)
            if cell_of is not None:
                cell_of.waiting.discard(port)
                cell_of.answered += 1

    def last(self, now: float, family: Family, count: int) -> list[Shown]:
        """The last cells of a family, oldest first; those that nothing was sent in too."""
        newest = int((now - GRACE) / CELL) - 1
        with self._lock:
            cells = self._cells[family]
            wanted = (cells.get(number) for number in range(newest - count + 1, newest + 1))
            return [Shown(State.NONE) if cell is None else cell.shown() for cell in wanted]


def _new_flow(packet: bytes) -> tuple[Family, int, bool] | None:
    """(family, the user's port, whether it leaves the van) of a packet of a new flow."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        family, protocol, start = Family.IPV4, packet[9:10], (packet[0] & 15) * 4
        source, target = packet[12:16], packet[16:20]
    elif version == 6:
        family, protocol, start = Family.IPV6, packet[6:7], 40
        source, target = packet[8:24], packet[24:40]
    else:
        return None
    ports, payload = packet[start : start + 4], packet[start + 8 : start + 8 + len(NEW_FLOW)]
    if protocol != bytes([_UDP]) or payload != NEW_FLOW:
        return None
    theirs, ours = int.from_bytes(ports[2:]), int.from_bytes(ports[:2])
    if target in _APP and theirs == ECHO_PORT:
        return family, ours, True
    if source in _APP and ours == ECHO_PORT:
        return family, theirs, False
    return None
