"""The van's user, as its own process: flows of the kinds of pattern.py, per family.

What lives here: which flows there are, when each has its turn, the control channel. The flows are in flows/, what an
outage is in outage.py. Run by user.py as `python -m failover.lab.traffic FAMILY...`; idle at first. Control:
`{"do": "pattern", "intervals": {KIND: S}}`; `{"do": "report", "since": T, "until": T}`; `{"do": "record", "since": T,
"until": T, "kinds": [...]}`; and `{"do": "wait", "since": T, "families": [...], "kinds": [...], "timeout": S}`,
answered as soon as service lasts again in all these flows (no kinds: all there are) after T, or after the timeout.
"""

from __future__ import annotations

import os
import selectors
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from failover.lab.control import Channel
from failover.lab.flows.flow import Flow
from failover.lab.flows.lasting import Keepalive, Multipath, OpenTcp, OpenUdp
from failover.lab.flows.short import Begun, Connects, Lookups, NewFlows
from failover.model import Family

CHECK_INTERVAL = 0.05


@dataclass(frozen=True, slots=True)
class Wait:
    """A request that is answered later."""

    flows: list[Flow]
    since: float
    deadline: float

    def over(self) -> bool:
        """Every flow's outage has ended."""
        return all(type(flow).measure(flow.exchanges, self.since) is not None for flow in self.flows)


KINDS: Final[Mapping[str, type[Flow]]] = {
    kind.kind: kind for kind in (NewFlows, OpenUdp, OpenTcp, Connects, Begun, Lookups, Keepalive, Multipath)
}


class Traffic:
    """All flows and the control channel."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families
        self._selector = selectors.DefaultSelector()
        self._flows: list[Flow] = []
        self._wait: Wait | None = None

    def handle(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """One control request."""
        now = time.monotonic()
        match request["do"]:
            case "pattern":
                self._change(request["intervals"])
                return {"at": time.monotonic()}
            case "report":
                return {"flows": [flow.report(*_span(request, now)) for flow in self._flows]}
            case "record":
                kinds = request["kinds"]
                return {"flows": [flow.record(*_span(request, now)) for flow in self._flows if flow.kind in kinds]}
        families, kinds = request["families"], request["kinds"] or KINDS
        flows = [flow for flow in self._flows if flow.family in families and flow.kind in kinds]
        self._wait = Wait(flows, float(request["since"]), now + float(request["timeout"]))
        return None

    def _change(self, intervals: dict[str, float]) -> None:
        """All flows end, others begin; ValueError, and nothing has changed, when a kind is unknown."""
        if unknown := set(intervals) - set(KINDS):
            raise ValueError(f"no such kinds of flows: {sorted(unknown)}")
        for flow in self._flows:
            flow.close()
        self._flows = [
            KINDS[kind](family, float(interval), self._selector)
            for family in self._families
            for kind, interval in intervals.items()
        ]

    def run(self, channel: Channel) -> None:
        """Until the lab is gone."""
        gone = False

        def control() -> None:
            nonlocal gone
            gone = not channel.serve(self.handle)

        self._selector.register(channel.fileno(), selectors.EVENT_READ, control)
        check_at = 0.0
        while not gone:
            now = time.monotonic()
            for flow in self._flows:
                flow.run(now)
            if self._wait is not None and now >= check_at:
                check_at = now + CHECK_INTERVAL
                self._answer_wait(channel, self._wait, now)
            for key, _ in self._selector.select(self._timeout(check_at)):
                if self._selector.get_map().get(key.fd) is key:  # else a pattern has ended, and its flows with it
                    key.data()

    def _timeout(self, check_at: float) -> float | None:
        """Seconds until something is due; None when nothing is."""
        due = [flow.due() for flow in self._flows] + ([check_at] if self._wait else [])
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _answer_wait(self, channel: Channel, wait: Wait, now: float) -> None:
        over = wait.over()
        if over or now >= wait.deadline:
            self._wait = None
            channel.send({"over": over})


def _span(request: dict[str, Any], now: float) -> tuple[float, float]:
    return float(request["since"]), float(request.get("until") or now)


def main(arguments: list[str]) -> None:
    """FAMILY..."""
    traffic = Traffic([Family(argument) for argument in arguments])
    channel = Channel()
    channel.send({"ready": True, "pid": os.getpid()})
    traffic.run(channel)


if __name__ == "__main__":
    main(sys.argv[1:])
