"""A van with a router behind each uplink, and the agent's hands without its head: they carry out what a test decides.

Each router answers for the whole internet and says its name, so that a flow tells by which uplink it went.
"""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from failover.config import Config
from failover.core.diff import diff
from failover.core.plan import mark_of, plan
from failover.core.uplinks import Uplink, resolve
from failover.facts import Facts, Operation, OperationResult
from failover.kernel import Kernel, Ledger
from failover.lab.namespaces import Namespace, gain_privileges
from failover.lab.rtnl import RTPROT_DHCP, Route
from failover.lab.wire import End, cable
from failover.model import FAMILIES, Decision, Family
from tests.allowed import or_skip

V4, V6 = FAMILIES
UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
MASK = 0x3F000000
INTERNET = {V4: "203.0.113.1", V6: "2001:db8:ffff::1"}
AF = {V4: socket.AF_INET, V6: socket.AF_INET6}
PORT = 4000
TUNNEL = "wg0"
PATIENCE = 20.0
"""Seconds for what is expected to come."""
SILENCE = 0.3
"""Seconds that count as no answer, where none is expected."""


def own(number: int, family: Family) -> str:
    """The van's address on an uplink."""
    return f"10.0.{number}.2" if family is V4 else f"2001:db8:{number + 1}::2"


class Flow:
    """An open socket to the internet."""

    def __init__(self, made: socket.socket) -> None:
        self.socket = made

    def ask(self, patience: float = PATIENCE) -> str:
        """The router that answers now; TimeoutError when none does, another OSError when the kernel does not send."""
        self.socket.settimeout(patience)
        self.socket.send(b"?")
        return self.socket.recv(100).decode()


class Van:
    """Uplinks wan0, wan1, ... (indexes 10, 11, ...), strict rp_filter, both families; `twins` share one IPv4 net.

    A cable named as TUNNEL leads nowhere until a route says so; its far end answers as the routers do.
    """

    def __init__(self, state: Path, count: int, *, twins: bool) -> None:
        self.names = [f"wan{number}" for number in range(count)]
        self.van = Namespace("van")
        self.routers = {name: Namespace(f"router-{name}") for name in (*self.names, TUNNEL)}
        for space in (self.van, *self.routers.values()):
            quiet(space, rp_filter=1 if space is self.van else 0)
        for number, name in enumerate(self.names):
            self._connect(name, 10 + number, "192.168.8" if twins else f"10.0.{number}", 100 if twins else 2)
            self._address(name, own(number, V6))
            for family in FAMILIES:
                gateway = f"{'192.168.8' if twins else f'10.0.{number}'}.1" if family is V4 else "fe80::1"
                way = Route("default", 10 + number, gateway, metric=100 + number, protocol=RTPROT_DHCP)
                self.van.rtnl.add_route(way)
        self._connect(TUNNEL, 50, "10.66.0", 2)
        self.van.rtnl.add_address(50, "fd66::2/64")
        self.routers[TUNNEL].rtnl.add_address(150, "fd66::1/64")
        self._servers = Servers(self.routers)
        self.agent = Agent(self.van, self.names, Ledger(state))

    def _connect(self, name: str, index: int, net: str, host: int) -> None:
        here, there = End(self.van, name, index), End(self.routers[name], name, 100 + index)
        cable(here, there)
        here.up()
        there.up()
        here.namespace.rtnl.add_address(index, f"{net}.{host}/24")
        for address in (f"{net}.1/24", "fe80::1/64"):
            there.namespace.rtnl.add_address(there.index, address)
        for family in FAMILIES:
            there.namespace.rtnl.add_address(there.index, f"{INTERNET[family]}/{family.bits}")

    def _address(self, name: str, address: str) -> None:
        here, there = self.ends(name)
        here.namespace.rtnl.add_address(here.index, f"{address}/64")
        there.namespace.rtnl.add_address(there.index, f"{address[:-1]}1/64")

    def ends(self, name: str) -> tuple[End, End]:
        """The van's and the router's."""
        index = 10 + self.names.index(name)
        return End(self.van, name, index), End(self.routers[name], name, 100 + index)

    def close(self) -> None:
        self.agent.close()
        self._servers.close()
        for space in (self.van, *self.routers.values()):
            space.close()

    def run(self, *argv: str) -> str:
        """What a command prints in the van; AssertionError when it fails."""
        with self.van.entered():
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ip(self, line: str) -> str:
        return self.run("ip", *line.split())

    # --- flows -------------------------------------------------------------------------------------------------------

    @contextmanager
    def flow(
        self,
        family: Family = V4,
        kind: int = UDP,
        *,
        mark: int = 0,
        device: str = "",
        space: Namespace | None = None,
    ) -> Iterator[Flow]:
        """A connected socket, in the van unless told otherwise."""
        with (space or self.van).socket(AF[family], kind) as made:
            made.settimeout(PATIENCE)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            if device:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            made.connect((INTERNET[family], PORT))
            yield Flow(made)

    def via(self, family: Family = V4, *, mark: int = 0, device: str = "", patience: float = PATIENCE) -> str | None:
        """Who answers a new flow, or None when the kernel does not send; TimeoutError when nobody does."""
        try:
            with self.flow(family, mark=mark, device=device) as flow:
                return flow.ask(patience)
        except TimeoutError:
            raise
        except OSError:
            return None

    def probed(self, name: str, family: Family = V4, patience: float = PATIENCE) -> bool:
        """Whether a probe of this uplink is answered, by its router."""
        try:
            return self.via(family, mark=self.agent.mark(name), device=name, patience=patience) == name
        except TimeoutError:
            return False

    def until(self, way: str, family: Family = V4) -> None:
        """Wait until new flows go there."""

        def settled() -> bool:
            try:
                return self.via(family, patience=SILENCE) == way
            except TimeoutError:
                return False

        wait_until(settled, f"new {family} flows by {way}")


