"""A LAN behind the van, made on demand: a bridge, clients on it, and, if so asked, a van that forwards and masquerades.

    client1 --eth0-- lan1 \\
                           br-lan, the van
    client2 --eth0-- lan2 /

What lives here: how it is made. Who asks for it is in world.py; what its addresses are, in places.py.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from failover.lab.ground import quiet
from failover.lab.namespaces import LabError, Namespace
from failover.lab.places import CARRIERS, LAN, LAN_GATEWAY, client_address
from failover.lab.rtnl import Route
from failover.lab.wire import End, cable
from failover.model import FAMILIES

BRIDGE_INDEX: Final = 50
CLIENT_INTERFACE: Final = "eth0"
LENGTHS: Final = dict(zip(FAMILIES, (24, 64), strict=True))
TABLE: Final = {"family": "inet", "table": "lab"}
"""Of nftables; the agent's own is named after it."""
SRCNAT: Final = 100


@dataclass(frozen=True, slots=True)
class Lan:
    """What is behind the van."""

    clients: int = 1
    gateway: bool = False
    """The lab makes the van forward and masquerade; else nothing of that is done, as the agent may have to."""


def lay(stack: ExitStack, van: Namespace, lan: Lan) -> tuple[Namespace, ...]:
    """Build it; the clients, whose defaults lead to the van. Closing the stack lets go of them."""
    van.rtnl.bridge(BRIDGE_INDEX, LAN)
    for family in FAMILIES:
        van.rtnl.add_address(BRIDGE_INDEX, f"{LAN_GATEWAY[family]}/{LENGTHS[family]}")
    van.rtnl.link_up(BRIDGE_INDEX)
    _pass_by_filters(van)
    clients = tuple(_client(stack, van, number) for number in range(1, lan.clients + 1))
    if lan.gateway:
        _forward(van)
    return clients


def _pass_by_filters(van: Namespace) -> None:
    """What stays on the bridge meets no filter, whatever modules this machine has loaded."""
    for family in ("ip", "ip6", "arp"):
        name = f"bridge/bridge-nf-call-{family}tables"
        with van.entered():
            known = Path("/proc/sys/net", name).exists()
        if known:
            van.sysctl(name, 0)


def _client(stack: ExitStack, van: Namespace, number: int) -> Namespace:
    client = quiet(stack.enter_context(Namespace(f"client{number}")))
    port, end = End(van, f"lan{number}", BRIDGE_INDEX + number), End(client, CLIENT_INTERFACE, 2)
    cable(port, end)
    van.rtnl.join(port.index, BRIDGE_INDEX)
    port.up()
    end.up()
    for family, address in client_address(number).items():
        client.rtnl.add_address(end.index, f"{address}/{LENGTHS[family]}")
        client.rtnl.add_route(Route("default", end.index, LAN_GATEWAY[family]))
    return client


def _forward(van: Namespace) -> None:
    """Both families, by the van's address on whatever uplink it is. An advertised default outlives that."""
    for carrier in CARRIERS:
        if carrier.advertised:
            van.sysctl(f"ipv6/conf/{carrier.interface}/accept_ra", 2)
    van.sysctl("ipv4/ip_forward", 1)
    van.sysctl("ipv6/conf/all/forwarding", 1)
    _nft(van, [
        {"table": {"family": TABLE["family"], "name": TABLE["table"]}},
        {"chain": {**TABLE, "name": "leave", "type": "nat", "hook": "postrouting", "prio": SRCNAT, "policy": "accept"}},
        {"rule": {**TABLE, "chain": "leave", "expr": [
            _meta("iifname", "==", LAN), _meta("oifname", "!=", LAN), {"masquerade": None},
        ]}},
    ])


def _meta(key: str, comparison: str, value: str) -> dict[str, Any]:
    return {"match": {"op": comparison, "left": {"meta": {"key": key}}, "right": value}}


def _nft(van: Namespace, objects: list[dict[str, Any]]) -> None:
    """Add them in one transaction; LabError where that is not possible."""
    text = json.dumps({"nftables": [{"add": wanted} for wanted in objects]})
    hint = "install the package nftables; the kernel needs nf_tables and NAT"
    try:
        child = van.popen(
            ["nft", "--json", "--file", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError as error:
        raise LabError("the lab's gateway needs nft", hint) from error
    said = child.communicate(text)[1]
    if child.returncode:
        raise LabError(f"the lab's gateway cannot be had: {said.strip()}", hint)
