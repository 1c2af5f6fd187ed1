"""The kernel as the agent knows it: read whole, changed one operation at a time, inside our ownership only.

What lives here: which questions are asked and which changes are allowed. How they look on the wire is in the files of
routes, rules and links. Nothing is decided here.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby, islice
from typing import Final, assert_never

from failover.facts import (
    PINS_MAX,
    PREFS_OWNED,
    PROTOCOL,
    TABLE_MAIN,
    TABLES_OWNED,
    Address,
    Endpoint,
    Facts,
    Link,
    Operation,
    OperationResult,
    Pin,
    Route,
    Rule,
    SubflowLimits,
    Sysctl,
    Table,
    Verb,
)
from failover.kernel import links, nexthops, routes, rules, sysctls
from failover.kernel.ledger import Ledger
from failover.kernel.netlink import Dump, Netlink, RequestError
from failover.kernel.wire import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from failover.model import FAMILIES, Family, KernelError
from failover.wording import describe

ROUTE_REQUESTS: Final = {
    Verb.ADD: (routes.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL),
    Verb.REPLACE: (routes.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE),
    Verb.DELETE: (routes.RTM_DELROUTE, 0),
}
RULE_REQUESTS: Final = {
    Verb.ADD: (rules.RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL),
    Verb.DELETE: (rules.RTM_DELRULE, 0),
}
ADDRESS_REQUESTS: Final = {
    Verb.ADD: (links.RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL),
    Verb.DELETE: (links.RTM_DELADDR, 0),
}
GONE: Final = frozenset((errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENODEV))
"""Errors of a deletion that has nothing left to do: routes, rules and addresses have one each, and missing links."""
Ranked = tuple[int, Route]
"""A default and the rank of its router preference: the lower, the sooner it is chosen among its like."""
REPEATS: Final = 3
"""Of 2000 routes that come and go without pause, one dump in 25 misses the default: four in a row do not."""


class Kernel:
    """One namespace's routing. KernelError from `read` when it cannot be read; `apply` reports instead of raising."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        """The namespace is that of the calling thread, also for sysctls later on. No ledger: no sysctl is set."""
        self._netlink = Netlink()
        self._ledger = ledger
        self.gateways: tuple[str, ...] = ()
        """Devices between which the box is to forward; what that hangs on is read for these alone."""
        self.port: Final = self._netlink.port
        """Marks what comes from us among the kernel's events."""

    def close(self) -> None:
        """Close the socket; nothing in the kernel changes."""
        self._netlink.close()

    def read(self) -> Facts:
        """Everything the agent goes by. The parts are read one after the other: what changes meanwhile is an event."""
        found = tuple(links.link(body) for body in self._netlink.dump(links.RTM_GETLINK, links.LINKS_ASKED).bodies)
        addresses = (
            links.global_address(body) for body in self._netlink.dump(links.RTM_GETADDR, links.ADDRESSES_ASKED).bodies
        )
        policy = tuple(rule for family in FAMILIES for rule in self._rules(family))
        ways: list[Route] = []
        pins: list[Pin] = []
        for family in FAMILIES:
            found_ways, found_pins = self._routes(family)
            ways += found_ways
            pins += found_pins
        return Facts(
            links=found,
            addresses=tuple(address for address in addresses if address is not None),
            routes=tuple(ways),
            rules=policy,
            sysctls=tuple(sysctls.read(self._switches(found, ways))),
            pins=tuple(pins[: PINS_MAX + 1]),
        )

    def _switches(self, found: Sequence[Link], ways: Iterable[Route]) -> Iterator[str]:
        yield from sysctls.of_interest(_names_used(found, ways))
        if self.gateways:
            yield from sysctls.of_gateway(self.gateways, (link.name for link in found if link.name != "lo"))

    def _rules(self, family: Family) -> list[Rule]:
        decoded = (rules.decode(body) for body in self._netlink.dump(rules.RTM_GETRULE, rules.asked(family)).bodies)
        return [rule for rule in decoded if rule is not None]

    def _routes(self, family: Family) -> tuple[list[Route], list[Pin]]:
        """The defaults of main and of our tables, main first, as it has the lowest number; and host routes of main."""
        resolve = _Nexthops(self._netlink)
        dumps = self._dumps(family)
        known: dict[Route, Ranked] = {}
        for dump in dumps:
            known = {replace(item[1], expires=None): item for item in _defaults(dump, family, resolve)} | known
        ranked = sorted(known.values(), key=lambda item: (item[1].table, item[1].metric, item[0]))
        pins = dict.fromkeys(pin for dump in dumps for pin in _pins(dump, resolve))
        return [route for _, route in ranked], list(pins)

    def _dumps(self, family: Family) -> list[Dump]:
        """An IPv6 dump in several pieces is not to be trusted: when the table changes between two pieces, the kernel
        begins anew and skips as many routes as it has told (ip6_fib.c). Are there fewer by now, it skips others, and
        the default, which comes last, without a word. So it is repeated until nothing differs, and what any of the
        dumps held counts; if that is out of date, an event follows."""
        dumps = [self._netlink.dump(routes.RTM_GETROUTE, routes.asked(family))]
        while family is Family.IPV6 and dumps[0].pieces > 1 and len(dumps) <= REPEATS:
            dumps.append(self._netlink.dump(routes.RTM_GETROUTE, routes.asked(family)))
            if dumps[-1].bodies == dumps[-2].bodies:
                break
        return dumps

    def apply(self, operations: Iterable[Operation]) -> tuple[OperationResult, ...]:
        """Do them in order, each whether or not the one before worked; what each came to.

        Only what carries our protocol and our numbers is touched, and in main nothing is replaced, as that might hit
        another's. To delete what is gone already is success. Sysctls that follow one another are noted together, in one
        durable write.
        """
        results: list[OperationResult] = []
        for setting, run in groupby(operations, _sets_sysctl):
            if setting:
                results += self._set(tuple(run))
            else:
                results += (OperationResult(operation, self._attempt(operation)) for operation in run)
        return tuple(results)

    def _set(self, operations: Sequence[Operation]) -> Iterable[OperationResult]:
        wanted = [operation.item for operation in operations if isinstance(operation.item, Sysctl)]
        if self._ledger is None:
            errors: Iterable[str | None] = (f"{sysctl.path} is left alone: no state file" for sysctl in wanted)
        else:
            errors = self._ledger.set_all(wanted)
        return map(OperationResult, operations, errors)

    def _attempt(self, operation: Operation) -> str | None:
        try:
            self._perform(operation)
        except RequestError as refusal:
            gone = operation.verb is Verb.DELETE and refusal.code in GONE
            return None if gone else refusal.words
        except KernelError as error:
            return str(error)
        except struct.error:
            return "a number that does not fit"
        return None

    def _perform(self, operation: Operation) -> None:
        match operation.item:
            case Route() as route:
                if not route.ours or (route.table == TABLE_MAIN and operation.verb is Verb.REPLACE):
                    raise KernelError(f"not ours: a route of table {route.table}, protocol {route.protocol}")
                kind, flags = _request(ROUTE_REQUESTS, operation.verb, "route")
                body = routes.encode_deletion(route) if operation.verb is Verb.DELETE else routes.encode(route)
                self._netlink.request(kind, flags, body)
            case Rule() as rule:
                if rule.priority not in PREFS_OWNED or rule.protocol != PROTOCOL:
                    raise KernelError(f"not ours: a rule of pref {rule.priority}, protocol {rule.protocol}")
                kind, flags = _request(RULE_REQUESTS, operation.verb, "rule")
                self._netlink.request(kind, flags, rules.encode(rule))
            case Address() as address:
                self._change_address(operation.verb, address)
            case Link() as link:
                if operation.verb is not Verb.SET or not link.up:
                    raise KernelError(f"a link is only ever set up: {link.name}")
                self._netlink.request(links.RTM_NEWLINK, 0, links.encode_up(link))
            case Sysctl():
                raise KernelError(f"a sysctl cannot be changed by {operation.verb}")
            case Table() | Endpoint() | SubflowLimits():
                raise KernelError(f"not changed here: {describe(operation.item)}")
            case _:
                assert_never(operation.item)

    def _change_address(self, verb: Verb, address: Address) -> None:
        """One that the kernel did not mark is taken away again: nobody would know whose it is."""
        if address.protocol != PROTOCOL:
            raise KernelError(f"not ours: the address {address.address}, protocol {address.protocol}")
        kind, flags = _request(ADDRESS_REQUESTS, verb, "address")
        self._netlink.request(kind, flags, links.encode_address(address))
        if verb is Verb.ADD and not self._is_marked(address):
            self._netlink.request(links.RTM_DELADDR, 0, links.encode_address(address))
            raise KernelError("Linux before 5.18 cannot mark addresses as ours: leave this modem to NetworkManager")

    def _is_marked(self, address: Address) -> bool:
        found = map(links.global_address, self._netlink.dump(links.RTM_GETADDR, links.ADDRESSES_ASKED).bodies)
        same = (one for one in found if one and (one.index, one.address) == (address.index, address.address))
        return all(one.protocol == PROTOCOL for one in same)


