"""`failover simulate`: reads what it is given, plays it, prints the measures."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial

from failover.config import Config
from failover.config.reading import load
from failover.model import FailoverError, clean
from failover.sim import report
from failover.sim.scenario import find_script
from failover.sim.script import Script, Van
from failover.sim.stage import Played, play_script, play_trace
from failover.sim.trace import LINE_MAX, Trace


def run(
    trace: str | None,
    scenario: str | None,
    config: str | None,
    primary: str | None,
    *,
    as_json: bool,
    seed: int,
    whole_log: bool = False,
    dither: bool = False,
    metered: bool = False,
    van: str | None = None,
) -> int:
    """Play a trace file, or a scenario by file or name, with the config in a file or the defaults; exit status 0.

    `dither`: the user's packets leave at random moments of a trace's rows. `metered`: every uplink has the usual budget
    where the config gives it none. `van`: what a scenario's uplinks are, instead of what it says.

    Prints the start and the end of a scenario's decision log unless the whole one is wanted, and then the measures.

    Raises ConfigError for the config or the scenario, TraceError for the trace, InvariantError when the agent did
    what it must never do, FailoverError for names that are not there.
    """
    if dither and trace is None:
        raise FailoverError(
            "--dither goes with --trace", "a scenario's uplinks change between the user's packets anyway"
        )
    if van is not None and trace is not None:
        raise FailoverError("--van goes with --scenario", "what a trace was recorded of is not known")
    will = Config() if config is None else load(config)
    played = (
        play_script(_script(scenario or "", van), will, primary, seed, metered=metered)
        if trace is None
        else _replay(trace, will, primary, seed, dither=dither, metered=metered)
    )
    if as_json:
        text = json.dumps(report.document(played), indent=2, ensure_ascii=False)
    else:
        story = None if whole_log else report.STORY_LINES if trace is None else 0
        text = "\n".join(report.lines(played, story=story))
    sys.stdout.write(text.strip("\n") + "\n")
    return 0


def _script(name: str, van: str | None) -> Script:
    script = find_script(name)
    return script if van is None else replace(script, van=Van(van))


def _replay(path: str, config: Config, primary: str | None, seed: int, *, dither: bool, metered: bool) -> Played:
    try:
        with open(path, encoding="utf-8", newline="") as lines:
            bounded = iter(partial(lines.readline, LINE_MAX + 1), "")
            return play_trace(Trace(bounded, path), config, primary, seed, dither=dither, metered=metered)
    except OSError as error:
        raise FailoverError(f"{clean(path) or repr(path)}: {error.strerror}", "name a trace, as drive.csv") from error
