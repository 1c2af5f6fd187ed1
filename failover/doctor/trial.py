"""Whether this kernel takes what the agent writes: laid once in an empty network namespace, by a process of its own.

Run as `python -m failover.doctor.trial`; prints one JSON object: `untried` (why not, or empty), `ipv6` (whether there
is any), `refused` (what, and the kernel's words), `uncounted` (why flows cannot be counted, and the mend; or nothing),
`unforwarded` (the same of what a gateway needs).
The routing of the machine is not touched.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from failover.config import Config
from failover.core.diff import diff
from failover.core.plan import plan
from failover.core.uplinks import resolve
from failover.facts import TABLE_MAIN, Address, Facts, Gateway, Link, Operation, Route, Rule, Sysctl, Tap
from failover.kernel import nft
from failover.kernel.kernel import Kernel
from failover.model import FAMILIES, FailoverError, Family, KernelError
from failover.seam import CountFlows
from failover.wording import describe

CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 0x1
LOOPBACK: Final = 1
"""The index of `lo`, the only device of an empty namespace."""
OWN: Final = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}
LINKDOWN: Final = Path("/proc/sys/net/ipv4/conf/lo/ignore_routes_with_linkdown")
OWN_USERS: Final = Path("/proc/self/uid_map")
SIX: Final = Path("/proc/sys/net/ipv6")
"""Not there without the module, nor with ipv6.disable=1."""


def layout(families: tuple[Family, ...]) -> tuple[Operation, ...]:
    """All that the agent would write for one uplink beside a foreign rule: every kind of route and rule that it has."""
    facts = Facts(
        links=(Link(LOOPBACK, "lo", up=True, carrier=True),),
        addresses=tuple(Address(LOOPBACK, family, OWN[family], family.bits) for family in families),
        routes=tuple(Route(family, TABLE_MAIN, 100, interface=LOOPBACK) for family in families),
        rules=tuple(Rule(family, 20000, table=7, fwmark=1, protocol=0) for family in families),
    )
    mask = Config().fwmark_mask
    wanted = diff(facts, plan(resolve(facts, Config(), {}), {}, facts, mask))
    return tuple(operation for operation in wanted if not isinstance(operation.item, Sysctl))


def refused(families: tuple[Family, ...]) -> list[str]:
    """What the kernel of this namespace does not take, and its words. Raises KernelError."""
    with closing(Kernel()) as kernel:
        results = kernel.apply(layout(families))
    said = [f"{describe(result.operation.item)}: {result.error}" for result in results if result.error]
    return said if LINKDOWN.exists() else [*said, "ignore_routes_with_linkdown: it has no such sysctl"]


def uncounted(families: tuple[Family, ...]) -> list[str]:
    """Why nftables does not count flows in this namespace, and the mend; nothing where it does."""
    taps = (Tap("lo", tuple(f"{OWN[family]}/{family.bits}" for family in families)),)
    return _unloaded(CountFlows(taps, Config().fwmark_mask))


def unforwarded() -> list[str]:
    """Why the box can be no gateway, and the mend; nothing where it can."""
    mask = Config().fwmark_mask
    return _unloaded(CountFlows((Tap("lo", mark=mask & -mask),), mask, Gateway(("lan",))))


def _unloaded(wanted: CountFlows) -> list[str]:
    try:
        nft.load(wanted)
    except KernelError as error:
        return [str(error), error.hint]
    return []


def enter_empty_namespace() -> None:
    """A network namespace with nothing but a loopback that is up; OSError where that is not allowed."""
    user = os.geteuid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        OWN_USERS.write_text(f"0 {user} 1\n")  # the kernel refuses a rule about a user that the namespace does not know
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def main() -> None:
    """One trial."""
    families = FAMILIES if SIX.exists() else (Family.IPV4,)
    untried, found, blind, bare = "", list[str](), list[str](), list[str]()
    try:
        enter_empty_namespace()
        found, blind, bare = refused(families), uncounted(families), unforwarded()
    except OSError as error:
        untried = f"no network namespace for the trial: {error.strerror}"
    except FailoverError as error:
        untried = str(error)
    outcome = {
        "untried": untried,
        "ipv6": Family.IPV6 in families,
        "refused": found,
        "uncounted": blind,
        "unforwarded": bare,
    }
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    main()
