"""What each uplink's network told of its name servers: from whoever knows, the first that does.

    the way itself      systemd-resolved's links (NetworkManager, systemd-networkd and others fill them), openresolv's
                        records (dhcpcd, dhclient, pppd, ifupdown)
    systemd-networkd    its files of links, where systemd-resolved is not in use
    NetworkManager      over D-Bus: leases, router advertisements and bearers of all that it manages

Of an uplink that none of these knows, the config may tell.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

from failover.bus import Bus, BusError
from failover.names import networkd
from failover.names.backend import Backend, usable

NETWORK_MANAGER: Final = "org.freedesktop.NetworkManager"
PATH: Final = "/org/freedesktop/NetworkManager"
NOT_HERE: Final = "/"
"""What NetworkManager gives in the place of an object that is not there."""


async def told(backend: Backend | None, interfaces: Sequence[str], bus: Bus) -> Mapping[str, tuple[str, ...]]:
    """Each interface's name servers, best first; none where nobody knows. NamesError when `backend` cannot be had;
    NetworkManager may be missing. `bus` is for it alone."""
    found = dict(await backend.told(interfaces)) if backend is not None else {}
    unknown = [name for name in interfaces if not found.get(name)]
    found |= await asyncio.to_thread(_of_networkd, unknown)
    unknown = [name for name in unknown if not found[name]]
    return found | {name: await _of_network_manager(bus, name) for name in unknown}


def _of_networkd(interfaces: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    return {name: networkd.told(_index(name)) for name in interfaces}


def _index(interface: str) -> int:
    """0, which no link has, where there is none."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0


async def _of_network_manager(bus: Bus, interface: str) -> tuple[str, ...]:
    find = f"{NETWORK_MANAGER}.GetDeviceByIpIface"
    try:
        (device,) = await bus.call(NETWORK_MANAGER, PATH, find, "s", [interface], "o")
        properties = await bus.get_all(NETWORK_MANAGER, device, f"{NETWORK_MANAGER}.Device")
        four = await _config(bus, properties, "Ip4Config", "IP4Config")
        six = await _config(bus, properties, "Ip6Config", "IP6Config")
    except BusError:
        return ()
    return usable([*_of_version_4(four), *_of_version_6(six)])


async def _config(bus: Bus, device: Mapping[str, Any], key: str, interface: str) -> Mapping[str, Any]:
    path = device[key].value if key in device and device[key].signature == "o" else NOT_HERE
    return await bus.get_all(NETWORK_MANAGER, path, f"{NETWORK_MANAGER}.{interface}") if path != NOT_HERE else {}


def _of_version_4(config: Mapping[str, Any]) -> list[str]:
    found = config.get("NameserverData")
    if found is None or found.signature != "aa{sv}":
        return []
    return [str(one["address"].value) for one in found.value if "address" in one]


def _of_version_6(config: Mapping[str, Any]) -> list[str]:
    found = config.get("Nameservers")
    if found is None or found.signature != "aay":
        return []
    return [socket.inet_ntop(socket.AF_INET6, bytes(one)) for one in found.value if len(one) == 16]
