"""The lab's end of the van's user (traffic.py): start it, wait for its service, ask what it saw."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from failover.lab.control import Helper
from failover.lab.namespaces import Namespace
from failover.lab.outage import Exchange
from failover.lab.pattern import DENSE, Pattern
from failover.model import FAMILIES, Family


@dataclass(frozen=True, slots=True)
class Seen:
    """What the user saw of one flow between two moments. Kinds are in pattern.py, definitions in outage.py."""

    family: Family
    kind: str
    outage_seconds: float | None
    rtt_seconds: float | None
    sent: int
    answered: int
    reconnects: int


class User:
    """Traffic from the namespace to the app server, from its making to close()."""

    def __init__(
        self, namespace: Namespace, families: Collection[Family] = FAMILIES, pattern: Pattern = DENSE
    ) -> None:
        self.helper = Helper(namespace, "failover.lab.traffic", *families)
        self._families = families
        self.helper.ready()
        self.change(pattern)

    def change(self, pattern: Pattern) -> float:
        """End all flows and begin those of the pattern; the monotonic moment. What was seen until then is forgotten."""
        moment = float(self.helper.ask({"do": "pattern", "intervals": dict(pattern.intervals)})["at"])
        self._kinds = tuple(pattern.intervals)
        return moment

    def seen(self, since: float, until: float | None = None) -> dict[tuple[Family, str], Seen]:
        """By family and kind, what it saw from `since` (a fault, monotonic seconds) until then or now."""
        answer = self.helper.ask({"do": "report", "since": since, "until": until})
        flows = [Seen(**{**flow, "family": Family(flow["family"])}) for flow in answer["flows"]]
        return {(flow.family, flow.kind): flow for flow in flows}

    def record(
        self, since: float, until: float | None = None, kinds: Collection[str] = ()
    ) -> dict[tuple[Family, str], list[Exchange]]:
        """What was sent in these flows (all of them if none is named) between two moments, oldest first."""
        request = {"do": "record", "since": since, "until": until, "kinds": list(kinds or self._kinds)}
        return {
            (Family(flow["family"]), flow["kind"]): [Exchange(*moments) for moments in flow["exchanges"]]
            for flow in self.helper.ask(request)["flows"]
        }

    def ask_wait(
        self, since: float, timeout: float, families: Collection[Family] = (), kinds: Collection[str] = ()
    ) -> None:
        """Ask for an answer once service lasts again after `since`, in all flows if none are named; see take_wait()."""
        chosen = [family for family in self._families if family in (families or self._families)]
        request = {"do": "wait", "since": since, "timeout": timeout, "families": chosen, "kinds": list(kinds)}
        self.helper.post(request)

    def take_wait(self, timeout: float) -> bool:
        """Whether service lasted before the timeout given then; waits at most `timeout` seconds for the answer."""
        return bool(self.helper.take(timeout)["over"])

    def wait(
        self,
        since: float | None = None,
        timeout: float = 5.0,
        families: Collection[Family] = (),
        kinds: Collection[str] = (),
    ) -> bool:
        """Wait until these flows are in lasting service for messages sent from `since` (now) on; False on timeout."""
        self.ask_wait(time.monotonic() if since is None else since, timeout, families, kinds)
        return self.take_wait(timeout + 5.0)

    def close(self) -> None:
        """Stop the traffic."""
        self.helper.close()

    def __enter__(self) -> User:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
