"""Decision + facts -> the exact routes, rules and sysctls wanted in the kernel.

Pure, and whole each time: nothing is remembered here, and what the kernel holds is compared in `diff`. Only our own
tables and prefs appear; the rules of others are read, never wanted, and so is table main but for the defaults of
bearers that nobody else serves (`bearers.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

from failover.core.bearers import Served, served
from failover.core.gateway import forwarding, unserved
from failover.core.pins import Shunned, overriding, too_many
from failover.core.steering import (
    FRA_GOTO,
    FRA_UID_RANGE,
    PREF_ACTIVE,
    PREF_SOURCE_LATE,
    PREF_SOURCE_LATE_FLOOR,
    PREFS_MATCH,
    Steered,
    aimed,
    leading,
    matching,
    refusing,
)
from failover.core.uplinks import Uplink
from failover.facts import (
    METRIC_CHOSEN,
    PREFS_OWNED,
    PROTOCOL,
    TABLE_ACTIVE,
    TABLE_MAIN,
    TABLE_SETTLED,
    TABLE_UPLINK,
    TABLES_OWNED,
    Address,
    Facts,
    Route,
    RouteKind,
    Rule,
    RuleAction,
    Sysctl,
)
from failover.model import FAMILIES, Decision, Family
from failover.wording import describe

PREF_FIRST: Final = PREFS_OWNED.start
"""A rule that does nothing: whoever gives no pref is put before the first one there is, and so not among ours."""
PREF_SPECIFIC: Final = 15503
"""What main knows more exactly than a default route (the LAN) goes before everything of ours but `pins`."""
MARK_ANY: Final = (1, 0)
"""fwmark 0x1/0 is every packet. `wg-quick down` deletes rules until `ip rule` shows no line with "from all lookup main
suppress_prefixlength 0"; without this selector ours is such a line, and the loop runs on against our repairs."""
PREF_REPLY: Final = 15505
PREF_SOURCE: Final = 15510
PREF_SOURCE_FLOOR: Final = 15511
PREF_MARK: Final = 15520
PREF_MARK_FLOOR: Final = 15521
PREFS_COPY: Final = range(15530, PREFS_MATCH.start)
PREF_LAN: Final = 15588
"""New flows of a gateway's clients go as those of the box do."""
PREF_SETTLED: Final = 15590
PREF_MAIN: Final = 32766
"""The kernel's own rule for table main."""

