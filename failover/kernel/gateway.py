"""The chains of our table that make the box a gateway of its LAN: every forwarded flow keeps its uplink.

What lives here: which rules these are; they are loaded with the counters' (nft.py), in one transaction. Which uplink a
new flow takes is not decided here: routing does that, and here it is noted.

    noted       postrouting, after all others: a flow that begins, from the LAN by an uplink or by an uplink into the
                LAN (a port forward), gets the uplink's mark in its connection. Only our bits are written, and only once
    kept        prerouting: each packet of such a flow, replies as well, gets the mark of its connection, by which it is
                routed, and a strict reverse path filter lets it in (src_valid_mark). The first packet of a flow that
                comes in by an uplink gets that one's
    passing     forward: the segments that TCP announces fit both ways' MTU; and `adrift`
    challenged  output, before tracking: what asks clients where they stand (challenge.py) is not tracked
    adrift      TCP from the LAN in the middle of a connection that nobody knows (any more), which would be translated
                anew: to its server it would be a stranger's. It is reset, and its program hears of it
    translated  postrouting: from the LAN by an uplink with the uplink's address as source

One rule an uplink: nft 1.0.6 cannot copy bits under a mask from one mark to another and leave the others alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from failover.facts import Gateway, Tap
from failover.kernel.statements import (
    Object,
    base_chain,
    chain,
    ct,
    jump,
    mangle,
    masked,
    match,
    meta,
    one_of,
    rule,
    within,
)

KEPT, ENTERED, PASSING, NOTED = "kept", "entered", "passing", "noted"
CHALLENGED, ADRIFT, TRANSLATED = "challenged", "adrift", "translated"
OUTWARD, INWARD = "outward", "inward"

RESTORE: Final = -110
"""After what others write into marks (priority `mangle`; firewalld 10 later), before their destination NAT (-100) and
what judges the reverse path by the mark (firewalld, 10)."""
FIRST: Final = -150
"""Before the filters: many drop what begins without a SYN, and then nobody would tell the client."""
RAW: Final = -300
"""Before connection tracking (-200)."""
SOURCE_NAT: Final = 100
LATE: Final = 200
"""After whatever others write into the mark of the connection."""
ALL: Final = 0xFFFFFFFF

_BEGINS: Final = match(ct("direction"), "original")
_NEW: Final = match(ct("state"), "new", "in")
_INVALID: Final = match(ct("state"), "invalid", "in")
_FLAGS: Final = {"payload": {"protocol": "tcp", "field": "flags"}}
_ENDS: Final = {"|": ["fin", "rst"]}
"""Of a connection that nobody knows a packet with a FIN is `invalid`, and any other one without a SYN `new`."""


def described(gateway: Gateway, taps: Iterable[Tap], mask: int) -> Iterator[Object]:
    """Its chains and rules, for a LAN that is not empty and at least one uplink with a mark."""
    uplinks = tuple(tap for tap in taps if tap.mark)
    lan = one_of(gateway.lan)
    beyond = one_of(tap.interface for tap in uplinks)
    yield from _chains(gateway.masquerade)
    yield from _kept(uplinks, mask)
    yield from _noted(uplinks, lan, mask)
    leaving = (match(meta("iifname"), lan), match(meta("oifname"), beyond))
    entering = (match(meta("iifname"), beyond), match(meta("oifname"), lan))
    if gateway.masquerade:
        yield rule(PASSING, _NEW, match({"&": [_FLAGS, "syn"]}, 0), *leaving, jump(ADRIFT))
        yield rule(PASSING, _INVALID, match({"&": [_FLAGS, _ENDS]}, "fin"), *leaving, jump(ADRIFT))
        yield from _untranslated(ADRIFT, uplinks)
        yield rule(ADRIFT, {"reject": {"type": "tcp reset"}})
        yield rule(CHALLENGED, match(masked("meta", mask), mask), {"notrack": None})
        yield from _untranslated(TRANSLATED, uplinks)
        yield rule(TRANSLATED, *leaving, {"masquerade": None})
    for way in (leaving, entering):
        yield rule(PASSING, match({"&": [_FLAGS, "syn"]}, 0, "!="), *way, _fitting())


def _chains(masquerade: bool) -> Iterator[Object]:
    yield base_chain(KEPT, "prerouting", RESTORE)
    yield base_chain(PASSING, "forward", FIRST)
    yield base_chain(NOTED, "postrouting", LATE)
    yield from map(chain, (ENTERED, OUTWARD, INWARD))
    if masquerade:
        yield base_chain(TRANSLATED, "postrouting", SOURCE_NAT, "nat")
        yield base_chain(CHALLENGED, "output", RAW)
        yield chain(ADRIFT)


def _kept(uplinks: Iterable[Tap], mask: int) -> Iterator[Object]:
    """A probe's connection has all bits, and no rule."""
    unmarked = match(masked("ct", mask), 0)
    yield rule(KEPT, unmarked, _NEW, _BEGINS, {"goto": {"target": ENTERED}})
    for tap in uplinks:
        yield rule(KEPT, match(masked("ct", mask), tap.mark), _mark_packet(tap.mark, mask))
        yield rule(ENTERED, match(meta("iifname"), tap.interface), _mark_packet(tap.mark, mask))


def _noted(uplinks: Iterable[Tap], lan: Object, mask: int) -> Iterator[Object]:
    """A flow without a mark that is older than the table stays where it is from now on, too."""
    unmarked = match(masked("ct", mask), 0)
    yield rule(NOTED, match(meta("iifname"), lan), unmarked, _BEGINS, jump(OUTWARD))
    yield rule(NOTED, match(meta("oifname"), lan), unmarked, _BEGINS, jump(INWARD))
    for tap in uplinks:
        set_mark = mangle(ct("mark"), {"|": [ct("mark"), tap.mark]})
        yield rule(OUTWARD, match(meta("oifname"), tap.interface), set_mark)
        yield rule(INWARD, match(meta("iifname"), tap.interface), set_mark)


def _mark_packet(mark: int, mask: int) -> Object:
    return mangle(meta("mark"), {"|": [{"&": [meta("mark"), ALL ^ mask]}, mark]})


def _untranslated(where: str, uplinks: Iterable[Tap]) -> Iterator[Object]:
    """Clients with addresses that the uplink itself has delegated."""
    for tap in uplinks:
        out = match(meta("oifname"), tap.interface)
        yield from (rule(where, out, within("saddr", prefix), {"return": None}) for prefix in tap.delegated)


def _fitting() -> Object:
    """To the smaller MTU of the routes to both ends; the kernel never enlarges what was announced."""
    size = {"tcp option": {"name": "maxseg", "field": "size"}}
    return mangle(size, {"rt": {"key": "mtu"}})
