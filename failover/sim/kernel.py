"""A kernel in memory: links, addresses, default routes, policy rules, and the real one's quirks.

Each quirk here is pinned by a parity test that plays the same steps on a real kernel. Only the way to the internet is
modelled: connected and specific routes are not, and neighbours always answer. No packets, no engine, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface
from math import inf
from typing import Final

from failover.facts import (
    TABLE_MAIN,
    TABLES_OWNED,
    Address,
    Facts,
    Link,
    Operation,
    OperationResult,
    Route,
    RouteKind,
    Rule,
    RuleAction,
    Sysctl,
    Verb,
)
from failover.model import Family
from failover.sim.matching import (
    Flow,
    answers,
    canonical,
    covers,
    is_like,
    key,
    matches,
    target,
    without_source,
)

LOOPBACK: Final = 1
COLLECTED_AFTER: Final = 30.0
"""Seconds for which an expired IPv6 route is still listed, unused (at most: net.ipv6.route.gc_interval)."""
ALL_FILTER: Final = "net/ipv4/conf/all/rp_filter"
PER_LINK: Final = (
    "net/ipv4/conf/{}/ignore_routes_with_linkdown",
    "net/ipv6/conf/{}/ignore_routes_with_linkdown",
    "net/ipv4/conf/{}/rp_filter",
)
KERNEL_RULES: Final = {
    Family.IPV4: ((0, 255), (32766, TABLE_MAIN), (32767, 253)),
    Family.IPV6: ((0, 255), (32766, TABLE_MAIN)),
}
"""(pref, table) of the rules that every namespace starts with."""
NETWORK_IS_DOWN: Final = "Network is down"
NO_SUCH_DEVICE: Final = "No such device"
UNREACHABLE_GATEWAY: Final = {Family.IPV4: "Network is unreachable", Family.IPV6: "No route to host"}
EXISTS: Final = "File exists"
NO_SUCH_ROUTE: Final = "No such process"
NO_SUCH_ENTRY: Final = "No such file or directory"


@dataclass(slots=True)
class _Link:
    index: int
    name: str
    up: bool = True
    plugged: bool = True
    addresses: list[Address] = field(default_factory=list)

    @property
    def carrier(self) -> bool:
        return self.up and self.plugged


@dataclass(frozen=True, slots=True)
class _Held:
    """A route in a table; `ends` is the clock's time of its expiry."""

    route: Route
    ends: float


