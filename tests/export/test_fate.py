"""What uplinks share, as status, metrics and people have it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from failover.export import fate, status
from failover.export.metrics import FATES_MAX, Metrics, Picture
from failover.export.table import remarks
from failover.picture import Shared, Sharing, Snapshot

from .pages import read
from .pictures import NOW, kindred, snapshot

SCHEMA = json.loads((Path(status.__file__).parent / "schemas" / "status.json").read_text())


def van(**fates: str) -> Snapshot:
    """Uplinks by name, with what they share: `au="povo network,povo hub"`."""
    (like, *_), shown = snapshot().uplinks, snapshot()
    uplinks = tuple(
        replace(like, name=name, fate=tuple(Shared(o, Sharing(w), f"the {w} X") for o, w in map(str.split, listed)))
        for name, told in fates.items()
        for listed in [told.split(",") if told else []]
    )
    return replace(shown, uplinks=uplinks)


def test_the_document_has_it_and_the_schema_knows_it() -> None:
    document: Any = status.document(kindred(snapshot()), NOW)
    au, docomo = document["uplinks"]
    assert au["shared_fate"] == [{"uplink": "docomo", "why": "hub", "text": "the USB hub 1-1"}]
    assert docomo["shared_fate"] == [{"uplink": "au", "why": "hub", "text": "the USB hub 1-1"}]
    for uplink in (au, docomo):
        Draft202012Validator({**SCHEMA, **SCHEMA["$defs"]["uplink"], "required": []}).validate(uplink)


def test_the_schema_knows_every_why() -> None:
    known = SCHEMA["$defs"]["uplink"]["properties"]["shared_fate"]["items"]["properties"]["why"]["enum"]
    assert known == [why.value for why in Sharing]


def test_people_are_told_each_thing_once() -> None:
    shown = van(au="povo network,uq network,povo hub", povo="au network,uq network,au hub", docomo="", uq="au network")
    told = list(remarks(status.document(shown, NOW)))
    assert told == [
        "shared fate: au, povo and uq share the network X",
        "shared fate: au and povo share the hub X",
    ]


def test_two_modems_are_not_one() -> None:
    """Each pair says `a modem`, by the same words."""
    shown = van(au="b modem", b="au modem", softbank="d modem", d="softbank modem")
    told = list(remarks(status.document(shown, NOW)))
    assert told == ["shared fate: au and b share the modem X", "shared fate: softbank and d share the modem X"]


def test_a_ring_of_pairs_is_one_group() -> None:
    """Observed outages need not be known of each pair."""
    shown = van(a="b outages", b="a outages,c outages", c="b outages,d outages", d="c outages", e="f outages", f="")
    told = list(remarks(status.document(shown, NOW)))
    assert told == ["shared fate: a, b, c and d share the outages X", "shared fate: e and f share the outages X"]


def test_nothing_is_told_of_nothing() -> None:
    document: Any = status.document(snapshot(), NOW)
    assert list(remarks(document)) == []
    bare = [{"name": one["name"]} for one in document["uplinks"]]
    assert list(fate.groups(bare)) == [], "an older agent tells none"


def test_the_metric() -> None:
    page = read(Metrics().render(Picture(van(au="povo network,povo hub", povo="au network", docomo=""), NOW, {})))
    found = {tuple(value for _, value in sorted(labels)) for name, labels in page if "shared_fate" in name}
    assert found == {("povo", "au", "network"), ("povo", "au", "hub"), ("au", "povo", "network")}


@pytest.mark.parametrize("count", [10, 62])
def test_there_are_never_more_series_than_that(count: int) -> None:
    names = [f"u{n}" for n in range(count)]
    shown = van(**{name: ",".join(f"{other} network" for other in names if other != name) for name in names})
    page = read(Metrics().render(Picture(shown, NOW, {})))
    assert sum("shared_fate" in name for name, _ in page) == min(FATES_MAX, count * (count - 1))
