"""The room's README tells of every command, argument, field of a reply and metric there is, and of no other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from failover.export import explain, modem_status, status
from failover.export.commands import markdown
from failover.export.entries import Numbering
from failover.export.metrics import Metrics, Picture
from failover.model import FAMILIES, Notice, NoticeKind, Outcome, Verdict
from tests.core.box import Box
from tests.export.pictures import NOW, VIEW, mobile, snapshot

README = Path(__file__).resolve().parents[2] / "failover" / "export" / "README.md"


def test_commands() -> None:
    assert markdown() in README.read_text(), f"the table should be:\n{markdown()}"


def documented(heading: str) -> set[str]:
    """The fields in the first column of the table under a heading."""
    section = README.read_text().split(f"### {heading}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(.+?)`", row)}


def paths(tree: object, above: str = "") -> set[str]:
    """Where the leaves of a document are, as `uplinks[].families.FAMILY.verdict`."""
    match tree:
        case dict() if above.rpartition(".")[2] not in ("numbers", "fields"):
            named = {"FAMILY" if key in FAMILIES else key: value for key, value in tree.items()}
            return {path for key, value in named.items() for path in paths(value, f"{above}.{key}")}
        case list():
            return {path for value in tree or [None] for path in paths(value, f"{above}[]")}
    return {above.removeprefix(".")}


ABOUT = {"agent.version", "agent.pid", "config.path", "config.ok", "config.problems[]"}
ABOUT |= {"names.way", "names.text", "names.mend", "names.trouble[]"}
"""What the agent's shell puts before the document."""


def test_fields_of_status() -> None:
    found = paths(status.document(replace(mobile(), lan=("br-lan",)), NOW))
    assert documented("What `status` answers") - ABOUT == found | {"use", "gateway"}


def test_fields_of_explain() -> None:
    box = Box("au", "docomo")
    box.servers = {"au": ("10.1.0.53",)}
    box.run(100.0)
    asked = explain.names(box.engine.snapshot(), {"way": "none", "text": "", "trouble": []})
    others: dict[str, object] = {"names": asked, "gateway": status.gateway(replace(snapshot(), lan=("br-lan",)))}
    others["modems"] = modem_status.repairs(mobile(replace(VIEW, step="reset")), NOW)
    found = paths({**explain.document(box.engine.explain(box.now), box.now), **others})
    assert documented("What `explain` answers") == (found | {"gateway"}) - {"families.FAMILY.prospects[]"}


def test_fields_of_events() -> None:
    entry = Numbering("a").entry(Notice(NoticeKind.SWITCH, "to docomo", {"from": "au"}), 1.0, trusted=True)
    assert documented("What `events` answers") == paths(entry.document())


@pytest.mark.parametrize("words", [Verdict, Outcome, [kind for kind in NoticeKind if kind is not NoticeKind.COUNTED]])
def test_words_of_the_contract(words: Iterable[str]) -> None:
    assert f"`{' '.join(words)}`" in README.read_text().replace("\n", " ")


def test_metrics() -> None:
    page = Metrics().render(Picture(mobile(), NOW, {})).decode()
    there = set(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))
    assert set(re.findall(r"`((?:failover|process)_\w+)`", README.read_text())) == there
