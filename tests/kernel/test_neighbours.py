"""Docker's and Tailscale's objects, as they write them, beside ours: they work on, and nothing of theirs changes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from failover.core.diff import removal
from failover.lab.namespaces import Namespace
from failover.lab.rtnl import Route
from failover.model import FAMILIES, Family
from tests.agent.inventory import inventory

from .test_layout import FAR, connect
from .van import TCP, TUNNEL, UDP, V4, Van, built

DOCKER = """\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""
"""As Docker 24 leaves them with one published port."""
TAILSCALE = {5210: "lookup main", 5230: "lookup default", 5250: "unreachable"}
"""What becomes of Tailscale's own packets, which have mark 0x80000 of 0xff0000 (wgengine/router/router_linux.go)."""
PEER = {family: ("100.100.0.9", "fd7a:115c:a1e0::9")[place] for place, family in enumerate(FAMILIES)}


@pytest.fixture
def van(tmp_path: Path) -> Iterator[Van]:
    with built(tmp_path / "state") as van:
        yield van


@pytest.fixture
def container(van: Van, tmp_path: Path) -> Iterator[Namespace]:
    if shutil.which("iptables-restore") is None:
        pytest.skip("needs the Debian package iptables")
    van.van.sysctl("ipv4/ip_forward", 1)
    with closing(Namespace("container")) as container:
        van.ip("link add docker0 type bridge")
        connect(van, container, "veth0")
        for line in ("link set veth0 master docker0", "link set docker0 up", "addr add 172.17.0.1/16 dev docker0"):
            van.ip(line)
        container.rtnl.add_address(FAR, "172.17.0.2/16")
        container.rtnl.add_route(Route("default", FAR, "172.17.0.1"))
        rules = tmp_path / "docker.rules"
        rules.write_text(DOCKER)
        van.run("iptables-restore", str(rules))
        yield container


def rules_of_docker(van: Van) -> str:
    return "\n".join(line for line in van.run("iptables-save").splitlines() if not line.startswith(("#", ":")))


def test_docker(van: Van, container: Namespace) -> None:
    """Its containers stay where they are in a doubt, and go by another uplink after a conviction."""
    rules, before = rules_of_docker(van), inventory(van.van)
    van.agent.reconcile()
    with van.flow(V4, TCP, space=container) as open_flow:
        for active in ("wan0", "wan1", "wan0"):
            van.agent.reconcile(active=active)
            assert open_flow.ask() == "wan0"
    van.agent.reconcile(active="wan1", settled="wan1")
    for kind in (TCP, UDP):
        with van.flow(V4, kind, space=container) as anew:
            assert anew.ask() == "wan1"
    van.agent.apply(removal(van.agent.facts()))
    assert rules_of_docker(van) == rules
    changed = [thing for there in inventory(van.van).foreign_changes(before) for thing in there]
    assert {thing[0] for thing in changed} <= {"sysctl"}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("family", FAMILIES)
def test_tailscale(van: Van, family: Family, when: str) -> None:
    """Whoever came first: peers are reached by its table, all else by ours, and its own packets by main, as it says."""
    if when == "after":
        van.agent.reconcile()
    for pref, what in TAILSCALE.items():
        van.ip(f"-{family[-1]} rule add pref {pref} fwmark 0x80000/0xff0000 {what}")
    van.ip(f"-{family[-1]} rule add pref 5270 lookup 52")
    van.ip(f"-{family[-1]} route add {PEER[family]} dev {TUNNEL} table 52")
    before = inventory(van.van).foreign
    for active in ("wan0", "wan1", "wan0"):
        van.agent.reconcile(active=active)
        assert van.via(family) == active
        assert all(van.probed(name, family) for name in van.names)
        assert f"dev {TUNNEL} table 52" in van.ip(f"-{family[-1]} route get {PEER[family]}")
        assert van.via(family, mark=0x80000) == "wan0", "main's first default, whatever was decided"
    left = before - inventory(van.van).foreign
    assert {thing[0] for thing in left} <= {"sysctl"}
