"""What the agent makes of the machine's sleep and of the wall clock."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from failover.kernel.clock import slept, wall_clock_trusted
from failover.lab.namespaces import Namespace
from tests.agent.running import facts, ours, running

SLEEPER = """
import signal, sys, time
asleep = 0.0
def sleep(*_):
    global asleep
    asleep += 7200.0
signal.signal(signal.SIGUSR1, sleep)
real = time.clock_gettime
time.clock_gettime = lambda clock: real(clock) + (asleep if clock == time.CLOCK_BOOTTIME else 0.0)
from failover.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""An agent on a machine that was suspended for two hours whenever SIGUSR1 comes."""


def test_two_hours_of_sleep_are_noticed_once_and_convict_nobody(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path, command=(sys.executable, "-c", SLEEPER)) as agent:
        agent.ready().all_up()
        made = ours(van)
        for name in ("wwan0", "wwan1", "wlan0"):
            agent.said(f"{name} ipv6 is up")
        start = len(agent.lines)
        agent.process.send_signal(signal.SIGUSR1)
        assert "the machine slept for 7200 s" in agent.said("failover: warning: ", start)
        agent.all_up()
        lines = agent.lines[start:]
        assert sum(line.startswith("failover: warning: ") for line in lines) == 1
        assert not [line for line in lines if "switch" in line or "down" in line]
        assert ours(van) == made
        assert facts(van).links


def test_the_clocks_of_this_machine() -> None:
    assert slept() > -0.01
    assert wall_clock_trusted() in (True, False)
