"""The parts of our table of nftables as JSON (libnftables-json(5)): objects, rules, and the statements of a rule.

What lives here: how a thing is written. Which rules there are is in nft.py and gateway.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from failover.facts import Table
from failover.model import Family

TABLE: Final = Table("inet", "failover")
PROTOCOLS: Final[Mapping[Family, str]] = {Family.IPV4: "ip", Family.IPV6: "ip6"}

Object = dict[str, Any]


def table() -> Object:
    """Ours."""
    return {"table": {"family": TABLE.family, "name": TABLE.name}}


def of_ours(kind: str, **what: object) -> Object:
    """Something in our table."""
    return {kind: {"family": TABLE.family, "table": TABLE.name, **what}}


def chain(name: str) -> Object:
    """One that others lead to."""
    return of_ours("chain", name=name)


def base_chain(name: str, hook: str, priority: int, kind: str = "filter") -> Object:
    """One that the kernel leads packets to."""
    return of_ours("chain", name=name, type=kind, hook=hook, prio=priority, policy="accept")


def rule(where: str, *expressions: Object) -> Object:
    """The next one of a chain."""
    return of_ours("rule", chain=where, expr=list(expressions))


def jump(where: str) -> Object:
    """To a chain, and back at its end."""
    return {"jump": {"target": where}}


def match(left: Object, right: object, operator: str = "==") -> Object:
    """True or no further."""
    return {"match": {"op": operator, "left": left, "right": right}}


def mangle(what: Object, value: Object) -> Object:
    """Write it into the packet or its connection."""
    return {"mangle": {"key": what, "value": value}}


def meta(key: str) -> Object:
    """Something of the packet."""
    return {"meta": {"key": key}}


def ct(key: str) -> Object:
    """Something of the packet's connection."""
    return {"ct": {"key": key}}


def one_of(values: Iterable[str]) -> Object:
    """Any of them."""
    return {"set": list(values)}


def masked(whose: str, mask: int) -> Object:
    """Bits of the mark of the packet (`meta`) or its connection (`ct`)."""
    return {"&": [{whose: {"key": "mark"}}, mask]}


def within(field: str, network: str) -> Object:
    """Whether an address (`saddr`, `daddr`) is of a network."""
    address, _, length = network.partition("/")
    family = Family.of(address)
    right = {"prefix": {"addr": address, "len": int(length or family.bits)}}
    return match({"payload": {"protocol": PROTOCOLS[family], "field": field}}, right)


ASSURED: Final = match(ct("status"), "assured", "in")
"""It has gone both ways and on."""