METRIC_FALLBACK: Final = 101
METRIC_FLOOR: Final = 0xFFFFFFFF
TABLE_DEFAULT: Final = 253
FRA_SUPPRESS_GROUP: Final = 13
"""linux/fib_rules.h, in `Rule.extra`."""
AS_ROOT: Final = ((FRA_UID_RANGE, struct.pack("=II", 0, 0)),)
"""uidrange 0-0: so the kernel looks up the reverse path of what it receives (fib_frontend.c), and root's own flows."""


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything of ours that the kernel should hold."""

    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    bearers: Served = field(default_factory=Served)
    refresh_after: float | None = None
    """Seconds within which to read the kernel again, so that no copy of an RA default expires before it is renewed."""
    warnings: tuple[str, ...] = ()
    """What could not be done truly, for people."""


def plan(
    uplinks: Sequence[Uplink],
    decisions: Mapping[Family, Decision],
    facts: Facts,
    mask: int,
    steered: Steered | None = None,
    lan: Sequence[str] = (),
    shunned: Shunned = (),
) -> Desired:
    """DESIGN section 5 for these uplinks. A family in which no uplink has a default route gets no route and no rule.

    `lan`: interfaces of the clients of a gateway, whose flows are marked.
    """
    present = [family for family in FAMILIES if any(uplink.paths[family].route for uplink in uplinks)]
    routes: list[Route] = []
    rules: list[Rule] = []
    for family in present:
        members = [uplink for uplink in uplinks if _takes_part(uplink, family, facts)]
        routes += _routes(family, members, decisions.get(family))
        addresses = [held for held in _addresses_once(uplinks, family) if held[1] in {u.slot for u in members}]
        made = _rules(family, members, addresses, facts, mask, steered or Steered(), lan)
        landing = min(rule.priority for rule in made if rule.priority > PREF_SPECIFIC)
        freed = overriding(family, facts, members, shunned, addresses, landing)
        rules += [Rule(family, PREF_FIRST, RuleAction.NOP), *freed, *made]
    return Desired(
        routes=tuple(routes),
        rules=tuple(rules),
        sysctls=(*_sysctls(uplinks, facts), *(forwarding(uplinks, facts, lan) if lan else ())),
        bearers=served(uplinks, facts),
        refresh_after=_refresh_after(routes),
        warnings=(
            *(warning for family in present for warning in inseparable(uplinks, family)),
            *crowded(present, facts),
            *too_many(present, rules, facts),
            *deafening(uplinks, facts),
            *unserved(lan, facts),
            *map(intruder, conflicts(facts)),
        ),
    )


def way_of_new_flows(uplinks: Iterable[Uplink], decision: Decision) -> Route | None:
    """The route at the head of table 15500, as `plan` wants it; None where the active uplink has no default."""
    uplink = next((uplink for uplink in uplinks if uplink.name == decision.active), None)
    way = uplink.paths[decision.family].route if uplink else None
    return _copy(way, TABLE_ACTIVE, METRIC_CHOSEN) if way else None


def ours(item: Route | Rule | Address) -> bool:
    """Whether we made it: our tag, and of routes and rules inside our range."""
    if isinstance(item, Route):
        return item.ours
    return item.protocol == PROTOCOL and (isinstance(item, Address) or item.priority in PREFS_OWNED)


def conflicts(facts: Facts) -> tuple[Route | Rule, ...]:
    """What others put into our tables and prefs: left alone, even where it stands in our way."""
    routes = (route for route in facts.routes if route.table in TABLES_OWNED and not ours(route))
    rules = (rule for rule in facts.rules if rule.priority in PREFS_OWNED and not ours(rule))
    return (*routes, *rules)


def table_of(slot: int) -> int:
    """The slot's own routing table."""
    return TABLE_UPLINK + slot


def mark_of(slot: int, mask: int) -> int:
    """The fwmark value of a slot inside `mask` (contiguous bits, not 0)."""
    return (slot + 1) * (mask & -mask)


def shared_addresses(uplinks: Iterable[Uplink], family: Family) -> dict[str, list[str]]:
    """Address -> who holds it, where that is more than one (two HiLink dongles): no rule can tell their flows apart."""
    holders: dict[str, list[str]] = {}
    for uplink in uplinks:
        for address in dict.fromkeys(uplink.paths[family].addresses):
            holders.setdefault(address, []).append(uplink.name)
    return {address: names for address, names in holders.items() if len(names) > 1}


def _takes_part(uplink: Uplink, family: Family, facts: Facts) -> bool:
    """An uplink has tables and rules in a family from its first default route on.

    Not before: a LAN port with an address but without a default of its own keeps the box's ways. Not only while it has
    the route: its open flows would leave by another uplink with the wrong source.
    """
    table = table_of(uplink.slot)
    return uplink.paths[family].route is not None or any(
        rule.family is family and rule.table == table and ours(rule) for rule in facts.rules
    )


def _routes(family: Family, members: Sequence[Uplink], decision: Decision | None) -> list[Route]:
    ways = {uplink.name: way for uplink in members if (way := uplink.paths[family].route)}
    own = [_copy(ways[u.name], table_of(u.slot), METRIC_CHOSEN) for u in members if u.name in ways]
    will = decision or Decision(family, active=None, settled=None, order=tuple(ways))
    return [
        *_floors(family, members),
        *own,
        *_defaults(TABLE_ACTIVE, ways, will.active, will.order),
        *_defaults(TABLE_SETTLED, ways, will.settled, will.order),
    ]


