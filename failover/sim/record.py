"""A scenario recorded as a trace: what a packet every 0.2 s would have met on each uplink.

`python -m failover.sim.record NAME [SEED] > drive.csv` writes one for `failover simulate --trace`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from failover.model import Family
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


def main(arguments: Sequence[str]) -> int:
    script = find_script(arguments[0] if arguments else "drive")
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    sys.stdout.writelines(f"{line}\n" for line in record(script, seed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
