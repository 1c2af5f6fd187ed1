"""Figures of the virtual world: CPU of 61 hours of KDDI 2022, convictions under harmless loss."""

from __future__ import annotations

import time

from failover.config import Config
from failover.sim.scenario import find_script, parse
from failover.sim.stage import play_script
from tests.bench.report import Figure

LOSSY = """
title: independent loss
length: {hours}h
uplinks:
  - {{name: a, everyday: {{rtt: 50ms, loss: {loss}}}}}
  - {{name: b, everyday: {{rtt: 55ms, loss: {loss}}}}}
"""


def kddi(seed: int = 1) -> Figure:
    """CPU seconds for 61 virtual hours, two uplinks, IPv4, every invariant checked."""
    started = time.process_time()
    play_script(find_script("kddi2022"), Config(), None, seed)
    return Figure("kddi2022, 61 virtual hours", "s CPU", [time.process_time() - started], {"max": 60.0})


def harmless_loss(hours: int = 100, loss: float = 0.01, seed: int = 1) -> Figure:
    """Convictions in so many hours of independent loss."""
    played = play_script(parse(LOSSY.format(loss=loss, hours=hours), "bench"), Config(), None, seed)
    convictions = sum(played.account.downs.values())
    return Figure(f"{hours} h at {loss:.0%} independent loss", "convictions", [convictions], {"max": 0})
