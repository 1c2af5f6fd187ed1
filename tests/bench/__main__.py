"""`python -m tests.bench [--runs N] [--only NAME] [--json]`: the figures, measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Final

from tests.bench import people, road, scraping, virtual
from tests.bench.peers import bench as peers
from tests.bench.report import Figure, draw

Play = Callable[[argparse.Namespace], list[Figure]]

PLAYS: Final[Mapping[str, Play]] = {
    "start": lambda arguments: [road.start(min(10, arguments.runs))],
    "rest": lambda arguments: road.rest(arguments.seconds, settle=15.0),
    "lab": lambda arguments: road.Switches(seed=1).play(arguments.runs),
    "kddi": lambda _: [virtual.kddi()],
    "drives": lambda _: [*virtual.drives(), *virtual.synthetic()],
    "loss": lambda _: virtual.false_alarms(),
    "status": lambda arguments: [people.status(arguments.runs)],
    "scrape": lambda arguments: scraping.scrape(times=5 * arguments.runs),
    "growth": lambda _: people.growth(),
    "peers": lambda arguments: peers.bench(arguments.runs, arguments.seconds),
}
WHEN_ASKED: Final = ("peers",)
"""What takes an hour and more is played only when named."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each fault (20)")
    parser.add_argument("--seconds", type=float, default=310.0, help="how long to watch the agent at rest (310)")
    parser.add_argument("--only", action="append", choices=PLAYS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = arguments.only or [name for name in PLAYS if name not in WHEN_ASKED]
    figures = [figure for name in names for figure in PLAYS[name](arguments)]
    if arguments.json:
        json.dump([figure.document() for figure in figures], sys.stdout, indent=2)
        print()
    else:
        draw(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
