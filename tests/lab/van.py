"""A van whose agent starts afresh for every fault, with what it says of it: its lines, `failover explain`, its status.

For tests that ask whether each fault gets a verdict and a reason of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from failover.lab.pattern import Pattern
from failover.lab.stage import Said, Stage
from failover.model import FAMILIES, Family

DELAY = 0.03
"""60 ms round trips: five times as long is slow, 0.2 s or more."""
TRAFFIC = Pattern({"new": 0.02, "udp": 0.05, "tcp": 0.05})
CALM = 0.7
"""Seconds of traffic before a fault."""
LOOK = 0.05
PATIENCE = 20.0


class Van:
    """One world for many faults; an agent without a past for each."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.world = stage.world
        self.since = 0.0
        """The moment from which on lines are looked at."""

    @contextmanager
    def agent(self, patience: float = PATIENCE) -> Iterator[None]:
        """It runs, has proven every uplink, and goes by au (no patience: it starts); nothing of it is left behind."""
        self.stage.user.change(TRAFFIC)
        self.since = time.monotonic()
        self.stage.start_agent()
        try:
            if patience:
                self.until(lambda: self.verdicts_now() == {"up"}, patience)
                self.stage.watch(CALM)
                assert set(self.stage.status()["active"].values()) == {"au"}, self.story()
            self.since = time.monotonic()
            yield
        finally:
            self.stage.kill_agent()
            self.command("cleanup", "--state", str(self.stage.config.parent))
            (self.stage.config.parent / "memory.json").unlink(missing_ok=True)

    def command(self, *argv: str) -> str:
        """What a failover command in the van prints; it must succeed."""
        line = [sys.executable, "-m", "failover", *argv, "--socket", str(self.stage.socket)]
        child = self.world.van.popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = child.communicate(timeout=30)
        assert child.returncode == 0, err
        return str(out)

    def until(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Wait until that holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.story()
            self.stage.watch(LOOK)

    def story(self) -> str:
        """What the agent has said, for people."""
        return "\n".join(f"{said.at - self.since:7.2f} {said}" for said in self.stage.said if said.at >= self.since)

    def verdicts_now(self) -> set[str]:
        """Those of all uplinks in both families."""
        return {view["verdict"] for families in self.status().values() for view in families.values()}

    def status(self) -> dict[str, Mapping[str, Any]]:
        """By uplink and family."""
        return {uplink["name"]: uplink["families"] for uplink in self.stage.status().get("uplinks", [])}

    def steady_seconds(self, uplink: str, family: Family) -> float:
        """How long its verdict has been the same."""
        return float(self.status()[uplink][family]["since_seconds"])

    # --- what it said ------------------------------------------------------------------------------------------------

    def becomes(self, uplink: str, family: Family, verdict: str, timeout: float = PATIENCE) -> str:
        """Wait for this verdict; why it fell."""
        said = self.stage.hear("verdict", f"{uplink} {family} is {verdict}", timeout, self.since)
        assert said is not None, self.story()
        return said.text.partition(": ")[2]

    def moves(self, family: Family, start: str, end: str, timeout: float = PATIENCE) -> Said:
        """Wait for new flows to be moved so."""
        said = self.stage.hear("switch", f"{family} {start} -> {end}", timeout, self.since)
        assert said is not None, self.story()
        return said

    def moved(self, family: Family) -> list[str]:
        """How new flows were moved so far."""
        lines = (said for said in self.stage.said if said.at >= self.since and said.kind == "switch")
        return [said.text for said in lines if said.text.startswith(f"{family} ") and " forwarded " not in said.text]

    def verdicts(self, uplink: str, family: Family) -> list[str]:
        """What was thought of it so far, in words."""
        lines = (said for said in self.stage.said if said.at >= self.since and said.kind == "verdict")
        start = f"{uplink} {family} is "
        return [said.text.removeprefix(start) for said in lines if said.text.startswith(start)]

    def explained(self) -> dict[Family, dict[str, Any]]:
        """`failover explain --json`, by family; candidates by name."""
        families: dict[str, dict[str, Any]] = json.loads(self.command("explain", "--json"))["families"]
        for found in families.values():
            found["candidates"] = {candidate["name"]: candidate for candidate in found["candidates"]}
        return {family: families[family] for family in FAMILIES}
