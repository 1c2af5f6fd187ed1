"""The seam of the engine: every event that goes in, every effect that comes out.

Immutable values only. A new config is an event too (`config.Reconfigured`); the brain's alias for all of them is
`core.engine.Event`.
"""

from __future__ import annotations

from dataclasses import dataclass

from failover.facts import Facts, Operation, OperationResult
from failover.model import Answer, Command, Notice, SendProbe


@dataclass(frozen=True, slots=True)
class KernelRead:
    """Event: the kernel was read, whole."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Applied:
    """Event: what came of an Apply effect."""

    results: tuple[OperationResult, ...]


@dataclass(frozen=True, slots=True)
class Resumed:
    """Event: the machine slept for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WallClock:
    """Event: the wall clock. Until it is trusted, no certificate is judged by its dates."""

    unix: float
    """Seconds since 1970."""
    trusted: bool
    """Whether something keeps it right."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Event: an operator's command; answered by one Answer effect with the same id."""

    id: int
    command: Command


@dataclass(frozen=True, slots=True)
class Apply:
    """Effect: change the kernel, in this order; then read it again."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class ReadKernel:
    """Effect: read the kernel again (periodic reconcile, a repair that is due)."""


Effect = SendProbe | Apply | ReadKernel | Answer | Notice
