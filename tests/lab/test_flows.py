"""The kinds of flows of the van's user that do not give up, or that the kernel keeps, on the lab's own wires."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from math import inf

import pytest

from failover.lab import faults
from failover.lab.flows.lasting import KEEPALIVE
from failover.lab.flows.short import RESOLVER_SECONDS
from failover.lab.namespaces import Namespace
from failover.lab.outage import longest_gap, waits
from failover.lab.pattern import IDLE, Pattern
from failover.lab.places import APP, ECHO_PORT
from failover.lab.reach import multipath_counters, speaks_multipath
from failover.lab.user import User
from failover.lab.world import World
from failover.model import FAMILIES, Family

ROUND_TRIP = 0.03
INTERVAL = 0.05
SYN_AGAIN = 1.0
"""Seconds until the kernel sends one again of which it heard nothing, not even a refusal."""
BUSY = 0.3
"""Seconds that a busy machine may take on top."""


@pytest.fixture
def user(world: World) -> Iterator[User]:
    with User(world.van, pattern=IDLE) as user:
        yield user


def begin(user: User, *kinds: str) -> None:
    user.change(Pattern(dict.fromkeys(kinds, INTERVAL)))
    assert user.wait(timeout=10.0)


def waited(user: User, since: float, until: float) -> dict[str, list[float]]:
    """By kind, what was sent meanwhile, in both families."""
    found: dict[str, list[float]] = {}
    for (_, kind), exchanges in user.record(since, until).items():
        found.setdefault(kind, []).extend(waits(exchanges))
    return found


def broken(van: Namespace, family: Family, protocol: str) -> None:
    """The kernel ends this box's connections to the app server."""
    argv = ["ss", f"-{family[-1]}", f"--{protocol}", "-K", "dst", APP[family], "dport", "=", str(ECHO_PORT)]
    with van.popen(argv, stdout=subprocess.DEVNULL) as child:
        assert child.wait(5.0) == 0


def test_the_record_has_each_exchange(user: User) -> None:
    begin(user, "new", "begun", "lookup")
    since, until = (began := time.monotonic()), began + 0.3
    assert user.wait(since, timeout=10.0)
    seen, record = user.seen(since, until), user.record(since, until)
    assert set(record) == {(family, kind) for family in FAMILIES for kind in ("new", "begun", "lookup")}
    for key, exchanges in record.items():
        assert len(exchanges) == seen[key].sent == pytest.approx(6, abs=2)
        assert all(ROUND_TRIP <= one < ROUND_TRIP + BUSY for one in waits(exchanges))
        assert all(since <= exchange.sent <= until for exchange in exchanges)
    assert set(user.record(since, until, ["begun"])) == {(family, "begun") for family in FAMILIES}


def test_who_does_not_give_up_is_served_once_refusals_end(world: World, user: User) -> None:
    """Others lose what they began meanwhile."""
    begin(user, "new", "connect", "begun", "lookup")
    fault = faults.prohibited(world, "au")
    began = fault.begin()
    try:
        assert not user.wait(began, timeout=0.5)
        since = began + 2 * ROUND_TRIP  # what was under way has come back
        assert {one for found in waited(user, since, time.monotonic()).values() for one in found} == {inf}
    finally:
        ended = fault.end()
    assert user.wait(ended + SYN_AGAIN, timeout=10.0)
    found = waited(user, since, ended - 2 * ROUND_TRIP)
    assert set(found["new"]) == set(found["connect"]) == {inf}
    for kind in ("begun", "lookup"):
        assert max(found[kind]) < ended - began + SYN_AGAIN + ROUND_TRIP + BUSY, kind


def test_a_question_is_asked_again_when_its_time_is_over(world: World, user: User) -> None:
    begin(user, "lookup")
    with faults.blackout(world, "au") as began:
        assert not user.wait(began, timeout=0.4)
    ended = time.monotonic()
    assert user.wait(ended, timeout=10.0)
    assert user.wait(timeout=10.0)
    found = waited(user, began, ended - 2 * ROUND_TRIP)["lookup"]
    assert len(found) >= 10
    assert all(RESOLVER_SECONDS <= one < RESOLVER_SECONDS + ROUND_TRIP + BUSY for one in found)


def test_only_the_kernel_asks_whether_a_silent_connection_lives(world: World, user: User) -> None:
    """It carries no data; an undisturbed one lives on, a broken one is made anew, and a blackout goes unanswered."""
    first = next(iter(KEEPALIVE.values()))
    assert user.wait(user.change(Pattern({"keepalive": INTERVAL})), timeout=5.0), "made"
    assert user.wait(timeout=first + 2.0), "asked"
    began = time.monotonic()
    broken(world.van, Family.IPV4, "tcp")
    assert user.wait(began, timeout=2.0, families=[Family.IPV4])
    seen = user.seen(began)
    assert [seen[family, "keepalive"].reconnects for family in FAMILIES] == [1, 0]
    with faults.blackout(world, "au") as began:
        assert not user.wait(began, timeout=first + 0.5)
        assert set(waited(user, began, time.monotonic())["keepalive"]) == {inf}


def test_a_stream_by_multipath_is_one_indeed(world: World, user: User) -> None:
    if not speaks_multipath(world.van):
        pytest.skip("the kernel has no MPTCP")
    before = capable(world)
    user.change(Pattern({"mptcp": ROUND_TRIP / 2}))
    assert user.wait(timeout=10.0)
    assert capable(world) - before == len(FAMILIES)
    began = time.monotonic()
    assert user.wait(began, timeout=5.0)
    for flow in user.seen(began).values():
        assert flow.rtt_seconds == pytest.approx(ROUND_TRIP, abs=ROUND_TRIP / 2)
    with faults.blackout(world, "au") as began:
        assert not user.wait(began, timeout=0.5)
        for exchanges in user.record(began - 1.0, kinds=["mptcp"]).values():
            assert longest_gap(exchanges, began, time.monotonic()) >= 0.4
    assert user.wait(timeout=10.0)
    assert {flow.reconnects for flow in user.seen(began).values()} == {0}


def capable(world: World) -> int:
    """MPTCP connections that were accepted by the internet so far."""
    return multipath_counters(world.ground.internet)["MPCapableACKRX"]
