"""Sysctls of network devices, below /proc/sys/net. What may be read and written, and how; not what it should be.

/proc/sys/net shows the namespace of the calling thread. CAP_NET_ADMIN is enough to write there, root is not needed.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Final

from failover.facts import ACCEPT_RA_NEW, FORWARDING_IPV6, Sysctl
from failover.model import FAMILIES, KernelError, clean

ROOT: Final = "/proc/sys/"
FORWARDING_IPV4: Final = "net/ipv4/conf/all/forwarding"
_DEVICE: Final = re.compile(r"net/ipv[46]/conf/(?P<device>[^/\0]+)/[a-z0-9_]+")
SHARED: Final = frozenset((".", "..", "all", "default"))
"""Not devices: never written to, but for EVERYBODYS."""
EVERYBODYS: Final = frozenset((FORWARDING_IPV6, ACCEPT_RA_NEW))
VALUE_BYTES: Final = 256


def of_gateway(gateways: Iterable[str], devices: Iterable[str]) -> Iterator[str]:
    """What forwarding between the former hangs on, of all devices."""
    yield from (FORWARDING_IPV6, ACCEPT_RA_NEW)
    for name in gateways:
        yield from (f"net/ipv4/conf/{name}/{key}" for key in ("forwarding", "src_valid_mark"))
    yield from (f"net/ipv6/conf/{name}/accept_ra" for name in devices)


def of_interest(interfaces: Iterable[str]) -> Iterator[str]:
    """The paths that a plan for these devices goes by."""
    yield "net/ipv4/conf/all/rp_filter"
    for name in interfaces:
        yield f"net/ipv4/conf/{name}/rp_filter"
        yield from (f"net/{family}/conf/{name}/ignore_routes_with_linkdown" for family in FAMILIES)


def read(paths: Iterable[str]) -> Iterator[Sysctl]:
    """Those that there are: a device may have gone meanwhile, or the kernel be without IPv6."""
    for path in paths:
        value = read_one(path)
        if value is not None:
            yield Sysctl(path, value)


def read_one(path: str) -> str | None:
    """The value, or None when there is no such sysctl."""
    if _device(path) in (None, ".", ".."):
        return None
    try:
        file = os.open(ROOT + path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return clean(os.read(file, VALUE_BYTES).decode("ascii", "replace").strip())
    except OSError:
        return None
    finally:
        os.close(file)


def check(path: str) -> None:
    """KernelError unless it is a sysctl of one device, or one of EVERYBODYS."""
    if path not in EVERYBODYS and _device(path) in (None, *SHARED):
        raise KernelError(f"not a sysctl of a device: {clean(path)}")


def of_device(path: str) -> str:
    """The value of a device's sysctl; KernelError when it is not a device's, or there is none."""
    check(path)
    value = read_one(path)
    if value is None:
        raise KernelError(f"no such sysctl: {path}")
    return value


def index_of(path: str) -> int | None:
    """The ifindex of the device that it is of, if there is one."""
    device = _device(path)
    try:
        return None if device in (None, *SHARED) else socket.if_nametoindex(device or "")
    except OSError:
        return None


def path_on(path: str, index: int) -> str | None:
    """The same sysctl of the device with this ifindex; None when there is no such device, or it is no device's."""
    found = _DEVICE.fullmatch(path)
    try:
        name = socket.if_indextoname(index)
    except OSError:
        return None
    return path[: found.start("device")] + name + path[found.end("device") :] if found else None


def wanted_by_all(path: str, value: str) -> bool:
    """Whether somebody has turned IPv4's forwarding to this on all devices (ip_forward): Docker, while it starts."""
    return path.startswith("net/ipv4/") and path.endswith("/forwarding") and read_one(FORWARDING_IPV4) == value


def write(sysctl: Sysctl) -> None:
    """KernelError when it is not a device's, or the kernel refuses."""
    check(sysctl.path)
    try:
        file = os.open(ROOT + sysctl.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, sysctl.value.encode("ascii"))
        finally:
            os.close(file)
    except OSError as error:
        raise KernelError(error.strerror or str(error)) from error
    except ValueError as error:
        raise KernelError("not a value") from error


def _device(path: str) -> str | None:
    found = _DEVICE.fullmatch(path)
    return found["device"] if found else None
