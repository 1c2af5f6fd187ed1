"""Which addresses MPTCP connections of this box are offered as ways of their own (the kernel's endpoints).

Pure. Every uplink that is not lost offers an address, so that a connection stands on several uplinks at once and loses
nothing with one of them; what is not in use is for backup. When a way is taken from connections is eviction.py's
business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from math import inf
from typing import Final

from failover.core.lane import Lane
from failover.core.verdicts import LOST
from failover.model import RECEIVING, Decision, Family, Verdict
from failover.seam import KeepEndpoints

ENDPOINTS_MAX: Final = 8
"""As many as the kernel keeps (MPTCP_PM_ADDR_MAX, net/mptcp/protocol.h)."""
REFRESH: Final = 60.0
"""Seconds until they are seen to again: somebody may have removed one (`ip mptcp endpoint flush`)."""


class Multipath:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._kept = KeepEndpoints()
        self._at = -inf

    def keep(
        self,
        now: float,
        lanes: Mapping[Family, Sequence[Lane]],
        decisions: Mapping[Family, Decision],
        shared: Collection[str],
        *,
        anew: bool,
    ) -> list[KeepEndpoints]:
        """What is to be offered, if that is news or was long ago; nothing in a doubt, in which one may be withdrawn.
        `anew`: one was, and is to be there again."""
        if any(lane.verdict is Verdict.DOUBTFUL for rivals in lanes.values() for lane in rivals):
            return []
        wanted = KeepEndpoints(tuple(islice(_offered(lanes, decisions, shared), ENDPOINTS_MAX)))
        due = wanted.addresses and (anew or now >= self._at + REFRESH)
        if wanted == self._kept and not due:
            return []
        self._kept, self._at = wanted, now
        return [wanted]


def proven(now: float, lanes: Mapping[Family, Sequence[Lane]]) -> tuple[str, ...]:
    """Addresses of the uplinks that are known to work."""
    sound = (
        lane for rivals in lanes.values() for lane in rivals if lane.verdict in RECEIVING and lane.proven(now)
    )
    return tuple(chain.from_iterable(lane.health.path.addresses for lane in sound))


def _offered(
    lanes: Mapping[Family, Sequence[Lane]], decisions: Mapping[Family, Decision], shared: Collection[str]
) -> Iterator[tuple[str, bool]]:
    """The first address of each uplink and family, in order of preference, and whether it is for backup.

    By where settled traffic goes: a flag that flips with each doubt moves connections more slowly than nothing does.
    """
    ranks = zip_longest(*(lanes[family] for family in decisions))
    for lane in chain.from_iterable(ranks):
        if lane is None or lane.verdict in LOST or not lane.health.path.addresses:
            continue
        address = lane.health.path.addresses[0]
        if address not in shared:
            yield address, lane.uplink.name != decisions[lane.family].settled
