"""Loads on lanes with a known course: what the counters show of each, and where it goes."""

from __future__ import annotations

import pytest

from failover.facts import Counts
from failover.model import Family, Outcome, ProbeKind
from failover.sim.flows import Counting, Flows, Wire
from failover.sim.links import Conditions, Nap, Rtt, ScriptedLane, Timeline
from failover.sim.loads import BARE, FULL, DeadServer, Download, Load, OneWay, Upload, User, loads

FINE = Conditions(Rtt.between(0.05, 0.05))
DEAD = Conditions(Rtt.between(0.05, 0.05), loss=1.0)
V4 = Family.IPV4


class Road:
    """Two uplinks, the first with a course of its own, under one load."""

    def __init__(self, kind: type[Load], *course: tuple[float, Conditions], every: float = 0.02) -> None:
        self.lanes = [ScriptedLane(Timeline([(0.0, FINE), *course]), "a"), ScriptedLane(Timeline([(0.0, FINE)]), "b")]
        self.wires = [Wire(), Wire()]
        self.load = kind(self.lanes, self.wires, every, 0.0)

    def counts(self, at: float, active: int | None = 0) -> tuple[Counts, Counts]:
        self.load.play(at, active)
        return self.wires[0].counts(at), self.wires[1].counts(at)


def grown(before: Counts, after: Counts) -> tuple[int, int, int]:
    return after.received - before.received, after.sent - before.sent, after.fresh - before.fresh


def test_a_download_begins_with_a_handshake_and_falls_quiet_both_ways_when_the_link_dies() -> None:
    road = Road(Download, (10.0, DEAD), (20.0, FINE))
    start, _ = road.counts(0.06)
    assert (start.received, start.sent, start.fresh) == (1, 0, 1)
    told, other = road.counts(9.9)
    assert grown(start, told) == pytest.approx((490, 490, 0), abs=5)
    assert told.received_bytes / told.sent_bytes == pytest.approx(FULL / BARE, rel=0.05)
    assert other == Counts()
    quiet, _ = road.counts(10.2)
    assert grown(quiet, road.counts(19.9)[0]) == (0, 0, 0)
    assert grown(quiet, road.counts(19.99)[0]) == (0, 0, 0)
    assert road.counts(40.0)[0].received > quiet.received + 400


def test_the_server_tries_again_later_and_later() -> None:
    """The sixth try comes 9.5 s after the first loss and the seventh 9.6 s later: the pause outlasts the outage."""
    road = Road(Download, (10.0, DEAD), (20.0, FINE))
    quiet, _ = road.counts(15.0)
    ends = next(at / 10 for at in range(200, 400) if road.counts(at / 10)[0].received > quiet.received + 1)
    assert ends == pytest.approx(29.2, abs=0.5)


def test_where_nothing_goes_up_what_servers_send_still_comes_for_a_while() -> None:
    deaf = Conditions(Rtt.between(0.05, 0.05), loss=1.0, unheard=True)
    road = Road(Download, (10.0, deaf))
    before, _ = road.counts(10.06)
    at_first = grown(before, road.counts(10.5)[0])
    assert 8 <= at_first[0] <= 14
    assert 2 <= grown(before, road.counts(15.0)[0])[0] - at_first[0] <= 6


def test_an_upload_goes_on_into_the_dark_and_its_acknowledgements_do_not_come() -> None:
    road = Road(Upload, (10.0, DEAD))
    before, _ = road.counts(10.1)
    assert grown(before, road.counts(11.1)[0]) == (0, 50, 0)
    assert before.sent_bytes > 20 * before.received_bytes
    told = road.wires[0].segments(12.0)
    assert told.resent == pytest.approx(50, abs=8)


def test_one_way_and_dead_servers_stay_fresh_for_ever() -> None:
    for kind in (OneWay, DeadServer):
        told, _ = Road(kind).counts(10.0)
        assert (told.received, told.sent, told.fresh) == (0, 0, 500)


