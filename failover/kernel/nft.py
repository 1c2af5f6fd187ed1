"""Our table of nftables, as one JSON transaction (libnftables-json(5)), and nft(8) as the child that carries it out.

What lives here: which packets are counted, and by which counter. The counters are read in counters.py.

    postrouting     what leaves, after every filter and wherever others routed it anew: `sent` where the flow has been
                    answered, `fresh` where it has not. A packet of the box with bits of our mask is a probe's: all of
                    them are set in the mark of its connection, after whatever others write there, and it is not
                    counted. No uplink has them all, so no flow of an uplink is taken for a probe's, nor a probe's for
                    one that may be forgotten
    input, forward  what comes in, `received`: replies, but no ICMP errors (their state is `related`), nor to probes

A flow that somebody beyond began is counted once it is `assured`: it has gone both ways and on. In TCP the far end has
then heard us; in UDP it need not have, so there only ports count that servers seldom have (EPHEMERAL). Scans never get
so far. A flow older than the table, with which connection tracking begins, seems to be such a one if its far end speaks
first. Blind spots: then those of UDP at a lower port of ours (IPsec's 4500) and those never assured (ESP, pings).

What is from or to an interface's own networks is not counted, nor what no router passes on. A forwarded packet is
nobody's probe, whatever the mark of its connection. Probes are tracked like all else: behind a firewall that lets in
`established` alone, no answer would reach one that is not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, Final

from failover.facts import Table, Tap
from failover.model import FAMILIES, Family, KernelError, clean
from failover.seam import CountFlows

TABLE: Final = Table("inet", "failover")
MARKER: Final = "probes"
"""The counter by which the table is known to be ours: its comment says so. Out of JSON, nft 1.0.6 gives a table no
comment of its own."""
COMMENT: Final = "made by failover"
RECEIVED, SENT, FRESH = "received", "sent", "fresh"
KINDS: Final = (RECEIVED, SENT, FRESH)

EARLY: Final = -150
"""Priority `mangle`: after connection tracking, before any filter, since what the firewall drops has come in too."""
LATE: Final = 200
"""After every filter and NAT: what they drop does not leave."""
NEARBY: Final[Mapping[Family, tuple[str, ...]]] = {
    Family.IPV4: ("169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
    Family.IPV6: ("fe80::/10", "ff00::/8"),
}
"""No router passes these on, or nobody answers them from where they are (RFC 3927, 1112, 919, 4291)."""
EPHEMERAL: Final = 32768
"""From here on Linux gives ports to those who ask for none (ip_local_port_range); others begin higher (RFC 6335). Who
asks a UDP server again from one port is assured 2 s later, even if no answer has reached him."""
PROTOCOLS: Final = {Family.IPV4: "ip", Family.IPV6: "ip6"}

PATH: Final = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
SECONDS: Final = 5.0
"""For one transaction; with nothing else in the ruleset it takes 0.01."""
INSTALL: Final = "install the package nftables"

NEEDS: Final = "the kernel must have nf_tables and nf_conntrack, and nft be of its time"

Names = Mapping[tuple[str, Family], tuple[str, str, str]]
"""Interface and family -> the counters of each of KINDS."""
Object = dict[str, Any]


def find() -> str | None:
    """Where nft is."""
    return shutil.which("nft", path=PATH)


def require() -> str:
    """The same; KernelError where it is not."""
    nft = find()
    if nft is None:
        raise KernelError("nft is not installed", INSTALL)
    return nft


def countable(interface: str) -> bool:
    """Whether nft takes the name as it is: no pattern, no name of a set, nothing that breaks a saved ruleset."""
    return not interface.startswith("@") and not interface.endswith("*") and '"' not in interface


def names(taps: Iterable[Tap]) -> Names:
    """The counters of these taps."""
    interfaces = dict.fromkeys(tap.interface for tap in taps if countable(tap.interface))
    return {
        (name, family): (_counter(RECEIVED, family, name), _counter(SENT, family, name), _counter(FRESH, family, name))
        for name in interfaces
        for family in FAMILIES
    }


def load(wanted: CountFlows) -> None:
    """Put that in the place of whatever table of ours is there, at one moment; its counters begin at 0. Waits for the
    child; KernelError where it cannot be had, with the mend."""
    _run(transaction(wanted))


def remove() -> None:
    """Remove the table. Waits for the child; KernelError as for load()."""
    _run({"nftables": [{"delete": _table()}]})


def transaction(wanted: CountFlows) -> Object:
    """The whole table, in the place of the one that may be there."""
    taps = {tap.interface: tap for tap in wanted.taps if countable(tap.interface)}
    objects = [_table(), *_counters(taps), *_chains(), *_rules(taps, wanted.mask)]
    return {"nftables": [{"add": _table()}, {"delete": _table()}, *({"add": item} for item in objects)]}


def _run(document: Object) -> None:
    argv = [require(), "--json", "--file", "-"]
    try:
        done = subprocess.run(
            argv,
            input=json.dumps(document).encode(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"nft was not done after {SECONDS:g} s", "how long does `nft list ruleset` take?") from error
    except OSError as error:
        raise KernelError(f"nft: {error.strerror}", "does `nft list ruleset` work?") from error
    if done.returncode:
        raise _refusal(done.stderr.decode("utf-8", "replace"))


def _refusal(said: str) -> KernelError:
    """The first line that nft said, without where in the document it was."""
    first = next(iter(said.splitlines()), "it failed without a word")
    if "not permitted" in first:
        return KernelError("nft may not change the ruleset", "give the agent CAP_NET_ADMIN as an ambient capability")
    return KernelError(f"nft: {clean(first.rpartition('Error: ')[2])}", NEEDS)


# --- the table -------------------------------------------------------------------------------------------------------


def _table() -> Object:
    return {"table": {"family": TABLE.family, "name": TABLE.name}}


def _counter(kind: str, family: Family, interface: str) -> str:
    """The name of one, as the text form of nft takes it, too; a slash is in no interface's name."""
    plain = re.sub(r"[^A-Za-z0-9._-]", lambda found: "".join(f"/{byte:02x}" for byte in found[0].encode()), interface)
    return f"{kind}-{family}-{plain}"


