"""The service replaced in place, and removed, as the README says."""

from __future__ import annotations

import pytest

from failover.lab import faults
from failover.lab.world import World
from tests.agent.running import facts
from tests.systemd.conftest import block, routing, undisturbed
from tests.systemd.machine import Machine


def test_a_lost_packet_would_be_noticed(service: Machine, world: World) -> None:
    with pytest.raises(AssertionError, match="answered="), undisturbed(world):  # noqa: SIM117
        with faults.blackout(world, "au"), service.following() as until:
            until(lambda: service.status()["active"]["ipv4"] == "wwan1")


def test_a_restart_loses_no_packet(service: Machine, world: World) -> None:
    made, pid = routing(world), service.pid()
    with undisturbed(world):
        service.systemctl("restart", "failover")
    assert service.pid() != pid
    assert routing(world) == made


def test_an_upgrade_in_place_loses_no_packet(service: Machine, world: World) -> None:
    made, pid = routing(world), service.pid()
    version = service.root / "src/failover/__init__.py"
    version.write_text(version.read_text() + '\n__version__ = "99.0"\n')
    with undisturbed(world):
        service.type(block("Upgrade"))
        assert service.status()["agent"]["version"] == "99.0"
    assert service.pid() != pid
    assert service.systemctl("is-active", "failover") == "active"
    assert routing(world) == made


def test_removed_nothing_of_it_is_left(service: Machine, world: World) -> None:
    before = {sysctl.path: sysctl.value for sysctl in facts(world.van).sysctls}
    foreign = routing(world)[1]
    service.type(block("Remove"))
    assert routing(world) == (frozenset(), foreign)
    changed = {sysctl.path for sysctl in facts(world.van).sysctls if before[sysctl.path] != sysctl.value}
    assert "net/ipv4/conf/wwan0/ignore_routes_with_linkdown" in changed
    left = service.run("find", "/etc", "/opt", "/run", "/usr/local", "/var", "-name", "*failover*")
    assert left.stdout == ""
    assert service.shown("LoadState") == "not-found"
