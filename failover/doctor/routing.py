"""Checks of the uplinks and of what they share: addresses, subnets, targets, sysctls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_interface
from itertools import combinations
from pathlib import Path
from typing import Final

from failover.core.plan import inseparable, shared_addresses
from failover.core.uplinks import Uplink
from failover.doctor import modems
from failover.doctor.case import Ground
from failover.doctor.finding import Level, Remark, Remarks, failure, note, ok, warning
from failover.facts import Address, Sysctl
from failover.kernel import sysctls as kernel_sysctls
from failover.model import FAMILIES, Family

Network = IPv4Network | IPv6Network
SYSCTLS: Final = Path(kernel_sysctls.ROOT)


def uplinks(ground: Ground) -> Remarks:
    """Whether there is anything to fail over from and to."""
    if not ground.uplinks:
        mend = "give an interface a default route, or name the uplinks in the config"
        yield failure("no uplink: table main has no default route, and the config names none", mend)
        return
    faults = {
        uplink.name: [f"{family}: {path.fault}" for family in FAMILIES if (path := uplink.paths[family]).fault]
        for uplink in ground.uplinks
    }
    usable = [uplink.name for uplink in ground.uplinks if len(faults[uplink.name]) < len(FAMILIES)]
    cold = [uplink.name for uplink in ground.uplinks if any(path.cold for path in uplink.paths.values())]
    waiting = []
    for uplink in ground.uplinks:
        if uplink.name not in (*usable, *cold):
            remark = _lost(ground, uplink)
            waiting += [uplink.name] if remark.level is Level.NOTE else []
            yield remark
    listed = ", ".join(usable)
    if not usable and waiting:
        yield note(f"not one uplink has a way out until {' or '.join(waiting)} is dialled")
    elif not usable:
        yield failure("not one uplink has a way out", "connect one; `ip route show default` says what there is")
    elif len(usable) == 1 and cold:
        yield ok(f"{listed} has a way out; {' and '.join(cold)} by another SIM of its modem, one at a time")
    elif len(usable) == 1 and waiting:
        yield ok(f"{listed} has a way out; {' and '.join(waiting)} once dialled")
    elif len(usable) == 1:
        yield warning(f"only {listed} has a way out: nothing to fail over to", "connect a second uplink")
    else:
        yield ok(f"{listed} have a way out")


def _lost(ground: Ground, uplink: Uplink) -> Remark:
    """A note of one that only waits for its modem to be dialled."""
    found = dict.fromkeys(path.fault for path in uplink.paths.values())
    at = f" ({uplink.interface})" if uplink.interface else ""
    text = f"{uplink.name}{at}: {', '.join(found)}"
    awaited = modems.awaited(ground.case, uplink.name)
    if awaited is not None:
        return replace(awaited, text=f"{text}; {awaited.text}")
    return warning(text, _mend_of(next(iter(found)), uplink.modem))


def _mend_of(fault: str, modem: bool) -> str:
    if modem and fault != "no default route":
        return "that is its modem's: what `modems` says above, and its mend"
    mends = {
        "no interface": "is the device plugged in, and named so in the config? `ip link` lists them",
        "interface is down": "`ip link set DEVICE up`, or let the network manager connect it",
        "no address": "does its DHCP client or modem connection run?",
        "no default route": "let its network manager add one, each uplink with a metric of its own",
        "no carrier": "look at the cable, the modem or the access point",
    }
    return mends[fault]


def targets(ground: Ground) -> Remarks:
    """A way that no target is asked over is judged by the kernel's word alone."""
    for uplink in ground.uplinks:
        for family, path in uplink.paths.items():
            if path.route and not any(target.family in (None, family) for target in uplink.targets):
                text = f"{uplink.name} has an {family} default route and no {family} target: a silent blackout goes"
                yield warning(f"{text} unnoticed there", f"name {family} targets in the config")


def addresses(ground: Ground) -> Remarks:
    """Two HiLink dongles, both 192.168.8.100."""
    for family in FAMILIES:
        for text, names in zip(
            inseparable(ground.uplinks, family), shared_addresses(ground.uplinks, family).values(), strict=True
        ):
            yield warning(text, f"give {names[-1]}'s router another subnet, on its own web page")


