"""The alerts as promtool plays them, and as a real Prometheus finds them in what real engines tell."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus.conftest import Depot
from tests.prometheus.peer import CONFIG, promtool

ROOM = CONFIG / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((ROOM / "alerts.yml").read_text())["groups"][0]["rules"]
NAMES = [rule["alert"] for rule in RULES]


def test_promtool_plays_them() -> None:
    done = promtool("test", "rules", "alerts_test.yml", cwd=ROOM)
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize(
    ("instead", "expected"), [("vector(1) < 0", "{"), ("vector(1)", "nil")], ids=["never", "always"]
)
def test_each_has_a_case_that_fires_and_one_that_does_not(tmp_path: Path, instead: str, expected: str) -> None:
    """Alerts that never fire fail the first, alerts that always do the second."""
    shutil.copy(ROOM / "alerts_test.yml", tmp_path)
    rules = [{**rule, "expr": instead} for rule in RULES]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"name": "failover", "rules": rules}]}))
    done = promtool("test", "rules", "alerts_test.yml", cwd=tmp_path)
    failed = re.findall(r'alertname=\\"(\w+)\\".*\n +exp: (nil|\{)', (done.stdout + done.stderr).decode())
    assert done.returncode == 1
    assert {name for name, exp in failed if exp == expected} == set(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_each_says_what_a_person_needs(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert re.fullmatch(r"[1-9][0-9]*[mh]", rule["for"])
    assert "$labels.instance" in rule["annotations"]["summary"]
    assert len(rule["annotations"]["summary"]) < 120
    assert len(rule["annotations"]["description"]) > 100


FIRING: dict[str, set[str]] = {
    "calm": set(),
    "backup": {
        "FailoverOnBackup",
        "FailoverStandbyUnproven",
        "FailoverReconcileFailing",
        "FailoverConfigReloadFailed",
        "FailoverJournalFailing",
    },
    "dead": {"FailoverNoUsableUplink"},
    "gone": {"FailoverAgentGone"},
    "bumpy": {"FailoverFlapping", "FailoverOnBackup"},
    "raw": set(),
    "clean": set(),
}


def test_a_real_prometheus_fires_them_where_there_is_trouble(depot: Depot) -> None:
    found: dict[str, set[str]] = {}

    def all_there() -> bool:
        found.clear()
        found.update({name: set() for name in depot.vans})
        for alert in depot.prometheus.ask("alerts")["alerts"]:
            if alert["state"] == "firing":
                found[alert["labels"]["instance"]].add(alert["labels"]["alertname"])
        return found == FIRING

    try:
        depot.yard.until("calm", all_there)
    except AssertionError:
        assert found == FIRING
        raise


def test_no_rule_fails_and_every_word_is_filled_in(depot: Depot) -> None:
    depot.yard.scraped("calm", 2)
    (group,) = depot.prometheus.ask("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == NAMES
    for rule in group["rules"]:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]
        for alert in rule["alerts"]:
            words = " ".join(alert["annotations"].values())
            assert not re.search(r"<no value>|<error|\{\{", words), words
            assert alert["labels"]["instance"] in words


def test_the_readmes_configs_are_prometheus_configs(tmp_path: Path) -> None:
    shutil.copy(ROOM / "alerts.yml", tmp_path)
    scraping, sending = re.findall(r"```yaml\n(.*?)```", (ROOM / "README.md").read_text(), re.DOTALL)
    for text, options in ((scraping, []), (sending, ["--agent"])):
        (tmp_path / "prometheus.yml").write_text(text)
        done = promtool("check", "config", *options, "prometheus.yml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
