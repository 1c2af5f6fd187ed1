"""Silences that are over: did the link keep what was sent (replies come late) or lose it?

Pure. Two of three silences of a mobile link are buffering: for seconds nothing comes, then everything (DESIGN §2).
What a silence leads to while it lasts is judged elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BUFFERED: Final = "buffered"
"""First word of a silence whose replies came late."""
_MOST: Final = 0.5
"""Share of late replies from which on a silence was buffering."""


@dataclass(slots=True)
class Stalls:
    """Silences of one lane, ever."""

    buffered: int = 0
    """Those whose probes were answered late."""
    broken: int = 0
    """Those whose probes stayed lost."""
    last: str = ""
    """The last one in words, as `buffered 3.2 s: 5 replies came late`."""

    def over(self, lasted: float, late: int, lost: int) -> str:
        """A silence of so many seconds is settled: so many of its probes were answered late, so many never.

        Returns it in words; empty, and not counted, when it had no probe.
        """
        if late + lost == 0:
            return ""
        came, gone = _count(late, "reply came late", "replies came late"), _count(lost, "probe lost", "probes lost")
        if late >= _MOST * (late + lost):
            self.buffered += 1
            self.last = f"{BUFFERED} {lasted:.1f} s: {', '.join(filter(None, (came, gone)))}"
        else:
            self.broken += 1
            self.last = f"silent {lasted:.1f} s: {', '.join(filter(None, (gone, came)))}"
        return self.last


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""
