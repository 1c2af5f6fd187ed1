"""What the agent remembers over a restart, as plain values: the operator's will, and what each uplink still owes.

Spans only, no moments: seconds as they were when it was taken; `age` says how long ago that was. Which file it is in
and how its age is told are the adapter's business (`export/memory.py`), what it means the core's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from failover.model import Family


@dataclass(frozen=True, slots=True)
class Debt:
    """What one uplink owed in one family before traffic may return to it."""

    uplink: str
    family: Family
    owed: float
    """Seconds of unbroken health still to come."""
    convicted: bool
    """From a conviction (failback), or from a doubt (acquittal)."""
    relapses: float
    """Convictions, as they counted at that moment."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one metered uplink had left for probes."""

    uplink: str
    left: float
    """Bytes."""


@dataclass(frozen=True, slots=True)
class ModemPast:
    """What was done to one modem."""

    modem: str
    """By which the config knows it."""
    interface: str = ""
    """Where it was."""
    slot: int = 0
    """The SIM that it used; 0: not known."""
    resets: tuple[float, ...] = ()
    """Seconds ago, of the last day; power cycles count as such."""
    switches: tuple[float, ...] = ()
    """Seconds ago, of the last hour: changes of its SIM."""
    switch_seconds: float | None = None
    """That a change takes until packets pass; None: not measured."""

    def older(self, seconds: float) -> ModemPast:
        """The same, so much later."""
        resets, switches = (tuple(ago + seconds for ago in spans) for spans in (self.resets, self.switches))
        return replace(self, resets=resets, switches=switches)


@dataclass(frozen=True, slots=True)
class Outage:
    """Uplinks that went down together, while others did not."""

    uplinks: tuple[str, ...]
    ago: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Memory:
    """See the module."""

    use: str | None = None
    use_seconds: float | None = None
    """What was left of it; None without end."""
    use_strict: bool = False
    drained: tuple[str, ...] = ()
    debts: tuple[Debt, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    modems: tuple[ModemPast, ...] = ()
    outages: tuple[Outage, ...] = ()
    age: float = 0.0
    """Seconds since it was taken, 0 where nobody can tell."""
