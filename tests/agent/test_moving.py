"""Open flows when their uplink is lost, and the ways that MPTCP is offered: real agent, real sockets, real packets."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.export.client import call
from failover.facts import Endpoint, EndpointFlag, Mptcp, SubflowLimits
from failover.kernel.mptcp import PathManager
from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.outage import longest_gap
from failover.lab.pattern import Pattern
from failover.lab.places import APP, CARRIERS, ECHO_PORT, Carrier
from failover.lab.reach import AF, multipath_counters
from failover.lab.user import User
from failover.lab.world import World
from failover.model import FAMILIES, Family
from tests.agent.running import PATIENCE, Agent, command, facts, running, watching
from tests.agent.test_devices import NEEDS_IP, ip

V4, V6 = FAMILIES
AU, DOCOMO, _ = CARRIERS
CONVICTION = 1.5
"""Seconds of silence after which connections would be broken."""
FREED = 0.1
"""Seconds after an address went until its sockets know (the promise)."""


@contextlib.contextmanager
def opened(van: Namespace, family: Family, kind: int, source: str | None = None) -> Iterator[socket.socket]:
    """A socket of the van's, connected to the internet's echo, and echoed once."""
    with van.socket(AF[family], kind) as one:
        one.settimeout(PATIENCE)
        if source is not None:
            one.bind((source, 0))
        one.connect((APP[family], ECHO_PORT))
        one.send(b"12345678")
        assert one.recv(64)
        yield one


def broken_by(one: socket.socket) -> int:
    """The error that it ends with; waits for that."""
    try:
        return 0 if one.recv(64) else errno.EPIPE
    except OSError as error:
        return error.errno or 0


def lives(one: socket.socket) -> bool:
    """Nothing was heard of it."""
    return not select.select([one], [], [], 0)[0]


# --- open flows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conviction_breaks_what_is_open_and_nothing_else(
    world: World, van: Namespace, tmp_path: Path, family: Family
) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text(
        "uplinks: [{name: au, interface: wwan0}, {name: docomo, interface: wwan1}]\n"
        f"flows: {{keep: {{ports: [{ECHO_PORT + 1}]}}}}\n"
    )
    listener = van.socket(AF[family], socket.SOCK_STREAM)
    with listener, running(van, tmp_path, "--config", str(config)) as agent:
        listener.bind((AU.address[family], 0))
        listener.listen()
        agent.ready().all_up()
        start = len(agent.lines)
        with (
            opened(van, family, socket.SOCK_STREAM) as tcp,
            opened(van, family, socket.SOCK_DGRAM) as udp,
            opened(van, family, socket.SOCK_STREAM, DOCOMO.address[family]) as elsewhere,
            faults.blackout(world, AU.name),
        ):
            assert tcp.getsockname()[0] == AU.address[family]
            tcp.send(b"12345678")
            assert broken_by(tcp) == errno.ECONNABORTED
            assert broken_by(udp) == errno.ECONNABORTED
            with pytest.raises(OSError, match="Destination address required"):
                udp.send(b"12345678")
            agent.said(f"flows: au {family}: open flows of this box broken, to connect anew: ", start)
            assert lives(elsewhere)
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            with opened(van, family, socket.SOCK_STREAM) as anew:
                assert anew.getsockname()[0] == DOCOMO.address[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_that_is_being_made_is_broken_by_a_doubt(
    world: World, van: Namespace, tmp_path: Path, family: Family
) -> None:
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        start = len(agent.lines)
        with faults.blackout(world, AU.name), van.socket(AF[family], socket.SOCK_STREAM) as one:
            one.setblocking(False)
            assert one.connect_ex((APP[family], ECHO_PORT)) == errno.EINPROGRESS
            assert select.select([], [one], [], PATIENCE)[1]
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED
            agent.said(f"flows: wwan0 {family}: unanswered ones of this box broken", start)


@NEEDS_IP
@pytest.mark.parametrize("family", FAMILIES)
def test_an_address_that_goes_frees_its_sockets(van: Namespace, tmp_path: Path, family: Family) -> None:
    """A second one of a standby, which is up all the while."""
    address = f"{DOCOMO.address[family][:-1]}99"
    held = f"{address}/{24 if family is V4 else 64}", "dev", DOCOMO.interface
    with running(van, tmp_path) as agent, watching(van) as wait:
        agent.ready().all_up()
        ip(van, "address", "add", *held, *(["nodad"] if family is V6 else []))
        try:
            wait(lambda found: any(rule.source == f"{address}/{family.bits}" for rule in found.rules))
            with opened(van, family, socket.SOCK_STREAM, address) as one:
                began = time.monotonic()
                ip(van, "address", "del", *held)
                assert broken_by(one) == errno.ECONNABORTED
                assert time.monotonic() - began <= 3 * FREED, "with the command that takes it away"
        finally:
            van.popen(["ip", "address", "del", *held], stderr=subprocess.DEVNULL).wait(10)


# --- MPTCP -----------------------------------------------------------------------------------------------------------


def managed(van: Namespace) -> Mptcp:
    with van.entered(), contextlib.closing(PathManager()) as manager:
        found = manager.read()
    assert isinstance(found, Mptcp), found
    return found


def offered(van: Namespace) -> dict[str, bool]:
    """Addresses, and whether they are for backup."""
    return {one.address: bool(one.flags & EndpointFlag.BACKUP) for one in managed(van).endpoints}


def until_offered(agent: Agent, van: Namespace, wanted: dict[str, bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while offered(van) != wanted:
        assert time.monotonic() < deadline, (sorted(offered(van).items()), sorted(wanted.items()), agent.lines)
        agent.hear(0.05)


def ways(van: Namespace, *carriers: Carrier) -> dict[str, bool]:
    """What these carriers' addresses are to be; au is the active one."""
    found = facts(van)
    names = {link.index: link.name for link in found.links}
    chosen = {carrier.interface for carrier in carriers}
    return {a.address: names[a.index] != AU.interface for a in found.addresses if names[a.index] in chosen}