def _counters(interfaces: Iterable[str]) -> Iterator[Object]:
    yield _of_ours("counter", name=MARKER, comment=COMMENT)
    for kind, family, interface in product(KINDS, FAMILIES, interfaces):
        yield _of_ours("counter", name=_counter(kind, family, interface))


def _chains() -> Iterator[Object]:
    for name in ("probe", RECEIVED):
        yield _of_ours("chain", name=name)
    for hook, priority in (("postrouting", LATE), ("input", EARLY), ("forward", EARLY)):
        yield _of_ours("chain", name=hook, type="filter", hook=hook, prio=priority, policy="accept")


def _rules(taps: Mapping[str, Tap], mask: int) -> Iterator[Object]:
    """With nothing to count there is nothing to tell apart."""
    if not taps:
        return
    yield _rule("input", _match(_masked("ct", mask), mask, "!="), {"jump": {"target": RECEIVED}})
    yield _rule("forward", {"jump": {"target": RECEIVED}})
    yield from _passed_over(RECEIVED, "iifname", "saddr", taps)
    yield _rule(RECEIVED, *_flow("established", "reply"), _count(RECEIVED, "iifname", taps))
    yield _rule(RECEIVED, *_asked_of_a_server(), {"return": None})
    yield _rule(RECEIVED, *_flow("established", "original"), _ASSURED, _count(RECEIVED, "iifname", taps))
    local = _match(_meta("iif"), 0)
    yield _rule("postrouting", local, _match(_masked("meta", mask), 0, "!="), {"jump": {"target": "probe"}})
    yield _rule("probe", {"counter": MARKER})
    yield _rule("probe", _set_in_connection(mask))
    yield _rule("postrouting", local, _match(_masked("ct", mask), mask), {"return": None})
    yield from _passed_over("postrouting", "oifname", "daddr", taps)
    yield _rule("postrouting", *_flow("established", "original"), _count(SENT, "oifname", taps))
    yield _rule("postrouting", *_flow("new", "original"), _count(FRESH, "oifname", taps))
    yield _rule("postrouting", *_asked_of_a_server(), {"return": None})
    yield _rule("postrouting", *_flow("established", "reply"), _ASSURED, _count(SENT, "oifname", taps))


def _passed_over(chain: str, device: str, field: str, taps: Mapping[str, Tap]) -> Iterator[Object]:
    """What says nothing of what lies beyond."""
    for networks in NEARBY.values():
        yield from (_rule(chain, _within(field, network), {"return": None}) for network in networks)
    for interface, tap in taps.items():
        here = _match(_meta(device), interface)
        yield from (_rule(chain, here, _within(field, network), {"return": None}) for network in tap.local)


def _flow(state: str, direction: str) -> tuple[Object, Object]:
    return _match(_ct("state"), state, "in"), _match(_ct("direction"), direction)


def _asked_of_a_server() -> tuple[Object, Object]:
    """UDP to a port below EPHEMERAL, as it was asked: both directions, and both sides of a NAT, tell the same one."""
    port = {"ct": {"key": "proto-dst", "dir": "original"}}
    return _match(_meta("l4proto"), "udp"), _match(port, EPHEMERAL, "<")


def _count(kind: str, device: str, interfaces: Iterable[str]) -> Object:
    """By the counter of its family and device, if there is one."""
    counters = [
        [{"concat": [family.value, interface]}, _counter(kind, family, interface)]
        for family, interface in product(FAMILIES, interfaces)
    ]
    key = {"concat": [_meta("nfproto"), _meta(device)]}
    return {"counter": {"map": {"key": key, "data": {"set": counters}}}}


# --- its parts, as JSON ----------------------------------------------------------------------------------------------


def _of_ours(kind: str, **what: object) -> Object:
    return {kind: {"family": TABLE.family, "table": TABLE.name, **what}}


def _rule(chain: str, *statements: Object) -> Object:
    return _of_ours("rule", chain=chain, expr=list(statements))


def _match(left: Object, right: object, operator: str = "==") -> Object:
    return {"match": {"op": operator, "left": left, "right": right}}


def _meta(key: str) -> Object:
    return {"meta": {"key": key}}


def _ct(key: str) -> Object:
    return {"ct": {"key": key}}


_ASSURED: Final = _match(_ct("status"), "assured", "in")


def _masked(whose: str, mask: int) -> Object:
    """Bits of the mark of the packet (`meta`) or its connection (`ct`)."""
    return {"&": [{whose: {"key": "mark"}}, mask]}


def _set_in_connection(bits: int) -> Object:
    """In the connection's mark, whose other bits stay."""
    return {"mangle": {"key": _ct("mark"), "value": {"|": [_ct("mark"), bits]}}}


def _within(field: str, network: str) -> Object:
    address, _, length = network.partition("/")
    family = Family.of(address)
    right = {"prefix": {"addr": address, "len": int(length or family.bits)}}
    return _match({"payload": {"protocol": PROTOCOLS[family], "field": field}}, right)
