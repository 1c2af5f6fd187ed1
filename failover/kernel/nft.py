"""Our table of nftables, as one JSON transaction (libnftables-json(5)), and nft(8) as the child that carries it out.

What lives here: which packets are counted, and by which counter. The counters are read in counters.py; what a gateway
needs besides is in gateway.py.

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
from dataclasses import replace
from itertools import product
from typing import Final

from failover.facts import Tap
from failover.kernel import gateway, statements
from failover.kernel.statements import (
    ASSURED,
    Object,
    base_chain,
    chain,
    ct,
    jump,
    mangle,
    masked,
    match,
    meta,
    of_ours,
    rule,
    table,
    within,
)
from failover.model import FAMILIES, Family, KernelError, clean
from failover.seam import CountFlows

TABLE: Final = statements.TABLE
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

PATH: Final = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
SECONDS: Final = 5.0
"""For one transaction; with nothing else in the ruleset it takes 0.01."""
INSTALL: Final = "install the package nftables"

NEEDS: Final = "the kernel must have nf_tables and nf_conntrack, and nft be of its time"

Names = Mapping[tuple[str, Family], tuple[str, str, str]]
"""Interface and family -> the counters of each of KINDS."""


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
    _run({"nftables": [{"delete": table()}]})


def transaction(wanted: CountFlows) -> Object:
    """The whole table, in the place of the one that may be there."""
    taps = {tap.interface: tap for tap in wanted.taps if countable(tap.interface)}
    objects = [table(), *_counters(taps), *_chains(), *_rules(taps, wanted.mask), *_gateway(wanted, taps)]
    return {"nftables": [{"add": table()}, {"delete": table()}, *({"add": item} for item in objects)]}


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


def _counter(kind: str, family: Family, interface: str) -> str:
    """The name of one, as the text form of nft takes it, too; a slash is in no interface's name."""
    plain = re.sub(r"[^A-Za-z0-9._-]", lambda found: "".join(f"/{byte:02x}" for byte in found[0].encode()), interface)
    return f"{kind}-{family}-{plain}"


def _counters(interfaces: Iterable[str]) -> Iterator[Object]:
    yield of_ours("counter", name=MARKER, comment=COMMENT)
    for kind, family, interface in product(KINDS, FAMILIES, interfaces):
        yield of_ours("counter", name=_counter(kind, family, interface))


def _chains() -> Iterator[Object]:
    yield from map(chain, ("probe", RECEIVED))
    for hook, priority in (("postrouting", LATE), ("input", EARLY), ("forward", EARLY)):
        yield base_chain(hook, hook, priority)


def _rules(taps: Mapping[str, Tap], mask: int) -> Iterator[Object]:
    """With nothing to count there is nothing to tell apart."""
    if not taps:
        return
    yield rule("input", match(masked("ct", mask), mask, "!="), jump(RECEIVED))
    yield rule("forward", jump(RECEIVED))
    yield from _passed_over(RECEIVED, "iifname", "saddr", taps)
    yield rule(RECEIVED, *_flow("established", "reply"), _count(RECEIVED, "iifname", taps))
    yield rule(RECEIVED, *_asked_of_a_server(), {"return": None})
    yield rule(RECEIVED, *_flow("established", "original"), ASSURED, _count(RECEIVED, "iifname", taps))
    local = match(meta("iif"), 0)
    yield rule("postrouting", local, match(masked("meta", mask), 0, "!="), jump("probe"))
    yield rule("probe", {"counter": MARKER})
    yield rule("probe", mangle(ct("mark"), {"|": [ct("mark"), mask]}))
    yield rule("postrouting", local, match(masked("ct", mask), mask), {"return": None})
    yield from _passed_over("postrouting", "oifname", "daddr", taps)
    yield rule("postrouting", *_flow("established", "original"), _count(SENT, "oifname", taps))
    yield rule("postrouting", *_flow("new", "original"), _count(FRESH, "oifname", taps))
    yield rule("postrouting", *_asked_of_a_server(), {"return": None})
    yield rule("postrouting", *_flow("established", "reply"), ASSURED, _count(SENT, "oifname", taps))


def _gateway(wanted: CountFlows, taps: Mapping[str, Tap]) -> Iterator[Object]:
    """Nothing where there is no LAN, or no uplink with a mark."""
    lan = tuple(filter(countable, wanted.gateway.lan)) if wanted.gateway else ()
    if wanted.gateway and lan and any(tap.mark for tap in taps.values()):
        yield from gateway.described(replace(wanted.gateway, lan=lan), taps.values(), wanted.mask)


def _passed_over(where: str, device: str, field: str, taps: Mapping[str, Tap]) -> Iterator[Object]:
    """What says nothing of what lies beyond."""
    for networks in NEARBY.values():
        yield from (rule(where, within(field, network), {"return": None}) for network in networks)
    for interface, tap in taps.items():
        here = match(meta(device), interface)
        yield from (rule(where, here, within(field, network), {"return": None}) for network in tap.local)


def _flow(state: str, direction: str) -> tuple[Object, Object]:
    return match(ct("state"), state, "in"), match(ct("direction"), direction)


def _asked_of_a_server() -> tuple[Object, Object]:
    """UDP to a port below EPHEMERAL, as it was asked: both directions, and both sides of a NAT, tell the same one."""
    port = {"ct": {"key": "proto-dst", "dir": "original"}}
    return match(meta("l4proto"), "udp"), match(port, EPHEMERAL, "<")


def _count(kind: str, device: str, interfaces: Iterable[str]) -> Object:
    """By the counter of its family and device, if there is one."""
    counters = [
        [{"concat": [family.value, interface]}, _counter(kind, family, interface)]
        for family, interface in product(FAMILIES, interfaces)
    ]
    key = {"concat": [meta("nfproto"), meta(device)]}
    return {"counter": {"map": {"key": key, "data": {"set": counters}}}}
