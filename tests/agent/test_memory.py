"""What outlives the agent: the operator's will and the journal, in the state directory."""

from __future__ import annotations

import json
from pathlib import Path

from failover.export import journal
from failover.export.client import call
from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.world import World
from failover.model import NoticeKind
from tests.agent.running import running, scrape


def test_the_operators_will_outlives_even_a_kill(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as first:
        first.ready().all_up()
        call(first.socket, "use", {"name": "wwan1", "seconds": 3600.0})
        call(first.socket, "drain", {"name": "wlan0"})
        remembered = tmp_path / "memory.json"
        first.until(lambda _: remembered.exists() and json.loads(remembered.read_text())["memory"]["drained"])
        first.kill()
    with running(van, tmp_path) as second:
        assert "still using wwan1 for " in second.ready().said("failover: operator: ")
        status = second.status()
        assert status["active"]["ipv4"] == "wwan1"
        assert 3000 < status["use"]["remaining_seconds"] < 3600
        assert [one["name"] for one in status["uplinks"] if one["drained"]] == ["wlan0"]


def test_what_was_learned_is_written_when_it_stops(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        agent.stop()
    learned = json.loads((tmp_path / "memory.json").read_text())["memory"]
    assert {debt["uplink"] for debt in learned["debts"]} == {"wwan1", "wlan0"}


def test_a_corrupt_memory_is_said_and_the_agent_starts_afresh(van: Namespace, tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text('{"version": 1, "memory": {"use": ')
    with running(van, tmp_path) as agent:
        assert "memory.json is not used" in agent.said("failover: warning: ")
        assert agent.ready().status()["use"] is None


def test_one_id_in_log_journal_and_answers(world: World, van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path) as first:
        first.ready().all_up()
        with faults.link_down(world, "au"):
            switch = first.said("switch: ipv4 wwan0 -> wwan1: ")
            number = first.ids[first.lines.index(switch)]
            first.said("switch: ipv6 wwan0 -> wwan1: ")
            told = {entry["id"]: entry for entry in call(first.socket, "events", {})["events"]}
            assert told[number]["kind"] == "switch"
            assert f"failover: switch: {told[number]['text']}" == switch
            first.until(lambda _: number in [entry.id for entry in journal.read(tmp_path)])
            first.kill()
    kept = {entry.id: entry for entry in journal.read(tmp_path)}
    assert kept[number].text == told[number]["text"]
    assert kept[number].kind is NoticeKind.SWITCH
    with running(van, tmp_path) as second:
        past = call(second.ready().socket, "events", {"limit": 1000})["events"]
        assert number in [entry["id"] for entry in past]
        assert past[-1]["id"].split("-")[0] != number.split("-")[0]


def test_a_bad_config_does_not_keep_an_agent_away_that_once_had_a_good_one(van: Namespace, tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text("uplinks: [{name: au, interface: wwan0}, {name: docomo, interface: wwan1}]\n")
    with running(van, tmp_path, "--config", str(path)) as first:
        first.ready().all_up()
        first.until(lambda _: (tmp_path / "config.json").exists())
        first.kill()
    path.write_text("uplinks: [{name: au, interface: wwan0, metred: yes}]\n")
    with running(van, tmp_path, "--config", str(path)) as second:
        second.said(f"failover: config: {path}:1: uplinks[0].metred: unknown key")
        second.said(f"failover: warning: {path} is refused; the config that was last in force still is")
        status = second.ready().status()
        assert [uplink["name"] for uplink in status["uplinks"]] == ["au", "docomo"]
        assert not status["config"]["ok"]
        assert "failover_config_reload_ok 0.0" in scrape(van)
        path.write_text("uplinks: [{name: au, interface: wwan0}]\n")
        assert "docomo on wwan1 is gone" in call(second.socket, "reload", {})["text"]
        assert second.status()["config"]["ok"]
        assert "failover_config_reload_ok 1.0" in scrape(van)
