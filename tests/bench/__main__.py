"""`python -m tests.bench [--runs N] [--only NAME] [--json]`: the figures, measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Final

from failover.config import PROFILES
from tests.bench import calm, cellular, cost, crowd, detection, expense, flows, names, people, road, scraping, virtual
from tests.bench.peers import bench as peers
from tests.bench.report import Figure, draw

Play = Callable[[argparse.Namespace], list[Figure]]

CALM, EXPENSE, NAMES = "calm", "expense", "names"
DETECTION: Final = (*detection.CASES, EXPENSE, CALM)


def _detection(arguments: argparse.Namespace) -> list[Figure]:
    """The cases that are asked for, all of them if none is."""
    names = arguments.case or DETECTION
    cases = detection.chosen([name for name in names if name in detection.CASES], arguments.profile, arguments.rtt)
    figures = detection.play(arguments.runs, cases)
    figures += expense.figures(arguments.seconds) if EXPENSE in names else []
    return figures + (calm.figures(60 * arguments.minutes, arguments.profile or "balanced") if CALM in names else [])


def _flows(arguments: argparse.Namespace) -> list[Figure]:
    """The cases that are asked for, the usual ones if none is."""
    asked = arguments.case or (*flows.USUAL, NAMES)
    cases = flows.chosen([name for name in asked if name in flows.CASES], arguments.profile, arguments.rtt)
    return flows.play(arguments.runs, cases) + (names.play(arguments.runs) if NAMES in asked else [])


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
    "cost": lambda arguments: [*cost.figures(arguments.runs), *crowd.figures(min(6, arguments.runs))],
    "detection": _detection,
    "flows": _flows,
    "modems": lambda arguments: cellular.play(arguments.runs, arguments.seconds),
    "peers": lambda arguments: peers.bench(arguments.runs, arguments.seconds),
}
WHEN_ASKED: Final = ("detection", "flows", "modems", "peers")
"""What takes long is played only when named."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each fault (20)")
    parser.add_argument("--seconds", type=float, default=310.0, help="how long to watch the agent at rest (310)")
    parser.add_argument("--only", action="append", choices=PLAYS)
    asked = parser.add_argument_group("of detection and flows")
    asked.add_argument("--case", action="append", choices=[*DETECTION, *flows.CASES, NAMES], help="these alone")
    asked.add_argument("--profile", choices=list(PROFILES), help="play every case under it")
    asked.add_argument("--rtt", type=float, help="round trip of every case, seconds")
    asked.add_argument("--minutes", type=float, default=20.0, help="how long nothing must happen (20)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    plays = arguments.only or [name for name in PLAYS if name not in WHEN_ASKED]
    figures = [figure for name in plays for figure in PLAYS[name](arguments)]
    if arguments.json:
        json.dump([figure.document() for figure in figures], sys.stdout, indent=2)
        print()
    else:
        draw(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
