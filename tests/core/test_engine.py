"""The engine at its seam: a whole box in virtual time, from the uplink's weather to the kernel's tables."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from failover.config import Config
from failover.core.engine import Engine
from failover.facts import TABLE_ACTIVE, TABLE_SETTLED, Facts, Route, Verb
from failover.model import (
    Drain,
    Notice,
    NoticeKind,
    Outcome,
    ProbeKind,
    ProbeNow,
    ProbeResult,
    SendProbe,
    Undrain,
    Use,
    Verdict,
)
from failover.seam import Apply, Asked, Counted, KernelRead, ReadCounters, Resumed, WallClock

from .box import NAMES, PINGS, PINGS6, QUICK, RTT, WEB, Box, dead, ground, told
from .worlds import V4, V6

# --- a blackout ------------------------------------------------------------------------------------------------------


def test_a_blackout_of_the_active_uplink_from_end_to_end() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 160)
    box.run(400)
    first = box.probes("a", 100)[0]
    back = next(at for at, notice in box.notices if at > 150 and "a ipv4 is up" in notice.text)
    assert box.switches() == [
        f"{first + 0.35:g} a>b(a) doubt",
        f"{first + 1.5 + RTT:g} b>b(b) conviction",
        f"{back + 60:g} b>a(b) failback",
    ]
    assert told(box, 100) == [
        "a ipv4 is doubtful: silent for 0.35 s, 2 targets unanswered",
        "a ipv4 is down: silent for 1.5 s, 16 probes unanswered while another uplink receives",
        "a ipv4 is up: answers",
    ]
    assert box.errors == 0


@pytest.mark.parametrize("seed", range(20))
def test_whenever_it_begins_new_flows_move_within_1_35_s_and_open_ones_within_2_5_s(seed: int) -> None:
    box = Box("a", "b", seed=seed)
    box.weather["a"] = dead(100 + seed / 20)
    box.run(110)
    doubt, conviction = (float(line.split()[0]) - 100 - seed / 20 for line in box.switches())
    assert 0.35 <= doubt <= 1.3501
    assert 1.5 + RTT <= conviction <= 2.5001 + RTT


def test_the_switch_is_one_replace_and_comes_first() -> None:
    box = Box("a", "b")
    box.run(50)
    assert box.chosen(TABLE_ACTIVE)[0] == box.chosen(TABLE_SETTLED)[0] == 2
    box.weather["a"] = dead(50)
    box.run(60)
    at = float(box.switches()[0].split()[0])
    switch, rest = (effect for when, effect in box.applied if when == pytest.approx(at, abs=1e-3))
    (operation,) = switch.operations
    assert operation.verb is Verb.REPLACE
    assert isinstance(operation.item, Route)
    assert (operation.item.table, operation.item.metric, operation.item.interface) == (TABLE_ACTIVE, 1, 3)
    assert rest.operations
    assert box.chosen(TABLE_ACTIVE) == [3, 3, 2]
    assert box.chosen(TABLE_SETTLED) == [3, 3, 2]


def test_in_doubt_only_new_flows_move_and_come_back_after_ten_seconds() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 101.4)
    box.run(102.3)
    assert (box.chosen(TABLE_ACTIVE)[0], box.chosen(TABLE_SETTLED)[0]) == (3, 2)
    box.run(130)
    (up,) = [at for at, notice in box.notices if at > 100 and "a ipv4 is up" in notice.text]
    assert box.switches()[1:] == [f"{up + 10:g} b>a(a) acquittal"]
    assert (box.chosen(TABLE_ACTIVE)[0], box.chosen(TABLE_SETTLED)[0]) == (2, 2)


def test_carrier_loss_moves_all_in_the_same_turn() -> None:
    box = Box("a", "b").run(100)
    box.change("a", carrier=False)
    box.run(100.001)
    assert box.switches() == ["100 a>b(b) link-down"]
    assert box.chosen(TABLE_ACTIVE)[0] == 3


def test_a_relapse_doubles_the_hold_down() -> None:
    box = Box("a", "b")
    box.weather["a"] = lambda now, _: None if 100 <= now < 130 or 240 <= now < 270 else RTT
    box.run(600)
    backs = [float(line.split()[0]) for line in box.switches() if line.endswith("failback")]
    ups = [at for at, notice in box.notices if at > 100 and "a ipv4 is up" in notice.text]
    assert backs == pytest.approx([ups[0] + 60, ups[1] + 114], abs=4)


def test_while_another_family_is_well_it_stays() -> None:
    box = Box("a", "b", families=(V4, V6), config=Config(targets=(*PINGS, *PINGS6)))
    box.weather["a"] = lambda now, t: None if t.family is V6 and now > 100 else RTT
    box.run(200)
    assert (box.active(V4), box.active(V6)) == ("a", "b")
    assert (box.verdict("a", V4), box.verdict("a", V6)) == (Verdict.UP, Verdict.DOWN)


def test_traffic_in_need_pays_no_hold_down() -> None:
    box = Box("a", "b")
    box.weather["a"] = lambda now, _: None if 100 <= now < 160 or 190 <= now < 191.5 else RTT
    box.weather["b"] = dead(170, 175)
    box.run(300)
    assert [line.split(maxsplit=1)[1] for line in box.switches()[2:]] == [
        "b>a(b) doubt",
        "a>a(a) conviction",
        "a>b(a) doubt",
        "b>a(a) failback",
    ]
    back = box.switches()[-1]
    up = max(at for at, notice in box.notices if "a ipv4 is up" in notice.text)
    assert float(back.split()[0]) == pytest.approx(up + 60, abs=0.01)


def test_traffic_that_is_back_has_paid() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 130)
    box.run(300)
    box.ask(Drain("a"))
    box.run(310)
    box.ask(Undrain("a"))
    box.run(320)
    assert [line.split()[-1] for line in box.switches()[2:]] == ["failback", "drain", "operator"]


# --- when not to -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("length", [0.5, 2, 23, 300])
def test_a_tunnel_changes_nothing_whoever_comes_out_first(first: str, length: float) -> None:
    box = Box("a", "b")
    for name in "ab":
        box.weather[name] = dead(100, 100 + length + (0 if name == first else 1.2))
    box.run(500)
    assert box.settled() == "a"
    assert all(line.split()[-1] in ("doubt", "acquittal") for line in box.switches())
    assert not [text for text in told(box, 100) if "is down" in text]
    assert box.active() == "a"


def test_all_dead_then_one_back() -> None:
    box = Box("a", "b")
    box.weather |= {"a": dead(100), "b": dead(100, 300)}
    box.run(299.9)
    assert box.switches() == []
    box.run(320)
    doubt, conviction = box.switches()
    assert (doubt.split()[1:], conviction.split()[1:]) == (["a>b(a)", "doubt"], ["b>b(b)", "conviction"])
    heard = next(at for at, notice in box.notices if at > 300 and "b ipv4 is up" in notice.text)
    assert float(doubt.split()[0]) == pytest.approx(heard, abs=0.001)
    assert float(conviction.split()[0]) == pytest.approx(heard + 1.5 + RTT, abs=0.001)


def test_alone_it_is_never_convicted() -> None:
    box = Box("a")
    box.weather["a"] = dead(10, 500)
    box.run(600)
    assert box.switches() == []
    assert box.verdict("a") is Verdict.UP


def test_a_portal_is_no_witness_and_no_standby() -> None:
    box = Box("a", "b", config=Config(targets=(*PINGS, WEB)))
    box.weather["b"] = lambda _, t: Outcome.PORTAL if t.kind is ProbeKind.HTTP else RTT
    box.weather["a"] = dead(100)
    box.run(400)
    assert box.switches() == []
    assert (box.verdict("a"), box.verdict("b")) == (Verdict.DOUBTFUL, Verdict.PORTAL)


@pytest.mark.parametrize("url", [PINGS[0].url, NAMES.url, WEB.url])
def test_a_dead_target_is_not_a_dead_uplink(url: str) -> None:
    box = Box("a", "b", config=Config(targets=(*PINGS, NAMES, WEB)))
    dice = random.Random(7)

    def lossy(now: float) -> bool:
        return dice.random() < 0.005 and not 100 < now < 140  # until it is known as dead, two lost ones are a doubt

    for name in "ab":
        box.weather[name] = lambda now, t: None if (t.url == url and 100 < now < 900) or lossy(now) else RTT
    box.run(1200)
    assert box.switches() == []
    assert told(box, 50) == []


def test_a_standby_is_proven_before_it_is_used() -> None:
    box = Box("a", "b")
    box.weather |= {"a": dead(100), "b": dead(92, 100.9)}
    box.run(110)
    doubtful = next(at for at, notice in box.notices if "a ipv4 is doubtful" in notice.text)
    heard = next(at for at, notice in box.notices if at > 92 and "b ipv4 is up" in notice.text)
    moved = float(box.switches()[0].split()[0])
    assert moved == pytest.approx(max(doubtful, heard), abs=1e-3)


def test_a_standby_whose_proof_is_old_is_taken_with_its_next_answer() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(200)
    box.weather["b"] = lambda now, _: Outcome.LOCAL if 5 < now < 201.2 else RTT
    box.run(210)
    first = box.probes("a", 200)[0]
    assert box.verdict("b") is Verdict.UP, "it was never in doubt"
    assert box.switches()[0] == f"{first + 0.35 + RTT:g} a>b(a) doubt"


def test_an_uplink_that_was_not_heard_since_is_no_witness() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100)
    box.weather["b"] = lambda now, _: Outcome.LOCAL if now > 100 else RTT
    box.run(150)
    assert (box.verdict("a"), box.verdict("b")) == (Verdict.DOUBTFUL, Verdict.UP)
    assert box.settled() == "a"


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_link_that_slows_to_a_crawl_is_no_dead_link(name: str) -> None:
    box = Box("a", "b")
    box.weather[name] = lambda now, _: RTT if now < 100 else 1.5
    box.run(400)
    assert not [text for text in told(box, 0) if "is down" in text]
    assert box.settled() == "a"


# --- sleep and clock -------------------------------------------------------------------------------------------------


def test_after_sleep_open_probes_are_forgotten_and_nothing_moves() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 100.5)
    box.run(100.99)
    box.tell(Resumed(7200.0))
    box.run(200)
    assert box.switches() == []
    assert "the machine slept for 7200 s; every uplink is probed anew" in [n.text for _, n in box.notices]
    assert box.verdict("a") is Verdict.UP


def test_probes_are_told_whether_the_clock_is_trusted() -> None:
    box = Box("a").run(10)
    assert not any(send.trusted_clock for _, send in box.sent)
    box.tell(WallClock(1.7e9, trusted=True))
    box.run(20)
    assert all(send.trusted_clock for at, send in box.sent if at > 10)


# --- the kernel ------------------------------------------------------------------------------------------------------


def test_a_rule_that_somebody_deletes_is_back_in_the_same_turn() -> None:
    box = Box("a", "b").run(10)
    whole = box.facts
    box.facts = replace(whole, rules=tuple(rule for rule in whole.rules if rule.priority != 15587))
    box.stir()
    box.run(10.001)
    assert set(box.facts.rules) == set(whole.rules)
    assert len([at for at, _ in box.applied if at == 10]) == 1


def test_what_the_kernel_refuses_is_said_once_and_tried_slowly() -> None:
    box = Box("a", "b")
    box.blocked = lambda o: "read-only" if o.verb is Verb.SET else None
    box.run(600)
    said = told(box, 0, NoticeKind.KERNEL)
    assert said == [
        f"cannot set sysctl net/ipv4/conf/{name}/ignore_routes_with_linkdown = 1: read-only" for name in ("a", "b")
    ]
    assert len(box.applied) < 30
    assert box.chosen(TABLE_ACTIVE)[0] == 2, "the rest is done"


def test_a_failed_switch_is_tried_again() -> None:
    box = Box("a", "b").run(10)
    until = 102.0
    box.blocked = lambda o: "busy" if isinstance(o.item, Route) and 100 < box.now < until else None
    box.weather["a"] = dead(100)
    box.run(110)
    assert box.active() == "b"
    assert box.chosen(TABLE_ACTIVE)[0] == 3


def test_at_rest_nothing_is_changed_and_the_kernel_is_read_once_a_minute() -> None:
    box = Box("a", "b").run(3600)
    assert len(box.applied) == 1
    assert len(box.read) == 59


# --- the seam --------------------------------------------------------------------------------------------------------


def test_an_answer_to_a_probe_nobody_sent_or_the_same_twice_is_nothing() -> None:
    box = Box("a", "b").run(10)
    engine = box.engine
    before = engine.snapshot()
    for number in (-1, 0, 1, 2, 10**9):
        assert engine.handle(10.0, ProbeResult(number, Outcome.REFUSED)) == []
    assert engine.snapshot() == before


def test_all_that_was_heard_counts_before_anyone_is_judged() -> None:
    engine = Engine(QUICK, random.Random(1).random)
    sent = [e for e in engine.handle(0.0, KernelRead(ground("ab"))) if isinstance(e, SendProbe)]
    for number in range(6):
        sent += [e for e in engine.handle(0.01, Asked(number, ProbeNow("a"))) if isinstance(e, SendProbe)]
    effects = engine.hear(3.0, [ProbeResult(probe.id, Outcome.ANSWERED, 0.03) for probe in sent])
    said = [effect.text for effect in effects if isinstance(effect, Notice) and effect.kind is NoticeKind.VERDICT]
    assert said == ["a ipv4 is up: answers", "b ipv4 is up: answers"]
    for uplink in engine.snapshot().uplinks:
        view = uplink.families[V4]
        assert view.loss_ratio == 0.0
        assert {target.last_outcome for target in view.targets} - {None} == {Outcome.ANSWERED}


def test_the_same_seed_gives_the_same_course() -> None:
    def course(seed: int) -> list[object]:
        box = Box("a", "b", seed=seed)
        dice = random.Random(5)
        box.weather["a"] = lambda *_: None if dice.random() < 0.2 else RTT
        box.run(600)
        return [*box.sent, *box.notices, *box.applied]

    assert course(3) == course(3)
    assert course(3) != course(4)


def test_a_wake_before_its_time_or_too_late_is_harmless() -> None:
    engine = Engine(QUICK, random.Random(1).random)
    sent = [e for e in engine.handle(0.0, KernelRead(ground("ab"))) if isinstance(e, SendProbe)]
    for probe in sent:
        engine.handle(0.03, ProbeResult(probe.id, Outcome.ANSWERED, 0.03))
    assert engine.wake(0.04) == [ReadCounters()], "nothing was counted yet"
    engine.handle(0.04, Counted({}))
    assert engine.wake(0.05) == []
    assert not [e for e in engine.wake(7200.0) if isinstance(e, SendProbe)], "first the counters are read"
    effects = engine.handle(7200.0, Counted({}))
    assert len([e for e in effects if isinstance(e, SendProbe)]) == 2
    assert engine.deadline() > 7200.0


def test_the_snapshot_shows_what_there_is() -> None:
    box = Box("a", "b").run(100)
    box.ask(Use("b", seconds=50))
    snapshot = box.engine.snapshot()
    assert (snapshot.use, snapshot.use_until, snapshot.use_strict) == ("b", 150.0, False)
    a = snapshot.uplinks[0]
    view = a.families[V4]
    assert (a.name, a.interface, a.slot, a.metered, a.drained) == ("a", "a", 0, False, False)
    assert (view.verdict, view.text, view.loss_ratio) == (Verdict.UP, "answers", 0.0)
    assert view.rtt_seconds == pytest.approx(RTT)
    assert view.last_proven == pytest.approx(100, abs=1.1)
    assert [t.url for t in view.targets] == [t.url for t in PINGS]
    assert all(t.last_outcome is Outcome.ANSWERED for t in view.targets)
    assert a.families[V6].verdict is Verdict.ABSENT


def test_probes_without_outcome_are_not_remembered_for_ever() -> None:
    engine = Engine(QUICK, random.Random(1).random)
    engine.handle(0.0, KernelRead(ground("ab")))
    for _ in range(40_000):
        engine.wake(engine.deadline())
    assert len(engine._prober._open) <= 10_000


def test_without_ipv6_no_rule_is_made_for_it() -> None:
    box = Box("a", "b").run(10)
    assert not [rule for rule in box.facts.rules if rule.family is V6 and rule.protocol == 155]


def test_an_empty_kernel_is_no_error() -> None:
    engine = Engine(QUICK, random.Random(1).random)
    assert not [e for e in engine.handle(0.0, KernelRead(Facts())) if isinstance(e, Apply | SendProbe)]


# --- what else is asked and told --------------------------------------------------------------------------------------


def test_a_changed_address_has_the_web_asked_and_no_more_than_that() -> None:
    box = Box("a", "b", config=Config(targets=(*PINGS, WEB)))
    box.run(100)
    held = box.facts.addresses
    new = replace(next(address for address in held if address.index == 2), address="10.0.2.77")
    for moment, addresses in ((100, (*held, new)), (140, (*(a for a in held if a.index != 2), new))):
        box.run(moment)
        box.facts = replace(box.facts, addresses=addresses)
        box.stir()
    box.run(200)
    assert box.probes("a", 1, kind=ProbeKind.HTTP) == pytest.approx([100, 140], abs=0.01)
    assert box.probes("b", 1, kind=ProbeKind.HTTP) == []
    assert box.switches() == []
    assert box.verdict("a") is Verdict.UP


def test_a_decision_carries_the_numbers_that_it_was_made_by() -> None:
    box = Box("a", "b")
    dice = random.Random(10)
    box.weather["a"] = lambda now, _: RTT if now < 60 or dice.random() > 0.3 else None
    box.run(400)
    (moved,) = [n for _, n in box.notices if n.kind is NoticeKind.SWITCH and n.fields["reason"] == "degraded"][:1]
    assert moved.fields["loss_ratio"] >= 0.05  # type: ignore[operator]
    assert moved.fields["loss_evidence_ratio"] >= 0.9  # type: ignore[operator]
    assert moved.fields["rtt_seconds"] == moved.fields["rtt_usual_seconds"] == pytest.approx(RTT)
    assert {"silence_seconds", "standby_proven_seconds"} <= moved.fields.keys()
