"""By which way a packet would go now, and why: the wanted policy rules, walked as the kernel walks them.

Pure. What is asked is what `plan` has made, so an answer cannot disagree with the rules. What others say before ours,
and routes of main that are neither a default nor a host's, are known only in part.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from failover.config.rules import PROTOCOLS, TrafficRule, describe_aim
from failover.core.pins import pinned
from failover.core.plan import PREF_SPECIFIC, Desired, goto_target, ours
from failover.core.steering import (
    FRA_DPORT_RANGE,
    FRA_DSCP,
    FRA_GOTO,
    FRA_IP_PROTO,
    FRA_UID_RANGE,
    NOTHING,
    PREFS_MATCH,
    Key,
    Steered,
)
from failover.core.uplinks import Uplink
from failover.core.verdicts import LOST
from failover.facts import PREFS_OWNED, TABLE_MAIN, TABLES_OWNED, Facts, Route, RouteKind, Rule, RuleAction
from failover.model import Decision, Family, Verdict
from failover.picture import Packet, Passage


@dataclass(frozen=True, slots=True)
class Ground:
    """What there is to walk over, in one family."""

    facts: Facts
    desired: Desired
    steered: Steered
    uplinks: Sequence[Uplink]
    verdicts: Mapping[str, Verdict]
    common: Decision
    steering: Mapping[Key, Decision]


@dataclass(frozen=True, slots=True)
class Walk:
    """Where the rules ended, and which of the config they came by."""

    rule: TrafficRule | None
    last: Rule | None
    route: Route | None = None


def passage(packet: Packet, ground: Ground) -> Passage:
    """Its way, in words too."""
    if near := _near(packet.to, ground.facts):
        return Passage(None, f"it leaves by no uplink: its network is on {near}")
    walk = _walked(packet, ground)
    allowed = {
        uplink.name: ground.verdicts[uplink.name]
        for uplink in ground.uplinks
        if walk.rule is None or walk.rule.aim.allows(uplink.name, metered=uplink.metered)
    }
    about = (
        f"rule {walk.rule.name} ({describe_aim(walk.rule.aim)})" if walk.rule else "no rule of the config is about it"
    )
    names = {uplink.index: uplink.name for uplink in ground.uplinks if uplink.index is not None}
    uplink = names.get(walk.route.interface) if walk.route is not None and walk.route.interface is not None else None
    if walk.route is not None and walk.route.table == TABLE_MAIN:
        return Passage(uplink, f"a host route of main leads there by {uplink}, as long as that is not lost")
    told = Passage(None, about, rule=walk.rule.name if walk.rule else None, allowed=allowed)
    if walk.last is not None and walk.last.action is RuleAction.LOOKUP and walk.last.table not in TABLES_OWNED:
        return replace(told, text=f"a rule of others sends it to table {walk.last.table}")
    end = _unplaced(packet, ground)
    if uplink is None:
        return replace(told, text=f"{about}: refused{_denied(packet, walk, ground)}{end}", refused=True)
    held = walk.rule is not None and walk.rule.aim.hold and ground.verdicts[uplink] in LOST
    way = f"held: it waits for {uplink}" if held else f"by {uplink}: {_why(uplink, packet, walk, ground)}"
    return replace(told, uplink=uplink, text=f"{about}: {way}{end}", held=held)


def _why(uplink: str, packet: Packet, walk: Walk, ground: Ground) -> str:
    """What leads it there: the address that its sender has, what was decided for its rule, or for all else."""
    if _bound(walk):
        return f"its sender has an address of {uplink}"
    rule, way, decision = walk.rule, "", ground.common
    if rule is not None and ground.steered.courses[packet.family, rule.aim].common:
        way = "as all other traffic: "
    elif rule is not None:
        decision = ground.steering[packet.family, rule.aim]
    if uplink == decision.active:
        return f"{way}{decision.text}"
    if uplink == decision.settled:
        return f"{way}forwarded traffic stays with {uplink} until that is lost"
    return f"{way}the next one whose link is up"


def _denied(packet: Packet, walk: Walk, ground: Ground) -> str:
    """Why it is refused, as far as a rule of the config is why."""
    if walk.rule is None:
        return ""
    new = ground.steered.courses[packet.family, walk.rule.aim].new
    if new is None:
        return f": {NOTHING}"
    if walk.rule.aim.hold and ground.verdicts.get(new) in LOST:
        return f": it waits for {new}, by which nothing can leave"
    return ": its sender has an address of an uplink that is not allowed" if _bound(walk) else ""


def _bound(walk: Walk) -> bool:
    """Whether its sender's address alone says by which way."""
    return walk.last is not None and ours(walk.last) and walk.last.source is not None


