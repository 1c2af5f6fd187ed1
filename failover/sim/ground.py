"""The virtual kernel as the world uses it: a van's uplinks laid out on it, and plain questions about where packets go.

Thin on purpose: the kernel's behaviour is `kernel.py`'s. Answers that are asked for again and again are kept until the
kernel changes.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from dataclasses import replace
from typing import Final

from failover.facts import (
    METRIC_CHOSEN,
    PREFS_OWNED,
    PROTOCOL,
    TABLE_ACTIVE,
    TABLE_MAIN,
    TABLE_SETTLED,
    TABLES_OWNED,
    Facts,
    Operation,
    OperationResult,
    Route,
    RouteKind,
    Rule,
    RuleAction,
)
from failover.model import Family
from failover.sim.kernel import VirtualKernel

FIRST_METRIC: Final = 100
DHCP: Final = 16
"""rtnetlink protocol of a default that came with a lease (RTPROT_DHCP)."""


class Ground:
    """A kernel with the uplinks' interfaces, most preferred first, each with an address and a default in main."""

    def __init__(self, kernel: VirtualKernel, interfaces: Iterable[str], families: Iterable[Family]) -> None:
        self.kernel = kernel
        self._metrics = {name: FIRST_METRIC + place for place, name in enumerate(interfaces)}
        self._indexes = {name: kernel.add_link(name) for name in self._metrics}
        self._names: dict[int | None, str] = {index: name for name, index in self._indexes.items()}
        for name in self._metrics:
            for family in families:
                self.lease(name, family, held=True)
        self._seen = -1
        self._live: frozenset[str] = frozenset()
        self._carrying: frozenset[tuple[str, Family]] = frozenset()
        self._probe_ways: dict[tuple[Family, int, str], tuple[str | None, bool]] = {}

    # --- what happens to the van -------------------------------------------------------------------------------------

    def carrier(self, interface: str, up: bool) -> None:
        self.kernel.set_carrier(interface, up)

    def plug(self, interface: str, there: bool) -> None:
        """The device comes, under another index, or goes."""
        if there:
            self._indexes[interface] = index = self.kernel.add_link(interface)
            self._names[index] = interface
        else:
            self.kernel.remove_link(interface)
            del self._indexes[interface]

    def lease(self, interface: str, family: Family, *, held: bool, sim: int = 1) -> None:
        """The interface's address and default route come or go; of each SIM they are others."""
        place = self._metrics[interface] - FIRST_METRIC + 1
        net = f"10.{place}.{sim - 1}." if family is Family.IPV4 else f"2001:db8:{place}:{sim - 1:x}::"
        own, gateway = f"{net}2", f"{net}1"
        if held:
            self.kernel.add_address(interface, own + ("/24" if family is Family.IPV4 else "/64"))
            metric, index = self._metrics[interface], self._indexes[interface]
            self.kernel.add_route(Route(family, TABLE_MAIN, metric, interface=index, gateway=gateway, protocol=DHCP))
        else:
            self.kernel.withdraw_default(interface, family)
            self.kernel.remove_address(interface, own)

    # --- what the agent does -----------------------------------------------------------------------------------------

    @property
    def changes(self) -> int:
        """Grows with every change, whoever made it."""
        return self.kernel.changes

    def facts(self) -> Facts:
        return self.kernel.facts()

    def apply(self, operation: Operation) -> OperationResult:
        return self.kernel.apply((operation,))[0]

    # --- where packets go --------------------------------------------------------------------------------------------

    def new_way(self, family: Family) -> str | None:
        """Interface by which a new flow of the box leaves."""
        return self.kernel.lookup(family)

    def settled_way(self, family: Family) -> str | None:
        """Interface by which everything else leaves."""
        return self.kernel.lookup(family, iif_lo=False)

    def marked_way(self, family: Family, mark: int) -> str | None:
        return self.kernel.lookup(family, mark=mark)

    def sourced_way(self, family: Family, address: str) -> str | None:
        return self.kernel.lookup(family, source=address)

    def probe_way(self, family: Family, mark: int, interface: str) -> tuple[str | None, bool]:
        """Interface by which a socket bound to device and mark sends (None: the kernel refuses), and its carrier."""
        self._refresh()
        asked = family, mark, interface
        if asked not in self._probe_ways:
            way = self.kernel.lookup(family, mark=mark, oif=interface)
            self._probe_ways[asked] = way, way in self._live
        return self._probe_ways[asked]

    # --- what is there -----------------------------------------------------------------------------------------------

    def has_way(self, family: Family, besides: Collection[str]) -> bool:
        """Some link with a carrier and an address has a default route of this family."""
        self._refresh()
        return any(carried is family and name not in besides for name, carried in self._carrying)

    def carries(self, interface: str, family: Family) -> bool:
        """The interface has a carrier, and an address and a default route of the family."""
        self._refresh()
        return (interface, family) in self._carrying

    def addresses(self, interface: str, family: Family) -> list[str]:
        """The interface's; no two interfaces hold the same."""
        index = self._indexes.get(interface)
        return [a.address for a in self.facts().addresses if a.index == index and a.family is family]

    def ways(self, family: Family) -> set[str]:
        """Interfaces that have a default route of the family in main, with a carrier or without."""
        return {self._names[r.interface] for r in self._defaults(family, TABLE_MAIN)}

    def fallbacks(self, family: Family, table: int) -> list[str]:
        """Interfaces of the defaults in one of the agent's tables, best first; the chosen one's own is left out."""
        held = sorted(self._defaults(family, table), key=lambda route: route.metric)
        return [self._names[r.interface] for r in held if r.metric != METRIC_CHOSEN]

    def _defaults(self, family: Family, table: int) -> list[Route]:
        listed = (r for r in self.facts().routes if r.family is family and r.table == table)
        return [route for route in listed if route.kind is RouteKind.UNICAST]

    def floorless(self, family: Family) -> set[int]:
        """Tables of uplinks that rules ask, and in which a packet that finds no way goes on to the next rule."""
        facts = self.facts()
        rules = [rule for rule in facts.rules if rule.family is family and rule.priority in PREFS_OWNED]
        asking = [rule for rule in rules if rule.table in TABLES_OWNED]
        refusing = [rule for rule in rules if rule.action is RuleAction.UNREACHABLE]
        open_ended = {rule.table for rule in asking if not any(_ends(rule, floor) for floor in refusing)}
        floors = {r.table for r in facts.routes if r.family is family and r.kind is RouteKind.UNREACHABLE}
        return open_ended - floors - {TABLE_ACTIVE, TABLE_SETTLED}

    def foreign(self) -> Hashable:
        """Everything that is not the agent's: routes, rules, addresses and links."""
        facts = self.facts()
        routes = [route for route in facts.routes if not route.ours]
        rules = [r for r in facts.rules if r.priority not in PREFS_OWNED or r.protocol != PROTOCOL]
        rules.sort(key=lambda rule: rule.family)
        addresses = [address for address in facts.addresses if address.protocol != PROTOCOL]
        return tuple(routes), tuple(rules), tuple(addresses), tuple((link.index, link.name) for link in facts.links)

    def _refresh(self) -> None:
        if self._seen == self.changes:
            return
        facts = self.facts()
        names = {link.index: link.name for link in facts.links if link.up and link.carrier}
        held = {(a.index, a.family) for a in facts.addresses if a.usable}
        self._carrying = frozenset(
            (names[route.interface], route.family)
            for route in facts.routes
            if route.table == TABLE_MAIN and route.kind is RouteKind.UNICAST
            if route.interface in names and (route.interface, route.family) in held
        )
        self._live = frozenset(names.values())
        self._probe_ways.clear()
        self._seen = self.changes


def _ends(rule: Rule, floor: Rule) -> bool:
    """Whether it stops what finds no way by the rule: the same packets at the next pref, or all that come to there."""
    same = replace(rule, priority=floor.priority, action=floor.action, table=floor.table)
    everything = Rule(rule.family, floor.priority, floor.action, protocol=floor.protocol)
    return 0 < floor.priority - rule.priority <= 2 and floor in (same, everything)