def _floors(family: Family, members: Iterable[Uplink]) -> list[Route]:
    """What ends a table of IPv4, so that nothing falls through to another uplink with the wrong source.

    None in IPv6, where rules do it (`_floored`): there the kernel would take the floor for the better way than a router
    that has not answered neighbour discovery (find_rr_leaf, net/ipv6/route.c), and nobody would ask that one again.
    """
    if family is Family.IPV6:
        return []
    return [Route(family, table_of(uplink.slot), METRIC_FLOOR, kind=RouteKind.UNREACHABLE) for uplink in members]


def _defaults(table: int, ways: Mapping[str, Route], chosen: str | None, order: Sequence[str]) -> list[Route]:
    """The chosen way, then every way by rank, so that the kernel fails over by itself. No floor: it fails open."""
    ranked = [(chosen or "", METRIC_CHOSEN), *((name, METRIC_FALLBACK + rank) for rank, name in enumerate(order))]
    return [_copy(ways[name], table, metric) for name, metric in ranked if name in ways]


def _copy(way: Route, table: int, metric: int) -> Route:
    """The same way out in our table.

    On link in IPv4: else the kernel asks the rules for the gateway at each write, and a kill switch before ours forbids
    the switch. Netlink takes a lifetime in whole seconds, so it is rounded up.
    """
    expires = None if way.expires is None else float(ceil(way.expires))
    onlink = way.onlink or (way.family is Family.IPV4 and "." in (way.gateway or ""))
    return replace(way, table=table, metric=metric, protocol=PROTOCOL, onlink=onlink, expires=expires, dead=False)


def _refresh_after(routes: Iterable[Route]) -> float | None:
    """A third of the shortest lifetime: `diff` lets a copy fall behind by a quarter of it before it is renewed."""
    lifetimes = [route.expires for route in routes if route.expires is not None]
    return max(1.0, min(lifetimes) / 3) if lifetimes else None


def _addresses_once(uplinks: Iterable[Uplink], family: Family) -> list[tuple[str, int]]:
    """(address, slot) for each address that exactly one uplink holds."""
    listed = tuple(uplinks)
    shared = shared_addresses(listed, family)
    return [(a, u.slot) for u in listed for a in dict.fromkeys(u.paths[family].addresses) if a not in shared]


def _rules(
    family: Family,
    members: Sequence[Uplink],
    addresses: Iterable[tuple[str, int]],
    facts: Facts,
    mask: int,
    steered: Steered,
    lan: Sequence[str],
) -> list[Rule]:
    slots = [uplink.slot for uplink in members]
    matches = matching(steered, family)
    copies = _copies(family, facts, matches[0].priority if matches else PREF_ACTIVE)
    behind = bool(copies or matches)
    early, late = _source_rules(family, addresses, behind=behind)
    marked = [Rule(family, PREF_MARK, table=table_of(s), fwmark=mark_of(s, mask), fwmask=mask) for s in slots]
    late += [replace(rule, priority=PREF_SOURCE_LATE, iif=name) for rule in marked for name in lan]
    probes = [replace(rule, iif="lo") for rule in marked] if lan else marked
    return [
        Rule(family, PREF_SPECIFIC, table=TABLE_MAIN, suppress_prefix_length=0, fwmark=MARK_ANY[0], fwmask=MARK_ANY[1]),
        *_floored(early, PREF_SOURCE_FLOOR),
        *_floored(probes, PREF_MARK_FLOOR),
        *copies,
        *matches,
        *(leading(steered, family, members, late, lan) if matches else ()),
        *_floored(late, PREF_SOURCE_LATE_FLOOR),
        Rule(family, PREF_ACTIVE, table=TABLE_ACTIVE, iif="lo"),
        *(Rule(family, PREF_LAN, table=TABLE_ACTIVE, iif=name) for name in lan),
        Rule(family, PREF_SETTLED, table=TABLE_SETTLED),
    ]


