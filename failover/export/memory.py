"""The file of what the agent remembers over a restart, and how old that is.

What lives here: the form of the file, and reading it with suspicion. What it means is the core's business
(`failover.memory`); when it is written, the agent's.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from failover.export.entries import UNIX_MAX
from failover.files import tail
from failover.memory import Allowance, Debt, Memory, ModemPast, Outage
from failover.model import Family, clean

NAME: Final = "memory.json"
VERSION: Final = 1
BYTES_MAX: Final = 1 << 18
ITEMS_MAX: Final = 1024
"""Uplinks drained; debts; allowances; modems, and what was done to one; outages."""
BYTES_LEFT_MAX: Final = 1e15
SECONDS_MAX: Final = 10 * 366 * 86400.0
RELAPSES_MAX: Final = 1e6
SLOT_MAX: Final = 8
NAME_MAX: Final = 128
MODEM_MAX: Final = 256
"""Characters; the longest path of a device that a config may have."""
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment, told by the clocks that outlive the agent."""

    unix: float
    trusted: bool
    """Whether something keeps the wall clock right."""
    boot: str
    """The kernel's id of this boot."""
    boottime: float
    """Seconds since boot, suspend included."""

    @classmethod
    def now(cls, unix: float, *, trusted: bool) -> Stamp:
        """This moment, of which the caller knows the wall clock."""
        try:
            boot = BOOT_ID.read_text().strip()
        except OSError:  # a sandbox without it: then only the wall clock tells
            boot = ""
        return cls(unix, trusted, boot, time.clock_gettime(time.CLOCK_BOOTTIME))

    def age(self, then: Stamp) -> float:
        """Seconds since `then`; 0 where nobody can tell."""
        if self.boot and self.boot == then.boot:
            return max(0.0, self.boottime - then.boottime)
        return max(0.0, self.unix - then.unix) if self.trusted and then.trusted else 0.0


def encode(memory: Memory, stamp: Stamp) -> bytes:
    """What was just taken, as the content of the file."""
    return json.dumps({"version": VERSION, "taken": asdict(stamp), "memory": asdict(memory)}).encode() + b"\n"


def decode(data: bytes, stamp: Stamp) -> Memory:
    """What `encode` made, with its age at `stamp`; ValueError for anything else."""
    try:
        tree = json.loads(data)
        version = tree["version"]
        if type(version) is int and version == VERSION:
            return _memory(tree["memory"], stamp.age(_stamp(tree["taken"])))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it is corrupt") from error
    raise ValueError(f"its version {clean(str(version), 20)} is not {VERSION}")


def load(path: Path, stamp: Stamp) -> tuple[Memory | None, str]:
    """What the file remembers, and what was wrong with it; neither where there is no file."""
    try:
        data = tail(path, BYTES_MAX + 1)
        if len(data) > BYTES_MAX:
            raise ValueError("it is too long")
        return decode(data, stamp), ""
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:
        why = str(error)
    return None, f"{path} is not used, and nothing is remembered of earlier: {clean(why)}"


def _stamp(tree: Any) -> Stamp:
    boot = _name(tree["boot"]) if tree["boot"] != "" else ""
    return Stamp(_number(tree["unix"], UNIX_MAX), _flag(tree["trusted"]), boot, _number(tree["boottime"], UNIX_MAX))


def _memory(tree: Any, age: float) -> Memory:
    use, seconds = tree["use"], tree["use_seconds"]
    return Memory(
        use=None if use is None else _name(use),
        use_seconds=None if seconds is None else _number(seconds, SECONDS_MAX),
        use_strict=_flag(tree["use_strict"]),
        drained=tuple(_name(name) for name in _items(tree["drained"])),
        debts=tuple(_debt(debt) for debt in _items(tree["debts"])),
        allowances=tuple(_allowance(one) for one in _items(tree.get("allowances", []))),  # an older agent wrote none
        modems=tuple(_modem(one) for one in _items(tree.get("modems", []))),
        outages=tuple(_outage(one) for one in _items(tree.get("outages", []))),
        age=age,
    )


def _debt(tree: Any) -> Debt:
    return Debt(
        uplink=_name(tree["uplink"]),
        family=Family(tree["family"]),
        owed=_number(tree["owed"], SECONDS_MAX),
        convicted=_flag(tree["convicted"]),
        relapses=_number(tree["relapses"], RELAPSES_MAX),
    )


def _allowance(tree: Any) -> Allowance:
    return Allowance(uplink=_name(tree["uplink"]), left=_number(tree["left"], BYTES_LEFT_MAX))


def _outage(tree: Any) -> Outage:
    return Outage(tuple(_name(name) for name in _items(tree["uplinks"])), _number(tree["ago"], SECONDS_MAX))


def _modem(tree: Any) -> ModemPast:
    slot, seconds = _number(tree["slot"], SLOT_MAX), tree["switch_seconds"]
    return ModemPast(
        modem=_name(tree["modem"], MODEM_MAX),
        interface=_name(tree["interface"]) if tree["interface"] != "" else "",
        slot=int(slot),
        resets=tuple(_number(ago, SECONDS_MAX) for ago in _items(tree["resets"])),
        switches=tuple(_number(ago, SECONDS_MAX) for ago in _items(tree["switches"])),
        switch_seconds=None if seconds is None else _number(seconds, SECONDS_MAX),
    )


def _number(value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    if not 0 <= value <= most:  # NaN is not
        raise ValueError("a number out of range")
    return float(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _name(value: object, most: int = NAME_MAX) -> str:
    if not isinstance(value, str) or not value or clean(value, most) != value:
        raise TypeError("no name")
    return value


def _items(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > ITEMS_MAX:
        raise TypeError("no list of reasonable length")
    return value
