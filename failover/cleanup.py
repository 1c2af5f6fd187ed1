"""What `failover cleanup` does: everything that the agent made in the kernel is undone, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from failover.core.diff import removal
from failover.facts import OperationResult
from failover.kernel.kernel import Kernel
from failover.kernel.ledger import Ledger
from failover.model import KernelError


def clean_up(ledgers: Iterable[Path]) -> Iterator[OperationResult | KernelError]:
    """Remove every route and rule of ours and put back the sysctls noted in these files; what each operation came to,
    and what kept any from being done."""
    for step in (_remove_ours, *(Ledger(path).restore for path in dict.fromkeys(ledgers))):
        try:
            yield from step()
        except KernelError as error:
            yield error


def _remove_ours() -> Iterable[OperationResult]:
    with closing(Kernel()) as kernel:
        return kernel.apply(removal(kernel.read()))
