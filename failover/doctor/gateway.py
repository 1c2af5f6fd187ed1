"""Checks of what a gateway needs: its LAN, and connection tracking that knows what to do with the flows of clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from failover.doctor.case import Case, Ground
from failover.doctor.finding import Remark, Remarks, note, ok, warning

TRACKING: Final = Path("/proc/sys/net/netfilter")
FULL: Final = 0.8
"""Share of the table from which on a busy hour may fill it."""
LOOSE: Final = "nf_conntrack_tcp_loose"


def lan(ground: Ground) -> Remarks:
    """Its interfaces, and what becomes of connections whose uplink is lost."""
    gateway = ground.case.config.gateway
    if gateway is None:
        yield ok("the config names no LAN: nothing is done for what is forwarded")
        return
    for name in gateway.lan:
        yield from _behind(ground, name)
    if gateway.masquerade and _number(LOOSE) == 0:
        text = f"{LOOSE} is 0: clients are not told when their uplink is lost, and their connections hang"
        yield warning(text, f"sysctl -w net.netfilter.{LOOSE}=1")


def _behind(ground: Ground, name: str) -> Iterator[Remark]:
    link = next((link for link in ground.facts.links if link.name == name), None)
    if link is None:
        yield note(f"there is no interface {name} now", "the name of the LAN's bridge, as `ip link` has it")
    elif not any(address.index == link.index for address in ground.facts.addresses):
        yield warning(
            f"{name} has no address: clients have no way to this box", f"ip address add 192.168.50.1/24 dev {name}"
        )


def tracking(_case: Case) -> Remarks:
    """A full table drops every new flow, on all uplinks, which looks like a blackout of them all."""
    count, most = _number("nf_conntrack_count"), _number("nf_conntrack_max")
    if count is not None and most and count >= FULL * most:
        text = f"{count} of at most {most} connections are tracked; beyond that every new flow is dropped"
        yield warning(text, f"sysctl -w net.netfilter.nf_conntrack_max={4 * most}")


def _number(name: str) -> int | None:
    """None where nothing is tracked."""
    try:
        return int((TRACKING / name).read_text())
    except (OSError, ValueError):
        return None
