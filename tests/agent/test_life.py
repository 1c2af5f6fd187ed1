"""The agent from start to end, as a process on real routes: adopt, run, be told, be killed, come back."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from itertools import count
from pathlib import Path

import pytest

from failover.config import Config, ConfigError
from failover.config.source import ConfigFile
from failover.export.client import call
from failover.facts import TABLE_ACTIVE, Facts
from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.rtnl import RTPROT_DHCP, Route, Rule
from failover.lab.world import World
from failover.model import Family
from tests.agent.running import Agent, command, facts, ours, running, scrape, watching


def active(found: Facts, family: Family = Family.IPV4) -> str | None:
    """The device of the best route for new flows."""
    names = {link.index: link.name for link in found.links}
    routes = [route for route in found.routes if route.table == TABLE_ACTIVE and route.family is family]
    best = min(routes, key=lambda route: route.metric, default=None)
    return None if best is None else names[best.interface or 0]


def test_start_status_stop(van: Namespace, tmp_path: Path) -> None:
    before = ours(van)
    with running(van, tmp_path) as agent:
        status = agent.ready().all_up().status()
        assert status["active"] == {"ipv4": "wwan0", "ipv6": "wwan0"}
        assert [one["name"] for one in status["uplinks"]] == ["wwan0", "wwan1", "wlan0"]
        assert status["agent"]["pid"] == agent.process.pid
        found = facts(van)
        assert active(found) == active(found, Family.IPV6) == "wwan0"
        made = ours(van)
        exit_status, lines = agent.stop()
    assert exit_status == 0
    assert "failover: stopped: told to stop; routing stays as it is" in lines
    assert ours(van) == made
    assert made[1] == before[1]
    assert not agent.socket.exists()


def test_a_blackout_moves_new_flows_and_then_everything(world: World, van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as agent, watching(van) as wait:
        agent.ready().all_up()
        with faults.blackout(world, "au"):
            wait(lambda found: active(found) == active(found, Family.IPV6) == "wwan1")
            assert agent.said("failover: switch: ipv4 wwan0 -> wwan1: ")
            assert agent.said("failover: switch: ipv4 forwarded traffic wwan0 -> wwan1: ")
            assert agent.until(lambda status: status["settled"]["ipv4"] == "wwan1")
        page = scrape(van)
    assert 'failover_switches_total{family="ipv4",from="wwan0",reason="doubt",to="wwan1"} 1.0' in page
    assert 'failover_uplink_active{family="ipv6",uplink="wwan1"} 1.0' in page
    applied = dict(re.findall(r"failover_switch_apply_seconds_(count|sum) (\S+)", page))
    assert float(applied["count"]) >= 1
    assert 0.0001 < float(applied["sum"]) < 1.0 * float(applied["count"])
    assert 'failover_reconcile_operations_total{operation="replace",result="ok"}' in page
    assert not re.findall(r'result="error"} [1-9].*', page)


def test_killed_and_started_again_it_adopts(world: World, van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as first:
        first.ready().all_up()
        with faults.blackout(world, "au"):
            first.said("switch: ipv6 forwarded traffic wwan0 -> wwan1")
            first.said("switch: ipv4 forwarded traffic wwan0 -> wwan1")
            first.process.send_signal(signal.SIGSTOP)
            made = ours(van)
            first.kill()
            assert ours(van) == made
            assert first.socket.is_socket()
            with running(van, tmp_path) as second:
                assert "ipv4 by wwan1, ipv6 by wwan1" in second.ready().said("ready: ")
                assert second.until(lambda status: status["uplinks"][1]["families"]["ipv4"]["verdict"] == "up")
                assert active(facts(van)) == "wwan1"
                assert not [line for line in second.lines if "switch:" in line]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same-socket", "other-socket"])
def test_a_second_agent_refuses(van: Namespace, tmp_path: Path, elsewhere: bool) -> None:
    home = tmp_path / "other" if elsewhere else tmp_path
    with running(van, tmp_path) as first:
        first.ready()
        with running(van, home) as second:
            exit_status, lines = second.end()
        assert exit_status == 1
        assert len(lines) == 1
        assert lines[0].startswith(f"failover: another agent runs (pid {first.process.pid}): ")
        assert first.status()["agent"]["pid"] == first.process.pid


def test_in_another_namespace_it_does_not(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as first, Namespace("parked") as parked:
        first.ready()
        with running(parked, tmp_path / "parked") as second:
            second.ready()
            assert second.stop()[0] == 0


def test_with_the_same_socket_it_does(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as first, Namespace("parked") as parked:
        first.ready()
        with running(parked, tmp_path) as second:
            exit_status, lines = second.end()
        assert exit_status == 1
        assert lines == [
            f"failover: another agent runs (pid {first.process.pid}): it holds {first.socket}.lock "
            "(stop it first; `failover status` talks to it)"
        ]


def test_no_uplink_at_all_is_a_normal_state(tmp_path: Path) -> None:
    with Namespace("parked") as parked, running(parked, tmp_path) as agent:
        assert agent.ready().said("ready: ").endswith("no default route yet")
        where = ("--socket", str(agent.socket))
        assert command(parked, "status", *where) == (0, "offline: no uplink has a default route\n", "")
        assert command(parked, "status", "--check", *where)[0] == 1
        assert json.loads(command(parked, "status", "--json", *where)[1])["active"] == {"ipv4": None, "ipv6": None}
        assert agent.stop()[0] == 0


def test_ctrl_c_is_an_end_like_any_other(tmp_path: Path) -> None:
    with Namespace("parked") as parked, running(parked, tmp_path) as agent:
        agent.ready().process.send_signal(signal.SIGINT)
        exit_status, lines = agent.end()
    assert exit_status == 0
    assert "failover: stopped: told to stop; routing stays as it is" in lines


def test_what_is_put_back_is_not_counted_as_a_switch(van: Namespace, tmp_path: Path) -> None:
    counted = re.compile(r"^failover_switch_apply_seconds_count (\S+)", re.M)
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        before = counted.findall(scrape(van))
        assert van.popen(["ip", "route", "flush", "table", str(TABLE_ACTIVE)]).wait(10) == 0
        with watching(van) as wait:
            wait(lambda found: active(found) == "wwan0")
        assert len(before) == 1
        assert counted.findall(scrape(van)) == before


def test_routes_of_main_are_followed(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        default = Route("default", 12, "10.2.1.1", metric=200, protocol=RTPROT_DHCP)
        van.rtnl.remove_route(default)
        try:
            assert agent.said("wwan1 ipv4 is absent")
        finally:
            van.rtnl.add_route(default)
        agent.all_up()


def test_cleanup_waits_for_the_agents_end_and_leaves_what_is_foreign(van: Namespace, tmp_path: Path) -> None:
    path = "net/ipv4/conf/wwan0/ignore_routes_with_linkdown"
    before = ours(van)
    where = ("--socket", str(tmp_path / "control.sock"), "--state", str(tmp_path))
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        assert [one.value for one in facts(van).sysctls if one.path == path] == ["1"]
        exit_status, out, err = command(van, "cleanup", *where)
        assert (exit_status, out) == (1, "")
        assert err.startswith(f"failover: another agent runs (pid {agent.process.pid})")
        agent.stop()
    exit_status, out, _ = command(van, "cleanup", *where)
    assert exit_status == 0
    assert "delete ipv4 rule 15587, iif lo lookup 15500\n" in out
    lines = out.splitlines()
    assert len(set(lines)) == len(lines)
    assert "delete ipv4 unreachable default route, metric 4294967295, table 15501\n" in out
    assert "delete ipv6 rule 15521, fwmark 0x1000000/0x3f000000 unreachable\n" in out
    assert f"set sysctl {path} = 0\n" in out
    assert ours(van) == (frozenset(), before[1])
    assert command(van, "cleanup", *where) == (0, "0 removed or put back\n", "")


def test_the_operators_commands_move_real_routes(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as agent, watching(van) as wait:
        agent.ready().all_up()
        where = ("--socket", str(agent.socket))
        assert command(van, "use", "wlan0", "--for", "2h", *where)[0] == 0
        wait(lambda found: active(found) == active(found, Family.IPV6) == "wlan0")
        assert "told to use wlan0 until " in command(van, "status", *where)[1]
        assert command(van, "auto", *where)[0] == 0
        wait(lambda found: active(found) == "wwan0")
        assert command(van, "drain", "wwan0", *where)[0] == 0
        wait(lambda found: active(found) in ("wwan1", "wlan0"))
        assert command(van, "undrain", "wwan0", *where)[0] == 0
        assert command(van, "probe", "wlan0", *where)[0] == 0
        exit_status, out, err = command(van, "use", "wlan1", *where)
        assert (exit_status, out) == (1, "")
        assert "did you mean" in err


def test_a_bad_config_at_reload_changes_nothing(van: Namespace, tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text("uplinks: [{name: au, interface: wwan0}, {name: docomo, interface: wwan1}]\n")
    with running(van, tmp_path, "--config", str(config)) as agent:
        agent.ready().all_up()
        config.write_text("uplinks: [{nam: au, interface: wwan0}]\ndetection: quick\n")
        agent.process.send_signal(1)
        agent.said("is refused; the config before stays in force")
        problems = [line for line in agent.lines if line.startswith(f"failover: config: {config}:")]
        assert len(problems) == 3
        assert [one["name"] for one in agent.status()["uplinks"]] == ["au", "docomo"]
        assert "failover_config_reload_ok 0.0" in scrape(van)
        exit_status, _, err = command(van, "reload", "--socket", str(agent.socket))
        assert exit_status == 1
        assert "detection" in err
        config.unlink()
        assert command(van, "reload", "--socket", str(agent.socket))[0] == 1
        config.write_text("uplinks: [{name: kddi, interface: wwan0}]\nmetrics: {listen: 127.0.0.1:9110}\n")
        assert command(van, "reload", "--socket", str(agent.socket))[0] == 0
        assert agent.until(lambda status: [one["name"] for one in status["uplinks"]] == ["kddi"])
        assert "failover_config_reload_ok 1.0" in scrape(van, 9110)
        with pytest.raises(ConnectionRefusedError):
            scrape(van)


def test_who_was_held_up_hears_the_answers_before_judging_silence(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        for _ in range(5):
            for name in ("wwan0", "wwan1", "wlan0"):
                call(agent.socket, "probe", {"name": name})
            agent.hold(0.7)
            agent.status()
        doubts = [line for line in agent.stop()[1] if "doubtful" in line]
        assert len(doubts) <= 6, "at most one of five: a busy machine may hold up the lab's own answers once"


def test_reloads_that_wait_are_one(tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text("#\n" * 100_000 + "uplinks: [{name: au, interface: wwan0}]\n")
    with Namespace("parked") as parked, running(parked, tmp_path, "--config", str(config)) as agent:
        agent.ready()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(12)]
            for client in clients:
                client.connect(str(agent.socket))
                client.sendall(b'{"command":"reload"}\n')
            assert all(json.loads(client.recv(4096))["ok"] for client in clients)
        assert len([line for line in agent.stop()[1] if "is in force" in line]) in (1, 2, 3)


def test_a_bad_config_at_start_is_said_whole(van: Namespace, tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text("uplinks: [{nam: au, interface: wwan0}]\ndetection: quick\n")
    with running(van, tmp_path, "--config", str(config)) as agent:
        exit_status, lines = agent.end()
    assert exit_status == 2
    assert len(lines) == 3
    with running(van, tmp_path, "--config", str(tmp_path / "none.yaml")) as agent:
        assert agent.end()[0] == 2


def test_a_config_that_was_there_may_not_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "failover.yaml"
    monkeypatch.setattr("failover.config.source.CONFIG_PATH", str(path))
    source = ConfigFile(None)
    assert source.load() == (Config(), ())
    path.write_text("uplinks: [{name: au, interface: wwan0}]\n")
    assert [uplink.name for uplink in source.load()[0].uplinks] == ["au"]
    path.unlink()
    with pytest.raises(ConfigError):
        source.load()


def test_a_metrics_port_in_use_is_said_and_the_agent_goes_on(van: Namespace, tmp_path: Path) -> None:
    with van.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 9109))
        taken.listen()
        with running(van, tmp_path) as agent:
            agent.ready()
            assert "no metrics at 127.0.0.1:9109: " in agent.said("failover: warning: ")
            assert agent.status()["agent"]["pid"] == agent.process.pid


def test_a_log_that_nobody_reads_stops_nothing(world: World, van: Namespace, tmp_path: Path) -> None:
    agent = Agent(van, tmp_path)
    try:
        agent.ready().all_up()
        assert agent.process.stderr is not None
        agent.process.stderr.close()
        with faults.blackout(world, "au"), watching(van) as wait:
            wait(lambda found: active(found) == "wwan1")
        assert agent.status()["agent"]["pid"] == agent.process.pid
    finally:
        agent.process.kill()
        agent.process.wait()


def test_a_state_directory_that_cannot_be_written_is_said(van: Namespace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with running(van, tmp_path, "--state", str(tmp_path / "file")) as agent:
        agent.ready().all_up()
        agent.said(f"failover: warning: {tmp_path}/file: journal.jsonl: Not a directory; what happens is kept in ")


def test_a_loop_that_takes_our_rules_ends_and_they_come_back(van: Namespace, tmp_path: Path) -> None:
    """wg-quick down deletes by selector until nothing matches; the agent must let it come to an end."""
    suppress = Rule(15503, socket.AF_INET, table=254)

    def back(found: Facts) -> bool:
        return any(rule.priority == 15503 and rule.family is Family.IPV4 for rule in found.rules)

    with running(van, tmp_path) as agent, watching(van) as wait:
        agent.ready().all_up()
        wait(back)
        taken = count()
        with contextlib.suppress(FileNotFoundError):
            while next(taken) < 1000:
                van.rtnl.remove_rule(suppress)
        assert next(taken) < 1000
        wait(back)


def test_the_ledger_and_the_lock_are_for_the_agent_alone(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        assert os.stat(tmp_path / "sysctls.json").st_mode & 0o077 == 0
        assert os.stat(agent.socket).st_mode & 0o777 == 0o660
        assert os.stat(f"{agent.socket}.lock").st_mode & 0o777 == 0o600
