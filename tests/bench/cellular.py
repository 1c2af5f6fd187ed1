"""What modems as uplinks take: the real agent beside the real ModemManager and NetworkManager, and simulated modems.

What lives here: the faults and how long they keep new flows from a way out. How a van of modems is made stands in
`tests/agent/modems.py`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psutil

from failover.export.client import call
from failover.lab.namespaces import gain_privileges
from tests.agent.modems import DUAL, TWO, Van, all_up, uplink, van_of, verdict
from tests.agent.running import Agent
from tests.bench.report import Figure
from tests.modems.inside import Entered

QUIET: Final = 3.0
"""Seconds for which all is well before a fault; and up to so many more, by the dice."""
SETTLE: Final = 20.0
PLAIN: Final = "uplinks: [{name: au, interface: wwan0}]\n"
"""One uplink that is no modem."""


@contextmanager
def vans(*modems: int) -> Iterator[list[Van]]:
    """Vans with so many modems each."""
    gain_privileges()
    with ExitStack() as stack:
        homes = [Path(stack.enter_context(TemporaryDirectory())) for _ in modems]
        yield [stack.enter_context(van_of(number, home)) for number, home in zip(modems, homes, strict=True)]


def play(runs: int, seconds: float) -> list[Figure]:
    """All of it; `seconds`: how long the idle modem is watched."""
    return [*faults(runs), *unplugged(runs), changes(runs), *idle(seconds)]


def faults(runs: int) -> list[Figure]:
    """By turns: the network ends the bearer and says so, and the same unsaid, and a carrier that swallows all."""
    dice, told, untold, black = random.Random(1), list[float](), list[float](), list[float]()
    with vans(2) as (van,), van.agent(TWO) as agent:
        one, _ = van.modems
        agent.ready()
        for _ in range(runs):
            told.append(left(van, agent, one.drop, dice))
            untold.append(left(van, agent, one.drop_silently, dice))
            one.drop()  # whoever dials it hears of it now
            with ExitStack() as silence:
                black.append(left(van, agent, lambda: silence.enter_context(one.silent(1)), dice))
    ratio = [one / other for one, other in zip(untold, black, strict=True)]
    return [
        Figure("bearer disconnected, announced", "s", told, {"median": 0.1}),
        Figure("blackout of the carrier", "s", black, note="at rest, unmetered"),
        Figure("bearer ends unsaid", "s", untold, note="ModemManager says connected"),
        Figure("the same, as a share of the blackout", "", ratio),
    ]


def left(van: Van, agent: Agent, fault: Callable[[], object], dice: random.Random) -> float:
    """Seconds from the fault until a new flow has the other modem's address."""
    one, other = van.modems
    all_up(agent, "au", "softbank")
    call(agent.socket, "use", {"name": "au", "seconds": 3600, "strict": False})  # whatever it owes
    van.until_used(one)
    agent.hear(QUIET * (1 + dice.random()))
    began = time.monotonic()
    fault()
    return van.until_used(other) - began


def unplugged(runs: int) -> list[Figure]:
    """Pulled out, and put in again under another interface name."""
    dice, gone, back = random.Random(2), list[float](), list[float]()
    with vans(2) as (van,), van.agent(TWO) as agent:
        one, _ = van.modems
        agent.ready()
        for number in range(runs):
            gone.append(left(van, agent, one.unplug, dice))
            one.replug(f"wwan{20 + number}")
            van.rig.manager.listed(one.imei)
            listed = time.monotonic()
            agent.until(lambda status: verdict(status, "au") == "up")
            back.append(time.monotonic() - listed)
    return [
        Figure("modem unplugged", "s", gone, {"median": 0.1}),
        Figure("replugged and listed", "s", back, {"median": 3.0}),
    ]


def changes(runs: int) -> Figure:
    """One modem, two SIMs, and nothing else."""
    took = []
    for _ in range(runs):
        with vans(1) as (van,), van.agent(DUAL) as agent:
            all_up(agent.ready(), "au")
            took.append(van.changes(agent))
    return Figure("slot switch", "s", took, {"median": 4.0})


def idle(seconds: float) -> list[Figure]:
    """Two agents at a time: the uplink of one is a modem, that of the other an interface, and it knows no manager."""
    modem = "uplinks:\n" + uplink("au", 1)
    with vans(1, 1) as (with_modem, without), ExitStack() as stack:
        agents = [stack.enter_context(with_modem.agent(modem)), stack.enter_context(without.agent(PLAIN, apart=True))]
        for agent in agents:
            all_up(agent.ready(), "au")
            agent.hear(SETTLE)
        processes = [process(agent.process) for agent in agents]
        before = [cpu(one) for one in processes]
        began = time.monotonic()
        for agent in agents:
            agent.hear(seconds / 2)
        lasted = time.monotonic() - began
        spent = [(cpu(one) - earlier) / lasted * 100 for one, earlier in zip(processes, before, strict=True)]
        resident = [one.memory_info().rss / 1e6 for one in processes]
    return [
        Figure("one idle modem: memory", "MB", [resident[0] - resident[1]], {"max": 8.0}, of(resident)),
        Figure("one idle modem: share of a core", "%", [spent[0] - spent[1]], {"max": 0.1}, of(spent)),
    ]


def process(child: Any) -> psutil.Process:
    return psutil.Process(child.inner if isinstance(child, Entered) else child.pid)


def cpu(one: psutil.Process) -> float:
    times = one.cpu_times()
    return float(times.user + times.system)


def of(values: Sequence[float]) -> str:
    return f"{values[0]:.3g} against {values[1]:.3g} without"
