"""What `failover cleanup` did, as a document and in words: each route and rule is told so that no two look alike."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from failover import facts
from failover.model import FailoverError, clean
from failover.wording import describe

KINDS = {
    facts.Route: "route",
    facts.Rule: "rule",
    facts.Address: "address",
    facts.Link: "link",
    facts.Sysctl: "sysctl",
    facts.Table: "table",
    facts.Endpoint: "mptcp-endpoint",
    facts.SubflowLimits: "mptcp-limits",
}


@dataclass(slots=True)
class Undone:
    """Every operation, and what kept any from being done."""

    results: list[facts.OperationResult] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """What was put back of the box's resolver, a sentence each."""
    errors: list[FailoverError] = field(default_factory=list)

    def extend(self, found: Iterable[facts.OperationResult | str | FailoverError]) -> None:
        """Take in what came of it, as it comes."""
        for one in found:
            match one:
                case FailoverError():
                    self.errors.append(one)
                case str():
                    self.names.append(one)
                case _:
                    self.results.append(one)

    @property
    def failed(self) -> int:
        """How many were not done."""
        return len(self.errors) + sum(result.error is not None for result in self.results)

    @property
    def done(self) -> int:
        """How many were."""
        return len(self.names) + sum(result.error is None for result in self.results)

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "ok": not self.failed,
            "done_count": self.done,
            "failed_count": self.failed,
            "operations": [*map(_operation, self.results), *map(_of_names, self.names)],
            "errors": [{"error": clean(str(error), 1000), "hint": clean(error.hint, 1000)} for error in self.errors],
        }

    def lines(self) -> Iterator[str]:
        """In words."""
        for result in self.results:
            yield f"{result.operation.verb} {name(result)}" + (f": {result.error}" if result.error else "")
        yield from (clean(sentence, 500) for sentence in self.names)
        yield f"{self.done} removed or put back" + (f", {self.failed} not" if self.failed else "")


def _operation(result: facts.OperationResult) -> dict[str, Any]:
    kind = KINDS[type(result.operation.item)]
    return {
        "operation": result.operation.verb.value,
        "object": kind,
        "text": name(result),
        "error": result.error,
    }


def _of_names(sentence: str) -> dict[str, Any]:
    return {"operation": "set", "object": "name-servers", "text": clean(sentence, 500), "error": None}


def name(result: facts.OperationResult) -> str:
    """What it was about, in full."""
    item = result.operation.item
    match item:
        case facts.Route(kind=facts.RouteKind.UNICAST):
            more = _way(item)
        case facts.Rule():
            more = " ".join(_selectors(item))
        case facts.Address(index=index):
            more = f"dev {_device(index)}"
        case _:
            more = ""
    return clean(describe(item) + (f", {more}" if more else ""), 500)


def _way(route: facts.Route) -> str:
    gateway = f"via {route.gateway} " if route.gateway else ""
    return gateway + (f"dev {_device(route.interface)}" if route.interface else "")


def _device(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"number {index}"


def _selectors(rule: facts.Rule) -> Iterator[str]:
    """As `ip rule` writes them."""
    mask = "" if rule.fwmask is None else f"/{rule.fwmask:#x}"
    words = {
        "not": rule.invert,
        f"from {rule.source}": rule.source,
        f"to {rule.destination}": rule.destination,
        f"iif {rule.iif}": rule.iif,
        f"oif {rule.oif}": rule.oif,
        f"fwmark {rule.fwmark or 0:#x}{mask}": rule.fwmark,
        f"lookup {rule.table}": rule.table,
        f"suppress_prefixlength {rule.suppress_prefix_length}": rule.suppress_prefix_length is not None,
    }
    yield from (word for word, there in words.items() if there)
    if not rule.table:
        yield rule.action.name.lower()
