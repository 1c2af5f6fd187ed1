"""The check that sends: one probe to each target over each uplink, as the agent would, and what comes back at once.

Nothing is sent but to the targets of the config and to the gateways, and only because somebody runs the doctor.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EPERM
from ipaddress import ip_address
from itertools import count
from typing import Final

from failover.core.plan import mark_of, ours, table_of
from failover.core.uplinks import Uplink
from failover.doctor.case import Ground
from failover.doctor.finding import Remark, Remarks, failure, note, ok, warning
from failover.doctor.machine import AS_ROOT, no_right
from failover.facts import Route
from failover.kernel.clock import wall_clock_trusted
from failover.model import FAMILIES, Family, Outcome, ProbeKind, ProbeResult, SendProbe, Target
from failover.probes import Probes

PATIENCE: Final = 2.5
"""Seconds for all of them together."""
TARGETS_MAX: Final = 6
"""Of one uplink in one family, beside the gateway."""
HEARD: Final = (Outcome.ANSWERED, Outcome.LATE, Outcome.CLOCK)
FORBIDDEN: Final = os.strerror(EPERM)
"""The kernel's words when a firewall of the box drops what is sent (probes/README.md)."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One uplink in one family: what is sent over it."""

    uplink: Uplink
    family: Family
    asked: tuple[SendProbe, ...]
    gateway: SendProbe | None

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.uplink.name} {self.family}"

    @property
    def sent(self) -> tuple[SendProbe, ...]:
        """All of it."""
        return self.asked if self.gateway is None else (*self.asked, self.gateway)


Results = dict[int, ProbeResult]
"""By the number of the probe; what has not come back within PATIENCE is not in it."""


def probes(ground: Ground) -> Remarks:
    """Whether answers come; and if not, whether it is this box that keeps them."""
    if why := no_right():
        yield note(f"none was sent: {why}", AS_ROOT)
        return
    numbers = count(1)
    ways = [(uplink, family) for uplink in ground.uplinks for family in FAMILIES]
    lanes = [lane for way in ways if (lane := _lane(ground, *way, numbers)) and not _deaf(ground, *way)]
    for uplink, family in ways:
        if _deaf(ground, uplink, family):
            text = f"{uplink.name} {family}: not asked, as strict rp_filter drops its replies while no agent runs"
            yield note(text, "run it again beside the agent, whose rules let them in")
    results = asyncio.run(_asked([send for lane in lanes for send in lane.sent]))
    for lane in lanes:
        yield _judged(lane, results, ground.case.config.fwmark_mask)
    if not lanes:
        yield note("none was sent: no uplink has a way out and targets")
    elif not any(_heard(send, results) for lane in lanes for send in lane.asked):
        mend = "see what `nft list ruleset` drops in its input chains, and whether anything can be reached at all"
        yield failure("no target answers over any uplink: failover has nothing to judge by", mend)


def _lane(ground: Ground, uplink: Uplink, family: Family, numbers: Iterator[int]) -> Lane | None:
    """None without a way out or without a target. Pages are asked for only where there is nothing cheaper."""
    path, mark = uplink.paths[family], mark_of(uplink.slot, ground.case.config.fwmark_mask)
    trusted = wall_clock_trusted()
    own = [target for target in uplink.targets if target.family in (None, family)]
    asked = [target for target in own if not target.kind.is_web] or own
    if path.fault or not asked:
        return None

    def send(target: Target) -> SendProbe:
        return SendProbe(next(numbers), uplink.name, family, uplink.interface, mark, target, trusted)

    gateway = _gateway(path.route, family)
    return Lane(uplink, family, tuple(map(send, asked[:TARGETS_MAX])), send(gateway) if gateway else None)


def _deaf(ground: Ground, uplink: Uplink, family: Family) -> bool:
    """Whether the box drops the replies itself: strict, no rule of ours, and main's first default is another's."""
    route, defaults = uplink.paths[family].route, [one.paths[family].route for one in ground.uplinks]
    laid = any(rule.table == table_of(uplink.slot) and ours(rule) for rule in ground.facts.rules)
    if family is not Family.IPV4 or route is None or laid:
        return False
    first = min((one for one in defaults if one), key=lambda one: one.metric)
    values = {sysctl.path: sysctl.value for sysctl in ground.facts.sysctls}
    filters = [values.get(f"net/ipv4/conf/{name}/rp_filter", "0") for name in ("all", uplink.interface)]
    return route != first and max(filters) == "1"


def _gateway(route: Route | None, family: Family) -> Target | None:
    """As a target; a link-local one is none, as it takes the device to name it."""
    address = route.gateway if route else None
    if address is None or Family.of(address) is not family or ip_address(address).is_link_local:
        return None
    return Target(ProbeKind.ICMP, address, family=family, url=f"gateway {address}")


async def _asked(sends: Sequence[SendProbe]) -> Results:
    """Send them all at once; over when every one has come back, or after PATIENCE."""
    results: Results = {}
    over = asyncio.Event()

    def report(result: ProbeResult) -> None:
        results[result.id] = result
        if len(results) == len(sends):
            over.set()

    sender = Probes(asyncio.get_running_loop(), report)
    for send in sends:
        sender.start(send)
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE if sends else 0):
            await over.wait()
    sender.close()
    return results


def _heard(send: SendProbe, results: Results) -> bool:
    return send.id in results and results[send.id].outcome in HEARD


def _judged(lane: Lane, results: Results, mask: int) -> Remark:
    heard = [send for send in lane.asked if _heard(send, results)]
    forbidden = [send for send in lane.asked if send.id in results and results[send.id].detail == FORBIDDEN]
    others = [send for send in lane.asked if send not in heard and send not in forbidden]
    if forbidden:
        text = f"a firewall of this box forbids {_urls(forbidden)} over {lane.name}"
        mend = f"let out what carries a mark of ours: `meta mark & {mask:#x} != 0 accept` in its output chain"
        return warning(text, mend) if heard else failure(text, mend)
    if not heard:
        return warning(_mute(lane, others, results), "see `ip route`, the modem, and what the firewall drops on input")
    if others:
        text = f"{lane.name}: {_heard_words(heard)}, and {_said(others, results)}"
        return note(text, "a target that never answers is of no use: name another")
    return ok(f"{lane.name}: {_heard_words(heard)}")


def _mute(lane: Lane, others: Sequence[SendProbe], results: Results) -> str:
    text = f"{lane.name}: no answer within {PATIENCE:g} s: {_said(others, results)}"
    if lane.gateway is None:
        return text
    answers = _heard(lane.gateway, results)
    return f"{text}; its {lane.gateway.target.url} {'does answer: it is upstream' if answers else 'is silent too'}"


def _heard_words(heard: Sequence[SendProbe]) -> str:
    return f"{_urls(heard)} {'answer' if len(heard) > 1 else 'answers'}"


def _urls(sends: Iterable[SendProbe]) -> str:
    return ", ".join(send.target.url for send in sends)


def _said(sends: Iterable[SendProbe], results: Results) -> str:
    """Each with what came instead of an answer."""
    outcomes = {send.target.url: results.get(send.id) for send in sends}
    return ", ".join(
        f"{url} is silent" if result is None else f"{url}: {result.detail or result.outcome}"
        for url, result in outcomes.items()
    )
