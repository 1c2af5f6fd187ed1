"""What the planned layout does to real packets, with strict rp_filter throughout."""

from __future__ import annotations

import errno
import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.core.diff import removal
from failover.facts import Operation, Rule, RuleAction, Verb
from failover.lab.namespaces import Namespace
from failover.lab.rtnl import Route
from failover.lab.wire import End, cable
from failover.model import FAMILIES, Family

from .van import AF, INTERNET, PATIENCE, PORT, SILENCE, TCP, UDP, V4, V6, Van, built, own, quiet, wait_until

NEAR, FAR = 60, 160
"""Indexes of the two ends of a cable that is no uplink."""
MASQUERADE = """
table ip docker {
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
  }
}
"""


@pytest.fixture
def van(tmp_path: Path) -> Iterator[Van]:
    with built(tmp_path / "state") as van:
        yield van


def verbs(operations: tuple[Operation, ...]) -> list[Verb]:
    return [operation.verb for operation in operations]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [UDP, TCP])
def test_open_flows_stay_and_new_ones_move(van: Van, family: Family, kind: int) -> None:
    van.agent.reconcile()
    with van.flow(family, kind) as open_before:
        assert open_before.ask() == "wan0"
        assert verbs(van.agent.reconcile(active="wan1")) == [Verb.REPLACE, Verb.REPLACE]
        assert van.via(family) == "wan1"
        assert open_before.ask() == "wan0"
        with van.flow(family, kind) as open_in_doubt:
            assert open_in_doubt.ask() == "wan1"
            van.agent.reconcile(active="wan0")
            assert (open_before.ask(), open_in_doubt.ask()) == ("wan0", "wan1")
    assert all(van.probed(name, family) for name in van.names)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_floor_holds_what_its_uplink_cannot_carry(van: Van, family: Family) -> None:
    van.agent.reconcile()
    with van.flow(family) as flow:
        assert flow.ask() == "wan0"
        van.ip(f"-{family[-1]} route del default dev wan0")
        van.agent.reconcile(active="wan1")
        with pytest.raises(OSError) as refusal:
            flow.ask()
        assert refusal.value.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    assert van.via(family, mark=van.agent.mark("wan0")) is None
    assert van.via(family) == "wan1"
    van.agent.apply(tuple(o for o in removal(van.agent.facts()) if not _looks_up(o.item)))
    van.ip(f"-{family[-1]} route add default dev wan1 metric 5 via " + ("10.0.1.1" if family is V4 else "fe80::1"))
    assert van.via(family, mark=van.agent.mark("wan0")) == "wan1", "without floors it leaks"


def _looks_up(item: object) -> bool:
    return isinstance(item, Rule) and item.action is RuleAction.LOOKUP


@pytest.mark.parametrize("family", FAMILIES)
def test_a_router_that_was_silent_is_asked_again_at_the_next_packet(van: Van, family: Family) -> None:
    """IPv6 would take a floor in the table for the better way until it has forgotten the silence, 15 s or more."""
    gateway = "10.0.0.1" if family is V4 else "fe80::1"
    van.agent.reconcile(active="wan1")
    van.ip(f"-{family[-1]} neigh replace {gateway} dev wan0 nud failed")
    assert van.probed("wan0", family)
    van.ip(f"-{family[-1]} neigh replace {gateway} dev wan0 nud failed")
    with van.van.socket(AF[family], UDP) as open_flow:
        open_flow.bind((own(0, family), 0))
        open_flow.settimeout(PATIENCE)
        open_flow.connect((INTERNET[family], PORT))
        open_flow.send(b"?")
        assert open_flow.recv(100) == b"wan0"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["gateway", "device"])
