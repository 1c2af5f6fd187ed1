"""Some vans and one Prometheus that has scraped them, before their troubles and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from failover.facts import Operation, OperationResult, Sysctl, Verb
from failover.model import Notice, NoticeKind, clean
from tests.export.pictures import VIEW
from tests.prometheus.peer import CONFIG, INTERVAL, Prometheus, Yard, prometheus
from tests.prometheus.vans import CARRIERS, HOSTILE, Hostile, Van, script

CALM = script(3, "au", "docomo", "depot")
BACKUP = script(6, "au", "docomo", "depot", phases="{until: 2m}, {for: 4m, loss: 1}")
DEAD = script(6, "au", everyday="rtt: 40ms, loss: 1")
BUMPS = ", ".join(f"{{until: {60 + 80 * n}s}}, {{for: 20s, loss: 1}}" for n in range(5))
BUMPY = script(8, *CARRIERS, phases=BUMPS)


@dataclass(frozen=True, slots=True)
class Depot:
    """Where they stand."""

    prometheus: Prometheus
    yard: Yard
    vans: dict[str, Van]


@pytest.fixture(scope="package")
def depot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depot]:
    """`calm` has no trouble. `backup` lost its first choice, `dead` its only one, `gone` went away, and `bumpy` has
    eight uplinks, the first of which, a modem, came and went. The uplinks of `raw` and `clean` have names that are
    meant to break the page, as they are and as the adapters clean them."""
    vans = {name: Van().play(CALM) for name in ("calm", "backup", "dead", "gone")}
    vans["bumpy"] = Van(modem=VIEW).play(script(1, *CARRIERS))
    vans["raw"], vans["clean"] = Hostile(HOSTILE), Hostile(tuple(map(clean, HOSTILE)))
    home = tmp_path_factory.mktemp("prometheus")
    with Yard() as yard:
        ports = {name: yard.open(name, van) for name, van in vans.items()}
        (home / "alerts.yml").write_text(impatient((CONFIG / "prometheus" / "alerts.yml").read_text()))
        with prometheus(home, config(ports)) as server:
            yard.until("gone", lambda: len(server.query("failover_build_info")) == len(vans))
            yard.close("gone")
            trouble(vans)
            yield Depot(server, yard, vans)


def impatient(rules: str) -> str:
    """The same alerts, firing at once."""
    document = yaml.safe_load(rules)
    for rule in document["groups"][0]["rules"]:
        rule["for"] = "0s"
    return yaml.safe_dump(document)


def config(ports: dict[str, int]) -> str:
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in ports.items()]
    document = {
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "failover", "static_configs": targets}],
    }
    return yaml.safe_dump(document)


def trouble(vans: dict[str, Van]) -> None:
    vans["backup"].play(BACKUP)
    vans["dead"].play(DEAD)
    vans["bumpy"].play(BUMPY)
    first = {"uplink": CARRIERS[0], "carrier": "", "step": "reset"}
    vans["bumpy"].metrics.noticed(Notice(NoticeKind.MODEM, "reset", first))
    vans["bumpy"].metrics.noticed(Notice(NoticeKind.MODEM, "it helped", {**first, "helped": True}))
    metrics = vans["backup"].metrics
    metrics.reloaded(ok=False)
    metrics.operated([OperationResult(Operation(Verb.SET, Sysctl("net/x", "1")), "read-only file system")])
    metrics.switch_applied(0.0004)
    vans["backup"].journal_ok = False
