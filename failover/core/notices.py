"""What the agent says, in words and in fields.

Pure. One line per fact; the text reads by itself, the fields are for machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Final

from failover.config.values import format_duration
from failover.core.lane import Lane
from failover.core.policy import Will
from failover.core.stalls import BUFFERED
from failover.model import Decision, Notice, NoticeKind
from failover.seam import Applied, FlowsForgotten, Moved, SocketsDestroyed
from failover.wording import describe

REPEATED: Final = 60.0
"""Seconds; what comes and goes is not said more often."""


class Once:
    """Says a thing once, and again only when it had been over and was last said REPEATED seconds ago."""

    def __init__(self) -> None:
        self._lasting: frozenset[str] = frozenset()
        self._said: dict[str, float] = {}
        """When, monotonic seconds."""

    def news(self, now: float, present: Mapping[str, Notice]) -> list[Notice]:
        """Those that were not there the last time."""
        if not present and not self._lasting:
            return []
        self._said = {key: at for key, at in self._said.items() if now < at + REPEATED}
        begun = sorted(present.keys() - self._lasting - self._said.keys())
        self._lasting = frozenset(present)
        self._said |= dict.fromkeys(begun, now)
        return [present[key] for key in begun]


class Warnings:
    """What stands in the way now, in `texts`; each is said once as long as it does."""

    def __init__(self) -> None:
        self.texts: tuple[str, ...] = ()
        self._once = Once()

    def news(self, now: float, texts: tuple[str, ...]) -> list[Notice]:
        """Those that were not there the last time."""
        if texts == self.texts:
            return []
        self.texts = texts
        return self._once.news(now, {text: Notice(NoticeKind.WARNING, text) for text in texts})


def switch(before: Decision, then: Decision) -> Notice:
    """Traffic moves."""
    if before.active != then.active:
        text = f"{then.family} {before.active or 'nothing'} -> {then.active or 'nothing'}: {then.reason}: {then.text}"
    else:
        way = f"{before.settled or 'nothing'} -> {then.settled or 'nothing'}"
        text = f"{then.family} forwarded traffic {way}: {then.text}"
    fields: dict[str, object] = {
        "family": str(then.family),
        "from": before.active,
        "to": then.active,
        "settled": then.settled,
        "reason": str(then.reason),
        **then.numbers,
    }
    return Notice(NoticeKind.SWITCH, text, fields)


def verdict(lane: Lane) -> Notice:
    """An uplink is judged anew in one family."""
    name, family, health = lane.uplink.name, lane.family, lane.health
    fields = {"uplink": name, "family": str(family), "verdict": str(health.verdict)}
    return Notice(NoticeKind.VERDICT, f"{name} {family} is {health.verdict}: {health.text}", fields)


def settled(lane: Lane) -> Notice:
    """A silence is over, and it is known whether it was buffering or loss."""
    name, family, text = lane.uplink.name, lane.family, lane.health.settled
    what = "buffered" if text.startswith(BUFFERED) else "lost"
    return Notice(
        NoticeKind.UPLINK, f"{name} {family}: {text}", {"uplink": name, "family": str(family), "silence": what}
    )


def moved(event: Moved) -> list[Notice]:
    """Open flows were made to take another way, or could not be."""
    return _forgotten(event) if isinstance(event, FlowsForgotten) else _broken(event)


def _broken(event: SocketsDestroyed) -> list[Notice]:
    order = event.order
    lane = f"{order.uplink} {order.family}"
    fields: dict[str, object] = {
        "uplink": order.uplink,
        "family": str(order.family),
        "tcp": event.tcp,
        "udp": event.udp,
        "unanswered": order.unanswered,
    }
    found = []
    if event.tcp or event.udp:
        what = "unanswered ones" if order.unanswered else "open flows"
        text = f"{lane}: {what} of this box broken, to connect anew: {event.tcp} TCP, {event.udp} UDP"
        found.append(Notice(NoticeKind.FLOWS, text, fields))
    if event.error:
        found.append(Notice(NoticeKind.KERNEL, f"{lane}: open flows cannot be broken: {event.error}", fields))
    return found


def _forgotten(event: FlowsForgotten) -> list[Notice]:
    order = event.order
    fields: dict[str, object] = {
        "uplink": order.uplink,
        "family": str(order.family),
        "forwarded": event.flows,
        "unanswered": order.unanswered,
    }
    what = "unanswered forwarded flow" if order.unanswered and not order.strays else "forwarded flow"
    found = []
    if event.flows:
        one = event.flows == 1
        begun = " that began while nothing was translated" if order.strays else ""
        goes = "takes the present way with its next packet" if one else "take the present way with their next packet"
        text = f"{order.uplink} {order.family}: {event.flows} {what}{'' if one else 's'}{begun} {goes}"
        found.append(Notice(NoticeKind.FLOWS, text, fields))
    if event.error:
        text = f"{order.uplink} {order.family}: {what}s stay where they are: {event.error}"
        found.append(Notice(NoticeKind.KERNEL, text, fields))
    return found


def ready(decisions: Iterable[Decision], uplinks: int) -> Notice:
    """The kernel is adopted: our routes and rules are there."""
    ways = ", ".join(f"{d.family} by {d.active}" for d in decisions if d.active) or "no default route yet"
    return Notice(NoticeKind.READY, f"{uplinks} uplinks, {ways}", {"uplinks": uplinks})


def operator(text: str) -> Notice:
    """The operator's will has changed."""
    return Notice(NoticeKind.OPERATOR, text)


def recalled(now: float, will: Will) -> list[Notice]:
    """The operator's will is still in force after a restart."""
    texts = [f"{name} is still drained" for name in sorted(will.drained)]
    if will.use is not None and will.until > now:
        left = "" if will.until == inf else f" for {format_duration(round(will.until - now))} more"
        texts.insert(0, f"still using {will.use}{left}{', strictly' if will.strict else ''}")
    return [operator("; ".join(texts))] if texts else []


def resumed(seconds: float) -> Notice:
    """The machine was asleep for so many seconds."""
    return Notice(NoticeKind.WARNING, f"the machine slept for {seconds:.0f} s; every uplink is probed anew")


def failures(applied: Applied) -> dict[str, Notice]:
    """What the kernel refused, by what it is about."""
    return {
        text: Notice(NoticeKind.KERNEL, text, {"error": result.error})
        for result in applied.results
        if result.error is not None
        for text in [f"cannot {result.operation.verb} {describe(result.operation.item)}: {result.error}"]
    }
