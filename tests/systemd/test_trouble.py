"""The service killed, stopped midway and started with a bad config: it comes back, and routing stays as it is."""

from __future__ import annotations

import os
import signal

import pytest

from failover.lab.world import World
from tests.agent.running import proven
from tests.systemd.conftest import CONFIG, edit, routing, undisturbed
from tests.systemd.machine import Machine

PERIOD = 2
"""Seconds of the watchdog here; with the unit's own twenty the test would take that long."""


def test_killed_it_comes_back_and_no_packet_is_lost(service: Machine, world: World) -> None:
    made, restarts = routing(world), int(service.shown("NRestarts"))
    with undisturbed(world), service.following() as until:
        os.kill(service.pid(), signal.SIGKILL)
        until(lambda: int(service.shown("NRestarts")) == restarts + 1 and service.shown("ActiveState") == "active")
        until(lambda: proven(service.status()))
    assert routing(world) == made


def test_the_unit_has_a_watchdog_and_the_agent_feeds_it(service: Machine) -> None:
    assert service.shown("WatchdogUSec") == "20s"
    fed = service.shown("WatchdogTimestampMonotonic")
    with service.following() as until:
        until(lambda: service.shown("WatchdogTimestampMonotonic") != fed)


def test_a_hung_agent_is_ended_by_the_watchdog_and_routes_stay(service: Machine, world: World) -> None:
    edit(service, f"WatchdogSec={PERIOD}")
    service.systemctl("restart", "failover")
    made, pid = routing(world), service.pid()
    with undisturbed(world), service.following() as until:
        until(lambda: service.shown("WatchdogTimestampMonotonic") != "0")
        os.kill(pid, signal.SIGSTOP)
        until(lambda: service.shown("Result") == "watchdog")
        until(lambda: service.shown("ActiveState") == "active")
        until(lambda: proven(service.status()))
    assert service.pid() != pid
    assert service.shown("NRestarts") == "1"
    assert routing(world) == made
    said = [line["MESSAGE"] for line in service.journal("--priority=err")]
    assert "Fatal Python error: Aborted" in said


def test_a_bad_config_begins_with_the_one_last_in_force(service: Machine, world: World) -> None:
    made = routing(world)
    (service.root / CONFIG).write_text("uplinks: [{name: au}]\n")
    service.systemctl("restart", "failover")
    assert service.systemctl("is-active", "failover") == "active"
    assert routing(world) == made
    status = service.status()
    assert [one["name"] for one in status["uplinks"]] != ["au"]
    assert status["config"]["problems"][0].startswith("/etc/failover/failover.yaml:1: uplinks[0]: ")


def test_a_bad_config_at_the_start_is_waited_out_where_none_was_ever_good(service: Machine, world: World) -> None:
    service.systemctl("stop", "failover")
    service.run("rm", "/var/lib/failover/config.json")
    (service.root / CONFIG).write_text("uplinks: [{name: au}]\n")
    made = routing(world)
    done = service.run("systemctl", "restart", "failover", check=False)
    assert done.returncode == 1
    assert routing(world) == made
    wrong = [line["MESSAGE"] for line in service.journal("--priority=err") if "uplinks[0]" in line["MESSAGE"]]
    assert wrong[0].startswith("failover: /etc/failover/failover.yaml:1: uplinks[0]: ")
    (service.root / CONFIG).write_text("uplinks: [{name: au, interface: wwan0}]\n")
    with service.following() as until:
        until(lambda: service.shown("ActiveState") == "active")
    assert [one["name"] for one in service.status()["uplinks"]] == ["au"]


@pytest.mark.parametrize("folder", ["there", "not there"])
def test_what_root_cleaned_up_before_the_first_start_is_no_obstacle(service: Machine, folder: str) -> None:
    service.systemctl("stop", "failover")
    service.run("failover", "cleanup")  # as if it had never been started
    service.run("rm", "-r", "/run/failover")
    if folder == "there":
        service.run("systemd-tmpfiles", "--create", "failover.conf")
    service.run("failover", "cleanup")
    service.systemctl("start", "failover")
    assert service.systemctl("is-active", "failover") == "active"
    assert service.run("stat", "--format=%U:%G %a", "/run/failover").stdout == "failover:failover 751\n"
