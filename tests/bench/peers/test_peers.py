"""One peer is played in earnest, beside us: what the bench measures of both is there and in proportion.

The figures themselves are taken by hand, on a quiet machine; the other peers too, where they are installed.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil
import pytest

from tests.bench.peers.play import CONDITIONS, USUAL, Condition, Results, at_rest, outage
from tests.bench.peers.ranks import EVERYONE, METERED, PEERS, Peer
from tests.bench.peers.table import bytes_figure, figures, markdown, outage_figure

KEEPALIVED = next(peer for peer in PEERS if peer.name == "keepalived")
SEED = 9


def children() -> int:
    return len(psutil.Process().children(recursive=True))


@pytest.fixture
def both() -> list[Peer]:
    if os.geteuid() != 0 or not KEEPALIVED.installed:
        pytest.skip("needs root and the Debian packages keepalived and iputils-ping")
    return [METERED, KEEPALIVED]


def test_blackout_and_bytes_of_one_peer_and_us(both: list[Peer]) -> None:
    host = Path("/run/keepalived.pid").exists(), children()
    results = Results({(peer, USUAL): [outage(peer, USUAL, SEED)] for peer in both}, at_rest(both, 5.0, settle=1.0))
    ours, theirs = (outage_figure(results, peer, USUAL) for peer in both)
    print(markdown(results, both, []))
    assert 0.15 <= ours.values[0] <= 8.0
    assert 0.7 <= theirs.values[0] <= 8.0, "a ping that waits 1 s cannot fail sooner"
    assert float(theirs.note.removesuffix(" × ours")) == pytest.approx(theirs.values[0] / ours.values[0], rel=0.06)
    cost = bytes_figure(results, KEEPALIVED).values[0]
    assert cost == pytest.approx(2 * 60 * 2 * 84, rel=0.4), "two uplinks, a ping of 84 bytes and its answer each second"
    assert 0 <= bytes_figure(results, METERED).values[0] < cost
    assert (Path("/run/keepalived.pid").exists(), children()) == host


def results() -> Results:
    """We: 0.5 s and 500 bytes; keepalived three times the outage and twenty times the bytes."""
    outages = {(METERED, USUAL): [0.4, 0.5, 0.6], (KEEPALIVED, USUAL): [1.5, 1.0, 2.0]}
    return Results(outages, {METERED: 500.0, KEEPALIVED: 10_000.0})


def test_ratios_are_to_ours() -> None:
    assert outage_figure(results(), KEEPALIVED, USUAL).note == "3 × ours"
    assert outage_figure(results(), METERED, USUAL).note == "1 × ours"
    assert bytes_figure(results(), KEEPALIVED).note == "20 × ours"
    assert bytes_figure(Results({}, {METERED: 5.0, KEEPALIVED: 1234.0}), KEEPALIVED).note == "247 × ours"


def test_what_was_not_played_is_no_figure() -> None:
    other = next(condition for condition in CONDITIONS if condition is not USUAL)
    assert outage_figure(results(), KEEPALIVED, other).note == ""
    assert [figure.name for figure in figures(results(), [KEEPALIVED], [])] == [
        f"blackout, dense, 30 ms: {KEEPALIVED}",
        f"at rest, both uplinks: {KEEPALIVED}",
    ]


def test_an_endless_outage_is_shown_as_such() -> None:
    endless = Results({(METERED, USUAL): [0.5], (KEEPALIVED, USUAL): [math.inf]}, {})
    assert "| inf / inf |" in markdown(endless, [KEEPALIVED], [])


def test_who_is_not_installed_is_named() -> None:
    absent = Peer("nobody", "", KEEPALIVED.enter, ("no-such-program",), "nobody-there")
    assert not absent.installed
    told = "not installed: apt-get install nobody-there"
    assert [figure.note for figure in figures(Results(), [], [absent])] == [told]
    assert told in markdown(Results(), [], [absent])


def test_the_table_has_a_cell_under_every_head() -> None:
    table = markdown(results(), [METERED, KEEPALIVED], [PEERS[0]])
    widths = {line.count("|") for line in table.splitlines()}
    assert len(widths) == 1
    assert f"| **{METERED}** | 0.50 / 0.60 | - |" in table
    assert "| 3 | 10 | 20 |" in table


def test_each_peer_is_told_apart() -> None:
    assert len({str(peer) for peer in EVERYONE}) == len(EVERYONE)
    assert {condition.kind for condition in CONDITIONS} == {"new", ""}
    assert len({str(condition) for condition in CONDITIONS}) == len(CONDITIONS)
    assert isinstance(USUAL, Condition)
