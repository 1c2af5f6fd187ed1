"""A van with two uplinks and a world behind them, in namespaces of the test's own, and a loop whose clock can jump.

wan0 and wan1 of the van both end in the world, which routes, refuses, and holds the targets' addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2 import IPRoute

from failover.lab.namespaces import Namespace
from failover.lab.wire import End, cable
from failover.model import Family, ProbeKind, ProbeResult, SendProbe, Target
from failover.probes import Probes

ALIVE = {Family.IPV4: "203.0.113.1", Family.IPV6: "2001:db8:f::1"}
OTHER = {Family.IPV4: "203.0.113.2", Family.IPV6: "2001:db8:f::2"}
NOBODY = {Family.IPV4: "203.0.113.99", Family.IPV6: "2001:db8:f::99"}
PROHIBITED = {Family.IPV4: "203.0.113.66", Family.IPV6: "2001:db8:f::66"}
UNREACHED = {Family.IPV4: "203.0.113.67", Family.IPV6: "2001:db8:f::67"}
VAN = {"wan0": {Family.IPV4: "192.0.2.2", Family.IPV6: "2001:db8:a::2"}}
VAN["wan1"] = {Family.IPV4: "198.51.100.2", Family.IPV6: "2001:db8:b::2"}
GATEWAY = {"wan0": {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8:a::1"}}
GATEWAY["wan1"] = {Family.IPV4: "198.51.100.1", Family.IPV6: "2001:db8:b::1"}
MARK = {"wan0": 1 << 24, "wan1": 2 << 24}
TABLE = {"wan0": 15501, "wan1": 15502}
LENGTH = {Family.IPV4: 24, Family.IPV6: 64}
AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
HOST = {Family.IPV4: 32, Family.IPV6: 128}
ETH_P_ALL = 3
NODAD: dict[Family, dict[str, int]] = {Family.IPV4: {}, Family.IPV6: {"flags": 2}}
"""An IPv6 address is usable at once with IFA_F_NODAD."""
_ids = itertools.count(1)


class Ground:
    """The two namespaces, built."""

    def __init__(self) -> None:
        self.van, self.world = Namespace("van"), Namespace("world")
        for name, value in (("ip_forward", 1), ("icmp_ratelimit", 0)):
            self.world.sysctl(f"ipv4/{name}", value)
        for name, value in (("conf/all/forwarding", 1), ("icmp/ratelimit", 0)):
            self.world.sysctl(f"ipv6/{name}", value)
        self.plug("wan0", 10)
        self.plug("wan1", 20)
        with self.netlink(self.van) as netlink:
            for family, name in itertools.product(Family, MARK):
                mark = {"fwmark": MARK[name], "fwmask": 0x3F000000}
                netlink.rule("add", family=AF[family], priority=15520, table=TABLE[name], **mark)
        with self.netlink(self.world) as netlink:
            for family in Family:
                for target in (ALIVE, OTHER):
                    netlink.addr("add", index=1, address=target[family], prefixlen=HOST[family], **NODAD[family])
                for target, kind in ((PROHIBITED, "prohibit"), (UNREACHED, "unreachable"), (NOBODY, "blackhole")):
                    dst = f"{target[family]}/{HOST[family]}"
                    netlink.route("add", family=AF[family], dst=dst, type=kind)
        for target in (ALIVE, OTHER):
            alive(self.world, target)

    @contextmanager
    def netlink(self, namespace: Namespace) -> Iterator[Any]:
        """A pyroute2 IPRoute inside the namespace."""
        with namespace.entered(), IPRoute() as netlink:
            yield netlink

    def plug(self, name: str, index: int) -> None:
        """Put in the uplink's cable, with addresses, neighbours and its table."""
        near, far = End(self.van, name, index), End(self.world, name, index + 1)
        cable(near, far)
        near.up()
        far.up()
        self._dress(near, far, VAN[name], GATEWAY[name])
        self._dress(far, near, GATEWAY[name], VAN[name])
        alive(self.van, VAN[name])
        alive(self.world, GATEWAY[name])
        with self.netlink(self.van) as netlink:
            for family in Family:
                netlink.route("add", **self.default(name, family))

    def _dress(self, end: End, other: End, own: dict[Family, str], theirs: dict[Family, str]) -> None:
        with self.netlink(end.namespace) as netlink:
            for family in Family:
                netlink.addr("add", index=end.index, address=own[family], prefixlen=LENGTH[family], **NODAD[family])
                mac = ":".join(f"{byte:02x}" for byte in other.mac)
                netlink.neigh("add", ifindex=end.index, dst=theirs[family], lladdr=mac, state="permanent")

    def default(self, name: str, family: Family) -> dict[str, Any]:
        """The default route in the uplink's own table."""
        return {
            "family": AF[family],
            "dst": "0.0.0.0/0" if family is Family.IPV4 else "::/0",
            "gateway": GATEWAY[name][family],
            "table": TABLE[name],
            "priority": 1,
        }

    def lose_route(self, name: str, family: Family) -> None:
        """Nothing but an `unreachable` floor in the uplink's table."""
        with self.netlink(self.van) as netlink:
            route = self.default(name, family)
            netlink.route("add", **{**route, "gateway": None, "type": "unreachable", "priority": 4294967295})
            netlink.route("del", **route)

    def remark(self, family: Family, mark: int) -> None:
        """This mark leads to wan0 too."""
        with self.netlink(self.van) as netlink:
            netlink.rule("add", family=AF[family], priority=15521, table=TABLE["wan0"], fwmark=mark)

    def mute_gateway(self, family: Family) -> None:
        """wan0's gateway is now an address that nobody has."""
        with self.netlink(self.van) as netlink:
            nobody = "192.0.2.77" if family is Family.IPV4 else "2001:db8:a::77"
            netlink.route("replace", **{**self.default("wan0", family), "gateway": nobody})

    def lead_astray(self, family: Family) -> None:
        """wan0's mark leads to wan1, as when rules are torn."""
        with self.netlink(self.van) as netlink:
            netlink.route("replace", **{**self.default("wan1", family), "table": TABLE["wan0"]})

    def clog(self) -> None:
        """wan0's own queue is full for good."""
        with self.netlink(self.van) as netlink:
            netlink.tc("add", "pfifo", index=10, limit=0)

    def unplug(self, name: str) -> None:
        """Destroy the uplink's cable."""
        with self.netlink(self.van) as netlink:
            netlink.link("del", ifname=name)

    def close(self) -> None:
        """Let go of both."""
        self.van.close()
        self.world.close()


