"""The dashboard against what is really exported: nothing is rendered, every query is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.export.pages import read
from tests.prometheus.conftest import Depot
from tests.prometheus.peer import CONFIG

BOARD: dict[str, Any] = json.loads((CONFIG / "grafana" / "failover.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
SETTINGS = {"$__rate_interval": "1h", "$__range": "1h", "$job": "failover", "$instance": "bumpy", "$uplink": ".*"}
METRIC = re.compile(r"\b((?:failover|process)_\w+)(?:\{(.*?)\})?")
GROUPED = re.compile(r"\b(?:by|on|without|group_left) \((.*?)\)")
SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""
QUIET = {"Loss of the worst targets"}
"""Panels of which nothing may be to be seen."""


def filled(text: str) -> str:
    for name, value in SETTINGS.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def labels_of(metric: str, depot: Depot) -> set[str]:
    samples = read(depot.vans["bumpy"].page()())
    found = [{label for label, _ in labels} for name, labels in samples if name == metric]
    assert found, f"{metric} is not exported"
    return set.union(*found) | SCRAPED


def names(listed: str) -> set[str]:
    return {name.strip() for name in listed.split(",") if name.strip()}


def expressions() -> Iterator[tuple[str, str, str]]:
    yield from QUERIES
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            yield name, variable["query"]["query"], ""


@pytest.mark.parametrize(("title", "expression", "legend"), list(expressions()))
def test_metrics_and_labels_are_there(depot: Depot, title: str, expression: str, legend: str) -> None:
    found = METRIC.findall(expression)
    assert found
    known = set[str]()
    for metric, matchers in found:
        labels = labels_of(metric, depot)
        assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", matchers)) <= labels, metric
        known |= labels
    for group in GROUPED.findall(expression):
        assert names(group) <= known
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= known
    asked = re.fullmatch(r"label_values\(.*, (\w+)\)", expression)
    assert asked is None or asked[1] in known


@pytest.mark.parametrize(("title", "expression", "legend"), QUERIES)
def test_prometheus_answers(depot: Depot, title: str, expression: str, legend: str) -> None:
    found: list[dict[str, Any]] = []

    def answered() -> bool:
        found[:] = depot.prometheus.query(filled(expression))
        return bool(found) or title in QUIET

    depot.yard.until("bumpy", answered)
    shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
    for series in found:
        assert shown <= set(series["metric"]) | {"from", "to"}, "each series has the labels of its legend"
    assert len({tuple(series["metric"].get(label) for label in shown) for series in found}) == len(found)


@pytest.mark.parametrize("name", [name for name, variable in VARIABLES.items() if variable["type"] == "query"])
def test_variables_have_values(depot: Depot, name: str) -> None:
    query = filled(VARIABLES[name]["query"]["query"])
    assert VARIABLES[name]["definition"] == VARIABLES[name]["query"]["query"]
    match = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
    assert match
    values = depot.prometheus.ask(f"label/{match[2]}/values", **{"match[]": match[1]})
    expected = {"job": ["failover"], "instance": sorted(depot.vans), "uplink": sorted(depot.vans["bumpy"].names)}
    assert values == expected[name]


def test_the_verdicts_shown_are_the_verdicts_there_are(depot: Depot) -> None:
    (panel,) = [panel for panel in PANELS if panel["title"] == "Verdicts"]
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    words = {place: shown["text"] for place, shown in mapping["options"].items()}
    terms = re.findall(r'verdict="(\w+)"\} == 1\) \* (\d+)', panel["targets"][0]["expr"])
    assert {number: word for word, number in terms} == words
    samples = read(depot.vans["bumpy"].page()())
    assert set(words.values()) == {dict(labels)["verdict"] for _, labels in samples if "verdict" in dict(labels)}


def test_it_is_a_dashboard_of_a_current_grafana() -> None:
    assert BOARD["schemaVersion"] >= 39
    assert BOARD["id"] is None
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert {panel["type"] for panel in PANELS} <= {"stat", "state-timeline", "timeseries"}
    datasource = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["datasource"] == datasource
        assert panel["description"]
        assert all(target["datasource"] == datasource for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_panel_lies_on_another() -> None:
    taken = set[tuple[int, int]]()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_metric_of_ours_but_the_infos_is_shown_or_alerted_on(depot: Depot) -> None:
    used = (CONFIG / "grafana" / "failover.json").read_text() + (CONFIG / "prometheus" / "alerts.yml").read_text()
    page = depot.vans["bumpy"].page()().decode()
    for metric in re.findall(r"^# TYPE (failover_\w+) ", page, re.MULTILINE):
        assert re.search(rf"\b{metric}(?:_bucket)?\b", used), metric