def test_what_is_bound_stays_until_it_breaks_and_what_is_new_goes_where_new_flows_go() -> None:
    for kind, stays in ((OneWay, True), (Upload, True), (Download, True), (DeadServer, False)):
        road = Road(kind)
        road.counts(5.0)
        first, second = road.counts(10.0, active=1)
        assert (sum(grown(Counts(), second)) == 0) is stays, kind
        road.load.broke(1)
        assert road.counts(12.0, active=1)[0].received >= first.received
        road.load.broke(0)
        before = road.counts(12.1, active=1)
        after = road.counts(20.0, active=1)
        assert before[0].fresh + before[0].sent == after[0].fresh + after[0].sent
        assert after[1].fresh + after[1].sent > before[1].fresh + before[1].sent + 300, kind


def test_a_connection_that_is_not_answered_is_tried_again_each_second_by_the_way_there_is_then() -> None:
    road = Road(Upload, (0.0, DEAD))
    first, second = road.counts(3.5)
    assert (first.fresh, first.sent, second) == (4, 0, Counts())
    first, second = road.counts(10.0, active=1)
    assert (first.fresh, second.fresh) == (4, 1)
    assert second.sent > 200


def test_nobody_sends_while_there_is_no_way_or_the_machine_sleeps() -> None:
    for kind in (OneWay, Upload, Download, DeadServer):
        road = Road(kind)
        assert road.counts(5.0, active=None) == (Counts(), Counts())
        road.load.skip(100.0)
        told, _ = road.counts(101.0)
        assert 1 <= told.fresh + told.sent <= 51


def test_a_users_loads_are_those_he_has_and_each_has_dice_of_its_own() -> None:
    lossy = Conditions(Rtt.between(0.05, 0.05), loss=0.5)
    lane = ScriptedLane(Timeline([(0.0, lossy)]), "a")
    made = loads(User(download=0.1, dead_server=1.0), [lane], [Wire()], 0.0)
    assert [type(load) for load in made] == [Download, DeadServer]
    fates = [
        [lane.beside(name).packet(0.0) for name in names] for names in (("x", "x"), ("x", "y", "z", "u", "v", "w"))
    ]
    assert fates[0][0] == fates[0][1]
    assert len(set(fates[1])) > 1


def test_weak_counters_tell_nothing_apart() -> None:
    flows = Flows(("a", "b"), (V4, Family.IPV6), Counting.PACKETS, {"a": 0.1})
    flows.count(["a", "b"])
    flows.counts(0.0)
    flows.wires["a", V4].leaves(1.0, 0.1, answered=True)
    flows.wires["a", Family.IPV6].leaves(1.0, 0.1, answered=False)
    flows.probe(("b", V4), 1.0, 0.1)
    told = flows.counts(10.0)
    assert told["a", V4] == told["a", Family.IPV6] == Counts(102, 0, 2, 200, 200)
    assert told["b", V4] == Counts(1, 0, 1, 100, 100)
    strong = Flows(("a",), (V4,), Counting.FLOWS, {"a": 0.1})
    strong.count(["a"])
    strong.probe(("a", V4), 1.0, 0.1)
    assert strong.counts(10.0) == {("a", V4): Counts()}


def test_a_radio_that_sleeps_makes_the_first_packet_wait_and_those_behind_it() -> None:
    napping = Conditions(Rtt.between(0.05, 0.05), sleeps=Nap(10.0, 0.3))
    lane = ScriptedLane(Timeline([(0.0, napping)]), "a")
    rtts = [lane.probe(at, ProbeKind.ICMP)[1] for at in (0.0, 0.1, 0.4, 10.3, 20.4)]
    assert rtts == pytest.approx([0.35, 0.25, 0.05, 0.05, 0.35])
    assert lane.packet(20.5)[0] == pytest.approx(0.25)
    assert lane.beside("x").packet(20.8)[0] == pytest.approx(0.05)


def test_a_carrier_that_drops_icmp_answers_all_else() -> None:
    lane = ScriptedLane(Timeline([(0.0, Conditions(Rtt.around(0.05), echo=False))]), "a")
    outcomes = {kind: lane.probe(0.0, kind)[0] for kind in ProbeKind}
    assert {kind for kind, outcome in outcomes.items() if outcome is Outcome.SILENT} == {ProbeKind.ICMP}
    assert lane.packet(0.0)[0] is not None
