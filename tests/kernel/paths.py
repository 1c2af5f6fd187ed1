"""A van and a server with Multipath TCP between them, by two ways that can be cut, or refuse to be joined."""

from __future__ import annotations

import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Final

from failover.facts import Endpoint, EndpointFlag, Subflow, SubflowLimits
from failover.kernel import mptcp, subflows
from failover.kernel.netlink import Netlink
from failover.kernel.wire import attribute, attributes, name_bytes, name_text, read_u32
from failover.lab.namespaces import Namespace
from failover.model import FAMILIES, Family

from .box import AF, GATEWAYS, INTERNET, NAMES, OWN, V4, V6, WAN0, WAN1, Box

IPPROTO_MPTCP: Final = 262
"""Python has no name for it (yet)."""
FIRST, SECOND = OWN[WAN0], OWN[WAN1]
"""The addresses of the two ways; connections begin by the first."""
ADDRESSES: Final = (*FIRST.values(), *SECOND.values())
SUBFLOW, BACKUP = EndpointFlag.SUBFLOW, EndpointFlag.SUBFLOW | EndpointFlag.BACKUP
PATIENCE: Final = 5.0
GLANCE: Final = 0.01
CUT: Final = """table inet cut {
  set dead { type ifname; }
  set lone { type ifname; }
  set deaf { type ifname; }
  chain in {
    type filter hook prerouting priority -300
    iifname @dead drop
    iifname @lone tcp flags & (syn | ack) == syn tcp option mptcp subtype 1 drop
    iifname @deaf tcp flags & (syn | ack) == ack tcp option mptcp subtype 1 drop
  }
  chain out { type filter hook postrouting priority 300; oifname @dead drop; }
}
"""
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
CTRL_ATTR_MCAST_GROUPS, GROUP_NAME, GROUP_ID = 7, 1, 2
EVENTS: Final = "mptcp_pm_events"


def mptcp_socket(space: Namespace, family: Family = V4) -> socket.socket:
    opened = space.socket(AF[family], socket.SOCK_STREAM, IPPROTO_MPTCP)
    opened.settimeout(PATIENCE)
    return opened


def ip_mptcp(space: Namespace, line: str) -> list[str]:
    """The rows that `ip mptcp LINE` prints."""
    with space.popen(["ip", "mptcp", *line.split()], stdout=subprocess.PIPE, text=True) as child:
        told: str = child.communicate()[0]
    assert child.returncode == 0
    return [" ".join(row.split()) for row in told.splitlines()]