def alive(namespace: Namespace, addresses: dict[Family, str]) -> None:
    """Wait until packets to the addresses are delivered: the kernel makes an IPv6 address work a moment later."""
    deadline = time.monotonic() + 20
    for family, address in addresses.items():
        heard = b""
        while not heard:
            assert time.monotonic() < deadline
            with namespace.socket(AF[family], socket.SOCK_DGRAM) as own, contextlib.suppress(OSError):
                own.settimeout(0.02)
                own.bind((address, 0))
                own.connect(own.getsockname())
                own.send(b"alive")
                heard = own.recv(8)


class Watcher:
    """Every IP and ARP packet on one device of a namespace, from AF_PACKET: what really was on the wire."""

    def __init__(self, namespace: Namespace, interface: str) -> None:
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.setblocking(False)
        self._socket.bind((interface, ETH_P_ALL))

    def packets(self, family: Family, host: str) -> list[tuple[bool, bytes]]:
        """(sent by this end, IP or ARP packet) since the last call, of those that name the host anywhere."""
        host_bytes = socket.inet_pton(AF[family], host)
        seen: list[tuple[bool, bytes]] = []
        while True:
            try:
                data, (_, protocol, kind, *_) = self._socket.recvfrom(65535)
            except BlockingIOError:
                return seen
            if protocol in (0x0800, 0x0806, 0x86DD) and host_bytes in data:
                seen.append((kind == socket.PACKET_OUTGOING, data))

    def sent(self, family: Family, host: str) -> list[bytes]:
        """The packets naming the host that left here since the last call."""
        return [data for outgoing, data in self.packets(family, host) if outgoing]

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()


class Warped(asyncio.SelectorEventLoop):
    """A loop whose clock the test sets forward."""

    skipped = 0.0

    def time(self) -> float:
        """Monotonic seconds and what was skipped."""
        return super().time() + self.skipped


class Bench:
    """Probes under test, and their results in order."""

    def __init__(self, loop: Warped) -> None:
        self.loop = loop
        self.results: asyncio.Queue[ProbeResult] = asyncio.Queue()
        self.resolvers: tuple[str, ...] = ()
        self.probes = Probes(loop, self.results.put_nowait, lambda uplink, family: self.resolvers)

    async def probe(self, send: SendProbe) -> ProbeResult:
        """Send one and wait for what comes of it."""
        self.probes.start(send)
        result = await self.results.get()
        assert result.id == send.id
        return result

    async def skip(self, seconds: float) -> None:
        """Let everything that is ready run, then set the clock forward."""
        await self.settled()
        self.loop.skipped += seconds
        await self.settled()

    async def settled(self) -> None:
        """Come back when everything that was ready in the loop has run, and what that made ready."""
        for _ in range(6):
            passed = self.loop.create_future()
            self.loop.call_soon(passed.set_result, None)
            await passed


async def until(bench: Bench, true: Callable[[], bool]) -> None:
    """Let the loop run until it is so; the test fails when it is not so for twenty seconds."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        await bench.settled()


async def first_sent(bench: Bench, watcher: Watcher, family: Family, host: str) -> bytes:
    """The next packet naming the host that leaves by the watched device."""
    sent: list[bytes] = []

    def any_sent() -> bool:
        sent.extend(watcher.sent(family, host))
        return bool(sent)

    await until(bench, any_sent)
    return sent[0]


Play = Callable[[Bench], Coroutine[Any, Any, None]]


def play(ground: Ground, script: Play) -> None:
    """Run the script inside the van."""
    with ground.van.entered():
        run_here(script)


def run_here(script: Play) -> None:
    """Run the script in the namespace that the thread is in."""

    async def whole() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Warped)
        bench = Bench(loop)
        try:
            await script(bench)
        finally:
            bench.probes.close()

    with asyncio.Runner(loop_factory=Warped) as runner:
        runner.run(whole())


def send(
    family: Family,
    host: str,
    *,
    kind: ProbeKind = ProbeKind.ICMP,
    uplink: str = "wan0",
    trusted_clock: bool = True,
    **target: Any,
) -> SendProbe:
    """A probe order, with a fresh id."""
    aim = Target(kind, host, family=family, url=f"{kind}://{host}", **target)
    return SendProbe(next(_ids), uplink, family, uplink, MARK[uplink], aim, trusted_clock)


@contextmanager
def watching(namespace: Namespace, *interfaces: str) -> Iterator[tuple[Watcher, ...]]:
    """Watchers on those devices meanwhile."""
    watchers = tuple(Watcher(namespace, interface) for interface in interfaces)
    try:
        yield watchers
    finally:
        for watcher in watchers:
            watcher.close()
