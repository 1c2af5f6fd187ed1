"""A VPN's tunnel, whose client pinned its server to an uplink: real agent, real sockets, real packets."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.places import APP, CARRIERS, ECHO_PORT, GATEWAY6
from failover.lab.reach import AF
from failover.lab.world import World
from failover.model import FAMILIES, Family
from tests.agent.running import PATIENCE, Agent, facts, running
from tests.agent.test_devices import NEEDS_IP, ip

AU, DOCOMO, _ = CARRIERS
MESSAGE = struct.Struct("=d")
"""When it was sent."""
TICK = 0.01
FREED = 0.5
"""Seconds after the conviction in which a tunnel works again (the promise)."""
STAYS = 2.0
"""Seconds after a failback for which open flows stay in any case; the agent grants 10."""
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50
"""linux/in.h, linux/in6.h."""
INFO = {Family.IPV4: (socket.IPPROTO_IP, IP_PKTINFO), Family.IPV6: (socket.IPPROTO_IPV6, IPV6_PKTINFO)}
ASK_INFO = {Family.IPV4: IP_PKTINFO, Family.IPV6: IPV6_RECVPKTINFO}
CONFIG = (
    "uplinks: [{name: au, interface: wwan0}, {name: docomo, interface: wwan1}]\n"
    "policy: {failback_after: 1s, failback_moves_flows: true}\n"
    "dns: none\n"
)


class Tunnel:
    """One UDP socket to the server, as userspace tunnels have: connected, and opened anew when it fails, or not."""

    def __init__(self, van: Namespace, family: Family, *, connected: bool) -> None:
        self.family, self.connected = family, connected
        self._van = van
        self._names = {link.index: link.name for link in facts(van).links}
        self.answers: list[tuple[float, float, str]] = []
        """(when it was answered, when that was sent, interface)."""
        self.reopened: list[float] = []
        self._socket: socket.socket | None = None

    def tick(self) -> None:
        """Take in what has come, and send one more."""
        try:
            if self._socket is None:
                self._socket = self._opened()
            self._take(self._socket)
            message = MESSAGE.pack(time.monotonic())
            if self.connected:
                self._socket.send(message)
            else:
                self._socket.sendto(message, (APP[self.family], ECHO_PORT))
        except OSError:
            self.close()
            self.reopened.append(time.monotonic())

    def _opened(self) -> socket.socket:
        made = self._van.socket(AF[self.family], socket.SOCK_DGRAM)
        made.setblocking(False)
        made.setsockopt(INFO[self.family][0], ASK_INFO[self.family], 1)
        if self.connected:
            made.connect((APP[self.family], ECHO_PORT))
        return made

    def _take(self, made: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = made.recvmsg(MESSAGE.size, 100)
                ((_, _, info),) = ancillary
                index = struct.unpack("=I", info[:4] if self.family is Family.IPV4 else info[16:20])[0]
                self.answers.append((time.monotonic(), *MESSAGE.unpack(data), self._names[index]))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def way(self) -> str:
        """The interface of the last answer."""
        return self.answers[-1][2] if self.answers else ""

    def silence(self) -> float:
        """Seconds since what was answered last was sent."""
        return time.monotonic() - self.answers[-1][1]

    def first(self, interface: str, since: float) -> float:
        """When it was answered there first, of what was sent since then."""
        return next(at for at, sent, way in self.answers if way == interface and sent >= since)


@contextlib.contextmanager
def pinned(van: Namespace) -> Iterator[None]:
    """As OpenVPN and vpnc-script do it: a host route in main, by the gateway of the uplink they found."""
    routes = {Family.IPV4: (f"{APP[Family.IPV4]}/32", AU.gateway), Family.IPV6: (f"{APP[Family.IPV6]}/128", GATEWAY6)}
    for family, (host, gateway) in routes.items():
        ip(van, f"-{family[-1]}", "route", "add", host, "via", gateway, "dev", AU.interface)
    try:
        yield
    finally:
        for family, (host, _) in routes.items():
            ip(van, f"-{family[-1]}", "route", "del", host, "dev", AU.interface)


def run(agent: Agent, tunnels: list[Tunnel], until: Callable[[], bool]) -> float:
    """Tunnels at work until that holds; when it did."""
    deadline = time.monotonic() + 2 * PATIENCE
    while not until():
        assert time.monotonic() < deadline, agent.lines
        assert agent.hear(TICK)
        for tunnel in tunnels:
            tunnel.tick()
    return time.monotonic()


@NEEDS_IP
def test_a_pinned_tunnel_survives_each_switch(world: World, van: Namespace, tmp_path: Path) -> None:
    """Unconnected it goes with new flows; connected it is opened anew, and at a failback once that moves flows."""
    config = tmp_path / "failover.yaml"
    config.write_text(CONFIG)
    tunnels = [Tunnel(van, family, connected=kind) for family, kind in product(FAMILIES, (True, False))]
    connected = [tunnel for tunnel in tunnels if tunnel.connected]
    with contextlib.ExitStack() as stack:
        stack.enter_context(pinned(van))
        agent = stack.enter_context(running(van, tmp_path, "--config", str(config)))
        for tunnel in tunnels:
            stack.callback(tunnel.close)
        agent.ready().all_up()
        run(agent, tunnels, lambda: {tunnel.way() for tunnel in tunnels} == {AU.interface})
        moved: dict[Family, float] = {}

        def convicted() -> bool:
            for family in FAMILIES:
                if any(f"verdict: au {family} is down" in line for line in agent.lines):
                    moved.setdefault(family, time.monotonic())
            return len(moved) == len(FAMILIES)

        with faults.blackout(world, AU.name) as began:
            run(agent, tunnels, convicted)
            run(agent, tunnels, lambda: {tunnel.way() for tunnel in tunnels} == {DOCOMO.interface})
            for tunnel in tunnels:
                assert tunnel.first(DOCOMO.interface, began) - moved[tunnel.family] <= FREED
            assert [len(tunnel.reopened) for tunnel in tunnels if not tunnel.connected] == [0, 0]
        backs = [f"switch: {family} docomo -> au" for family in FAMILIES]
        run(agent, tunnels, lambda: all(any(back in line for line in agent.lines) for back in backs))
        before = [len(tunnel.reopened) for tunnel in connected]
        end = time.monotonic() + STAYS
        run(agent, tunnels, lambda: time.monotonic() >= end)
        assert [tunnel.way() for tunnel in tunnels if not tunnel.connected] == [AU.interface] * 2
        assert [tunnel.way() for tunnel in connected] == [DOCOMO.interface] * 2
        assert all(tunnel.silence() < FREED for tunnel in tunnels), "it stays, and works"
        assert [len(tunnel.reopened) for tunnel in connected] == before
        run(agent, tunnels, lambda: {tunnel.way() for tunnel in tunnels} == {AU.interface})
        for tunnel in connected:
            assert tunnel.first(AU.interface, end) - tunnel.reopened[-1] <= FREED
