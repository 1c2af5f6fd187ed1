"""A scenario recorded as a trace: what a packet every 0.2 s would have met on each uplink.

`python -m failover.sim.record NAME [SEED] > drive.csv` writes one for `failover simulate --trace`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

from failover.model import FailoverError, Family
from failover.sim.links import SLOT, ScriptedLane
from failover.sim.scenario import find_script
from failover.sim.script import Script, unroll
from failover.sim.trace import PREFIX


def record(script: Script, seed: int) -> Iterator[str]:
    """Lines of CSV, IPv4 only, from the script's zero to its end; a round trip in ms, blank where none came."""
    course = unroll(script, seed)
    names = [actor.name for actor in script.actors]
    lanes = [ScriptedLane(course.timelines[name, Family.IPV4], f"{seed}/{name}/{Family.IPV4}") for name in names]
    yield ",".join(["t_s", *(PREFIX + name for name in names)])
    for slot in range(round(script.length / SLOT)):
        at = slot * SLOT
        fates = [lane.packet(at) for lane in lanes]
        yield ",".join([f"{at:.1f}", *("" if rtt is None or not new else f"{rtt * 1000:.1f}" for rtt, new in fates)])


def main(words: Sequence[str]) -> int:
    """Exit status 0; 1 when the trace cannot be written, 2 for wrong words."""
    parser = argparse.ArgumentParser(prog="python -m failover.sim.record", allow_abbrev=False)
    parser.add_argument("name", nargs="?", default="drive", metavar="NAME", help="a scenario, by file or name (drive)")
    parser.add_argument("seed", nargs="?", type=int, default=0, metavar="SEED", help="same seed, same trace (0)")
    arguments = parser.parse_args(words)
    try:
        script = find_script(arguments.name)
    except FailoverError as error:
        parser.exit(2, f"failover: {error}{f' ({error.hint})' if error.hint else ''}\n")
    try:
        sys.stdout.writelines(f"{line}\n" for line in record(script, arguments.seed))
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's own flush
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"failover: standard output: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