def quiet(space: Namespace, rp_filter: int = 0) -> None:
    """No wait for duplicate addresses, and the same filter everywhere."""
    for key in ("all", "default"):
        space.sysctl(f"ipv6/conf/{key}/accept_dad", 0)
        space.sysctl(f"ipv4/conf/{key}/rp_filter", rp_filter)


def wait_until(settled: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not settled():
        assert time.monotonic() < deadline, f"never: {what}"


class Servers:
    """UDP and TCP on PORT in each namespace, both families; what comes is answered with the namespace's name."""

    def __init__(self, spaces: Mapping[str, Namespace]) -> None:
        self._stop, self._stopped = socket.socketpair()
        self._names: dict[socket.socket, str] = {}
        for name, space in spaces.items():
            for family in FAMILIES:
                for kind in (UDP, TCP):
                    self._listen(space.socket(AF[family], kind), name, family)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _listen(self, server: socket.socket, name: str, family: Family) -> None:
        server.bind((INTERNET[family], PORT))
        if server.type == TCP:
            server.listen()
        self._names[server] = name

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([*self._names, self._stopped], [], [])
            if self._stopped in ready:
                return
            for one in ready:
                try:
                    self._answer(one, self._names[one])
                except OSError:
                    self._forget(one)

    def _answer(self, one: socket.socket, name: str) -> None:
        if one.type == UDP:
            _, asker = one.recvfrom(100)
            one.sendto(name.encode(), asker)
        elif one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            made, _ = one.accept()
            self._names[made] = name
        elif one.recv(100):
            one.send(name.encode())
        else:
            self._forget(one)

    def _forget(self, one: socket.socket) -> None:
        """Of a server only an answer has failed: its asker's network is gone."""
        if one.type == TCP and not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            del self._names[one]
            one.close()

    def close(self) -> None:
        self._stop.send(b"!")
        self._thread.join()
        for one in (self._stop, self._stopped, *self._names):
            one.close()


class Agent:
    """What the agent does to the kernel of a namespace, for a decision that the test takes."""

    def __init__(self, space: Namespace, names: list[str], ledger: Ledger) -> None:
        self._space = space
        self._known = {name: slot for slot, name in enumerate(names)}
        self.active = self.settled = names[0]
        self.order = names
        self.shunned: set[tuple[Family, str]] = set()
        with space.entered():
            self.kernel = Kernel(ledger)

    def close(self) -> None:
        self.kernel.close()

    def facts(self) -> Facts:
        with self._space.entered():
            return self.kernel.read()

    def mark(self, name: str) -> int:
        return mark_of(self._known[name], MASK)

    def uplinks(self, facts: Facts) -> tuple[Uplink, ...]:
        return resolve(facts, Config(), self._known)

    def decisions(self, uplinks: tuple[Uplink, ...]) -> dict[Family, Decision]:
        def order(family: Family) -> tuple[str, ...]:
            with_route = {uplink.name for uplink in uplinks if uplink.paths[family].route}
            return tuple(name for name in self.order if name in with_route)

        return {family: Decision(family, self.active, self.settled, order(family)) for family in FAMILIES}

    def operations(self) -> tuple[Operation, ...]:
        facts = self.facts()
        uplinks = self.uplinks(facts)
        return diff(facts, plan(uplinks, self.decisions(uplinks), facts, MASK, shunned=self.shunned))

    def apply(self, operations: tuple[Operation, ...]) -> tuple[OperationResult, ...]:
        with self._space.entered():
            return self.kernel.apply(operations)

    def reconcile(self, active: str = "", settled: str = "") -> tuple[Operation, ...]:
        """Carry out the decision; AssertionError when an operation fails or something is left to do."""
        self.active, self.settled = active or self.active, settled or self.settled
        done = self.operations()
        assert [result for result in self.apply(done) if result.error] == []
        assert self.operations() == ()
        return done


@contextmanager
def built(state: Path, count: int = 2, *, twins: bool = False) -> Iterator[Van]:
    """A van for one test; skips where there can be none."""
    for tool, package in (("ip", "iproute2"), ("bash", "bash")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs the Debian package {package}")
    with or_skip():
        gain_privileges()
    van = Van(state, count, twins=twins)
    try:
        yield van
    finally:
        van.close()
