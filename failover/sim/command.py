"""`failover simulate`: reads what it is given, plays it, prints the measures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from failover.config import Config
from failover.config.reading import load
from failover.model import FailoverError, clean
from failover.sim import report
from failover.sim.scenario import find_script
from failover.sim.stage import Played, play_script, play_trace
from failover.sim.trace import Trace


def run(
    trace: str | None, scenario: str | None, config: str | None, primary: str | None, *, as_json: bool, seed: int
) -> int:
    """Play a trace file, or a scenario by file or name, with the config in a file or the defaults; exit status 0.

    Raises ConfigError for the config or the scenario, TraceError for the trace, InvariantError when the agent did
    what it must never do, FailoverError for names that are not there.
    """
    will = Config() if config is None else load(config)
    played = (
        _replay(trace, will, primary, seed) if trace else play_script(find_script(scenario or ""), will, primary, seed)
    )
    if as_json:
        text = json.dumps(report.document(played), indent=2, ensure_ascii=False)
    else:
        text = "\n".join(report.lines(played, story=trace is None))
    sys.stdout.write(text.strip("\n") + "\n")
    return 0


def _replay(path: str, config: Config, primary: str | None, seed: int) -> Played:
    try:
        with Path(path).open(encoding="utf-8", newline="") as lines:
            return play_trace(Trace(lines, path), config, primary, seed)
    except OSError as error:
        raise FailoverError(f"{clean(path)}: {error.strerror}", "name a trace, as drive.csv") from error
