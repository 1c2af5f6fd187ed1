"""What came in place of the web pages that one uplink and family was asked for: the sign of a portal, or of none.

Pure. Whether a page is strange over every uplink, which is no portal, is blame.py's business.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from math import inf

from failover.model import Target


class Pages:
    """By URL. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.strange: dict[str, float] = {}
        """Pages in whose place something else came when they were last heard of, and since when it does."""
        self.fine: dict[str, float] = {}
        """Pages that came as expected, and when they did last."""

    def came(self, now: float, target: Target) -> None:
        """A target was answered as expected; only of a page that says something."""
        self.strange.pop(target.url, None)
        if target.kind.is_web:
            self.fine[target.url] = now

    def differed(self, now: float, url: str) -> None:
        """Something else came in its place."""
        self.fine.pop(url, None)
        self.strange.setdefault(url, now)

    def keep(self, urls: Collection[str]) -> None:
        """Know no others than these."""
        self.void(self.strange.keys() - urls, self.fine.keys() - urls)

    def void(self, strange: AbstractSet[str], fine: AbstractSet[str]) -> bool:
        """Forget that these pages were strange, and that these were fine; True if there was any."""
        before = len(self.strange) + len(self.fine)
        for url in strange:
            self.strange.pop(url, None)
        for url in fine:
            self.fine.pop(url, None)
        return len(self.strange) + len(self.fine) < before

    def walled(self, at_fault: Collection[str]) -> bool:
        """Whether something answers in a page's place, and since it does, no other page came as it should."""
        if not self.strange:
            return False
        fine = max(self.fine.values(), default=-inf)
        return any(since > fine and url not in at_fault for url, since in self.strange.items())
