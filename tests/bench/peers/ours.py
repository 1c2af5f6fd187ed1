"""failover itself, on the van of the peers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from failover.lab.world import World
from tests.agent.running import running
from tests.bench.peers.van import UPLINKS

PASSED: Final = "up"


def _config(metered: bool, detection: str) -> str:
    rows = [
        f"  - {{name: {carrier.name}, interface: {carrier.interface}, metered: {str(metered).lower()}}}\n"
        for carrier in UPLINKS
    ]
    return f"uplinks:\n{''.join(rows)}detection: {detection}\n"


def _proven(status: dict[str, Any]) -> bool:
    """Every uplink is up over IPv4."""
    verdicts = [one["families"]["ipv4"]["verdict"] for one in status["uplinks"]]
    return verdicts == [PASSED] * len(UPLINKS)


@contextmanager
def failover(world: World, home: Path, metered: bool, detection: str = "balanced") -> Iterator[None]:
    """`failover run`, with both uplinks proven."""
    config = home / "failover.yaml"
    config.write_text(_config(metered, detection))
    with running(world.van, home, "--config", str(config)) as agent:
        agent.ready().until(_proven)
        yield