def _unplaced(packet: Packet, ground: Ground) -> str:
    """That nobody knows where it comes in."""
    if _inward(packet.source, ground.facts):
        return ""
    return f"; {packet.source} is in no network of this box: by which interface it comes in is not known"


def _near(address: str, facts: Facts) -> str:
    """The interface whose network holds the address; empty if none does."""
    links = {link.index: link.name for link in facts.links}
    held = (one for one in facts.addresses if _inside(address, f"{one.address}/{one.prefix_length}"))
    return next((links.get(one.index, "") for one in held), "")


def _walked(packet: Packet, ground: Ground) -> Walk:
    inward = _inward(packet.source, ground.facts)
    matched, at = None, 0
    for rule in _asked(packet.family, ground):
        if rule.priority < at or not _matches(rule, packet, inward):
            continue
        if ours(rule) and rule.priority in PREFS_MATCH:
            matched = ground.steered.rules[rule.priority - PREFS_MATCH.start]
        if rule.priority == PREF_SPECIFIC and ours(rule):
            if way := _pinned(packet, ground):
                return Walk(matched, rule, way)
        elif rule.action is RuleAction.NOP:
            continue
        elif rule.action is RuleAction.GOTO:
            at = goto_target(rule) or at
        elif rule.action is not RuleAction.LOOKUP or rule.table not in TABLES_OWNED:
            return Walk(matched, rule)
        elif route := _best(ground.desired.routes, rule, ground.facts):
            return Walk(matched, rule, route)
    return Walk(matched, None)


def _inward(source: str | None, facts: Facts) -> str:
    """By which interface it comes in: `lo` where this box sends it, from an address of its own or any."""
    if source is None or any(ip_address(one.address) == ip_address(source) for one in facts.addresses):
        return "lo"
    return _near(source, facts)


def _asked(family: Family, ground: Ground) -> list[Rule]:
    """Ours, and those of others before them, in order; not what of theirs knows networks alone."""
    foreign = (r for r in ground.facts.rules if 0 < r.priority < PREFS_OWNED.start and r.suppress_prefix_length is None)
    every: Iterable[Rule] = (*foreign, *ground.desired.rules)
    return sorted((rule for rule in every if rule.family is family), key=lambda rule: rule.priority)


def _pinned(packet: Packet, ground: Ground) -> Route | None:
    """The host route of main that it would take."""
    pins = (pin for pin, _ in pinned(packet.family, ground.facts, ground.uplinks))
    mine = (pin for pin in pins if ip_address(pin.destination) == ip_address(packet.to))
    return next((Route(pin.family, TABLE_MAIN, 0, interface=pin.interface) for pin in mine), None)


def _best(routes: Sequence[Route], rule: Rule, facts: Facts) -> Route | None:
    """The route of its table with the lowest metric whose device has a carrier."""
    alive = {link.index for link in facts.links if link.up and link.carrier}
    there = [r for r in routes if (r.family, r.table) == (rule.family, rule.table)]
    usable = [r for r in there if r.kind is not RouteKind.UNICAST or r.interface in alive]
    return min(usable, key=lambda route: route.metric, default=None)


def _matches(rule: Rule, packet: Packet, inward: str) -> bool:
    """As fib_rule_match and its families' do; what carries a mark is not asked about."""
    lookups = (
        rule.source is None or (packet.source is not None and _inside(packet.source, rule.source)),
        rule.destination is None or _inside(packet.to, rule.destination),
        rule.iif in (None, inward),
        rule.oif is None,
        (rule.fwmark or 0) & (rule.fwmask if rule.fwmask is not None else 0xFFFFFFFF) == 0,
        rule.tos in (0, packet.dscp << 2),
        all(_allows(kind, payload, packet) for kind, payload in rule.extra),
    )
    return rule.invert != all(lookups)


def _inside(address: str, network: str) -> bool:
    one, around = ip_address(address), ip_network(network, strict=False)
    return one.version == around.version and one in around


def _allows(kind: int, payload: bytes, packet: Packet) -> bool:
    """Whether an attribute without a field of its own lets the rule match. Forwarded traffic counts as root's."""
    numbers: Mapping[int, int | None] = {
        FRA_IP_PROTO: PROTOCOLS[packet.protocol][packet.family] if packet.protocol else None,
        FRA_DSCP: packet.dscp,
    }
    if kind in numbers:
        return payload == bytes((numbers[kind] or 0,))
    if kind == FRA_UID_RANGE:
        first, last = struct.unpack("=II", payload)
        return bool(first <= (0 if packet.source else packet.uid) <= last)
    if kind == FRA_DPORT_RANGE:
        first, last = struct.unpack("=HH", payload)
        return bool(first <= packet.port <= last)
    return kind == FRA_GOTO