def subnets(ground: Ground) -> Remarks:
    """What is on two links is reached over one of them only, whichever the kernel knows first."""
    names = {link.index: link.name for link in ground.facts.links}
    owners = {uplink.index: uplink.name for uplink in ground.uplinks}
    for one, other in combinations(_networks(ground.facts.addresses), 2):
        if one[0].index == other[0].index or not owners.keys() & {one[0].index, other[0].index}:
            continue
        if one[0].address == other[0].address or not _overlap(one[1], other[1]):
            continue
        places = [
            f"{network} of {names.get(address.index, '?')}"
            + (f" (uplink {owners[address.index]})" if address.index in owners else "")
            for address, network in (one, other)
        ]
        text = f"{' and '.join(places)} overlap: some hosts there are reached over the wrong one"
        yield warning(text, "give one of them another subnet: the LAN is yours to choose")


def _networks(listed: tuple[Address, ...]) -> Iterator[tuple[Address, Network]]:
    """Those with more than one host; a single address may well be out of the LAN's prefix (RFC 7278)."""
    for address in listed:
        if address.prefix_length < address.family.bits:
            yield address, ip_interface(f"{address.address}/{address.prefix_length}").network


def _overlap(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def ipv6(ground: Ground) -> Remarks:
    """What keeps a family off an uplink without a word: switched off, or advertised routes not taken by a router."""
    for uplink in ground.uplinks:
        if uplink.index is None:
            continue
        value = {
            key: kernel_sysctls.read_one(f"net/ipv6/conf/{uplink.interface}/{key}")
            for key in ("disable_ipv6", "forwarding", "accept_ra")
        }
        if value["disable_ipv6"] == "1":
            text = f"it is switched off on {uplink.interface}: {uplink.name} is judged by IPv4 alone"
            yield note(text, f"sysctl -w net.ipv6.conf.{uplink.interface}.disable_ipv6=0, if that is not meant")
        elif (value["forwarding"], value["accept_ra"]) == ("1", "1") and not uplink.paths[Family.IPV6].route:
            text = f"{uplink.interface} forwards, and so takes no advertised default route"
            yield warning(text, f"sysctl -w net.ipv6.conf.{uplink.interface}.accept_ra=2")


def sysctls(ground: Ground) -> Remarks:
    """What the agent sets on its uplinks, and whether it can: strict rp_filter drops replies where rules of others come
    first or two uplinks share an address (core/plan.py says when); without ignore_routes_with_linkdown, a dead agent's
    routes stay with an uplink that lost its carrier."""
    present = {sysctl.path: sysctl.value for sysctl in ground.facts.sysctls}
    for sysctl in ground.desired.sysctls:
        value = present.get(sysctl.path)
        if value is not None and value != sysctl.value:
            yield from _unset(ground, sysctl, value)


EFFECTS: Final = {
    "rp_filter": "replies are dropped",
    "ignore_routes_with_linkdown": "without the agent, a lost carrier keeps its routes",
    "forwarding": "clients of the LAN are not served",
    "src_valid_mark": "with a strict rp_filter, replies to clients are dropped",
    "accept_ra": "IPv6 is not forwarded, as its advertised default would be lost",
}
"""What it comes to when one is not as it should be."""


def _unset(ground: Ground, sysctl: Sysctl, value: str) -> Iterator[Remark]:
    name, key = sysctl.path.replace("/", "."), sysctl.path.rpartition("/")[2]
    strict, effect = key == "rp_filter", EFFECTS[key]
    text, mend = f"{name} is {value}, and the agent wants {sysctl.value}: {effect}", f"sysctl -w {name}={sysctl.value}"
    if os.statvfs(SYSCTLS / sysctl.path).f_flag & os.ST_RDONLY:
        text, mend = f"{text}; /proc/sys is read-only here", f"{mend} outside, or ProtectKernelTunables=no in the unit"
    elif not ground.case.runs:
        if strict:
            yield note(f"{name} is strict, and the agent will make it loose, as replies would be dropped else")
        return
    yield failure(text, mend) if strict else warning(text, mend)
