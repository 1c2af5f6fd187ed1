"""A van whose links somebody else manages, and what there is to be seen of both when they work on it together."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from failover.config import Config
from failover.config import Uplink as Named
from failover.core.diff import diff
from failover.core.plan import plan
from failover.core.uplinks import resolve
from failover.facts import METRIC_CHOSEN, TABLE_ACTIVE, TABLE_SETTLED, Facts, Route
from failover.kernel.wire import Message, messages
from failover.lab.namespaces import Namespace
from failover.lab.wire import End, cable
from failover.model import FAMILIES, Decision, Family
from tests.agent.inventory import ROUTES, RULES, Inventory, inventory, is_ours
from tests.agent.lookout import GROUPS, describe
from tests.agent.running import Agent, facts, running
from tests.enclosure import PATIENCE

INTERNET = {Family.IPV4: "203.0.113.1", Family.IPV6: "2001:db8:ffff::1"}
UPLINKS = {"one": "up1", "two": "up2"}
CONFIG = Config(uplinks=tuple(Named(name=name, interface=interface) for name, interface in UPLINKS.items()))
TEXT = (
    f"uplinks: [{', '.join(f'{{name: {name}, interface: {interface}}}' for name, interface in UPLINKS.items())}]\n"
    f"probes: {{targets: ['icmp://{INTERNET[Family.IPV4]}', 'icmp://[{INTERNET[Family.IPV6]}]']}}\n"
    "policy: {failback_after: 1s, failback_moves_flows: true}\n"
    "dns: none\n"
)
TICK = 0.02
QUIET = 0.4
"""Seconds without any event after which nothing more is expected."""
CONVERGED = 1.0
"""Seconds from the last event of others until the kernel is as wanted (the promise)."""


class Wires:
    """Two carriers, one cable each; every router has the internet's address, and leads nowhere else."""

    def __init__(self, van: Namespace) -> None:
        self.van = van
        self.routers = {interface: Namespace(f"router-{interface}") for interface in UPLINKS.values()}
        self.ends: dict[str, End] = {}
        for space in (van, *self.routers.values()):
            space.sysctl("ipv6/conf/all/accept_dad", 0)
            space.sysctl("ipv6/conf/default/accept_dad", 0)
            space.sysctl("ipv6/conf/all/keep_addr_on_down", 0 if space is van else 1)
        for number, (interface, router) in enumerate(self.routers.items(), 1):
            here, there = End(van, interface, 10 + number), End(router, f"gw{number}", 30 + number)
            cable(here, there)
            there.up()
            router.rtnl.link_up(1)
            for address in (f"10.{number}.0.1/24", f"2001:db8:{number}::1/64"):
                router.rtnl.add_address(there.index, address)
            for family in FAMILIES:
                router.rtnl.add_address(1, f"{INTERNET[family]}/{family.bits}")
            self.ends[interface] = there

    def flap(self, interface: str) -> None:
        """The carrier goes and comes back."""
        self.ends[interface].down()
        self.ends[interface].up()

    def close(self) -> None:
        for router in self.routers.values():
            router.close()


class Play:
    """The agent in a managed van, and an ear at the kernel. Times are monotonic."""

    def __init__(self, van: Namespace, home: Path) -> None:
        self.van, self.home = van, home
        self._events = van.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.bind((0, GROUPS))
        self._events.setblocking(False)
        self.heard: list[tuple[float, str]] = []
        """Changes, and when each was heard."""
        self.theirs = 0.0
        """When others made the last one."""
        (home / "failover.yaml").write_text(TEXT)
        self._life = contextlib.ExitStack()
        self.agent = self._started()

    def _started(self) -> Agent:
        return self._life.enter_context(running(self.van, self.home, "--config", str(self.home / "failover.yaml")))

    def restart(self) -> None:
        """The agent ends and begins anew."""
        self.agent.stop()
        self._life.close()
        self.agent = self._started().ready()

    def close(self) -> None:
        self._life.close()
        self._events.close()

    def listen(self) -> None:
        """For a tick, to the agent and to the kernel."""
        assert self.agent.hear(TICK), self.agent.lines
        with contextlib.suppress(BlockingIOError):
            while True:
                for event in messages(self._events.recv(65536)):
                    self.heard.append((time.monotonic(), _described(event)))
                    if not is_ours(event.kind, event.body):
                        self.theirs = self.heard[-1][0]

    def settle(self) -> float:
        """Wait until nothing happens any more and the kernel is as wanted: seconds that took from their last event."""
        deadline = time.monotonic() + PATIENCE
        self.theirs = time.monotonic()
        since = None
        while since is None or time.monotonic() < max(self.theirs, since) + QUIET:
            assert time.monotonic() < deadline, self.agent.lines
            self.listen()
            since = (since or time.monotonic()) if as_wanted(facts(self.van)) else None
        return since - self.theirs

    def until(self, condition: Callable[[], bool]) -> None:
        """Listen until it is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.agent.lines
            self.listen()

    def home_again(self) -> bool:
        """All is well, and all traffic goes by the first choice."""
        chosen = [route for route in facts(self.van).routes if route.metric == METRIC_CHOSEN]
        heads = [route.interface for route in chosen if route.table in (TABLE_ACTIVE, TABLE_SETTLED)]
        return len(heads) == 4 and set(heads) == {11}

    def held(self) -> Inventory:
        return inventory(self.van)


def _described(event: Message) -> str:
    return f"{describe(event)} {'' if event.kind in (*ROUTES, *RULES) else event.body.hex()}"


def as_wanted(found: Facts) -> bool:
    """Whether the kernel holds what the agent wants there, by the choice that it has made, and every way is in it."""
    uplinks = resolve(found, CONFIG, {name: slot for slot, name in enumerate(UPLINKS)})
    names = {uplink.index: uplink.name for uplink in uplinks}

    def named(routes: list[Route]) -> list[str]:
        return [names.get(route.interface, "") for route in sorted(routes, key=lambda route: route.metric)]

    def decision(family: Family) -> Decision:
        heads, others = [], []
        for table in (TABLE_ACTIVE, TABLE_SETTLED):
            held = [r for r in found.routes if r.table == table and r.family is family]
            heads.append(next(iter(named([r for r in held if r.metric == METRIC_CHOSEN])), None))
            others = named([r for r in held if r.metric != METRIC_CHOSEN])
        return Decision(family, heads[0], heads[1], tuple(others))

    will = {family: decision(family) for family in FAMILIES}
    ways = {family: {uplink.name for uplink in uplinks if uplink.paths[family].route} for family in FAMILIES}
    every = all(set(will[f].order) == ways[f] and bool(will[f].active) == bool(ways[f]) for f in FAMILIES)
    return every and not diff(found, plan(uplinks, will, found, CONFIG.fwmark_mask))


@contextlib.contextmanager
def playing(van: Namespace, home: Path) -> Iterator[Play]:
    """The agent runs, and has chosen the first uplink."""
    play = Play(van, home)
    try:
        play.agent.ready().all_up()
        play.until(play.home_again)
        yield play
    finally:
        play.close()
