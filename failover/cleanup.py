"""What `failover cleanup` does: everything that the agent made in the kernel is undone, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from failover.core.diff import removal
from failover.facts import Mptcp, Operation, OperationResult, Verb
from failover.kernel import nft
from failover.kernel.counters import Counters, Standing
from failover.kernel.endpoints import NOTES, Endpoints
from failover.kernel.kernel import Kernel
from failover.kernel.ledger import Ledger
from failover.kernel.mptcp import PathManager
from failover.model import KernelError


def clean_up(ledgers: Iterable[Path]) -> Iterator[OperationResult | KernelError]:
    """Remove every route, rule, address and table of ours, put back the sysctls noted in these files, and MPTCP's
    endpoints and limits noted beside them; what each operation came to, and what kept any from being done."""
    noted = tuple(dict.fromkeys(ledgers))
    restored = (partial(_restore_endpoints, path.with_name(NOTES)) for path in noted)
    steps: Sequence[Callable[[], Iterable[OperationResult]]] = (
        _remove_ours,
        _remove_table,
        *(Ledger(path).restore for path in noted),
        *restored,
    )
    for step in steps:
        try:
            yield from step()
        except KernelError as error:
            yield error


def _remove_ours() -> Iterable[OperationResult]:
    with closing(Kernel()) as kernel:
        return kernel.apply(removal(kernel.read()))


def _remove_table() -> Iterable[OperationResult]:
    """What counts flows; another table of its name stays."""
    if not _has_table():
        return ()
    nft.remove()
    return (OperationResult(Operation(Verb.DELETE, nft.TABLE)),)


def _restore_endpoints(notes: Path) -> Iterable[OperationResult]:
    """MPTCP's endpoints and limits, as far as they are ours."""
    with closing(PathManager()) as manager:
        if not isinstance(manager.read(), Mptcp):
            return ()
        done = Endpoints(manager, notes).restore()
        return tuple(OperationResult(Operation(one.verb, one.item), one.error) for one in done)


def _has_table() -> bool:
    try:
        with closing(Counters()) as counters:
            return counters.standing() is Standing.OURS
    except KernelError:  # a kernel that does not know nf_tables has no table
        return False
