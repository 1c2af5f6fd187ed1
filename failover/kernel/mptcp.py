"""The kernel's path manager of Multipath TCP: its endpoints and limits (generic netlink, family mptcp_pm).

What lives here: the messages, and what is there. Which address is to be an endpoint, and whose endpoints these are, is
not known here. Layouts: linux/genetlink.h, linux/mptcp.h, linux/mptcp_pm.h. pyroute2 0.9 does not serve: its `if_idx`
is broken, and it cannot change flags.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from failover.facts import Endpoint, EndpointFlag, Mptcp, SubflowLimits, Unmanaged
from failover.kernel.netlink import Netlink, RequestError
from failover.kernel.wire import (
    FAMILIES_BY_NUMBER,
    FAMILY_NUMBERS,
    address_bytes,
    address_text,
    attribute,
    attributes,
    garbled,
    name_bytes,
    read_u32,
    u32,
    unpack,
)
from failover.model import Family, KernelError

NETLINK_GENERIC: Final = 16
GENL_ID_CTRL: Final = 16
CTRL_CMD_GETFAMILY: Final = 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2
NAME: Final = "mptcp_pm"
VERSION: Final = 1
ADD_ADDR, DEL_ADDR, GET_ADDR, SET_LIMITS, GET_LIMITS, SET_FLAGS = 1, 2, 3, 5, 6, 7
ATTR_ADDR, ATTR_RCV_ADD_ADDRS, ATTR_SUBFLOWS = 1, 2, 3
ADDR_FAMILY, ADDR_ID, ADDR_PORT, ADDR_FLAGS, ADDR_IF_IDX = 1, 2, 5, 6, 7
ADDR_ADDRESS: Final = {Family.IPV4: 3, Family.IPV6: 4}
NLA_F_NESTED: Final = 0x8000
LIMIT_MAX: Final = 8
"""Of either limit, and of endpoints (MPTCP_PM_ADDR_MAX in net/mptcp/pm_kernel.c)."""
MENDS: Final = {
    errno.EPERM: "CAP_NET_ADMIN is needed",
    errno.ERANGE: f"there is room for {LIMIT_MAX} endpoints: `ip mptcp endpoint` lists them",
}
SYSCTLS: Final = Path("/proc/sys/net/mptcp")

_HEAD: Final = struct.Struct("=BBH")
"""struct genlmsghdr: command, version."""
_U8: Final = struct.Struct("=B")
_U16: Final = struct.Struct("=H")
_I32: Final = struct.Struct("=i")


class PathManager:
    """That of the network namespace which the calling thread is in; KernelError when the kernel refuses."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_GENERIC)
        try:
            self._family = self._family_id()
        except KernelError:
            self._netlink.close()
            raise

    def close(self) -> None:
        """Close the socket; nothing in the kernel changes."""
        self._netlink.close()

    def read(self) -> Mptcp | Unmanaged:
        """What is there, or why there is nothing to be managed."""
        if self._family is None:
            return Unmanaged.ABSENT
        if _sysctl("enabled") == "0":
            return Unmanaged.DISABLED
        if _sysctl("pm_type") not in (None, "0"):
            return Unmanaged.ELSEWHERE
        return Mptcp(self.endpoints(), self.limits())

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of them, in the order of their ids; none where there is no MPTCP."""
        if self._family is None:
            return ()
        bodies = self._netlink.dump(self._family, _HEAD.pack(GET_ADDR, VERSION, 0)).bodies
        return tuple(endpoint(body) for body in bodies)

    def limits(self) -> SubflowLimits:
        """Those of the kernel."""
        found = _told(self._ask(GET_LIMITS, b"", "the limits of MPTCP cannot be read"))
        if not {ATTR_SUBFLOWS, ATTR_RCV_ADD_ADDRS} <= found.keys():
            raise garbled("limits of MPTCP")
        return SubflowLimits(read_u32(found[ATTR_SUBFLOWS]), read_u32(found[ATTR_RCV_ADD_ADDRS]))

    def set_limits(self, limits: SubflowLimits) -> None:
        """To exactly these; connections that are open keep those subflows that they have."""
        accepted = attribute(ATTR_RCV_ADD_ADDRS, u32(limits.add_addr_accepted))
        subflows = attribute(ATTR_SUBFLOWS, u32(limits.subflows))
        self._ask(SET_LIMITS, accepted + subflows, "the limits of MPTCP cannot be set")

    def add(self, wanted: Endpoint) -> bool:
        """Add an endpoint: open connections begin a subflow from it too. False when its address has one of whatever
        kind, which is left as it is."""
        try:
            self._ask(ADD_ADDR, encoded(wanted), f"the MPTCP endpoint {wanted.address} cannot be added")
        except KernelError:
            if any(_alike(one, wanted) for one in self.endpoints()):
                return False
            raise
        return True

    def delete(self, known: Endpoint) -> bool:
        """Delete the endpoint with this id if it has this address too; False when there is none such.

        Its subflows are closed, and peers are told so over the other subflows. Not for an event loop: the kernel then
        waits for an RCU grace period, 5-30 ms.
        """
        if not known.id:  # in the kernel's words: close what began at the address, also what has fallen back to TCP
            raise KernelError(f"the MPTCP endpoint {known.address} has no id: it is not deleted")
        if not self._has(known):
            return False
        number = attribute(ATTR_ADDR | NLA_F_NESTED, attribute(ADDR_ID, bytes((known.id,))))
        try:
            self._ask(DEL_ADDR, number, f"the MPTCP endpoint {known.address} cannot be deleted")
        except KernelError:
            if self._has(known):
                raise
            return False
        return True

    def renew(self, known: Endpoint) -> bool:
        """Delete an endpoint that is somebody else's, and put it back as it was, with its id: subflows are closed as by
        delete(), then begun anew. False when there is none such."""
        if known.flags & EndpointFlag.IMPLICIT:
            return self.delete(known)
        return self.delete(known) and self.add(known)

    def mark(self, known: Endpoint, backup: bool) -> None:
        """Let the subflows of an endpoint be backups from now on, or no longer."""
        flags = known.flags | EndpointFlag.BACKUP if backup else known.flags & ~EndpointFlag.BACKUP
        changed = encoded(replace(known, flags=flags, interface=None, id=0))
        self._ask(SET_FLAGS, changed, f"the MPTCP endpoint {known.address} cannot be changed")

    def _has(self, known: Endpoint) -> bool:
        return any(one.id == known.id and _alike(one, known) for one in self.endpoints())

    def _ask(self, command: int, body: bytes, failed: str) -> list[bytes]:
        if self._family is None:
            raise KernelError(f"{failed}: {Unmanaged.ABSENT}", "take one with CONFIG_MPTCP")
        try:
            return self._netlink.request(self._family, 0, _HEAD.pack(command, VERSION, 0) + body)
        except RequestError as refusal:
            raise KernelError(f"{failed}: {refusal.words}", MENDS.get(refusal.code, "")) from refusal

    def _family_id(self) -> int | None:
        """The number that the kernel has given the family; None when it has no such."""
        asked = _HEAD.pack(CTRL_CMD_GETFAMILY, VERSION, 0) + attribute(CTRL_ATTR_FAMILY_NAME, name_bytes(NAME))
        try:
            told = self._netlink.request(GENL_ID_CTRL, 0, asked)
        except RequestError as refusal:
            if refusal.code == errno.ENOENT:
                return None
            raise KernelError(f"generic netlink cannot be asked for {NAME}: {refusal.words}") from refusal
        return unpack(_U16, _told(told).get(CTRL_ATTR_FAMILY_ID, b""), "generic family")[0]


def encoded(wanted: Endpoint) -> bytes:
    """The attribute of an endpoint; its port is in the byte order of the machine."""
    family = Family.of(wanted.address)
    parts = attribute(ADDR_FAMILY, _U16.pack(FAMILY_NUMBERS[family]))
    parts += attribute(ADDR_ADDRESS[family], address_bytes(family, wanted.address))
    parts += attribute(ADDR_FLAGS, u32(wanted.flags))
    if wanted.interface is not None:
        parts += attribute(ADDR_IF_IDX, _I32.pack(wanted.interface))
    if wanted.port:
        parts += attribute(ADDR_PORT, _U16.pack(wanted.port))
    if wanted.id:
        parts += attribute(ADDR_ID, bytes((wanted.id,)))
    return attribute(ATTR_ADDR | NLA_F_NESTED, parts)


def endpoint(body: bytes) -> Endpoint:
    """What a message tells of one; KernelError when it cannot be read."""
    found = dict(attributes(_told([body]).get(ATTR_ADDR, b"")))
    family = FAMILIES_BY_NUMBER.get(unpack(_U16, found.get(ADDR_FAMILY, b""), "endpoint")[0])
    if family is None or not {ADDR_ADDRESS[family], ADDR_ID} <= found.keys():
        raise garbled("endpoint")
    return Endpoint(
        address_text(family, found[ADDR_ADDRESS[family]]),
        EndpointFlag(read_u32(found.get(ADDR_FLAGS, bytes(4)))),
        unpack(_I32, found.get(ADDR_IF_IDX, bytes(4)), "interface of an endpoint")[0] or None,
        unpack(_U16, found.get(ADDR_PORT, bytes(2)), "port of an endpoint")[0],
        unpack(_U8, found[ADDR_ID], "id of an endpoint")[0],
    )


def _told(bodies: Sequence[bytes]) -> dict[int, bytes]:
    """The attributes of the one message that answers a question; of none where it is missing."""
    return dict(attributes(bodies[0], _HEAD.size)) if bodies else {}


def _alike(one: Endpoint, other: Endpoint) -> bool:
    return (one.address, one.port) == (other.address, other.port)


def _sysctl(name: str) -> str | None:
    """Its value; None when this kernel does not have it."""
    try:
        return (SYSCTLS / name).read_text().strip()
    except OSError:
        return None
