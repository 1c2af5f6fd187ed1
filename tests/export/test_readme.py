"""The room's README tells of every command, every argument and every metric there is."""

from __future__ import annotations

import re
from pathlib import Path

from failover.export.commands import markdown
from failover.export.metrics import Metrics, Picture
from tests.export.pictures import NOW, snapshot

README = Path(__file__).resolve().parents[2] / "failover" / "export" / "README.md"


def test_commands() -> None:
    assert markdown() in README.read_text(), f"the table should be:\n{markdown()}"


def test_metrics() -> None:
    page = Metrics().render(Picture(snapshot(), NOW, {})).decode()
    there = set(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))
    assert set(re.findall(r"`(failover_\w+)`", README.read_text())) == there