class _Nexthops:
    """The nexthop objects, dumped when the first route needs them: few systems have any."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink

    @cached_property
    def _known(self) -> nexthops.Nexthops:
        return nexthops.Nexthops(self._netlink.dump(nexthops.RTM_GETNEXTHOP, nexthops.ASKED).bodies)

    def __call__(self, number: int) -> list[routes.Hop]:
        return self._known(number)


def _defaults(dump: Dump, family: Family, resolve: routes.Nexthops) -> list[Ranked]:
    """Those of main and of our tables. A kernel without the family may tell of the other one."""
    return [
        (rank, route)
        for body in dump.bodies
        for rank, route in routes.decode(body, resolve)
        if (route.table == TABLE_MAIN or route.table in TABLES_OWNED) and route.family is family
    ]


def _pins(dump: Dump, resolve: routes.Nexthops) -> list[Pin]:
    """The first ones alone: somebody may have thousands."""
    listed = islice(filter(routes.is_pin, dump.bodies), PINS_MAX + 1)
    return [pin for body in listed for pin in routes.pins(body, resolve)]


def _names_used(known: Iterable[Link], ways: Iterable[Route]) -> list[str]:
    """The devices that a default route leads out of."""
    used = {route.interface for route in ways}
    return [link.name for link in known if link.index in used]


def _request(requests: dict[Verb, tuple[int, int]], verb: Verb, what: str) -> tuple[int, int]:
    if verb not in requests:
        raise KernelError(f"a {what} cannot be changed by {verb}")
    return requests[verb]


def _sets_sysctl(operation: Operation) -> bool:
    return operation.verb is Verb.SET and isinstance(operation.item, Sysctl)
