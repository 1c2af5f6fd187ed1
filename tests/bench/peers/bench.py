"""`python -m tests.bench --only peers`: who is installed is played, who is not is named."""

from __future__ import annotations

import sys

from tests.bench.peers.play import CONDITIONS, play
from tests.bench.peers.ranks import EVERYONE
from tests.bench.peers.table import figures, markdown
from tests.bench.report import Figure


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def bench(runs: int, seconds: float) -> list[Figure]:
    """All figures; progress and the README's table go to stderr. `seconds`: how long bytes at rest are counted."""
    present = [peer for peer in EVERYONE if peer.installed]
    missing = [peer for peer in EVERYONE if not peer.installed]
    results = play(present, CONDITIONS, runs, seconds, _tell)
    _tell(markdown(results, present, missing))
    return figures(results, present, missing)