def _floored(rules: Iterable[Rule], floor: int) -> list[Rule]:
    """The lookups of uplinks' tables, and in IPv6 behind them, at the pref `floor`, what refuses the same packets."""
    listed = list(rules)
    return [*listed, *(refusing(rule, floor) for rule in listed if rule.family is Family.IPV6)]


def _source_rules(
    family: Family, addresses: Iterable[tuple[str, int]], *, behind: bool
) -> tuple[list[Rule], list[Rule]]:
    """`from <address>` for each (address, slot), so that open flows stay: those before and those `behind` the copies.

    Where others or the operator have rules they come first: IPv6 answers a refused lookup by choosing a source address
    and asking again, so every flow would slip past a kill switch by the address chosen. IPv4 keeps one in front for the
    kernel's own lookups, or its reverse path filter would drop the replies to probes.
    """
    rules = [
        Rule(family, PREF_SOURCE, table=table_of(slot), source=f"{address}/{family.bits}")
        for address, slot in addresses
    ]
    if not behind:
        return rules, []
    replies = [replace(rule, priority=PREF_REPLY, extra=AS_ROOT) for rule in rules] if family is Family.IPV4 else []
    return replies, [replace(rule, priority=PREF_SOURCE_LATE) for rule in rules]


def _foreign(family: Family, facts: Facts) -> list[Rule]:
    """The rules of others that have a say after ours and before main, in order.

    A plain lookup of main ends the list: a default route is there, so nothing behind it is ever asked.
    """
    found = []
    between = [rule for rule in facts.rules if rule.family is family and PREFS_OWNED[-1] < rule.priority < PREF_MAIN]
    for rule in sorted(between, key=lambda rule: rule.priority):
        plain = rule == Rule(family, rule.priority, table=rule.table, protocol=rule.protocol)
        if plain and rule.table == TABLE_MAIN:
            break
        if not (plain and rule.table == TABLE_DEFAULT):
            found.append(rule)
    return found


def _copies(family: Family, facts: Facts, usual: int) -> list[Rule]:
    """`usual`: the pref at which what is ours to tell begins."""
    foreign = _foreign(family, facts)
    places = [PREFS_COPY[min(rank, len(PREFS_COPY) - 1)] for rank in range(len(foreign))]
    prefs = {rule.priority for rule in facts.rules if rule.family is family}
    return [
        _adapted(replace(rule, priority=place, protocol=PROTOCOL), foreign, places, prefs, usual)
        for rule, place in zip(foreign, places, strict=True)
    ]


def _adapted(copy: Rule, foreign: Sequence[Rule], places: Sequence[int], prefs: set[int], usual: int) -> Rule:
    """A copy as it is, but for two that would leave us: a goto, and a lookup of main, which says "as usual".

    What is usual is ours to tell. Verbatim, a tunnel that a kill switch lets out by `fwmark 0xca6c lookup main` would
    stay on main's first default, however dead that is.
    """
    if copy.action is RuleAction.GOTO:
        return _landing(copy, foreign, places, prefs, usual)
    whole = copy.suppress_prefix_length is None and FRA_SUPPRESS_GROUP not in dict(copy.extra)
    if copy.action is RuleAction.LOOKUP and copy.table == TABLE_MAIN and whole:
        return aimed(copy, usual)
    return copy


def _landing(goto: Rule, foreign: Sequence[Rule], places: Sequence[int], prefs: set[int], usual: int) -> Rule:
    """The goto among the copies: it lands where its original does.

    It keeps its own target, and so goes on among the originals, where that lies behind main, is not there (the kernel
    passes over such a rule), or has a copy that shares its pref with others before it.
    """
    target = goto_target(goto)
    if target is None or target > PREF_MAIN or target not in prefs:
        return goto
    rank = next((rank for rank, rule in enumerate(foreign) if rule.priority >= target), None)
    if rank is None:
        return aimed(goto, usual)
    return aimed(goto, places[rank]) if places.index(places[rank]) == rank else goto