class VirtualKernel:
    """Starts with a loopback and the kernel's own rules. `clock` tells the seconds that lifetimes are counted in."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.changes = 0
        """Counts up with each change, whoever made it."""
        self._clock = clock
        self._links: dict[str, _Link] = {"lo": _Link(LOOPBACK, "lo")}
        self._last_index = LOOPBACK
        self._held: list[_Held] = []
        self._rules = [
            Rule(f, pref, table=table, protocol=2) for f, known in KERNEL_RULES.items() for pref, table in known
        ]
        self._sysctls = {ALL_FILTER: "0"}
        self._facts: Facts | None = None
        self._facts_at = 0.0
        self._expiring = False
        self._ways: dict[Flow, str | None] = {}
        self._ways_until = inf

    # --- what the agent sees and does --------------------------------------------------------------------------------

    def facts(self) -> Facts:
        """As the real reader: the same object until something changes or a lifetime has counted down."""
        now = self._clock()
        if self._expiring and self._facts_at != now:
            self._collect(now)
            self._facts = None
        if self._facts is None:
            self._facts, self._facts_at = self._read(now), now
        return self._facts

    def _collect(self, now: float) -> None:
        self._held = [held for held in self._held if held.ends + COLLECTED_AFTER > now]

    def _read(self, now: float) -> Facts:
        links = self._links.values()
        return Facts(
            links=tuple(Link(link.index, link.name, link.up, link.carrier) for link in links),
            addresses=tuple(address for link in links for address in link.addresses),
            routes=tuple(self._shown(held, now) for held in self._held if self._is_read(held.route)),
            rules=tuple(self._rules),
            sysctls=tuple(Sysctl(path, self._sysctls[path]) for path in self._paths_read()),
        )

    def _is_read(self, route: Route) -> bool:
        """Those of main and of our tables, whoever made them."""
        return route.table == TABLE_MAIN or route.table in TABLES_OWNED

    def _paths_read(self) -> list[str]:
        """The devices' that a default route leads out of."""
        used = {held.route.interface for held in self._held}
        names = [link.name for link in self._links.values() if link.index in used]
        return [ALL_FILTER, *(path.format(name) for name in names for path in PER_LINK)]

    def _shown(self, held: _Held, now: float) -> Route:
        link = self._link_of(held.route)
        expires = None if held.ends == inf else max(0.0, held.ends - now)
        return replace(held.route, expires=expires, dead=link is not None and not link.carrier)

    def apply(self, operations: Iterable[Operation]) -> tuple[OperationResult, ...]:
        """Each operation in turn, whatever became of the ones before it. To delete what is gone already is success."""
        return tuple(OperationResult(operation, self._carry_out(operation)) for operation in operations)

    def _carry_out(self, operation: Operation) -> str | None:
        match operation.verb, operation.item:
            case Verb.ADD, Route() as route:
                return self.add_route(route)
            case Verb.REPLACE, Route() as route:
                return self.replace_route(route)
            case Verb.DELETE, Route() as route:
                self.delete_route(route)
                return None
            case Verb.ADD, Rule() as rule:
                return self.add_rule(rule)
            case Verb.DELETE, Rule() as rule:
                self.delete_rule(rule)
                return None
            case Verb.SET, Sysctl() as sysctl:
                return self.set_sysctl(sysctl.path, sysctl.value)
            case Verb.SET, Link(name=name) if name in self._links:
                self.set_up(name, True)
                return None
            case (Verb.ADD | Verb.DELETE) as verb, Address() as address:
                return self._change_address(verb, address)
            case _:
                return "Operation not supported"

    def _change_address(self, verb: Verb, address: Address) -> str | None:
        link = next((link for link in self._links.values() if link.index == address.index), None)
        if link is None:
            return NO_SUCH_DEVICE if verb is Verb.ADD else None
        if verb is Verb.DELETE:
            self.remove_address(link.name, address.address)
            return None
        if any(held.address == address.address for held in link.addresses):
            return EXISTS
        link.addresses.append(address)
        self._changed()
        return None

    # --- where a packet goes -----------------------------------------------------------------------------------------

    def lookup(
        self,
        family: Family,
        source: str | None = None,
        mark: int = 0,
        iif_lo: bool = True,
        oif: str | None = None,
    ) -> str | None:
        """The interface by which a packet to the internet leaves, or None when it cannot.

        `source` is None for a new flow of the box, `iif_lo` False for a forwarded one, `oif` the device that the
        socket is bound to.
        """
        if self._clock() >= self._ways_until:
            self._changed()
        flow = Flow(family, source, mark, iif_lo, oif)
        if flow not in self._ways:
            self._ways[flow] = self._way(flow)
        return self._ways[flow]

    def _way(self, flow: Flow) -> str | None:
        """IPv4 sends from no address but the box's, and takes a bound device for on-link when its tables say no."""
        bound = self._links.get(flow.oif) if flow.oif else None
        if flow.oif and (bound is None or not bound.up):
            return None
        if flow.family is Family.IPV4 and flow.iif_lo and not self._holds(flow.source):
            return None
        way = next(self._verdicts(flow), None)
        return flow.oif if way is None and flow.family is Family.IPV4 else way

    def _holds(self, source: str | None) -> bool:
        return source is None or any(a.address == source for link in self._links.values() for a in link.addresses)

    def _verdicts(self, flow: Flow) -> Iterator[str | None]:
        """What the rules say, in order; the first one counts."""
        rules = [rule for rule in self._rules if rule.family is flow.family]
        after = 0
        for place, rule in enumerate(rules):
            if place < after or not matches(rule, flow):
                continue
            match rule.action:
                case RuleAction.LOOKUP:
                    yield from self._found(rule, flow)
                case RuleAction.GOTO:
                    after = next((i for i, aim in enumerate(rules) if aim.priority == target(rule)), 0)
                case RuleAction.NOP:
                    pass
                case RuleAction.BLACKHOLE | RuleAction.UNREACHABLE | RuleAction.PROHIBIT:
                    yield None

    def _found(self, rule: Rule, flow: Flow) -> Iterator[str | None]:
        """What the rule's table holds for the flow, best first. A suppressed rule passes over defaults, not floors."""
        now = self._clock()
        for held in self._held:
            route = held.route
            if route.table != rule.table or route.family is not flow.family or held.ends <= now:
                continue
            if route.kind is not RouteKind.UNICAST:
                if flow.family is Family.IPV6 and flow.oif:
                    continue
                yield None
                return
            link = self._link_of(route)
            if link is not None and self._carries(link, flow):
                if rule.suppress_prefix_length is None:
                    yield link.name
                return

    def _carries(self, link: _Link, flow: Flow) -> bool:
        ignored = self._sysctls.get(f"net/{flow.family}/conf/{link.name}/ignore_routes_with_linkdown") == "1"
        return flow.oif in (None, link.name) and (link.carrier or not ignored)

    def _link_of(self, route: Route) -> _Link | None:
        return next((link for link in self._links.values() if link.index == route.interface), None)

    def _changed(self) -> None:
        self.changes += 1
        self._facts = None
        self._ways.clear()
        now = self._clock()
        ends = [held.ends for held in self._held if held.ends < inf]
        self._expiring = bool(ends)
        self._ways_until = min((end for end in ends if end > now), default=inf)

    # --- links -------------------------------------------------------------------------------------------------------

    def add_link(self, name: str) -> int:
        """A new interface, up and with a carrier. Its index was never used before."""
        self._last_index += 1
        self._links[name] = _Link(self._last_index, name)
        self._sysctls |= {path.format(name): "0" for path in PER_LINK}
        self._changed()
        return self._last_index

    def remove_link(self, name: str) -> None:
        """With its addresses, its routes and its sysctls; rules stay."""
        self._drop_routes(lambda route: route.interface == self._links[name].index)
        del self._links[name]
        for path in PER_LINK:
            del self._sysctls[path.format(name)]
        self._changed()

    def set_up(self, name: str, up: bool) -> None:
        """Down takes every route of the device, in every table, and the IPv6 addresses; up brings none of it back."""
        link = self._links[name]
        link.up = up
        if not up:
            self._drop_routes(lambda route: route.interface == link.index)
            link.addresses = [address for address in link.addresses if address.family is Family.IPV4]
        self._changed()

    def set_carrier(self, name: str, plugged: bool) -> None:
        """Routes stay, and stay in use unless the device ignores routes with linkdown."""
        self._links[name].plugged = plugged
        self._changed()

    def set_sysctl(self, path: str, value: str) -> str | None:
        if path not in self._sysctls:
            return NO_SUCH_ENTRY
        self._sysctls[path] = value
        self._changed()
        return None

    # --- addresses ---------------------------------------------------------------------------------------------------

    def add_address(self, name: str, interface: str, usable: bool = True) -> None:
        """`interface` is ADDRESS/LENGTH."""
        link, parsed = self._links[name], ip_interface(interface)
        family, length = Family.of(interface), parsed.network.prefixlen
        link.addresses.append(Address(link.index, family, str(parsed.ip), length, usable))
        self._changed()

    def remove_address(self, name: str, address: str) -> None:
        """IPv4 takes the routes of main that prefer it as their source (other tables keep theirs, and go on using it),
        and with the last address all routes of the device. IPv6 takes no route, only the preference."""
        link, address = self._links[name], str(ip_address(address))
        link.addresses = [held for held in link.addresses if held.address != address]
        if Family.of(address) is Family.IPV6:
            self._held = [replace(h, route=without_source(h.route, address)) for h in self._held]
        else:
            last = not any(held.family is Family.IPV4 for held in link.addresses)
            self._drop_routes(
                lambda route: (
                    (route.source == address and route.table == TABLE_MAIN)
                    or (last and route.family is Family.IPV4 and route.interface == link.index)
                )
            )
        self._changed()

    # --- routes ------------------------------------------------------------------------------------------------------

    def add_route(self, route: Route) -> str | None:
        """`ip route add`: the kernel's words when it refuses."""
        route = canonical(route)
        if any(key(held.route) == key(route) for held in self._held):
            return EXISTS
        return self._hold(route, None)

    def replace_route(self, route: Route) -> str | None:
        """`ip route replace`: writes over the route with this key, whoever made it."""
        route = canonical(route)
        old = next((held for held in self._held if key(held.route) == key(route)), None)
        return self._hold(route, old)

    def advertise(self, route: Route) -> None:
        """A router advertisement: a default of its own per router, even with the same metric, or an old one's new
        lifetime; a lifetime of 0 takes it away."""
        route = canonical(route)
        known = (h for h in self._held if key(h.route) == key(route) and h.route.interface == route.interface)
        old = next((held for held in known if held.route.gateway == route.gateway), None)
        if route.expires:
            self._hold(route, old)
        elif old is not None:
            self._held.remove(old)
            self._changed()

    def delete_route(self, route: Route) -> str | None:
        """`ip route del`: the first one that has every attribute named."""
        route = canonical(route)
        old = next((held for held in self._held if answers(held.route, route)), None)
        if old is None:
            return NO_SUCH_ROUTE
        self._held.remove(old)
        self._changed()
        return None

    def withdraw_default(self, name: str, family: Family) -> None:
        """The defaults of table main through this device go, as with an RA of lifetime 0 or a lost lease."""
        index = self._links[name].index
        self._drop_routes(lambda r: r.interface == index and r.table == TABLE_MAIN and r.family is family)

    def flush_routes(self, name: str) -> None:
        """As NetworkManager does on `con up`: the device's routes in every table go, rules and addresses stay."""
        index = self._links[name].index
        self._drop_routes(lambda route: route.interface == index)

    def _drop_routes(self, condemned: Callable[[Route], bool]) -> None:
        self._held = [held for held in self._held if not condemned(held.route)]
        self._changed()

    def _refusal(self, route: Route) -> str | None:
        """Why the kernel would not take the route."""
        if route.kind is not RouteKind.UNICAST:
            return None
        link = self._link_of(route)
        if link is None:
            return NO_SUCH_DEVICE
        if route.gateway is None or route.onlink or route.gateway.startswith("fe80:"):
            return None if link.up else NETWORK_IS_DOWN
        known = link.up and any(covers(address, route.gateway) for address in link.addresses)
        return None if known else UNREACHABLE_GATEWAY[route.family]

    def _hold(self, route: Route, old: _Held | None) -> str | None:
        """Put it in, in place of `old`, unless the kernel would refuse."""
        refusal = self._refusal(route)
        if refusal is not None:
            return refusal
        ends = inf if route.expires is None else self._clock() + route.expires
        self._held = [held for held in self._held if held is not old]
        self._held.append(_Held(replace(route, expires=None), ends))
        self._held.sort(key=lambda held: held.route.metric)
        self._changed()
        return None

    # --- rules -------------------------------------------------------------------------------------------------------

    def add_rule(self, rule: Rule) -> str | None:
        """`ip rule add`: behind those of the same pref."""
        if rule in self._rules:
            return EXISTS
        self._rules.append(rule)
        self._rules.sort(key=lambda rule: rule.priority)
        self._changed()
        return None

    def delete_rule(self, like: Rule) -> str | None:
        """`ip rule del`: the first rule, lowest pref first, that has every selector named.

        Whatever is unset in `like` is not asked for: pref 0, table 0, protocol 0, None.
        """
        found = next((rule for rule in self._rules if is_like(rule, like)), None)
        if found is None:
            return NO_SUCH_ENTRY
        self._rules.remove(found)
        self._changed()
        return None
