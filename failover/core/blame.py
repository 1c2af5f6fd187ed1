"""Targets that are to blame themselves: a page that is strange over every uplink tells of the site, and of no portal.

Pure. Compares what the uplinks of a family have heard; what a portal is worth is health.py's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from failover.core.lane import Lane
from failover.model import FAMILIES, Family, Verdict

UPLINKS_MIN: Final = 2
"""So many uplinks must agree about a target; over one alone, a portal and a changed site look the same."""
_NO_WAY: Final = (Verdict.DOWN, Verdict.DOUBTFUL, Verdict.ABSENT, Verdict.COLD)
"""What was heard over these may be of another time."""


class Blame:
    """Which URLs are at fault, by family; each until it answers as expected over some uplink."""

    def __init__(self) -> None:
        self.at_fault: dict[Family, frozenset[str]] = dict.fromkeys(FAMILIES, frozenset())

    def weigh(self, now: float, family: Family, lanes: Sequence[Lane]) -> None:
        """Compare what the family's lanes have heard; what was heard before the finding, and against it, is void."""
        before = self.at_fault[family]
        if not before and not any(lane.health.pages.strange for lane in lanes):
            return
        able = [lane for lane in lanes if lane.health.verdict not in _NO_WAY]
        strange = Counter(url for lane in able if lane.health.reached for url in lane.health.pages.strange)
        fine = {url for lane in able for url in lane.health.pages.fine}
        begun = {url for url, uplinks in strange.items() if uplinks >= UPLINKS_MIN} - fine - before
        over = before & fine
        for lane in lanes if begun or over else ():
            if lane.health.pages.void(strange=over, fine=begun):
                lane.schedule.others_within(now, 0.0)
                lane.rearm()
        self.at_fault[family] = (before | begun) - over

    def keep(self, family: Family, lanes: Iterable[Lane]) -> None:
        """Know no target that nobody asks."""
        self.at_fault[family] &= {target.url for lane in lanes for target in lane.targets}

    def warnings(self) -> tuple[str, ...]:
        """One for each target at fault: what it does, and the mend."""
        if not any(self.at_fault.values()):
            return ()
        return tuple(map(_warning, sorted(set().union(*self.at_fault.values()))))


def _warning(url: str) -> str:
    return (
        f"{url} is not answered as expected over any uplink, so it is the target's fault and no portal's: "
        "give it the status that comes (?status=200), or ask another one"
    )