class Paths:
    """The box, routed by source; by default no endpoints, and as many subflows as there can be."""

    def __init__(self) -> None:
        self.box, self._port = Box(), 5000
        for family in FAMILIES:
            for table, (index, name) in enumerate(NAMES.items(), 100):
                way, rule = f"default via {GATEWAYS[index][family]} dev {name}", f"-{family[-1]} rule"
                self.box.ip(f"{rule} add from {OWN[index][family]} lookup {table}")
                self.box.ip(f"-{family[-1]} route add {way} table {table}")
                self.box.ip(f"-{family[-1]} route add {way} metric {index}")
        self._far("nft", "-f", "-", text=CUT)
        with self.box.van.entered():
            self.manager = mptcp.PathManager()
            self._events = _events()

    def close(self) -> None:
        self.manager.close()
        self._events.close()
        self.box.close()

    def reset(self) -> None:
        """As at the beginning; to be called in the van."""
        for name in ("dead", "lone", "deaf"):
            self._far("nft", "flush", "set", "inet", "cut", name)
        for one in self.manager.endpoints():
            self.manager.delete(one)
        self.manager.set_limits(SubflowLimits(mptcp.LIMIT_MAX))
        self.limit_far(mptcp.LIMIT_MAX)

    def _far(self, *argv: str, text: str = "") -> None:
        with self.box.far.entered():
            done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def cut(self, index: int) -> None:
        """Nothing passes by that way any more, and nobody says so."""
        self._far("nft", "add", "element", "inet", "cut", "dead", f"{{ {NAMES[index]} }}")

    def heal(self, index: int) -> None:
        self._far("nft", "delete", "element", "inet", "cut", "dead", f"{{ {NAMES[index]} }}")

    def drop_joins(self, index: int, of: str = "lone") -> None:
        """That way carries everything but MP_JOIN, as some carriers do; of: "deaf" lets its SYN pass."""
        self._far("nft", "add", "element", "inet", "cut", of, f"{{ {NAMES[index]} }}")

    def limit_far(self, count: int) -> None:
        """The server takes so many subflows besides the first."""
        with self.box.far.entered(), closing(mptcp.PathManager()) as far:
            far.set_limits(SubflowLimits(count))

    @contextmanager
    def announced(self, address: str) -> Iterator[None]:
        """The server tells of another address of its own, which the van takes up."""
        self.manager.set_limits(SubflowLimits(mptcp.LIMIT_MAX, 1))
        with self.box.far.entered(), closing(mptcp.PathManager()) as far:
            far.add(Endpoint(address, EndpointFlag.SIGNAL))
            try:
                with self.box.van.entered():
                    yield
            finally:
                for one in far.endpoints():
                    far.delete(one)

    def endpoints(self, family: Family = V4) -> tuple[Endpoint, Endpoint]:
        """Both addresses made endpoints, the second one as a backup."""
        assert self.manager.add(Endpoint(FIRST[family]))
        assert self.manager.add(Endpoint(SECOND[family], BACKUP))
        return self.known(FIRST[family]), self.known(SECOND[family])

    def known(self, address: str) -> Endpoint:
        (found,) = (one for one in self.manager.endpoints() if one.address == address)
        return found

    @contextmanager
    def listening(self, family: Family, protocol: int) -> Iterator[socket.socket]:
        self._port += 1
        with self.box.far.socket(AF[family], socket.SOCK_STREAM, protocol) as server:
            server.bind((INTERNET[family], self._port))
            server.listen()
            yield server

    @contextmanager
    def stream(self, family: Family = V4, server: int = IPPROTO_MPTCP, mapped: bool = False) -> Iterator[Stream]:
        """A connection by the first way that both ends have used; `mapped` by a socket of both families. While its
        server listens no more, nothing joins it."""
        with ExitStack() as held:
            listener = held.enter_context(self.listening(family, server))
            address, port = listener.getsockname()[:2]
            here = held.enter_context(mptcp_socket(self.box.van, V6 if mapped else family))
            here.connect((f"::ffff:{address}" if mapped else address, port))
            made = Stream(here, held.enter_context(listener.accept()[0]))
            made.goes_on()
            yield made

    def found(self) -> tuple[Subflow, ...]:
        return subflows.read(ADDRESSES).found

    def until(self, settled: Callable[[tuple[Subflow, ...]], bool]) -> tuple[Subflow, ...]:
        """The first subflows that satisfy; looked at on each event of the kernel's, and in between: it does not tell of
        all."""
        deadline = time.monotonic() + PATIENCE
        while not settled(found := self.found()):
            assert time.monotonic() < deadline, f"did not settle: {found}"
            if select.select([self._events], [], [], GLANCE)[0]:
                with suppress(OSError):  # ENOBUFS: some were lost
                    self._events.recv(65536)
        return found


class Stream:
    """Both ends of a connection."""

    def __init__(self, here: socket.socket, there: socket.socket) -> None:
        self.here, self.there = here, there
        for end in (here, there):
            end.settimeout(PATIENCE)

    def goes_on(self) -> None:
        """Something sent arrives, both ways."""
        for sender, receiver in ((self.here, self.there), (self.there, self.here)):
            sender.sendall(b"?")
            assert receiver.recv(64) == b"?"


def arrives(end: socket.socket, seconds: float) -> bool:
    """Whether anything does, in time."""
    return bool(select.select([end], [], [], seconds)[0])


def _events() -> socket.socket:
    """What the kernel tells of MPTCP connections."""
    with closing(Netlink(mptcp.NETLINK_GENERIC)) as netlink:
        asked = mptcp._HEAD.pack(mptcp.CTRL_CMD_GETFAMILY, 1, 0)
        asked += attribute(mptcp.CTRL_ATTR_FAMILY_NAME, name_bytes(mptcp.NAME))
        (body,) = netlink.request(mptcp.GENL_ID_CTRL, 0, asked)
    groups = dict(attributes(body, mptcp._HEAD.size))[CTRL_ATTR_MCAST_GROUPS]
    members = [dict(attributes(group)) for _, group in attributes(groups)]
    (number,) = (read_u32(one[GROUP_ID]) for one in members if name_text(one[GROUP_NAME]) == EVENTS)
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, mptcp.NETLINK_GENERIC)
    opened.bind((0, 0))
    opened.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, number)
    return opened
