"""Policy rules, to and from rtnetlink (linux/fib_rules.h). Packing and unpacking only.

A copy must be a true copy: what has no field in `Rule` travels verbatim in `extra`, unknown attributes included.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from functools import cache
from typing import Final

from failover.facts import Rule, RuleAction
from failover.kernel.wire import (
    FAMILIES_BY_NUMBER,
    FAMILY_NUMBERS,
    address_bytes,
    address_text,
    attribute,
    attributes,
    name_bytes,
    name_text,
    read_u32,
    u32,
    unpack,
)
from failover.model import Family, KernelError, clean

RTM_NEWRULE: Final = 32
RTM_DELRULE: Final = 33
RTM_GETRULE: Final = 34

RULE: Final = struct.Struct("=BBBBBBBBI")
"""family, destination length, source length, tos, table, two reserved, action, flags."""
FRA_DST: Final = 1
FRA_SRC: Final = 2
FRA_IIFNAME: Final = 3
FRA_PRIORITY: Final = 6
FRA_FWMARK: Final = 10
FRA_SUPPRESS_PREFIXLEN: Final = 14
FRA_TABLE: Final = 15
FRA_FWMASK: Final = 16
FRA_OIFNAME: Final = 17
FRA_PAD: Final = 18
FRA_PROTOCOL: Final = 21
FRA_DSCP: Final = 25
FRA_SPORT_MASK: Final = 28
FRA_DPORT_MASK: Final = 29
FRA_DSCP_MASK: Final = 30
WHOLE: Final = {FRA_SPORT_MASK: b"\xff\xff", FRA_DPORT_MASK: b"\xff\xff", FRA_DSCP_MASK: b"\x3f"}
"""Masks that leave nothing out: Linux 6.15 and later tell them of any single port and of any DSCP."""
DSCP_SINCE: Final = (6, 13)
"""An older Linux passes over FRA_DSCP without a word, and so would match everything."""
FIB_RULE_INVERT: Final = 2
NOT_SUPPRESSED: Final = 0xFFFFFFFF

FIELDS: Final = frozenset(
    (
        FRA_DST,
        FRA_SRC,
        FRA_PRIORITY,
        FRA_FWMARK,
        FRA_SUPPRESS_PREFIXLEN,
        FRA_TABLE,
        FRA_FWMASK,
        FRA_PAD,
        FRA_PROTOCOL,
    )
)
"""Attributes that have a field of their own, and padding. Interface names are in neither: see `_names`."""
ACTIONS: Final = {action.value: action for action in RuleAction}


def asked(family: Family) -> bytes:
    """The body of a dump request."""
    return RULE.pack(FAMILY_NUMBERS[family], 0, 0, 0, 0, 0, 0, 0, 0)


def decode(body: bytes) -> Rule | None:
    """One RTM_NEWRULE body; None when it is not of IPv4 or IPv6, or its action is none that the kernel defines."""
    number, destination, source, tos, table, _, _, action, flags = unpack(RULE, body, "rule")
    family = FAMILIES_BY_NUMBER.get(number)
    if family is None or action not in ACTIONS:
        return None
    found = dict(attributes(body, RULE.size))
    suppress = _number(found, FRA_SUPPRESS_PREFIXLEN)
    names = dict(_names(found))
    others = {kind: data for kind, data in found.items() if kind not in FIELDS and WHOLE.get(kind) != data}
    return Rule(
        family,
        _number(found, FRA_PRIORITY) or 0,
        ACTIONS[action],
        read_u32(found[FRA_TABLE]) if FRA_TABLE in found else table,
        invert=bool(flags & FIB_RULE_INVERT),
        source=_prefix(family, found.get(FRA_SRC), source),
        destination=_prefix(family, found.get(FRA_DST), destination),
        iif=names.get(FRA_IIFNAME),
        oif=names.get(FRA_OIFNAME),
        fwmark=_number(found, FRA_FWMARK),
        fwmask=_number(found, FRA_FWMASK),
        suppress_prefix_length=None if suppress == NOT_SUPPRESSED else suppress,
        tos=tos,
        extra=tuple(sorted((kind, data) for kind, data in others.items() if kind not in names)),
        protocol=found[FRA_PROTOCOL][0] if found.get(FRA_PROTOCOL) else 0,
    )


def _number(found: dict[int, bytes], kind: int) -> int | None:
    return read_u32(found[kind]) if kind in found else None


def _names(found: dict[int, bytes]) -> Iterator[tuple[int, str]]:
    """Interface names; one that is not the same when cleaned stays in `extra`, so that it can be written back."""
    for kind in (FRA_IIFNAME, FRA_OIFNAME):
        if kind in found and name_bytes(name := name_text(found[kind])) == found[kind]:
            yield kind, name


def _prefix(family: Family, address: bytes | None, length: int) -> str | None:
    return None if address is None else f"{address_text(family, address)}/{length}"


def encode(rule: Rule) -> bytes:
    """The body of RTM_NEWRULE and of RTM_DELRULE alike; KernelError when a selector is none, or Linux knows it not."""
    if FRA_DSCP in dict(rule.extra) and _release() < DSCP_SINCE:
        raise KernelError("this Linux cannot tell traffic by DSCP", "Linux 6.13 can")
    source, source_length = _network(rule.family, rule.source)
    destination, destination_length = _network(rule.family, rule.destination)
    head = RULE.pack(
        FAMILY_NUMBERS[rule.family],
        destination_length,
        source_length,
        rule.tos,
        0,
        0,
        0,
        rule.action.value,
        FIB_RULE_INVERT if rule.invert else 0,
    )
    own = (
        (FRA_DST, destination),
        (FRA_SRC, source),
        (FRA_IIFNAME, None if rule.iif is None else name_bytes(rule.iif)),
        (FRA_OIFNAME, None if rule.oif is None else name_bytes(rule.oif)),
        (FRA_PRIORITY, u32(rule.priority)),
        (FRA_FWMARK, None if rule.fwmark is None else u32(rule.fwmark)),
        (FRA_FWMASK, None if rule.fwmask is None else u32(rule.fwmask)),
        (FRA_SUPPRESS_PREFIXLEN, None if rule.suppress_prefix_length is None else u32(rule.suppress_prefix_length)),
        (FRA_TABLE, u32(rule.table) if rule.table else None),
        (FRA_PROTOCOL, bytes((rule.protocol,))),
    )
    chosen = [(kind, payload) for kind, payload in own if payload is not None]
    return head + b"".join(attribute(kind, payload) for kind, payload in (*chosen, *rule.extra))


@cache
def _release() -> tuple[int, ...]:
    """Of the running kernel, as (6, 13)."""
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])


def _network(family: Family, prefix: str | None) -> tuple[bytes | None, int]:
    if prefix is None:
        return None, 0
    address, _, length = prefix.partition("/")
    packed = address_bytes(family, address)
    if not length.isdecimal() or int(length) > 8 * len(packed):
        raise KernelError(f"not an {family} prefix: {clean(prefix)}")
    return packed, int(length)