def goto_target(goto: Rule) -> int | None:
    """The pref that a goto rule jumps to; None where it does not say."""
    payload = dict(goto.extra).get(FRA_GOTO, b"")
    return struct.unpack("=I", payload)[0] if len(payload) == 4 else None


def inseparable(uplinks: Iterable[Uplink], family: Family) -> list[str]:
    """Of each address that more than one uplink holds."""
    return [
        f"{' and '.join(names)} hold the same address {address}: their open flows move with each switch"
        for address, names in shared_addresses(uplinks, family).items()
    ]


def crowded(served: Iterable[Family], facts: Facts) -> list[str]:
    """Of each family with more foreign rules than there are places for copies."""
    counts = {family: len(_foreign(family, facts)) for family in served}
    text = f"foreign rules between ours and main, {len(PREFS_COPY)} places for copies: the last share one pref"
    return [f"{count} {family} {text}" for family, count in counts.items() if count > len(PREFS_COPY)]


def intruder(item: Route | Rule) -> str:
    """Of one of the `conflicts`."""
    what = f"{describe(item)} (protocol {item.protocol})"
    return f"a foreign {what} stands among ours and may divert traffic; it is left alone"


def _sysctls(uplinks: Iterable[Uplink], facts: Facts) -> list[Sysctl]:
    listed = tuple(uplinks)
    present = [uplink for uplink in listed if uplink.index is not None]
    shared = shared_addresses(listed, Family.IPV4)
    values = {sysctl.path: sysctl.value for sysctl in facts.sysctls}
    overtaken = any(_meets_replies(rule) and rule.action is RuleAction.LOOKUP for rule in facts.rules)
    return [
        *(Sysctl(f"net/{f}/conf/{u.interface}/ignore_routes_with_linkdown", "1") for u in present for f in FAMILIES),
        *(
            Sysctl(_rp_filter(u.interface), "2")
            for u in present
            if overtaken or not shared.keys().isdisjoint(u.paths[Family.IPV4].addresses)
            if _filtered(u.interface, values)
        ),
    ]


def _meets_replies(rule: Rule) -> bool:
    """Whether a rule of others before ours has a say in the reverse path of a reply to a probe, which has no mark.

    Without a pref given, the kernel puts a rule before all others: `wg-quick up` beside a running agent lands there.
    """
    anyone = (rule.source, rule.destination, rule.suppress_prefix_length, rule.extra) == (None, None, None, ())
    return (
        rule.family is Family.IPV4
        and 0 < rule.priority < PREFS_OWNED.start
        and rule.table != TABLE_MAIN
        and anyone
        and rule.iif in (None, "lo")
        and rule.invert == bool(rule.fwmark)
    )


def deafening(uplinks: Iterable[Uplink], facts: Facts) -> list[str]:
    """Rules before ours that refuse the reverse path: loose or strict, the filter drops every reply then."""
    values = {sysctl.path: sysctl.value for sysctl in facts.sysctls}
    if not any(_filtered(uplink.interface, values) for uplink in uplinks):
        return []
    refusing = (RuleAction.PROHIBIT, RuleAction.UNREACHABLE, RuleAction.BLACKHOLE)
    prefs = [rule.priority for rule in facts.rules if _meets_replies(rule) and rule.action in refusing]
    return [f"ipv4 rule {pref} is before ours and refuses: with rp_filter on, no probe is answered" for pref in prefs]


def _filtered(interface: str, values: Mapping[str, str]) -> bool:
    """Whether the reverse path is checked on this device: the kernel takes the greater value of `all` and its own.

    Strict (1) drops a reply that arrives where its address's route does not point to; loose (2) takes it.
    """
    return any(values.get(_rp_filter(name), "0") != "0" for name in ("all", interface))


def _rp_filter(interface: str) -> str:
    return f"net/ipv4/conf/{interface}/rp_filter"
