"""Probes are tracked like all else: what that takes from others, and what would be lost without it."""

from __future__ import annotations

import asyncio

import pytest

from failover.kernel import conntrack, nft
from failover.kernel.counters import Counters, Standing
from failover.model import FAMILIES, Family, Outcome, ProbeKind, ProbeResult, SendProbe, Target
from failover.probes import Probes
from failover.seam import CountFlows

from .box import INTERNET, V4
from .road import MARK, MASK, PORT, TAPS, Counted, Road, chain, foreign, foreign_counts, in_van

both = pytest.mark.parametrize("family", FAMILIES)
STATEFUL = chain(
    "input",
    "filter",
    "ct state established,related accept",
    "iifname lo accept",
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept",
    policy="drop",
)
"""What ufw and firewalld let in."""
NOTRACK = chain("output", "raw", f"meta mark and {MASK:#x} != 0 notrack")
SHORT = 0.5
"""Seconds for an answer that is not expected."""


def probe(road: Road, family: Family, kind: ProbeKind, patience: float = 5.0) -> Outcome:
    """What comes of a real probe of wan0; `silent` when nothing does in time."""
    target = Target(kind, INTERNET[family], PORT if kind is ProbeKind.TCP else None, family=family)

    async def sent() -> Outcome:
        results: asyncio.Queue[ProbeResult] = asyncio.Queue()
        probes = Probes(asyncio.get_running_loop(), results.put_nowait, lambda *_: ())
        try:
            probes.start(SendProbe(1, "au", family, "wan0", MARK, target))
            return (await asyncio.wait_for(results.get(), patience)).outcome
        except TimeoutError:
            return Outcome.SILENT
        finally:
            probes.close()

    with road.van.entered():
        return asyncio.run(sent())


@both
@pytest.mark.parametrize("kind", [ProbeKind.ICMP, ProbeKind.TCP])
def test_a_probe_is_answered_through_a_stateful_firewall_and_is_not_counted(
    road: Road, counted: Counted, family: Family, kind: ProbeKind
) -> None:
    foreign(road, "inet ufw", STATEFUL)
    assert probe(road, family, kind) is Outcome.ANSWERED
    assert set(counted.came()) == {nft.MARKER}
    with road.flow(family) as flow:
        road.ask(flow)
    assert counted.came() == {f"fresh {family} wan0": 1, f"received {family} wan0": 1}


@both
def test_untracked_it_would_go_unanswered(road: Road, counted: Counted, family: Family) -> None:
    foreign(road, "inet theirs", STATEFUL, NOTRACK)
    assert probe(road, family, ProbeKind.ICMP, SHORT) is Outcome.SILENT


@both
def test_bits_of_others_in_the_connections_mark_stay(road: Road, counted: Counted, family: Family) -> None:
    """Set before ours is, or after, and seen with ours in each answer."""
    early = chain("output", "-190", "ct mark set ct mark or 0x1")
    late = chain("output", "0", "ct mark set ct mark or 0xc0000000")
    probes, flows = (f"ct mark {0xC0000001 | bits:#x} counter name" for bits in (MASK, 0))
    seen = chain("input", "0", f"{probes} probes", f"{flows} flows")
    foreign(road, "inet theirs", "counter probes { }", "counter flows { }", early, late, seen)
    road.ping(family, 3, mark=MARK)
    road.ping(family, 2)
    assert foreign_counts(road, "theirs") == {"probes": 3, "flows": 2}


@both
def test_a_probe_is_not_forgotten_with_the_flows_of_its_uplink(road: Road, counted: Counted, family: Family) -> None:
    road.ping(family, 1, mark=MARK)
    with road.flow(family) as flow, road.van.entered():
        road.ask(flow)
        before = sum(map(len, conntrack.entries(0, 0)))
        for mark in range(MASK & -MASK, MASK, MASK & -MASK):
            conntrack.forget(mark, MASK)
        assert conntrack.count(MASK, MASK) == 1
        assert conntrack.count(0, 0) == before


@both
def test_a_whole_mark_that_others_write_does_not_make_a_users_flow_of_a_probe(
    road: Road, counted: Counted, family: Family
) -> None:
    writes = (chain(hook, "mangle", "ct mark set 0x1") for hook in ("output", "postrouting"))
    foreign(road, "inet theirs", *writes)
    road.ping(family, 3, mark=MARK)
    assert counted.came() == {nft.MARKER: 3}


def test_another_table_replaces_ours_at_one_moment_and_touches_no_others(road: Road, counted: Counted) -> None:
    """While it is loaded again and again, it is there at each of some hundred readings."""
    foreign(road, "inet ufw", STATEFUL)
    theirs = in_van(road, "nft", "-a", "list", "table", "inet", "ufw")

    async def load_often() -> int:
        readings = 0
        for number in range(10):
            taps = TAPS[: 1 + number % 2]
            loading = asyncio.ensure_future(asyncio.to_thread(nft.load, CountFlows(taps, MASK)))
            while not loading.done():
                assert nft.MARKER in counted.counters.read().counts
                readings += 1
                await asyncio.sleep(0)
            await loading
        return readings

    with road.van.entered():
        assert asyncio.run(load_often()) > 100
    road.ping(V4, 2)
    assert counted.came() == {"fresh ipv4 wan0": 1, "sent ipv4 wan0": 1, "received ipv4 wan0": 2}
    assert in_van(road, "nft", "-a", "list", "table", "inet", "ufw") == theirs


def test_whose_the_table_is(road: Road, counted: Counted) -> None:
    ours = counted.counters
    assert ours.standing() is Standing.OURS
    saved = in_van(road, "nft", "list", "ruleset")
    in_van(road, "nft", "-f", "-", text=f"flush ruleset\n{saved}")  # as from /etc/nftables.conf at boot
    assert ours.standing() is Standing.OURS
    assert in_van(road, "nft", "list", "ruleset") == saved
    with road.van.entered():
        nft.remove()
    assert ours.standing() is Standing.ABSENT
    assert ours.read() == ({}, 0)
    for theirs in ("counter probes { }", 'counter other { comment "made by failover" }', ""):
        foreign(road, "inet failover", theirs)
        assert ours.standing() is Standing.FOREIGN
        in_van(road, "nft", "delete", "table", "inet", "failover")
    foreign(road, "ip failover")
    assert ours.standing() is Standing.ABSENT


def test_the_rules_are_the_same_until_somebody_changes_them(road: Road, counted: Counted) -> None:
    rules, generation = counted.counters.made(), counted.counters.read().generation
    road.ping(V4, 2)
    assert (counted.counters.made(), counted.counters.read().generation) == (rules, generation)
    foreign(road, "inet theirs")
    assert counted.counters.made() == rules
    assert counted.counters.read().generation != generation
    in_van(road, "nft", "flush", "chain", "inet", "failover", "received")
    assert counted.counters.made() != rules


def test_a_reading_is_right_after_the_table_was_made_anew(road: Road, counted: Counted) -> None:
    """The places of the numbers are remembered: those of another table must not be taken for them."""
    with road.van.entered():
        theirs = Counters()
        names = sorted(theirs.read().counts)
        nft.load(CountFlows(TAPS[::-1], MASK))
    road.ping(V4, 2)
    counts = theirs.read().counts
    assert sorted(counts) == names
    assert {name: count.packets for name, count in counts.items() if count.packets} == {
        "fresh-ipv4-wan0": 1,
        "sent-ipv4-wan0": 1,
        "received-ipv4-wan0": 2,
    }
    assert {count.bytes for name, count in counts.items() if count.packets == 1} == {28}
    theirs.close()