def test_every_uplink_is_a_way_for_mptcp_through_kill_and_cleanup(van: Namespace, tmp_path: Path) -> None:
    before, wanted = managed(van), ways(van, *CARRIERS)
    foreign = Endpoint("192.0.2.77", EndpointFlag.SIGNAL)
    with van.entered(), contextlib.closing(PathManager()) as manager:
        manager.add(foreign)
    try:
        with running(van, tmp_path) as agent:
            agent.ready().all_up()
            until_offered(agent, van, {**wanted, foreign.address: False})
            agent.kill()
        with running(van, tmp_path) as agent:
            agent.ready().all_up()
            until_offered(agent, van, {**wanted, foreign.address: False})
            assert len(managed(van).endpoints) == len(wanted) + 1
        argv = ("cleanup", "--socket", str(tmp_path / "control.sock"), "--state", str(tmp_path))
        status, told, _ = command(van, *argv)
        assert status == 0
        assert f"delete MPTCP endpoint {AU.address[V4]}" in told
        assert offered(van) == {foreign.address: False}
        assert managed(van).limits == before.limits
    finally:
        with van.entered(), contextlib.closing(PathManager()) as manager:
            for one in manager.endpoints():
                manager.delete(one)


def test_a_lost_uplink_is_no_way_any_more_and_comes_back(world: World, van: Namespace, tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text("uplinks: [{name: au, interface: wwan0}, {name: docomo, interface: wwan1}]\n")
    wanted = ways(van, AU, DOCOMO)
    with running(van, tmp_path, "--config", str(config)) as agent:
        agent.ready().all_up()
        until_offered(agent, van, wanted)
        assert managed(van).limits != SubflowLimits()
        with faults.blackout(world, AU.name):
            until_offered(agent, van, dict.fromkeys(DOCOMO.address.values(), False))
        until_offered(agent, van, {a: a not in DOCOMO.address.values() for a in wanted})


def test_switched_off_by_a_reload_nothing_of_it_is_left(van: Namespace, tmp_path: Path) -> None:
    before, config = managed(van), tmp_path / "failover.yaml"
    config.write_text("mptcp: auto\n")
    with running(van, tmp_path, "--config", str(config)) as agent:
        agent.ready().all_up()
        until_offered(agent, van, ways(van, *CARRIERS))
        assert managed(van).limits != before.limits
        config.write_text("mptcp: off\n")
        call(agent.socket, "reload", {})
        agent.until(lambda _: managed(van) == before)


def test_a_stream_goes_on_by_the_standby_that_it_has_joined(world: World, van: Namespace, tmp_path: Path) -> None:
    """Before anybody is convicted, and on the same connection."""
    config = tmp_path / "failover.yaml"
    config.write_text("uplinks: [{name: au, interface: wwan0}, {name: docomo, interface: wwan1}]\n")
    with running(van, tmp_path, "--config", str(config)) as agent:
        agent.ready().all_up()
        until_offered(agent, van, ways(van, AU, DOCOMO))
        before = joined(world)
        with User(van, pattern=Pattern({"new": 0.01, "mptcp": 0.02})) as user:
            assert user.wait(timeout=PATIENCE)
            agent.until(lambda _: joined(world) >= before + len(FAMILIES))
            with faults.blackout(world, AU.name) as began:
                assert user.wait(began, PATIENCE, kinds=["mptcp"])
                stream = user.record(began - 1.0, kinds=["mptcp"])
                gaps = {family: longest_gap(stream[family, "mptcp"], began, time.monotonic()) for family in FAMILIES}
            assert all(0.3 < gap < CONVICTION for gap in gaps.values()), (gaps, agent.lines)
            assert {user.seen(began)[family, "mptcp"].reconnects for family in FAMILIES} == {0}


def joined(world: World) -> int:
    """Further ways of MPTCP connections that were established with the internet so far."""
    return multipath_counters(world.ground.internet)["MPJoinAckRx"]
