"""The user's traffic as strips: per cell of time how much was sent and answered, and by which interface.

Fed with packets from the van's wires (meter.py), so the user and its own record (traffic.py) are not disturbed by
anybody who watches. No clock and no socket here.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from failover.lab.places import APP, ECHO_PORT, LAN_GATEWAY, MULTIPATH_PORT, NEW_FLOW
from failover.model import FAMILIES, Family

CELL: Final = 0.2
"""Seconds; twenty new flows of a family."""
ECHO: Final = 0.03
"""Seconds that an undisturbed echo takes."""
GRACE: Final = 0.1
"""Seconds after a cell's end until it is shown."""
KEPT: Final = 200
STREAM, GUESTS = "MPTCP", "LAN"
ROWS: Final = (*FAMILIES, STREAM, GUESTS)
"""New flows of the van by family; its streams, and new flows of the LAN's clients, of both families together."""
GOOD: Final[Mapping[str, float]] = {Family.IPV4: 0.9, Family.IPV6: 0.9, STREAM: 0.5, GUESTS: 0.9}
"""Share of what is sent in a cell that must be answered: each new flow, or so many packets of a stream, whose answers
bear no name and may come a cell late."""
_TCP: Final = b"\x06"
_UDP: Final = b"\x11"
_GUEST: Final = tuple(NEW_FLOW + gateway.removesuffix("1").encode() for gateway in LAN_GATEWAY.values())
"""How a client's new flow begins: with the network of its address."""
_APP: Final = {ipaddress.ip_address(address).packed for address in APP.values()}


class State(enum.Enum):
    """What became of what was sent in a cell."""

    NONE = enum.auto()
    SERVED = enum.auto()
    PARTLY = enum.auto()
    LOST = enum.auto()


@dataclass(frozen=True, slots=True)
class Shown:
    """One cell as it is drawn."""

    state: State
    interface: str = ""
    """By which most of it left."""


@dataclass(slots=True)
class _Cell:
    sent: Counter[str] = field(default_factory=Counter)
    waiting: set[int] = field(default_factory=set)
    """Source ports of new flows that have no echo yet."""
    answered: int = 0

    def shown(self, good: float) -> Shown:
        total = self.sent.total()
        if not total:
            return Shown(State.NONE)
        share = self.answered / total
        state = State.SERVED if share >= good else State.PARTLY if self.answered else State.LOST
        return Shown(state, self.sent.most_common(1)[0][0])


class Strip:
    """Takes packets from one thread, is looked at by another."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cells: dict[str, dict[int, _Cell]] = {row: {} for row in ROWS}

    def packet(self, now: float, interface: str, packet: bytes) -> None:
        """An IP packet on a wire of the van at monotonic second `now`; only new flows and streams of the user count."""
        found = _message(packet)
        if found is None:
            return
        row, port, leaves = found
        with self._lock:
            cells = self._cells[row]
            if leaves:
                cell = cells.setdefault(int(now / CELL), _Cell())
                cell.sent[interface] += 1
                cell.waiting.add(port)
                if len(cells) > KEPT:
                    del cells[next(iter(cells))]
            elif row == STREAM:
                cells.get(int((now - ECHO) / CELL), _Cell()).answered += 1
            elif begun := next((cell for cell in reversed(cells.values()) if port in cell.waiting), None):
                begun.waiting.discard(port)
                begun.answered += 1

    def last(self, now: float, row: str, count: int) -> list[Shown]:
        """The last cells of one of ROWS, oldest first; those that nothing was sent in too."""
        newest = int((now - GRACE) / CELL) - 1
        with self._lock:
            cells = self._cells[row]
            wanted = (cells.get(number) for number in range(newest - count + 1, newest + 1))
            return [Shown(State.NONE) if cell is None else cell.shown(GOOD[row]) for cell in wanted]


def _message(packet: bytes) -> tuple[str, int, bool] | None:
    """(row, the user's port, whether it leaves the van) of a packet of a new flow, or of one with a stream's data."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        family, protocol, start = Family.IPV4, packet[9:10], (packet[0] & 15) * 4
        source, target = packet[12:16], packet[16:20]
    elif version == 6:
        family, protocol, start = Family.IPV6, packet[6:7], 40
        source, target = packet[8:24], packet[24:40]
    else:
        return None
    row: str
    if protocol == _UDP and (said := packet[start + 8 :]).startswith(NEW_FLOW):
        row, server = GUESTS if said.startswith(_GUEST) else family, ECHO_PORT
    elif protocol == _TCP and _carries_data(packet[start:]):
        row, server = STREAM, MULTIPATH_PORT
    else:
        return None
    ours, theirs = int.from_bytes(packet[start : start + 2]), int.from_bytes(packet[start + 2 : start + 4])
    if target in _APP and theirs == server:
        return row, ours, True
    if source in _APP and ours == server:
        return row, theirs, False
    return None


def _carries_data(segment: bytes) -> bool:
    return len(segment) > 12 and len(segment) > (segment[12] >> 4) * 4
