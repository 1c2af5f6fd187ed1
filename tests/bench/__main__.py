"""`python -m tests.bench [--runs N] [--only lab|start|rest|kddi|loss] [--json]`: the figures, measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from tests.bench import road, virtual
from tests.bench.report import Figure, draw


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each fault (20)")
    parser.add_argument("--seconds", type=float, default=310.0, help="how long to watch the agent at rest (310)")
    parser.add_argument("--only", action="append", choices=("lab", "start", "rest", "kddi", "loss"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    plays: dict[str, Callable[[], list[Figure]]] = {
        "start": lambda: [road.start(min(10, arguments.runs))],
        "rest": lambda: road.rest(arguments.seconds, settle=15.0),
        "lab": lambda: road.Switches(seed=1).play(arguments.runs),
        "kddi": lambda: [virtual.kddi()],
        "loss": lambda: [virtual.harmless_loss()],
    }
    figures = [figure for name in arguments.only or plays for figure in plays[name]()]
    if arguments.json:
        json.dump([figure.document() for figure in figures], sys.stdout, indent=2)
        print()
    else:
        draw(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
