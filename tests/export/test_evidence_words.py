"""What is told of flapping, of silences that are over, and of traffic that cannot be counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from failover.export.sentence import about, sentence
from failover.export.status import document
from failover.export.table import remarks, rows
from failover.export.words import flapped
from failover.model import Verdict
from tests.export.pictures import FLAPPED, NOW, family, snapshot, uplink

pytestmark = pytest.mark.usefixtures("utc")

UNIX = 1_790_000_000.0
WHY = "detection is weaker: interfaces are counted, not flows, since nft is not installed"


def told(now: float = NOW, **changes: Any) -> Mapping[str, Any]:
    return document(replace(snapshot(), use=None, use_until=None, **changes), now)


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (0.0, "flap penalty 1.0, forgiven in 1.1 h"),
        (1800.0, "flap penalty 0.2, forgiven in 35 min"),
        (3830.0, "flap penalty 0.1, forgiven in 1 min"),
        (3890.0, ""),
    ],
)
def test_a_row_tells_of_flapping_until_it_is_forgiven(later: float, words: str) -> None:
    view = replace(family(Verdict.UP), text="answers", penalty=FLAPPED)
    status = told(NOW + later, uplinks=(uplink("au", view, view),))
    assert [row[-1] for row in rows(status, UNIX)] == [words, words]


def test_where_nothing_is_to_be_forgiven_nothing_is_told() -> None:
    assert flapped(0.04, None) == ""


def test_that_flows_are_not_counted_ends_the_sentence_and_a_warning_says_why() -> None:
    status = told(flows_counted=False, warnings=(WHY,))
    clause = "; detection is weaker: flows are not counted"
    assert sentence(status, UNIX).endswith(clause)
    assert sentence(status) == sentence(told()) + clause
    assert about(status, "au", UNIX).endswith(clause)
    assert list(remarks(status)) == [f"warning: {WHY}"]
    assert "weaker" not in sentence(told(), UNIX) + about(told(), "au", UNIX)
