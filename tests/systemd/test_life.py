"""The service started, asked, reloaded and stopped under the real systemd."""

from __future__ import annotations

import re
from functools import partial

from failover.facts import PREFS_OWNED, TABLE_ACTIVE, Rule
from failover.lab.world import World
from tests.agent.running import facts
from tests.systemd.conftest import CONFIG, routing, undisturbed
from tests.systemd.machine import Machine

TWO_UPLINKS = """
uplinks:
  - {name: au, interface: wwan0}
  - {name: docomo, interface: wwan1}
"""
PRIORITIES = {"error": "3", "warning": "4", "kernel": "4", "switch": "5"}
"""Of syslog(3), by kind of line; all others have 6."""


def says(service: Machine, start: str) -> bool:
    """Whether the status line that systemd shows begins so."""
    return service.shown("StatusText").startswith(start)


def test_systemd_knows_nothing_against_it_where_it_is_installed(machine: Machine) -> None:
    done = machine.run("systemd-analyze", "verify", "--man=no", "failover.service")
    assert (done.stdout, done.stderr) == ("", "")


def test_the_manual_page_is_where_man_looks(machine: Machine) -> None:
    """Beside /usr/local/bin, whose commands man(1) looks for in /usr/local/share/man (manpath(5))."""
    page = machine.run("cat", "/usr/local/share/man/man1/failover.1").stdout
    assert page.startswith(".TH FAILOVER 1 ")


def test_start_returns_when_the_kernel_is_adopted(service: Machine, world: World) -> None:
    service.systemctl("stop", "failover")
    service.run("failover", "cleanup")
    assert not routing(world)[0]
    service.systemctl("start", "failover")
    found = facts(world.van)
    assert [route for route in found.routes if route.table == TABLE_ACTIVE]
    assert [rule for rule in found.rules if rule.priority in PREFS_OWNED and rule.table == TABLE_ACTIVE]
    assert service.systemctl("is-active", "failover") == "active"
    with service.following() as until:
        until(partial(says, service, "online by wwan0"))
    assert 'Status: "online by wwan0' in service.systemctl("status", "failover")
    assert service.shown("NRestarts") == "0"


def test_the_status_follows_what_happens(service: Machine) -> None:
    with service.following() as until:
        for name in ("wwan1", "wwan0"):
            service.run("failover", "use", name)
            until(partial(says, service, f"online by {name}"))


def test_stop_leaves_the_routes(service: Machine, world: World) -> None:
    made = routing(world)
    with undisturbed(world):
        service.systemctl("stop", "failover")
        assert service.run("systemctl", "is-active", "failover", check=False).stdout == "inactive\n"
        assert service.shown("Result") == "success"
    assert any(isinstance(one, Rule) for one in made[0])
    assert routing(world) == made


def test_reload(service: Machine, world: World) -> None:
    (service.root / CONFIG).write_text(TWO_UPLINKS)
    pid = service.pid()
    with undisturbed(world):
        service.systemctl("reload", "failover")
        assert [one["name"] for one in service.status()["uplinks"]] == ["au", "docomo"]
    assert service.systemctl("is-active", "failover") == "active"
    assert service.pid() == pid


def test_a_bad_config_fails_the_reload_and_the_old_one_stays(service: Machine, world: World) -> None:
    (service.root / CONFIG).write_text(TWO_UPLINKS.replace("interface: wwan1", "interfce: wwan1"))
    made, pid = routing(world), service.pid()
    done = service.run("systemctl", "reload", "failover", check=False)
    assert done.returncode == 1
    assert "Job for failover.service failed" in done.stderr
    said = [line["MESSAGE"] for line in service.journal()]
    assert [line for line in said if "interfce: unknown key; did you mean 'interface'?" in line]
    assert [one["name"] for one in service.status()["uplinks"]] == ["wwan0", "wwan1", "wlan0"]
    assert (service.systemctl("is-active", "failover"), service.pid()) == ("active", pid)
    assert routing(world) == made


def test_the_journal_has_whole_lines_with_priorities(service: Machine) -> None:
    with service.following() as until:
        service.run("failover", "use", "wwan1")
        mine = "_PID=" + service.shown("MainPID")
        until(lambda: any(line["MESSAGE"].startswith("switch: ipv6") for line in service.journal(mine)))
    said = {}
    for line in service.journal(mine):
        found = re.fullmatch(r"(\w+): .+ \[[^ ]+\]", line["MESSAGE"])
        assert found, line["MESSAGE"]
        said[found[1]] = line["PRIORITY"]
    assert {"uplink", "ready", "verdict", "switch", "operator"} <= set(said)
    assert said == {kind: PRIORITIES.get(kind, "6") for kind in said}
