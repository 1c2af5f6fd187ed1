"""The status document in one sentence: how things are, for somebody in a hurry. Pure but for the time zone."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from failover.export.words import (
    Document,
    cleaned,
    clock,
    forwarded,
    hold_left,
    is_waiting,
    listed,
    span,
    views_of,
    wanted_more,
)
from failover.model import FAMILIES, RECEIVING, Reason

NAMED_MAX: Final = 3
"""Uplinks of which a sentence tells something, so that it stays one."""


class Head(enum.StrEnum):
    """What is said first of a family, best first."""

    ONLINE = "online"
    DOUBT = "in doubt"
    SILENT = "silent"
    """In doubt, and nobody else answers."""
    UNPROVEN = "not proven yet"
    OFFLINE = "offline"


HEAD_OF: Final = {
    "up": Head.ONLINE,
    "degraded": Head.ONLINE,
    "doubtful": Head.DOUBT,
    "unknown": Head.UNPROVEN,
}
"""By the verdict of the uplink in use; with every other one it is offline."""
DOWN_WORDS: Final = {
    Reason.CONVICTION: "silent upstream",
    Reason.REFUSED: "refused by its carrier",
    Reason.LINK_DOWN: "without a link",
}
"""What is wrong with an uplink that is down, by its cause."""
OTHER_WORDS: Final = {
    "degraded": "degraded",
    "doubtful": "in doubt",
    "portal": "behind a portal",
    "unknown": "not proven yet",
}


def sentence(status: Document, now: float | None = None) -> str:
    """How things are, for somebody in a hurry; without `now` it tells no times, and is true until something changes."""
    status = cleaned(status)
    return "; ".join([*_box(status, now), *_will(status, now), *_hindrance(status)])


def about(status: Document, name: str, now: float) -> str:
    """How one uplink of the document is and what it is for, then how the whole box is."""
    status = cleaned(status)
    own = (one for uplink in status["uplinks"] if uplink["name"] == cleaned(name) for one in _own(status, uplink, now))
    return "; ".join([*own, *_box(status, now, brief=True), *_will(status, now), *_hindrance(status)])


def _box(status: Document, now: float | None, *, brief: bool = False) -> list[str]:
    """A clause for each way that traffic goes; a brief one does not say why it is not another way."""
    ways: dict[tuple[Head, str], list[str]] = {}
    for family, name in status["active"].items():
        if name is not None:
            ways.setdefault((_head(status, name, family), name), []).append(family)
    found = sorted(ways.items(), key=lambda way: list(Head).index(way[0][0]))
    clauses = [_Way(status, head, name, families, now, brief).clause() for (head, name), families in found]
    return [*(clauses or [_nowhere(status, now)]), *_forwarded(status)]


def _head(status: Document, name: str, family: str) -> Head:
    head = HEAD_OF.get(_verdict(status, name, family), Head.OFFLINE)
    alone = not any(view["verdict"] in RECEIVING for view in views_of(status["uplinks"], [family]))
    return Head.SILENT if head is Head.DOUBT and alone else head


def _verdict(status: Document, name: str, family: str) -> str:
    views = (uplink["families"][family] for uplink in status["uplinks"] if uplink["name"] == name)
    return str(next(views, {"verdict": "absent"})["verdict"])


def _nowhere(status: Document, now: float | None) -> str:
    if not status["decisions"]:
        return "starting: nothing is decided yet"
    if not status["uplinks"]:
        return f"{Head.OFFLINE}: no uplink has a default route"
    return f"{Head.OFFLINE}: no uplink can be used: {', '.join(_faults(status['uplinks'], FAMILIES, now))}"


@dataclass(frozen=True, slots=True)
class _Way:
    """The families that go by one uplink and fare alike."""

    status: Document
    head: Head
    name: str
    families: Sequence[str]
    now: float | None
    brief: bool

    def clause(self) -> str:
        """What is to be said of them."""
        match self.head:
            case Head.ONLINE:
                return f"{self.head} by {self.name}{self._tag()}{self._since()}{self._because()}"
            case Head.SILENT:
                return f"{self.head}{self._tag()}: {self._silence()}; traffic stays on {self.name}"
            case Head.OFFLINE:
                faults = _faults(self._mine() if self._others() else self.status["uplinks"], self.families, self.now)
                return f"{self.head}{self._tag()}: {', '.join([*faults, *self._others()]) or f'{self.name} is gone'}"
        return f"{self.head}{self._tag()}: {', '.join([self._unheard(), *self._others()])}"

    def _tag(self) -> str:
        """The families, where there are others; that there are none is told of one that is online."""
        if len(self.families) == len(FAMILIES):
            return ""
        alone = all(self.status["active"].get(family) is None for family in FAMILIES if family not in self.families)
        if alone and self.head is not Head.ONLINE:
            return ""
        return f" ({listed(self.families)}{' only' if alone else ''})"

    def _mine(self) -> list[Document]:
        return [uplink for uplink in self.status["uplinks"] if uplink["name"] == self.name]

    def _others(self) -> list[str]:
        """Uplinks that are held to receive, and when each did last."""
        said = []
        for uplink in self.status["uplinks"]:
            views = [view for view in views_of([uplink], self.families) if view["verdict"] in RECEIVING]
            ages = [age for view in views if (age := view["last_proven_seconds"]) is not None]
            if views and uplink["name"] != self.name:
                heard = "answers" if self.now is None or not ages else f"answered {span(min(ages))} ago"
                said.append(f"{uplink['name']} {heard}")
        return said

    def _since(self) -> str:
        ages = [self.status["decisions"][family]["since_seconds"] for family in self.families]
        return "" if self.now is None else f" since {clock(self.now - min(ages), self.now)}"

    def _because(self) -> str:
        """Why it is not the one that is wanted most, and when that may change."""
        if self.brief:
            return ""
        ahead = list(wanted_more(self.status, self.name))
        faults = _faults(ahead, self.families, self.now)
        for view in views_of(self._mine(), self.families):
            if view["verdict"] == "degraded":
                faults.append(f"degraded{_for(view['since_seconds'], self.now)}: {view['text']}")
                break
        back = [
            (view["hold_remaining_seconds"], one["name"])
            for one in ahead
            for view in views_of([one], self.families)
            if view["verdict"] not in ("absent", "cold") and view["hold_remaining_seconds"]
        ]
        return (f": {', '.join(faults)}" if faults else "") + self._back(back)

    def _back(self, waits: Sequence[tuple[float, str]]) -> str:
        if not waits or self.now is None:
            return ""
        left, name = min(waits)
        return f"; back to {name} not before {clock(self.now + ceil(left), self.now)}"

    def _silence(self) -> str:
        """Of every uplink."""
        heard = [view["last_proven_seconds"] for view in views_of(self.status["uplinks"], self.families)]
        last = min((age for age in heard if age is not None), default=None)
        if last is None:
            return "no uplink has answered yet"
        return (
            "no uplink answers"
            if self.now is None
            else f"no uplink has answered since {clock(self.now - last, self.now)}"
        )

    def _unheard(self) -> str:
        view = next(views_of(self._mine(), self.families))
        return f"no answer by {self.name}{_for(view['last_proven_seconds'], self.now)}"


def _for(age: float | None, now: float | None) -> str:
    return " so far" if age is None else "" if now is None else f" for {span(age)}"


def _faults(uplinks: Iterable[Document], families: Sequence[str], now: float | None) -> list[str]:
    """What is wrong with each of these uplinks; the families are named where they differ."""
    said = []
    for uplink in uplinks:
        found = {family: _fault(uplink["families"][family]) for family in families if family in uplink["families"]}
        for text in filter(None, dict.fromkeys(found.values())):
            where = [family for family in found if found[family] == text]
            tag = "" if len(where) == len(found) else f" ({listed(where)})"
            age = max(uplink["families"][family]["since_seconds"] for family in where)
            said.append(f"{uplink['name']} {text}{tag}{_for(age, now)}")
    more = len(said) - NAMED_MAX
    return said if more <= 0 else [*said[:NAMED_MAX], f"{more} more"]


def _fault(view: Document) -> str:
    """Why an uplink is not what it should be; nothing when it is well and owes nothing."""
    verdict, text = view["verdict"], view["text"]
    if verdict == "down":
        return DOWN_WORDS.get(view["cause"], "down")
    if verdict == "absent":
        return f"with {text}" if text.startswith("no ") else "absent"
    if verdict == "up":
        return "answering again" if is_waiting(view) else ""
    return OTHER_WORDS.get(verdict, str(verdict))


def _own(status: Document, uplink: Document, now: float) -> Iterator[str]:
    """What is to be said of one uplink; its families are named where they differ, or one has no way out."""
    views = uplink["families"]
    ways = {family: view for family, view in views.items() if view["verdict"] != "absent"} or views
    said: dict[str, list[str]] = {}
    for family in ways:
        said.setdefault(_condition(status, uplink, family, now), []).append(family)
    only = " only" if len(ways) < len(views) else ""
    for text, families in said.items():
        tag = f" ({listed(families)}{only})" if only or len(said) > 1 else ""
        yield f"{uplink['name']}{tag} is {text}"


def _condition(status: Document, uplink: Document, family: str, now: float) -> str:
    """The verdict with what is wrong, what the uplink is for, and what it waits for."""
    view = uplink["families"][family]
    verdict, age = view["verdict"], _for(view["since_seconds"], now)
    match verdict:
        case "up":
            words = "up"
        case "down":
            words = f"down: {_fault(view)}{age}" if _fault(view) != "down" else f"down{age}"
        case "absent" | "degraded":
            words = f"{verdict}{age}: {view['text']}"
        case _:
            words = OTHER_WORDS.get(verdict, str(verdict)) + age
    used, receives = status["active"][family] == uplink["name"], verdict in RECEIVING
    role = ["in use"] if used else ["a standby"] if receives and not uplink["drained"] else []
    left = hold_left(status, uplink, family)
    due = [] if left is None else [f"back not before {clock(now + left, now)}"]
    return ", ".join([words, *role, *due])


def _forwarded(status: Document) -> Iterator[str]:
    """Where forwarded traffic goes, in the families in which that is not where new flows go."""
    ways: dict[str, list[str]] = {}
    for family, name in status["settled"].items():
        if name not in (None, status["active"][family]):
            ways.setdefault(name, []).append(family)
    every = [family for family, name in status["settled"].items() if name is not None]
    for name, families in ways.items():
        yield f"{forwarded(status['gateway'])} by {name}{'' if families == every else f' ({listed(families)})'}"


def _will(status: Document, now: float | None) -> Iterator[str]:
    """What the operator wanted."""
    use = status["use"]
    if use is not None:
        left = use["remaining_seconds"]
        end = "" if now is None or left is None else f" until {clock(now + left, now)}"
        yield f"told to use {use['name']}{end}{', strictly' if use['strict'] else ''}"
    drained = [uplink["name"] for uplink in status["uplinks"] if uplink["drained"]]
    if drained:
        yield f"drained: {', '.join(drained)}"


def _hindrance(status: Document) -> Iterator[str]:
    """What makes it slower to notice; why is a warning's to tell."""
    if not status["flows_counted"]:
        yield "detection is weaker: flows are not counted"