def test_a_host_route_to_a_lost_uplink_is_overridden_and_let_go(van: Van, family: Family, how: str) -> None:
    """As a VPN client pins its server. What moved stays where it is; the route of main is left alone."""
    gateway = "10.0.0.1" if family is V4 else "fe80::1"
    via = f"via {gateway}" if how == "gateway" else "proto static"
    van.ip(f"-{family[-1]} route add {INTERNET[family]} {via} dev wan0")
    van.ends("wan0")[0].namespace.rtnl.add_neighbour(10, INTERNET[family], van.ends("wan0")[1].mac)
    pinned = van.ip(f"-{family[-1]} route show table main")
    van.agent.reconcile(active="wan1")
    assert van.via(family) == "wan0", "main's say, as long as nothing is wrong with it"
    van.agent.shunned = {(family, "wan0")}
    van.agent.reconcile()
    with van.flow(family) as tunnel:
        assert tunnel.ask() == "wan1"
        van.agent.shunned = set()
        van.agent.reconcile(active="wan0")
        assert van.via(family) == "wan0"
        assert tunnel.ask() == "wan1", "and no packet of it leaves by wan0 with the address of wan1"
    assert van.ip(f"-{family[-1]} route show table main") == pinned


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beside", ["nothing", "rules of others", "a host route"])
def test_who_comes_in_by_a_standby_is_answered_by_it(van: Van, family: Family, beside: str) -> None:
    """A server that listens everywhere (TCP) or at that address (UDP)."""
    number, gateway = family[-1], "10.0.0.1" if family is V4 else "fe80::1"
    if beside == "rules of others":
        van.ip(f"-{number} rule add pref 20000 fwmark 0x77 prohibit")
    if beside == "a host route":
        van.ip(f"-{number} route add {INTERNET[family]} via {gateway} dev wan0")
    van.agent.reconcile(active="wan0")
    there, asked = (INTERNET[family], 0), (own(1, family), PORT)
    beyond = van.routers["wan1"]
    with van.van.socket(AF[family], TCP) as server, beyond.socket(AF[family], TCP) as client:
        server.bind(("", PORT))
        server.listen()
        client.settimeout(PATIENCE)
        client.bind(there)
        client.connect(asked)
        with server.accept()[0] as made:
            made.send(b"!")
            assert client.recv(100) == b"!"
    with van.van.socket(AF[family], UDP) as server, beyond.socket(AF[family], UDP) as client:
        server.bind(asked)
        server.settimeout(PATIENCE)
        client.settimeout(PATIENCE)
        client.bind(there)
        client.sendto(b"?", asked)
        server.sendto(b"!", server.recvfrom(100)[1])
        assert client.recv(100) == b"!"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernel_fails_over_in_order_with_nobody_running(tmp_path: Path, family: Family) -> None:
    with built(tmp_path / "state", 3) as van:
        van.agent.order = ["wan0", "wan2", "wan1"]
        van.agent.reconcile()
        van.agent.close()
        assert van.via(family) == "wan0"
        for name, then in (("wan0", "wan2"), ("wan2", "wan1")):
            van.ends(name)[1].down()
            van.until(then, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lan_is_answered_on_the_lan(van: Van, family: Family) -> None:
    """Also from an uplink's own address: the rule for its open flows comes after the routes that know better."""
    van.agent.reconcile(active="wan1")
    net, length = ("192.168.50.", 24) if family is V4 else ("fd00:50::", 64)
    with Namespace("lan") as lan:
        connect(van, lan, "lan0")
        van.van.rtnl.add_address(NEAR, f"{net}1/{length}")
        lan.rtnl.add_address(FAR, f"{net}9/{length}")
        lan.rtnl.add_route(Route("default", FAR, f"{net}1"))
        with van.van.socket(AF[family], TCP) as server:
            server.settimeout(PATIENCE)
            server.bind(("", PORT + 1))
            server.listen()
            for address in (f"{net}1", own(0, family), own(1, family)):
                with lan.socket(AF[family], TCP) as client:
                    client.settimeout(PATIENCE)
                    client.connect((address, PORT + 1))
                    server.accept()[0].close()


def connect(van: Van, space: Namespace, name: str) -> None:
    """A cable between an interface of the van and eth0 of the namespace."""
    quiet(space)
    cable(End(van.van, name, NEAR), End(space, "eth0", FAR))
    van.van.rtnl.link_up(NEAR)
    space.rtnl.link_up(FAR)


def test_two_uplinks_with_the_same_address_subnet_and_gateway(tmp_path: Path) -> None:
    with built(tmp_path / "state", twins=True) as van:
        van.agent.reconcile()
        assert all(van.probed(name) for name in van.names)
        assert van.via() == "wan0"
        van.agent.reconcile(active="wan1", settled="wan1")
        assert van.via() == "wan1"
        assert all(van.probed(name) for name in van.names)
        for name in van.names:
            van.van.sysctl(f"ipv4/conf/{name}/rp_filter", 1)
        assert van.probed("wan1")
        assert not van.probed("wan0", patience=SILENCE), "a strict filter drops the twin's replies"


@pytest.mark.parametrize("name", ["wan0", "wan1"])
def test_whoever_finds_the_work_done_has_nothing_to_do(van: Van, name: str) -> None:
    """So that a restart loses no packet, whatever was decided before it."""
    van.agent.reconcile(active=name, settled=name)
    assert van.agent.operations() == ()


def test_cleanup_leaves_the_box_as_it_was(van: Van) -> None:
    before = everything(van)
    van.agent.reconcile()
    with van.flow(V4, TCP) as flow, van.flow(V6, TCP) as flow6:
        van.agent.apply(removal(van.agent.facts()))
        assert (flow.ask(), flow6.ask()) == ("wan0", "wan0")
    assert everything(van) == before


def everything(van: Van) -> list[str]:
    """The rules and routes, as `ip` tells them."""
    lines = ("rule show", "-6 rule show", "route show table all", "-6 route show table all")
    return [line for text in lines for line in sorted(van.ip(text).splitlines())]


# --- router advertisements -------------------------------------------------------------------------------------------


def advertise(van: Van, name: str, lifetime: int) -> None:
    """A router advertisement (RFC 4861 section 4.2) of the uplink's router."""
    there = van.ends(name)[1]
    body = struct.pack("!BBHBBHII", 134, 0, 0, 61, 0, lifetime, 0, 0)
    with there.namespace.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.bind(("fe80::1", 0, 0, there.index))
        raw.sendto(body, ("ff02::1", 0, 0, there.index))


def lifetimes(van: Van, *, ours: bool) -> set[int | None]:
    """Of wan0's defaults, in whole seconds."""
    routes = [r for r in van.agent.facts().routes if r.family is V6 and r.interface == 10]
    return {None if r.expires is None else round(r.expires) for r in routes if (r.protocol == 155) is ours}


def advertised(van: Van, lifetime: int) -> None:
    advertise(van, "wan0", lifetime)
    wait_until(lambda: lifetimes(van, ours=False) in ({lifetime}, {lifetime - 1}), f"a lifetime of {lifetime} s")


def test_a_copy_follows_the_lifetime_and_the_hop_limit_of_an_advertised_default(van: Van) -> None:
    van.ip("-6 route del default dev wan0")
    advertised(van, 600)
    van.agent.reconcile()
    assert {round(lifetime or 0, -1) for lifetime in lifetimes(van, ours=True)} == {600}
    assert {r.hoplimit for r in van.agent.facts().routes if r.interface == 10 and r.family is V6} == {61}
    advertised(van, 700)
    assert van.agent.operations() == (), "not yet a quarter behind"
    advertised(van, 1800)
    assert set(verbs(van.agent.reconcile())) == {Verb.REPLACE}
    assert {round(lifetime or 0, -1) for lifetime in lifetimes(van, ours=True)} == {1800}
    advertise(van, "wan0", 0)
    wait_until(lambda: lifetimes(van, ours=False) == set(), "withdrawn")
    van.agent.reconcile(active="wan1")
    assert lifetimes(van, ours=True) == set()


def test_a_copy_expires_by_itself(van: Van) -> None:
    van.ip("-6 route del default dev wan0")
    advertised(van, 2)
    van.agent.reconcile()
    assert van.via(V6) == "wan0"
    van.until("wan1", V6)
    assert van.via(V6, mark=van.agent.mark("wan0")) is None


# --- a container behind somebody else's masquerade -------------------------------------------------------------------


@pytest.fixture
def container(van: Van) -> Iterator[Namespace]:
    """Behind a bridge, as Docker has it."""
    if shutil.which("nft") is None:
        pytest.skip("needs the Debian package nftables")
    van.van.sysctl("ipv4/ip_forward", 1)
    with Namespace("container") as container:
        van.ip("link add docker0 type bridge")
        connect(van, container, "veth0")
        for line in ("link set veth0 master docker0", "link set docker0 up", "addr add 172.17.0.1/16 dev docker0"):
            van.ip(line)
        container.rtnl.add_address(FAR, "172.17.0.2/16")
        container.rtnl.add_route(Route("default", FAR, "172.17.0.1"))
        van.run("nft", MASQUERADE)
        yield container


def test_a_container_lives_through_a_doubt_and_an_acquittal(van: Van, container: Namespace) -> None:
    van.agent.reconcile()
    with van.flow(V4, TCP, space=container) as stream, van.flow(V4, UDP, space=container) as datagrams:
        for active in ("wan0", "wan1", "wan0"):
            van.agent.reconcile(active=active)
            assert van.via() == active
            assert [stream.ask(), datagrams.ask()] == ["wan0", "wan0"]
    van.agent.reconcile(active="wan1", settled="wan1")
    with van.flow(V4, TCP, space=container) as stream:
        assert stream.ask() == "wan1", "a conviction moves it"


def test_a_container_would_not_live_if_doubt_moved_it(van: Van, container: Namespace) -> None:
    van.agent.reconcile()
    with van.flow(V4, UDP, space=container) as datagrams:
        assert datagrams.ask() == "wan0"
        van.agent.reconcile(active="wan1", settled="wan1")
        with pytest.raises(TimeoutError):
            datagrams.ask(SILENCE)
