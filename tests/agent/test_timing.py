"""How soon the agent acts: by its own timer, on the kernel's word, and not more often than it has to."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from failover.export.client import call
from failover.kernel.wire import Message, attributes, messages
from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.rtnl import RTPROT_DHCP, Route, Rule
from failover.lab.world import World
from tests.agent.inventory import FRA_PRIORITY, RTA_PRIORITY, RTA_TABLE, RTM_NEWROUTE, RTM_NEWRULE, number
from tests.agent.lookout import RTA_OIF
from tests.agent.running import PATIENCE, Agent, running, watching
from tests.agent.test_life import active

COUNTING = """
import os, sys
from failover.kernel.kernel import Kernel
tally = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
whole = Kernel.read
def read(self):
    os.write(tally, b".")
    return whole(self)
Kernel.read = read
from failover.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""An agent that writes a byte to a file whenever it reads the kernel."""
RTMGRP_LINK, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE = 0x1, 0x40, 0x80
RTM_NEWLINK, IFF_LOWER_UP = 16, 0x10000
WWAN0, WWAN1 = 11, 12
"""Interface indexes."""
EVENTS = 200
APART = 0.003
"""Seconds between two events of a storm: the agent could read the kernel after nearly each of them."""
HELD_BACK = 1.2
"""Seconds; for one after the last, the kernel may keep a carrier event to itself."""
TRIES = 3
"""The machine may be busy: what is promised must be kept once in so many."""
SILENT = re.compile(r"wwan0 ipv[46] is doubtful: silent for ([0-9.]+) s")


def test_silence_is_doubted_on_time_although_nothing_else_happens(world: World, van: Namespace, tmp_path: Path) -> None:
    """Nothing answers on any uplink: the timer alone wakes the engine for its probes and its verdicts."""
    took: list[float] = []
    with running(van, tmp_path) as agent:
        agent.ready()
        while min(took, default=1.0) > 0.45 and len(took) < TRIES:
            assert agent.all_up().hear(2.0)
            start = len(agent.lines)
            with faults.all_dead(world):
                told = [agent.said(f"wwan0 {family} is doubtful", start) for family in ("ipv4", "ipv6")]
            silences = [float(found[1]) for found in map(SILENT.search, told) if found]
            assert len(silences) == len(told)
            took.append(min(silences))
    assert 0.35 <= min(took) <= 0.45, took


def test_carrier_loss_moves_new_flows_within_50_ms_of_the_kernels_word(
    world: World, van: Namespace, tmp_path: Path
) -> None:
    took: list[float] = []
    with running(van, tmp_path) as agent, watching(van) as wait, kernel_events(van) as events:
        agent.ready().all_up()
        while min(took, default=1.0) > 0.05 and len(took) < TRIES:
            call(agent.socket, "use", {"name": "wwan0", "seconds": 60, "strict": False})
            wait(lambda found: active(found) == "wwan0")
            assert agent.all_up().hear(HELD_BACK)
            drain(events)
            with faults.link_down(world, "au"):
                told = until(events, lambda event: carrier_lost(event, WWAN0))
                took.append(until(events, lambda event: new_flows_go_by(event, WWAN1)) - told)
    assert min(took) <= 0.05, took


def test_what_is_taken_from_us_is_back_at_once(van: Namespace, tmp_path: Path) -> None:
    """Each but the first comes so soon after another that an event without haste would wait; ten more would be slow."""
    taken, took = Rule(15503, socket.AF_INET, table=254), list[float]()
    with running(van, tmp_path) as agent, kernel_events(van) as events:
        agent.ready().all_up()
        until(events, lambda event: rule_made(event, taken.priority))
        for _ in range(8):
            drain(events)
            began = time.monotonic()
            van.rtnl.remove_rule(taken)
            took.append(until(events, lambda event: rule_made(event, taken.priority)) - began)
            agent.status()  # answered once it has looked at what it did: it will not find the next by chance
    assert min(took[1:]) <= 0.03, took


@contextlib.contextmanager
def kernel_events(van: Namespace) -> Iterator[socket.socket]:
    """What the kernel tells of links, and of routes and rules of IPv4."""
    with van.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
        events.bind((0, RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_RULE))
        events.settimeout(PATIENCE)
        yield events


def drain(events: socket.socket) -> None:
    while select.select([events], [], [], 0)[0]:
        events.recv(65536)


def until(events: socket.socket, awaited: Callable[[Message], bool]) -> float:
    """Wait for such an event; the monotonic moment at which it came."""
    while True:
        found = list(messages(events.recv(65536)))
        now = time.monotonic()
        if any(awaited(event) for event in found):
            return now


def carrier_lost(event: Message, link: int) -> bool:
    if event.kind != RTM_NEWLINK:
        return False
    index, flags = struct.unpack_from("=iI", event.body, 4)
    return index == link and not flags & IFF_LOWER_UP


def rule_made(event: Message, priority: int) -> bool:
    return event.kind == RTM_NEWRULE and number(dict(attributes(event.body, 12)), FRA_PRIORITY) == priority


def new_flows_go_by(event: Message, link: int) -> bool:
    if event.kind != RTM_NEWROUTE:
        return False
    found = dict(attributes(event.body, 12))
    return (number(found, RTA_TABLE), number(found, RTA_PRIORITY), number(found, RTA_OIF)) == (15500, 1, link)


def test_a_storm_of_events_costs_few_reads_and_its_end_is_seen_soon(van: Namespace, tmp_path: Path) -> None:
    """No event here is urgent: a default route that nobody would choose comes and goes, at last a chosen one."""
    tally, took = tmp_path / "reads", list[float]()
    with running(van, tmp_path, command=(sys.executable, "-c", COUNTING, str(tally))) as agent:
        agent.ready().all_up()
        while min(took, default=1.0) > 0.2 and len(took) < TRIES:
            began, before = time.monotonic(), tally.stat().st_size
            storm(agent)
            reads, lasted = tally.stat().st_size - before, time.monotonic() - began
            assert 1 <= reads <= lasted / 0.05 + 3, f"{reads} reads in {lasted:.2f} s"
            took.append(withdrawal_seen(agent))
            agent.all_up()
    assert min(took) <= 0.2, took


def test_a_storm_of_urgent_events_keeps_nobody_waiting(van: Namespace, tmp_path: Path) -> None:
    """Somebody makes and deletes a rule among ours, as fast as the agent can read the kernel."""
    intruder = Rule(15560, socket.AF_INET, table=77, destination="10.250.0.1/32")
    kernel, took = van.rtnl, list[float]()
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        while min(took, default=1.0) > 0.25 and len(took) < TRIES:
            ends = time.monotonic() + 3.0
            while time.monotonic() < ends:
                kernel.add_rule(intruder)
                assert agent.hear(0.001)
                kernel.remove_rule(intruder)
                assert agent.hear(0.001)
            began = time.monotonic()
            call(agent.socket, "auto", {})
            took.append(time.monotonic() - began)
        agent.said("15560")
        assert agent.hear(0.1)
        told = [line for line in agent.lines if "15560" in line]
        assert len(told) == 1, "what comes and goes is said once a minute"
    assert min(took) <= 0.25, took


def storm(agent: Agent) -> None:
    kernel = agent.namespace.rtnl
    spare = Route("default", 12, "10.2.1.1", metric=7777, protocol=RTPROT_DHCP)
    for change, _ in zip(cycle((kernel.add_route, kernel.remove_route)), range(EVENTS), strict=False):
        change(spare)
        assert agent.hear(APART)


def withdrawal_seen(agent: Agent) -> float:
    """Seconds until the agent says that a default route is gone, which then is there again."""
    start, began = len(agent.lines), time.monotonic()
    default = Route("default", 12, "10.2.1.1", metric=200, protocol=RTPROT_DHCP)
    agent.namespace.rtnl.remove_route(default)
    try:
        agent.said("wwan1 ipv4 is absent", start)
        return time.monotonic() - began
    finally:
        agent.namespace.rtnl.add_route(default)
